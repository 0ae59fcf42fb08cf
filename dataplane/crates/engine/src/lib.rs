//! Lanes, inline and pipelined modes, packet workers, queues, drop counters.
#![forbid(unsafe_code)]
