//! The end of the process: nothing that was begun is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::conn::{Conn, request};
use super::destination::{Destination, OK};
use super::proxy::Proxy;
use crate::support::waiting::eventually;

const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until it is told to go elsewhere; how often it was answered.
async fn client(proxy: Arc<Proxy>, destination: std::net::SocketAddr) -> anyhow::Result<usize> {
    let mut conn = Conn::to(&proxy).await?;
    for answered in 1.. {
        conn.send(request("GET /", destination, "")).await?;
        let answer = conn.until("hi").await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if answer.contains("connection: close") {
            return Ok(answered);
        }
    }
    Ok(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_loses_no_request() {
    let Some(_) = Proxy::both("drain").await else { return };
    let mut proxy = Proxy::ours("off").await;
    let destination = Destination::answering(OK).await.unwrap();
    let (go_tx, go) = watch::channel(false);
    let patient = Destination::playing(move |mut conn, _, notes| {
        let mut go = go.clone();
        async move {
            notes.add(conn.head().await?);
            go.wait_for(|go| *go).await?;
            conn.send(OK).await
        }
    });
    let patient = patient.await.unwrap();
    let mut slow = Conn::to(&proxy).await.unwrap();
    slow.send(request("GET /", patient.address, "")).await.unwrap();
    patient.noted(1).await.unwrap();

    proxy.terminate();
    // Within the grace connections are still taken, and each answer sends its client elsewhere.
    let proxy = Arc::new(proxy);
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        clients.spawn(client(Arc::clone(&proxy), destination.address));
    }
    for answered in clients.join_all().await {
        assert!(answered.unwrap() >= 1);
    }
    eventually("nobody listens any more", DEADLINE, || async {
        match Conn::to(&proxy).await {
            Ok(_) => Err("accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
    go_tx.send_replace(true);
    let answer = slow.rest().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    let mut proxy = Arc::into_inner(proxy).unwrap();
    assert_eq!(proxy.end(DEADLINE).await, Some(0), "{}", proxy.log());
}
