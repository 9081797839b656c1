//! Who may come in on the access-log port. Plaintext and TLS share it: the first byte of a TLS connection is that of a handshake, and none of HTTP/2.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use lazyload_logic::settings::LogSecurity;
use lazyload_logic::trust::{Believed, Peer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::counters::Counters;
use crate::identify::{Current, Identity, uri_of};

/// First byte of a TLS connection: a record of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// How long a connection may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that have not said who they are; more wait until they are accepted.
const AT_THE_DOOR: usize = 1024;
/// Those of one address; more are closed. A proxy comes with one for each of its worker threads, all at once when the controller is back.
const OF_ONE_ADDRESS: usize = 128;
/// Pause after a connection could not be accepted (no file descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whom the access-log server lets in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    security: LogSecurity,
    identity: Current,
    believed: watch::Receiver<Believed>,
}

impl Door {
    /// A door that asks as much as the settings say, of whoever is believed then.
    pub(crate) fn new(security: LogSecurity, identity: Current, believed: watch::Receiver<Believed>) -> Self {
        Self { security, identity, believed }
    }

    /// A door for everybody.
    pub(crate) fn open() -> Self {
        Self::new(LogSecurity::Off, watch::channel(None).1, watch::channel(Believed::default()).1)
    }
}

/// Why a connection is closed before it says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is plaintext.
    Plaintext,
    /// It is TLS, and we have no certificate (yet).
    NoIdentity,
    /// Its certificate is none of the mesh's, or there is no understanding.
    Handshake,
    /// It is of the mesh, and nobody whose logs are believed.
    Peer,
    /// It did not say in time who it is.
    TooSlow,
    /// Too many of its address are at the door.
    TooMany,
}

impl Refused {
    /// Every reason.
    pub(crate) const ALL: [Self; 6] =
        [Self::Plaintext, Self::NoIdentity, Self::Handshake, Self::Peer, Self::TooSlow, Self::TooMany];

    /// Its name in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::NoIdentity => "no_identity",
            Self::Handshake => "handshake",
            Self::Peer => "peer",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many",
        }
    }

    /// Its place in [`Refused::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// What is known of who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    /// Its address.
    pub(super) address: IpAddr,
    /// Who it is by its certificate; `None`: it spoke plaintext.
    pub(super) peer: Option<Peer>,
}

/// A connection that was let in.
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    met: Met,
}

/// The listener's connections that are let in; one that cannot be accepted does not end the server.
pub(super) fn connections(
    listener: TcpListener,
    door: Door,
    counters: Arc<Counters>,
) -> impl Stream<Item = io::Result<Connection>> {
    let hall = Hall { listener, door, counters, asked: JoinSet::new(), by_address: BTreeMap::new() };
    futures::stream::unfold(hall, async |mut hall| {
        let connection = hall.next().await;
        Some((Ok(connection), hall))
    })
}

/// Those who are asked who they are.
struct Hall {
    listener: TcpListener,
    door: Door,
    counters: Arc<Counters>,
    asked: JoinSet<(IpAddr, Option<Connection>)>,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Hall {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.asked.len() < AT_THE_DOOR => match accepted {
                    Ok((stream, address)) => {
                        let address = address.ip().to_canonical();
                        if self.door.security == LogSecurity::Off {
                            return Connection { stream: Either::Left(stream), met: Met { address, peer: None } };
                        }
                        self.ask(stream, address);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept an access-log connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(asked) = self.asked.join_next() => {
                    // A task ends badly by a panic alone; the address stays counted then.
                    let Ok((address, connection)) = asked else { continue };
                    self.leaves(address);
                    if let Some(connection) = connection {
                        return connection;
                    }
                }
            }
        }
    }

    fn ask(&mut self, stream: TcpStream, address: IpAddr) {
        let of_one = self.by_address.entry(address).or_default();
        if *of_one >= OF_ONE_ADDRESS {
            return self.counters.refuse(Refused::TooMany);
        }
        *of_one += 1;
        let (door, counters) = (self.door.clone(), self.counters.clone());
        self.asked.spawn(async move {
            let asked = tokio::time::timeout(PATIENCE, door.ask(stream, address)).await;
            let refused = match asked.unwrap_or(Err(Refused::TooSlow)) {
                Ok(connection) => return (address, connection),
                Err(refused) => refused,
            };
            counters.refuse(refused);
            tracing::debug!(%address, reason = refused.name(), "an access-log connection is refused");
            (address, None)
        });
    }

    fn leaves(&mut self, address: IpAddr) {
        if let Some(of_one) = self.by_address.get_mut(&address) {
            *of_one -= 1;
            if *of_one == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Door {
    /// Who it is. `None`: it has gone without a word.
    async fn ask(&self, stream: TcpStream, address: IpAddr) -> Result<Option<Connection>, Refused> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        if first != [HANDSHAKE] {
            let plain = Connection { stream: Either::Left(stream), met: Met { address, peer: None } };
            return if self.security == LogSecurity::Strict { Err(Refused::Plaintext) } else { Ok(Some(plain)) };
        }
        let identity = self.identity.borrow().clone().ok_or(Refused::NoIdentity)?;
        let stream = TlsAcceptor::from(identity.server.clone()).accept(stream).await.map_err(|error| {
            tracing::debug!(%address, %error, "an access-log connection does not come to be");
            Refused::Handshake
        })?;
        let peer = self.peer(&stream, &identity).ok_or(Refused::Peer)?;
        Ok(Some(Connection { stream: Either::Right(Box::new(stream)), met: Met { address, peer: Some(peer) } }))
    }

    fn peer(&self, stream: &TlsStream<TcpStream>, identity: &Identity) -> Option<Peer> {
        let uri = stream.get_ref().1.peer_certificates()?.first().and_then(uri_of)?;
        let peer = self.believed.borrow().peer(&uri, &identity.uri);
        if peer.is_none() {
            tracing::debug!(uri, "a certificate of the mesh that is nobody's whose logs are believed");
        }
        peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Met;

    fn connect_info(&self) -> Met {
        self.met
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
