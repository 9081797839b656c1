//! A simulated proxy's end of the access log: one stream, one entry a message. The embedded demo's global-sidecar.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use super::METHOD;
use super::codec::RawCodec;
use super::wire;

/// Messages that wait for a slow server.
const BUFFERED: usize = 64;
/// What Istio's configuration calls the log.
const LOG_NAME: &[u8] = b"http_envoy_accesslog";

/// An entry that was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The server cannot be reached.
    #[error("failed to connect to the access-log server at {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The server ended a new stream at once; the next entry opens another.
    #[error("failed to send to the access-log server at {address}: the stream ended")]
    StreamEnded {
        /// Where.
        address: SocketAddr,
    },
}

/// Sends access-log entries; connects when there is something to send, and again after the stream ended.
#[derive(Debug)]
pub(crate) struct AccessLogSender {
    address: SocketAddr,
    stream: Option<mpsc::Sender<Bytes>>,
}

impl AccessLogSender {
    /// A sender to the server at this address.
    #[must_use]
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Tells at once that `caller` asked for `authority` and was let in on `port` (cluster `inbound|PORT||`).
    /// As with Envoy, an entry may be lost when the server goes away.
    ///
    /// # Errors
    /// The server cannot be reached or ends each stream at once.
    pub(crate) async fn send(&mut self, caller: IpAddr, authority: &str, port: u16) -> Result<(), SendError> {
        self.send_message(mk_message(&[(caller, authority, port)])).await
    }

    pub(super) async fn send_message(&mut self, mut message: Bytes) -> Result<(), SendError> {
        if let Some(stream) = &self.stream {
            match stream.send(message).await {
                Ok(()) => return Ok(()),
                Err(unsent) => message = unsent.0,
            }
        }
        let stream = self.stream.insert(self.open().await?);
        stream.send(message).await.map_err(|_| SendError::StreamEnded { address: self.address })
    }

    async fn open(&self) -> Result<mpsc::Sender<Bytes>, SendError> {
        let (stream_tx, stream_rx) = mpsc::channel(BUFFERED);
        let address = self.address;
        let answer = open(address, METHOD, stream_rx).await?;
        tokio::spawn(async move {
            if let Err(status) = answer.await {
                tracing::debug!(%address, %status, "the access-log stream ended");
            }
        });
        Ok(stream_tx)
    }
}

/// Connects and calls a method with a stream of messages. The future drives the stream up to the server's answer.
pub(super) async fn open(
    address: SocketAddr,
    method: &'static str,
    messages: mpsc::Receiver<Bytes>,
) -> Result<impl Future<Output = Result<Response<Bytes>, Status>> + Send + 'static, SendError> {
    let failed = |source| SendError::Connect { address, source };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
    let channel = endpoint.connect().await.map_err(failed)?;
    Ok(async move {
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let messages = Request::new(ReceiverStream::new(messages));
        client.client_streaming(messages, PathAndQuery::from_static(method), RawCodec).await
    })
}

/// A message with these entries: caller, authority, port.
pub(super) fn mk_message(entries: &[(IpAddr, &str, u16)]) -> Bytes {
    let mk_entry = |(caller, authority, port): &(IpAddr, &str, u16)| {
        let address = wire::SocketAddress { address: caller.to_string().into_bytes() };
        wire::HttpEntry {
            common_properties: Some(wire::Common {
                tls_properties: None,
                upstream_cluster: format!("inbound|{port}||").into_bytes(),
                downstream_direct_remote_address: Some(wire::Address {
                    address: Some(wire::AddressKind::SocketAddress(address)),
                }),
            }),
            request: Some(wire::Request { authority: authority.as_bytes().to_vec() }),
            response: Some(wire::Response { response_code: Some(200) }),
        }
    };
    let message = wire::StreamAccessLogsMessage {
        identifier: Some(wire::Identifier { node: None, log_name: LOG_NAME.to_vec() }),
        tcp_logs: None,
        http_logs: Some(wire::HttpLogs { log_entry: entries.iter().map(mk_entry).collect() }),
    };
    message.encode_to_vec().into()
}
