//! What ends the program: a signal, or a device that is gone.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Why the program ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM, SIGINT or SIGHUP.
    Signal,
    /// Somebody deleted the device, or it failed; with the reason.
    DeviceGone(String),
    /// Somebody deleted the UAPI socket, which ends a device as with wireguard-go.
    SocketGone,
}

/// Reports a cause from another thread.
pub type Reporter = Sender<Cause>;

/// Collects the causes; exists before anything that has to be taken away again.
pub struct Termination {
    causes: Receiver<Cause>,
    report: Sender<Cause>,
}

impl Termination {
    /// From here on a signal no longer kills the process.
    pub fn watch() -> Result<Self, String> {
        let (report, causes) = channel();
        let mut signals =
            Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| format!("cannot watch for signals: {error}"))?;
        let from_signals = report.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                for _ in signals.forever() {
                    if from_signals.send(Cause::Signal).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| format!("cannot start the thread that watches for signals: {error}"))?;
        Ok(Self { causes, report })
    }

    /// Where to report a cause from another thread.
    pub fn reporter(&self) -> Reporter {
        self.report.clone()
    }

    /// A cause that has come up already.
    pub fn now(&self) -> Option<Cause> {
        self.causes.try_recv().ok()
    }

    /// Waits for the first cause; `still_there` is asked once a second.
    pub fn wait(&self, still_there: impl Fn() -> bool) -> Cause {
        loop {
            match self.causes.recv_timeout(Duration::from_secs(1)) {
                Ok(cause) => return cause,
                Err(RecvTimeoutError::Timeout) if still_there() => {}
                Err(RecvTimeoutError::Timeout) => return Cause::SocketGone,
                Err(RecvTimeoutError::Disconnected) => return Cause::Signal,
            }
        }
    }
}
