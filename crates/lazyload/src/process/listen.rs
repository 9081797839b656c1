//! Listening addresses as Go programs write them: `:8081` is every interface.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Length of the queue of connections that were not accepted yet; the system may shorten it. A full queue costs a client a second.
const BACKLOG: i32 = 4096;

/// A listener that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address has the wrong form.
    #[error("failed to read listening address {address:?}: expected HOST:PORT or :PORT")]
    Address {
        /// As written.
        address: String,
    },
    /// The system refused.
    #[error("failed to listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Where an address in Go's notation means.
#[derive(Clone, Copy, Debug)]
enum Place {
    Everywhere(u16),
    At(SocketAddr),
}

/// Tells whether an address can be read, before anything listens on it.
///
/// # Errors
/// A malformed address.
pub fn check(address: &str) -> Result<(), ListenError> {
    parse(address).map(drop)
}

/// Listens on an address in Go's notation, on both IP versions where no host is given.
///
/// # Errors
/// A malformed address, or one that the system refuses.
pub fn listen(address: &str) -> Result<TcpListener, ListenError> {
    match parse(address)? {
        Place::Everywhere(port) => listen_everywhere(port),
        Place::At(address) => bind(address),
    }
}

fn parse(address: &str) -> Result<Place, ListenError> {
    let place = match address.strip_prefix(':') {
        Some(port) => port.parse().map(Place::Everywhere).ok(),
        None => address.parse().map(Place::At).ok(),
    };
    place.ok_or_else(|| ListenError::Address { address: address.to_owned() })
}

/// Listens on one port of every interface, IPv4 and IPv6; on IPv4 alone where the host has no IPv6.
///
/// # Errors
/// The system refuses.
pub fn listen_everywhere(port: u16) -> Result<TcpListener, ListenError> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(ListenError::Bind { source, .. }) if source.kind() != std::io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, port).into())
        }
        result => result,
    }
}

/// Listens on exactly this address.
///
/// # Errors
/// The system refuses.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    open(address).map_err(|source| ListenError::Bind { address, source })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
