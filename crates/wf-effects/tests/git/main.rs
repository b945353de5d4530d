//! Git as the engine uses it, on real repositories that the tests make.

mod canary;
mod checkpoint;
mod discover;
mod support;
mod trees;
mod user;
