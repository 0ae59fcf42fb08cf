//! The `wirelane` program.
fn main() {}
