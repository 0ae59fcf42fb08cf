//! Changes of one interface, as the kernel announces them (RTNLGRP_LINK).
//!
//! A TUN device may be moved to another network namespace, while its process and sockets stay: that is how a tunnel is
//! made the only way out of a namespace. The kernel says where it went, and announces nothing from there on, so it is
//! looked at now and then.

use super::filter::only_link;
use super::message::{Answer, answers};
use super::requests::{Elsewhere, Link, Netlink, open_socket, receive};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often an interface in another namespace is looked at. A call from a peer that comes in between its being set up
/// and being looked at is lost, and repeated five seconds later only.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What happened to the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It was set up.
    Up,
    /// It was set down.
    Down,
    /// Its MTU is now this, in bytes.
    Mtu(u32),
    /// It is gone.
    Removed,
}

/// Watches one interface. Wait for it to be readable, and no longer than [`LinkMonitor::longest_wait`]; then take events
/// until there are none.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: OwnedFd,
    index: u32,
    /// In another namespace, and when it was last looked at.
    elsewhere: Option<(Elsewhere, Instant)>,
    known: Link,
    events: VecDeque<LinkEvent>,
}

impl LinkMonitor {
    /// Watch the interface with this index; the first events are its present state.
    pub fn new(index: u32) -> io::Result<Self> {
        // Listen first, then look: no change can fall between.
        let socket = open_socket(libc::RTMGRP_LINK as u32, libc::SOCK_NONBLOCK)?;
        // What comes of other interfaces all the same is not ours, and is left out below.
        if let Err(error) = only_link(&socket, index) {
            log::debug!("the changes of all interfaces wake the monitor of one: {error}");
        }
        let known = Netlink::open()?.link(index)?;
        let state = if known.is_up { LinkEvent::Up } else { LinkEvent::Down };
        let events = VecDeque::from([LinkEvent::Mtu(known.mtu), state]);
        Ok(Self { socket, index, elsewhere: None, known, events })
    }

    /// After so long there may be events although nothing can be read.
    pub fn longest_wait(&self) -> Option<Duration> {
        self.elsewhere.map(|(_, looked)| LOOK_EVERY.saturating_sub(looked.elapsed()))
    }

    /// The next event, or `None` if nothing has changed. Never blocks.
    pub fn next_event(&mut self) -> io::Result<Option<LinkEvent>> {
        let mut buffer = [0; 32768];
        while self.events.is_empty() {
            match receive(&self.socket, &mut buffer, 0) {
                Ok(len) => answers(&buffer[..len]).for_each(|answer| self.read_event(&answer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.longest_wait() != Some(Duration::ZERO) {
                        return Ok(None);
                    }
                    self.look_again()?;
                }
                // Messages were lost: look at the present state instead.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.look_again()?,
                Err(error) => return Err(error),
            }
        }
        Ok(self.events.pop_front())
    }

    fn read_event(&mut self, answer: &Answer<'_>) {
        let Some(link) = Link::parse(answer.body).filter(|link| link.index == self.index) else { return };
        match answer.kind {
            // Also when it has come back from another namespace.
            libc::RTM_NEWLINK if self.elsewhere.is_none() || link.name == self.known.name => {
                self.elsewhere = None;
                self.compare(link);
            }
            libc::RTM_DELLINK if self.elsewhere.is_none() => match Elsewhere::parse(answer.body, self.index) {
                Some(elsewhere) => self.elsewhere = Some((elsewhere, Instant::now())),
                None => self.events.push_back(LinkEvent::Removed),
            },
            _ => {}
        }
    }

    fn look_again(&mut self) -> io::Result<()> {
        let link = match &mut self.elsewhere {
            Some((elsewhere, looked)) => {
                *looked = Instant::now();
                Netlink::open()?.link_elsewhere(*elsewhere)
            }
            None => Netlink::open()?.link(self.index),
        };
        match link {
            Ok(link) => self.compare(link),
            // EINVAL: its namespace is gone, and the device with it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {
                self.events.push_back(LinkEvent::Removed)
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn compare(&mut self, link: Link) {
        if link.mtu != self.known.mtu {
            self.events.push_back(LinkEvent::Mtu(link.mtu));
        }
        if link.is_up != self.known.is_up {
            self.events.push_back(if link.is_up { LinkEvent::Up } else { LinkEvent::Down });
        }
        self.known = link;
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
