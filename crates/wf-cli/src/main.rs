//! The binary `whaleflow`.
fn main() {}
