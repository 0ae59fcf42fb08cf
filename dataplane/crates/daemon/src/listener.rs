//! Unix sockets that only root can use, and the threads that answer on a listening socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Most clients that one socket serves at a time; more wait.
const MAX_CLIENTS: usize = 16;
/// Stack of a client's thread: it may parse a configuration and start lanes. Pages that are not touched take no room.
const CLIENT_STACK_BYTES: usize = 1 << 20;
/// A client that is silent for so long is let go.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A listening Unix socket whose file goes when this value does.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Inode and time of birth: an inode number alone is used again at once.
type Identity = (u64, Option<SystemTime>);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.ino(), metadata.created().ok()))
}

impl SocketFile {
    /// Binds `path` with mode 0600. A stale socket file is replaced, one that somebody serves is an error.
    pub fn bind(path: &Path) -> Result<(UnixListener, Self), String> {
        let name = path.display();
        let failed = |error: io::Error| format!("cannot create the socket {name}: {error}");
        let folder = path.parent().ok_or_else(|| format!("{name} is not a path for a socket"))?;
        std::fs::create_dir_all(folder).map_err(failed)?;
        remove_stale(path)?;
        // Bound in a folder that only we can enter and moved from there: at no time can anybody else connect.
        let private = folder.join(format!(".wirelane-{}", std::process::id()));
        std::fs::create_dir(&private).map_err(failed)?;
        let bound = Self::bind_in(&private, path);
        // Empty by now unless binding failed half-way, and then the error below tells.
        let _ = std::fs::remove_dir_all(&private);
        bound.map_err(failed)
    }

    fn bind_in(private: &Path, path: &Path) -> io::Result<(UnixListener, Self)> {
        std::fs::set_permissions(private, std::fs::Permissions::from_mode(0o700))?;
        let temporary = private.join("s");
        let listener = UnixListener::bind(&temporary)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&temporary, path)?;
        Ok((listener, Self { path: path.to_owned(), identity: identity(path)? }))
    }

    /// Whether the file is still there, and still ours.
    pub fn exists(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.exists()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            log::warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), String> {
    let name = path.display();
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(format!("{name} exists and is not a socket"));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(format!("another process serves {name}"));
    }
    std::fs::remove_file(path).map_err(|error| format!("cannot remove the stale socket {name}: {error}"))
}

/// Answers every client of `accept` in a thread of its own, until the process ends.
pub fn serve<Stream, Accept, Answer>(name: &str, accept: Accept, answer: Answer) -> Result<(), String>
where
    Stream: Send + 'static,
    Accept: Fn() -> io::Result<Stream> + Send + 'static,
    Answer: Fn(Stream) -> io::Result<()> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let clients = Arc::new(AtomicUsize::new(0));
    let thread_name = name.to_owned();
    let accept_all = move || loop {
        let stream = match accept() {
            Ok(stream) if clients.load(Ordering::Relaxed) < MAX_CLIENTS => stream,
            Ok(_) => {
                log::warn!("{thread_name}: more than {MAX_CLIENTS} clients at a time; one was turned away");
                continue;
            }
            Err(error) => {
                // Out of descriptors or memory: others have to let go first.
                log::warn!("{thread_name}: cannot accept a client: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        clients.fetch_add(1, Ordering::Relaxed);
        let (answer, clients) = (Arc::clone(&answer), Arc::clone(&clients));
        let serve_one = {
            let clients = Arc::clone(&clients);
            move || {
                if let Err(error) = answer(stream) {
                    log::debug!("a client left: {error}");
                }
                clients.fetch_sub(1, Ordering::Relaxed);
            }
        };
        if let Err(error) =
            std::thread::Builder::new().name(thread_name.clone()).stack_size(CLIENT_STACK_BYTES).spawn(serve_one)
        {
            clients.fetch_sub(1, Ordering::Relaxed);
            log::warn!("{thread_name}: cannot start a thread for a client: {error}");
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(128 << 10)
        .spawn(accept_all)
        .map(drop)
        .map_err(|error| format!("cannot start the thread {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let folder = std::env::temp_dir().join(format!("wirelane-listener-{}", std::process::id()));
        let path = folder.join("x.sock");
        let (listener, file) = SocketFile::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(SocketFile::bind(&path).unwrap_err().contains("another process"));
        drop(listener);
        let (_listener, second) = SocketFile::bind(&path).unwrap();
        drop(file); // no longer ours: it must not remove the second one
        assert!(second.exists());
        drop(second);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(SocketFile::bind(&path).unwrap_err().contains("not a socket"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
