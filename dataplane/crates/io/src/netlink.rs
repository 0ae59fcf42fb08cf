//! A small rtnetlink(7) client: links, addresses, routes over several lanes, and link events.

mod filter;
mod message;
mod monitor;
mod requests;

pub use monitor::{LinkEvent, LinkMonitor};
pub use requests::{Existing, Link, Netlink, Prefix};
