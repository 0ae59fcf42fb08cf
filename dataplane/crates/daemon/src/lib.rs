//! The parts of wirelane that read text from outside, as a library: for the fuzz targets.
#![forbid(unsafe_code)]
// Fields are those of the configuration file and of the UAPI, which are described elsewhere.
#![allow(missing_docs)]

pub mod config;
pub mod control_request;
pub mod uapi;
