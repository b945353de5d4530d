//! The program from outside: what it prints, how it exits, what it leaves.

mod bad_input;
mod decisions;
mod place;
mod repositories;
mod runs;
