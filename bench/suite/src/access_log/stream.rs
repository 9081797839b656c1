//! The sending end: messages that are encoded already, so that it costs less than what it measures.

use bytes::{Buf, BufMut, Bytes};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// Messages that wait for a slow server.
const BUFFERED: usize = 64;

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A connection to a server of access logs.
pub async fn connect(port: u16) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?)
}

/// Sends messages by one stream; returns when the server has answered its end, and so has read them all.
pub async fn send(channel: Channel, messages: impl Iterator<Item = Bytes> + Send + 'static) -> anyhow::Result<()> {
    let (messages_tx, messages_rx) = tokio::sync::mpsc::channel(BUFFERED);
    let sending = tokio::spawn(async move {
        for message in messages {
            if messages_tx.send(message).await.is_err() {
                break; // the answer says why
            }
        }
    });
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let request = Request::new(ReceiverStream::new(messages_rx));
    client.client_streaming(request, PathAndQuery::from_static(METHOD), Raw).await?;
    Ok(sending.await?)
}
