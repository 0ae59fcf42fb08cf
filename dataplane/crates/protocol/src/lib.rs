//! WireGuard as a sans-I/O core: no socket, no thread, no clock.
#![forbid(unsafe_code)]
