//! The stream to one replica: everything that was heard lately, then everything as it comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use lazyload_logic::settings::LogSecurity;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::super::METHOD;
use super::super::codec::RawCodec;
use super::{RELAYED, Relay, message};
use crate::identify::Connector;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent replica is asked whether it is there, and how long that may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));
/// Shortest and longest pause before the next connection.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Messages on their way into the connection.
const BUFFERED: usize = 64;
/// Longest wait for the last messages to arrive, at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// A stream that did not last.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("failed to connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("there is no certificate of the mesh yet")]
    NoIdentity,
    #[error("the stream ended: {0}")]
    Ended(String),
    #[error("it is too slow")]
    Behind,
}

/// One replica, and what it is told.
pub(super) struct Link {
    pub(super) relay: Relay,
    pub(super) to: SocketAddr,
    /// Our own address, by which the replica knows us.
    pub(super) from: Option<IpAddr>,
    pub(super) shutdown: CancellationToken,
}

impl Link {
    /// Tells the replica until the shutdown.
    pub(super) async fn run(self) {
        let mut pause = RETRY.0;
        // A replica that is replaced later may not know TLS yet.
        let mut plaintext = self.relay.security == LogSecurity::Off;
        loop {
            let talked = self.talk(plaintext, &mut pause).await;
            plaintext = match self.relay.security {
                LogSecurity::Off => true,
                LogSecurity::Permissive => !plaintext && matches!(talked, Err(Broken::Connect(_) | Broken::NoIdentity)),
                LogSecurity::Strict => false,
            };
            match talked {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(replica = %self.to, error = &error as &dyn std::error::Error, "telling it again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY.1),
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// One stream. `Ok` at the shutdown.
    async fn talk(&self, plaintext: bool, pause: &mut Duration) -> Result<(), Broken> {
        let mut client = Grpc::new(self.connect(plaintext).await?);
        let ended = |error: String| Broken::Ended(error);
        client.ready().await.map_err(|error| ended(error.to_string()))?;
        let (messages_tx, messages_rx) = mpsc::channel(BUFFERED);
        let mut request = Request::new(ReceiverStream::new(messages_rx));
        request.metadata_mut().insert(RELAYED, MetadataValue::from_static("true"));
        let mut answer = Box::pin(client.client_streaming::<_, Bytes, Bytes, _>(
            request,
            PathAndQuery::from_static(METHOD),
            RawCodec,
        ));
        let _up = Up::new(&self.relay);
        let told = tokio::select! {
            told = self.tell(messages_tx, pause) => told,
            answer = &mut answer => return Err(ended(answer.err().unwrap_or_else(|| Status::ok("it ends")).to_string())),
        };
        told?;
        // The stream is closed; the replica answers when it has taken everything.
        drop(tokio::time::timeout(FLUSH, answer).await);
        Ok(())
    }

    async fn connect(&self, plaintext: bool) -> Result<Channel, Broken> {
        let scheme = if plaintext { "http" } else { "https" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.to))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true)
            .local_address(self.from);
        if plaintext {
            return Ok(endpoint.connect().await?);
        }
        let identity = self.relay.identity.borrow().clone().ok_or(Broken::NoIdentity)?;
        let connector = Connector::new(identity.client.clone()).from(self.from);
        Ok(endpoint.connect_with_connector(connector).await?)
    }

    /// Fills a stream until the shutdown.
    async fn tell(&self, messages: mpsc::Sender<Bytes>, pause: &mut Duration) -> Result<(), Broken> {
        let mut live = self.relay.live.subscribe();
        for message in message::messages(&self.relay.heard()) {
            send(&messages, message).await?;
        }
        *pause = RETRY.0;
        loop {
            tokio::select! {
                message = live.recv() => match message {
                    Ok(message) => send(&messages, message).await?,
                    Err(RecvError::Lagged(_)) => return Err(Broken::Behind),
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = self.shutdown.cancelled() => return rest(&mut live, &messages).await,
            }
        }
    }
}

/// What was told before the shutdown.
async fn rest(live: &mut broadcast::Receiver<Bytes>, messages: &mpsc::Sender<Bytes>) -> Result<(), Broken> {
    loop {
        match live.try_recv() {
            Ok(message) => send(messages, message).await?,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            Err(TryRecvError::Lagged(_)) => return Err(Broken::Behind),
        }
    }
}

async fn send(messages: &mpsc::Sender<Bytes>, message: Bytes) -> Result<(), Broken> {
    messages.send(message).await.map_err(|_| Broken::Ended("it takes nothing more".to_owned()))
}

/// Counts a stream as open until it is dropped.
struct Up(Relay);

impl Up {
    fn new(relay: &Relay) -> Self {
        relay.counters.relay_links.fetch_add(1, Relaxed);
        Self(relay.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.counters.relay_links.fetch_sub(1, Relaxed);
    }
}
