//! The UAPI socket of a device: /var/run/wireguard/IFNAME.sock, which `wg` finds by itself.

use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use wirelane_engine::{ChangeError, Lane};

use crate::config::InterfaceName;
use crate::listener::{self, CLIENT_TIMEOUT, SocketFile};
use crate::uapi::{self, Request};

/// Where `wg` looks for UAPI sockets.
const FOLDER: &str = "/var/run/wireguard";

/// Binds the socket of `interface`; nobody answers on it yet.
pub fn bind(interface: &InterfaceName) -> Result<(UnixListener, SocketFile), String> {
    SocketFile::bind(&PathBuf::from(FOLDER).join(format!("{}.sock", interface.as_str())))
}

/// Answers `wg` on the socket until the process ends.
pub fn serve(listener: UnixListener, lane: Arc<Lane>) -> Result<(), String> {
    listener::serve("uapi", move || listener.accept().map(|(stream, _)| stream), move |stream| answer(&stream, &lane))
}

fn answer(stream: &UnixStream, lane: &Lane) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Some(request) = uapi::read_request(&mut input)? {
        let errno = match request {
            Ok(Request::Get) => {
                let text = uapi::device_text(&lane.snapshot());
                output.write_all(text.as_bytes())?;
                0
            }
            Ok(Request::Set(change)) => match lane.change(*change) {
                Ok(()) => 0,
                Err(error) => {
                    log::error!("{}: {error}", lane.interface());
                    errno_of(&error)
                }
            },
            Err(refusal) => {
                log::error!("{}: UAPI: {}", lane.interface(), refusal.why);
                refusal.errno
            }
        };
        // Negative, as wireguard-go answers and wg expects.
        output.write_all(format!("errno={}\n\n", -errno).as_bytes())?;
    }
    Ok(())
}

fn errno_of(error: &ChangeError) -> i32 {
    match error {
        ChangeError::PortInUse { .. } => uapi::EADDRINUSE,
        ChangeError::Io { .. } => uapi::EIO,
    }
}
