//! The UAPI socket of a device: /var/run/wireguard/IFNAME.sock, which `wg` finds by itself.

use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use wirelane_engine::{ChangeError, Lane};
use zeroize::{Zeroize, Zeroizing};

use crate::config::InterfaceName;
use crate::listener::{self, CLIENT_TIMEOUT, SocketFile};
use crate::uapi::{self, Request};

/// Bytes of a request that are read at a time.
const READ_BYTES: usize = 8192;
/// Where `wg` looks for UAPI sockets.
const FOLDER: &str = "/var/run/wireguard";

/// Where the socket of `interface` is.
pub fn path(interface: &InterfaceName) -> PathBuf {
    PathBuf::from(FOLDER).join(format!("{}.sock", interface.as_str()))
}

/// Binds the socket of `interface`; nobody answers on it yet.
pub fn bind(interface: &InterfaceName) -> Result<(UnixListener, SocketFile), String> {
    SocketFile::bind(&path(interface))
}

/// Answers `wg` on the socket until the process ends.
pub fn serve(listener: UnixListener, lane: Arc<Lane>) -> Result<(), String> {
    listener::serve("uapi", move || listener.accept().map(|(stream, _)| stream), move |stream| answer(&stream, &lane))
}

fn answer(stream: &UnixStream, lane: &Lane) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut input = WipedReader { stream, buffer: Zeroizing::default(), unread: 0..0 };
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
                    log::error!("{}: {error}", lane.name());
                    errno_of(&error)
                }
            },
            Err(refusal) => {
                log::error!("{}: UAPI: {}", lane.name(), refusal.why);
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

/// A buffered reader that wipes what has been read: requests hold keys.
struct WipedReader<'a> {
    stream: &'a UnixStream,
    buffer: Zeroizing<Vec<u8>>,
    unread: std::ops::Range<usize>,
}

impl Read for WipedReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(into.len());
        into[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for WipedReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() {
            // Once, to its full size: it never moves.
            self.buffer.resize(READ_BYTES, 0);
            self.unread = 0..self.stream.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.unread.clone()])
    }

    fn consume(&mut self, len: usize) {
        let end = self.unread.end.min(self.unread.start + len);
        self.buffer[self.unread.start..end].zeroize();
        self.unread.start = end;
    }
}
