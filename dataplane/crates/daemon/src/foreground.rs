//! `wirelane [-f] IFNAME`: one device that `wg` configures, a drop-in for wireguard-go.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use wirelane_engine::{Lanes, Spread, Tuning, open_tun};

use crate::config::InterfaceName;
use crate::termination::{Cause, Termination};
use crate::{privileges, uapi_socket};

/// Set for the child that runs in the background: it says `ready` on standard output.
const BACKGROUND_VARIABLE: &str = "WIRELANE_IN_BACKGROUND";
const READY: &str = "ready";

/// Carries the device until a signal comes, the device is deleted or its UAPI socket is removed.
pub fn run(interface: &InterfaceName, tuning: &Tuning) -> Result<(), String> {
    privileges::confine([uapi_socket::path(interface).as_path()])?;
    let termination = Termination::watch()?;
    let (listener, socket_file) = uapi_socket::bind(interface)?;
    let report = termination.reporter();
    let on_end = move |why| {
        // The receiver lives as long as the program does; after it nobody needs to know.
        let _ = report.send(Cause::DeviceGone(why));
    };
    let lanes = Lanes::new(Spread::Ecmp);
    let lane = lanes.make_lane(interface.as_str(), || open_tun(interface.as_str(), tuning), 0, tuning, on_end);
    let lane = lane.map_err(|error| error.to_string())?;
    lanes.arrange(vec![Arc::clone(&lane)], tuning).map_err(|error| error.to_string())?;
    uapi_socket::serve(listener, Arc::clone(&lane))?;
    if std::env::var_os(BACKGROUND_VARIABLE).is_some() {
        // A parent that has died meanwhile does not wait for it.
        let _ = writeln!(std::io::stdout(), "{READY}");
    }
    log::info!("{}: running", interface.as_str());
    match termination.wait(|| socket_file.exists()) {
        Cause::DeviceGone(why) => log::info!("{}: {why}", interface.as_str()),
        cause => log::info!("{}: ending: {cause:?}", interface.as_str()),
    }
    drop(socket_file);
    lanes.stop();
    Ok(())
}

/// Starts the same program in the background and returns when its device is there.
pub fn run_in_background(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot go to the background: {error}");
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .arg("--foreground")
        .args(arguments)
        .env(BACKGROUND_VARIABLE, "1")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let first_line = child.stdout.take().map(|stdout| BufReader::new(stdout).lines().next());
    if let Some(Some(Ok(line))) = first_line
        && line == READY
    {
        return Ok(());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().last().map(|line| line.trim_start_matches("wirelane: ")).unwrap_or_default();
    Err(if why.is_empty() { format!("the background process ended: {}", output.status) } else { why.to_owned() })
}
