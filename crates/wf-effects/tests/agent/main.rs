//! The native agent, driven by written turns: no server, no clock.

mod hostile;
mod support;
mod work;
