//! A connection over TLS, for tonic.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// Longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects to the host and port of a URI.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    from: Option<IpAddr>,
}

impl Connector {
    /// Connections that show and check this.
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self { config, from: None }
    }

    /// From this address of ours.
    pub(crate) fn from(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let port = uri.port_u16().unwrap_or(443);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in lookup_host((host.as_str(), port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(from) = self.from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
                socket.bind((from, 0).into())?;
            }
            match socket.connect(address).await {
                Ok(connection) => {
                    connection.set_nodelay(true)?;
                    let connector = TlsConnector::from(self.config);
                    return Ok(TokioIo::new(connector.connect(name, connection).await?));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT, connector.connect(uri)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}
