//! Owns what one call is, as an access log tells of it.
//! Never decides what a call means; `state::learn` does.
//! Next: `authority` for reading the host that a client wrote.

pub mod authority;

use std::net::IpAddr;

/// One caller and host of one access-log message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The address that called.
    pub caller: IpAddr,
    /// The host as the client wrote it.
    pub authority: String,
    /// How often within the message.
    pub count: u64,
}
