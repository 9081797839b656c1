//! After a protocol switch (WebSocket): bytes both ways until both sides have closed.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lazyload_logic::route::Dial;
use tokio_util::sync::CancellationToken;

/// Copies both ways. After `stop` the tunnel lives on for `limit`, like any request in flight.
pub(super) async fn splice(
    dial: Dial,
    client: OnUpgrade,
    upstream: OnUpgrade,
    stop: CancellationToken,
    limit: Duration,
) {
    let copying = async {
        let (client, upstream) = tokio::try_join!(client, upstream).map_err(std::io::Error::other)?;
        tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await
    };
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        copied = copying => match copied {
            Ok((sent, received)) => tracing::debug!(%dial, sent, received, "tunnel closed"),
            Err(error) => tracing::debug!(%dial, %error, "tunnel broke"),
        },
        () = deadline => tracing::info!(%dial, "tunnel cut at the drain deadline"),
    }
}
