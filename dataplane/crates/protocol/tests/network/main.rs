//! Two devices on a simulated network under a virtual clock.

mod configuration;
mod properties;
mod scenarios;
mod simulation;
