//! What the process may do, and what it must not leave behind.

use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps keys out of core dumps: none is written, and no other process of this user may read the memory.
pub fn forbid_core_dumps() -> Result<(), String> {
    let failed = |error: rustix::io::Errno| format!("cannot disable core dumps: {error}");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}

/// Gives up what the program does not need to run and to be reconfigured; `sockets` are the files that it will make.
/// Holds for threads that are started from now on.
pub fn confine<'a>(sockets: impl IntoIterator<Item = &'a Path>) -> Result<(), String> {
    let folders: Vec<&Path> = sockets.into_iter().filter_map(Path::parent).collect();
    for folder in &folders {
        std::fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    wirelane_io::confine_process(&folders).map_err(|error| format!("cannot give up privileges: {error}"))
}
