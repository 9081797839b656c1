//! A slow reader slows its writer down, and nothing here grows meanwhile. And what is not used any more ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// More than all windows and the system's own buffers on the way together hold.
const OFFERED: usize = 96 * 1024 * 1024;
/// What they may hold: the system's buffers alone grow to some ten mebibytes on each of two connections.
const HELD: usize = 48 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Writes all that is offered, and tells how much it could when nothing went on for a while.
async fn offer(stream: &mut TcpStream, held_tx: mpsc::Sender<usize>) {
    let written = AtomicUsize::new(0);
    let writing = async {
        let piece = vec![b'x'; PIECE];
        while written.load(Ordering::Relaxed) < OFFERED {
            stream.write_all(&piece).await.unwrap();
            written.fetch_add(PIECE, Ordering::Relaxed);
        }
    };
    let watching = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = written.load(Ordering::Relaxed);
            if now == before && now > 0 {
                break;
            }
            before = now;
        }
        held_tx.send(before).await.unwrap();
    };
    tokio::join!(writing, watching);
}

async fn read(stream: &mut TcpStream, mut left: usize) {
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let length = within("the next piece", stream.read(&mut piece)).await.unwrap();
        assert!(length > 0, "{left} bytes are missing");
        left -= length;
    }
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_read_is_not_fetched_until_it_does() {
    let (held_tx, mut held_rx) = mpsc::channel(1);
    let upstream = Upstream::playing(move |mut conn, _| {
        let held_tx = held_tx.clone();
        async move {
            conn.head().await.unwrap();
            conn.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {OFFERED}\r\n\r\n")).await;
            offer(&mut conn.stream, held_tx).await;
        }
    })
    .await;
    let mut client = Rig::start().await.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    client.head().await.unwrap();
    let held = within("the upstream to be slowed down", held_rx.recv()).await.unwrap();
    assert!(held < HELD, "{held} bytes were fetched");
    read(&mut client.stream, OFFERED - client.unread.len()).await;
}

#[tokio::test]
async fn an_upload_that_its_destination_does_not_read_is_not_taken_until_it_does() {
    let (go_tx, go_rx) = watch::channel(false);
    let upstream = Upstream::playing(move |mut conn, _| {
        let mut go = go_rx.clone();
        async move {
            conn.head().await.unwrap();
            go.wait_for(|go| *go).await.unwrap();
            read(&mut conn.stream, OFFERED - conn.unread.len()).await;
            conn.send(OK).await;
        }
    })
    .await;
    let mut client = Rig::start().await.connect().await;
    client.send(&request("POST /", upstream.address, &format!("content-length: {OFFERED}\r\n"))).await;
    let (held_tx, mut held_rx) = mpsc::channel(1);
    let reading = async {
        let held = within("the client to be slowed down", held_rx.recv()).await.unwrap();
        assert!(held < HELD, "{held} bytes were taken");
        go_tx.send_replace(true);
    };
    tokio::join!(offer(&mut client.stream, held_tx), reading);
    assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_asks_nothing_for_long_is_let_go_but_not_one_that_waits_for_its_answer() {
    let limits = Limits { client_idle: Duration::from_millis(100), ..limits() };
    let upstream = Upstream::playing(move |mut conn, _| async move {
        while conn.head().await.is_some() {
            tokio::time::sleep(limits.client_idle * 5).await;
            conn.send(OK).await;
        }
    })
    .await;
    let mut client = Rig::with(limits, None).await.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_nobody_uses_it() {
    let (closed_tx, mut closed_rx) = watch::channel(false);
    let upstream = Upstream::playing(move |mut conn, _| {
        let closed_tx = closed_tx.clone();
        async move {
            conn.head().await.unwrap();
            conn.send(OK).await;
            conn.rest().await;
            closed_tx.send_replace(true);
        }
    })
    .await;
    let rig = Rig::with(Limits { pool_idle: Duration::from_millis(50), ..limits() }, None).await;
    assert!(rig.ask("GET /", upstream.address, "").await.starts_with("HTTP/1.1 200"));
    within("the end of the connection", closed_rx.wait_for(|closed| *closed)).await.unwrap();
}

#[tokio::test]
async fn where_there_is_no_room_for_a_connection_the_next_that_is_free_serves() {
    let (go_tx, go_rx) = watch::channel(false);
    let upstream = Upstream::playing(move |mut conn, _| {
        let mut go = go_rx.clone();
        async move {
            while conn.head().await.is_some() {
                go.wait_for(|go| *go).await.unwrap();
                conn.send(OK).await;
            }
        }
    })
    .await;
    let rig = Rig::with(Limits { upstream_connections_per_destination: 1, ..limits() }, None).await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    first.send(&request("GET /", upstream.address, "")).await;
    eventually("the first request at the upstream", || upstream.connections() == 1).await;
    second.send(&request("GET /", upstream.address, "")).await;
    go_tx.send_replace(true);
    for client in [&mut first, &mut second] {
        assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(upstream.connections(), 1);
}
