//! Models on the wire: a local server speaks both protocols, well and badly.

mod catalog;
mod hostile;
mod limits;
mod server;
mod shapes;
mod speak;
mod support;
mod typed;
