//! Log lines on standard error, as wireguard-go's: `LOG_LEVEL` is silent, error, info or verbose (debug).

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug | Level::Trace => "DEBUG",
        };
        // When standard error is gone (a daemon whose parent has left), there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{level}: {}", record.args());
    }

    fn flush(&self) {}
}

/// Starts logging at the level that the environment variable `LOG_LEVEL` names; errors and warnings otherwise.
pub fn start() {
    let level = match std::env::var("LOG_LEVEL").as_deref() {
        Ok("silent") => LevelFilter::Off,
        Ok("error") => LevelFilter::Error,
        Ok("info") => LevelFilter::Info,
        Ok("verbose" | "debug") => LevelFilter::Debug,
        _ => LevelFilter::Warn,
    };
    // Fails only if a logger is there already, and this is the only one.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
