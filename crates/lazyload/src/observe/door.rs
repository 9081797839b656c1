//! Who may come in on the access-log port. Plaintext and TLS share it: the first byte of a TLS connection is that of a handshake, and none of HTTP/2.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use lazyload_logic::observation::identity;
use lazyload_logic::settings::LogSecurity;
use lazyload_logic::trust::{Believed, Peer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::counters::Counters;
use super::places::{Place, Places};
use crate::identify::{Current, Identity, uri_of};

/// First byte of a TLS connection: a record of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// How long a connection may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long TLS waits for our own certificate, which comes a moment after the start.
const FIRST_CERTIFICATE: Duration = Duration::from_secs(2);
/// Connections that have not said who they are; more wait until they are accepted.
const AT_THE_DOOR: usize = 4096;
/// Connections of one address; more are closed. A proxy has one for each of its worker threads.
const OF_ONE_ADDRESS: usize = 256;
/// Connections in plaintext, of whoever it may be. Of those that are believed by their certificate there may be more.
const IN_PLAINTEXT: usize = 2048;
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
    /// Too many of its address, or too many in plaintext, are there.
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
#[derive(Clone, Debug)]
pub(super) struct Met {
    /// Its address.
    pub(super) address: IpAddr,
    /// Who it is by its certificate; `None`: it spoke plaintext.
    pub(super) peer: Option<Peer>,
    /// The account that the certificate names.
    pub(super) account: Option<Account>,
}

/// An account by its certificate.
pub(super) type Account = lazyload_logic::observation::Identity<Box<str>>;

/// A connection that was let in.
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    met: Met,
    _place: Place,
    _in_plaintext: Option<OwnedSemaphorePermit>,
}

/// The listener's connections that are let in; one that cannot be accepted does not end the server.
pub(super) fn connections(
    listener: TcpListener,
    door: Door,
    counters: Arc<Counters>,
) -> impl Stream<Item = io::Result<Connection>> {
    let hall = Hall {
        listener,
        door,
        counters,
        places: Places::new(OF_ONE_ADDRESS),
        in_plaintext: Arc::new(Semaphore::new(IN_PLAINTEXT)),
        asked: JoinSet::new(),
    };
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
    places: Places,
    in_plaintext: Arc<Semaphore>,
    asked: JoinSet<Option<Connection>>,
}

impl Hall {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.asked.len() < AT_THE_DOOR => match accepted {
                    Ok((stream, address)) => self.ask(stream, address.ip().to_canonical()),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept an access-log connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // A task that ends badly has closed its connection.
                Some(asked) = self.asked.join_next() => if let Ok(Some(connection)) = asked {
                    return connection;
                },
            }
        }
    }

    fn ask(&mut self, stream: TcpStream, address: IpAddr) {
        let Some(place) = self.places.take(address) else { return self.counters.refuse(Refused::TooMany) };
        let (door, counters, in_plaintext) = (self.door.clone(), self.counters.clone(), self.in_plaintext.clone());
        self.asked.spawn(async move {
            let asked = tokio::time::timeout(PATIENCE, door.ask(stream, address)).await;
            let refused = match asked.unwrap_or(Err(Refused::TooSlow)) {
                Ok(None) => return None,
                Ok(Some((stream, known))) => {
                    let (peer, account) = known.unzip();
                    let permit = if peer.is_none() { in_plaintext.try_acquire_owned().ok() } else { None };
                    if peer.is_some() || permit.is_some() {
                        let met = Met { address, peer, account: account.flatten() };
                        return Some(Connection { stream, met, _place: place, _in_plaintext: permit });
                    }
                    Refused::TooMany
                }
                Err(refused) => refused,
            };
            counters.refuse(refused);
            tracing::debug!(%address, reason = refused.name(), "an access-log connection is refused");
            None
        });
    }
}

/// What is read from and written to, and who is at its other end.
type Asked = (Either<TcpStream, Box<TlsStream<TcpStream>>>, Option<(Peer, Option<Account>)>);

impl Door {
    /// Who it is. `None`: it has gone without a word.
    async fn ask(&self, stream: TcpStream, address: IpAddr) -> Result<Option<Asked>, Refused> {
        if self.security == LogSecurity::Off {
            return Ok(Some((Either::Left(stream), None)));
        }
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        if first != [HANDSHAKE] {
            let refused = self.security == LogSecurity::Strict;
            return if refused { Err(Refused::Plaintext) } else { Ok(Some((Either::Left(stream), None))) };
        }
        let identity = self.identity().await.ok_or(Refused::NoIdentity)?;
        let stream = TlsAcceptor::from(identity.server.clone()).accept(stream).await.map_err(|error| {
            tracing::debug!(%address, %error, "an access-log connection does not come to be");
            Refused::Handshake
        })?;
        let peer = self.peer(&stream, &identity).ok_or(Refused::Peer)?;
        Ok(Some((Either::Right(Box::new(stream)), Some(peer))))
    }

    async fn identity(&self) -> Option<Arc<Identity>> {
        let mut current = self.identity.clone();
        let came = tokio::time::timeout(FIRST_CERTIFICATE, current.wait_for(Option::is_some)).await;
        came.ok()?.ok()?.clone()
    }

    fn peer(&self, stream: &TlsStream<TcpStream>, identity: &Identity) -> Option<(Peer, Option<Account>)> {
        let uri = stream.get_ref().1.peer_certificates()?.first().and_then(uri_of)?;
        let peer = self.believed.borrow().peer(&uri, &identity.uri);
        if peer.is_none() {
            tracing::debug!(uri, "a certificate of the mesh that is nobody's whose logs are believed");
        }
        Some((peer?, identity::parse(&uri).map(|account| account.to_owned())))
    }
}

impl Connected for Connection {
    type ConnectInfo = Met;

    fn connect_info(&self) -> Met {
        self.met.clone()
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
