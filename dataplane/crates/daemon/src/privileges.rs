//! What the process may do, and what it must not leave behind.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps keys out of core dumps: none is written, and no other process of this user may read the memory.
pub fn forbid_core_dumps() -> Result<(), String> {
    let failed = |error: rustix::io::Errno| format!("cannot disable core dumps: {error}");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}
