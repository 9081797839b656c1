//! The peer: a server that decodes each message with prost into Envoy's own types, as a server written with them would, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone, Default)]
struct Counting {
    calls: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl AccessLogService for Counting {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let Some(LogEntries::HttpLogs(entries)) = message.log_entries else { continue };
            let calls = entries.log_entry.iter().filter(|entry| {
                entry.request.as_ref().is_some_and(|request| !request.authority.is_empty())
                    && entry.common_properties.is_some()
            });
            self.calls.fetch_add(calls.count() as u64, Relaxed);
        }
        Ok(Response::new(StreamAccessLogsResponse::default()))
    }
}

/// Serves on a port of the loopback interface until it is ended.
pub async fn run(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let service = AccessLogServiceServer::new(Counting::default());
    Ok(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await?)
}
