//! Changes of one interface, as the kernel announces them (RTNLGRP_LINK).

use super::message::answers;
use super::requests::{Link, Netlink, open_socket, receive};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// Watches one interface. Wait for it to be readable, then take events until there are none.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: OwnedFd,
    index: u32,
    known: Link,
    events: VecDeque<LinkEvent>,
}

impl LinkMonitor {
    /// Watch the interface with this index; the first events are its present state.
    pub fn new(index: u32) -> io::Result<Self> {
        // Listen first, then look: no change can fall between.
        let socket = open_socket(libc::RTMGRP_LINK as u32, libc::SOCK_NONBLOCK)?;
        let known = Netlink::open()?.link(index)?;
        let state = if known.is_up { LinkEvent::Up } else { LinkEvent::Down };
        let events = VecDeque::from([LinkEvent::Mtu(known.mtu), state]);
        Ok(Self { socket, index, known, events })
    }

    /// The next event, or `None` if nothing has changed. Never blocks.
    pub fn next_event(&mut self) -> io::Result<Option<LinkEvent>> {
        let mut buffer = [0; 32768];
        while self.events.is_empty() {
            match receive(&self.socket, &mut buffer, 0) {
                Ok(len) => self.read_events(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // Messages were lost: look at the present state instead.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.look_again()?,
                Err(error) => return Err(error),
            }
        }
        Ok(self.events.pop_front())
    }

    fn read_events(&mut self, datagram: &[u8]) {
        for answer in answers(datagram) {
            match (answer.kind, Link::parse(answer.body)) {
                (libc::RTM_NEWLINK, Some(link)) if link.index == self.index => self.compare(link),
                (libc::RTM_DELLINK, Some(link)) if link.index == self.index => {
                    self.events.push_back(LinkEvent::Removed)
                }
                _ => {}
            }
        }
    }

    fn look_again(&mut self) -> io::Result<()> {
        match Netlink::open()?.link(self.index) {
            Ok(link) => self.compare(link),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => self.events.push_back(LinkEvent::Removed),
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
