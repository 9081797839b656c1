//! What to connect to.

use std::fmt;
use std::net::SocketAddr;

use super::authority::{Authority, Host};

/// A destination of a TCP connection. Displayed as `ip:port`, `[v6]:port` or `name:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dial {
    /// A known address.
    Address(SocketAddr),
    /// A name that has to be resolved.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Dial {
    /// This host on this port.
    #[must_use]
    pub fn to(host: Host<'_>, port: u16) -> Self {
        match host {
            Host::Ip(ip) => Self::Address(SocketAddr::new(ip, port)),
            Host::Name(name) => Self::Name { host: name.to_owned(), port },
        }
    }

    /// The value of Slime-Orig-Dest: an address with or without a port.
    pub(super) fn original(value: &str, default_port: u16) -> Option<Self> {
        let authority = Authority::parse(value)?;
        match authority.host {
            Host::Ip(_) => Some(Self::to(authority.host, authority.port.unwrap_or(default_port))),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
