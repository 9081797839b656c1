//! What two servers could read differently is refused, and the connection closed, before anything reaches a destination.

use super::*;

/// Sends the raw head to a forwarder; whatever follows the refusal on this connection must not be served.
async fn refused(raw: &str, statuses: &[u16]) {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let raw = raw.replace("DEST", &format!("slime-orig-dest: {}", upstream.address));
    let mut client = rig.connect().await;
    client.send(&(raw.clone() + &request("GET /smuggled", upstream.address, ""))).await;
    let answer = client.rest().await;
    let status = answer.get(9..12).and_then(|status| status.parse::<u16>().ok()).unwrap_or_default();
    assert!(statuses.contains(&status), "{raw:?} got {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{raw:?} got {answer:?}");
    assert_eq!(upstream.heads(), Vec::<String>::new(), "{raw:?}");
}

#[tokio::test]
async fn ambiguous_heads_are_refused_and_the_connection_is_closed() {
    for (head, status) in [
        // The end of the body told twice, in either order and in any case.
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: 5, 6\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: +5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: -5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: 0x5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ncontent-length: 99999999999999999999\r\n\r\nhello", 400),
        // Codings that somebody might not know, or might take for chunked.
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nhost: a\r\nDEST\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        // Names and lines that are read differently.
        ("POST / HTTP/1.1\r\nhost: a\r\nDEST\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nx: 1\r\n folded: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nx\0y: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nx: 1\0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\n: nameless\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nhost: a\r\nDEST\r\n\r\n", 400),
        ("GET / HTTP/1.2\r\nhost: a\r\nDEST\r\n\r\n", 400),
        ("G@T( / HTTP/1.1\r\nhost: a\r\nDEST\r\n\r\n", 400),
        // Where it goes told twice.
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nDEST\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nslime-orig-dest: 127.0.0.1:1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nDEST\r\nslime-source-ns: a\r\nslime-source-ns: b\r\n\r\n", 400),
    ] {
        refused(head, &[status]).await;
    }
}

#[tokio::test]
async fn equal_lengths_are_one_length() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let mut client = rig.connect().await;
    let head = request("POST /", upstream.address, "content-length: 2\r\ncontent-length: 2\r\n");
    client.send(&(head + "ok")).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.heads()[0].matches("content-length: 2\r\n").count(), 1);
}

#[tokio::test]
async fn a_bad_chunk_is_never_completed_for_the_destination() {
    for chunk in ["5 x\r\nhello\r\n", "0x5\r\nhello\r\n", "-1\r\n", "5\r\nhello!\r\n", "fffffffffffffffff\r\n"] {
        let (body_tx, mut body) = watch::channel(None);
        let upstream = Upstream::playing(move |mut conn, _| {
            let body_tx = body_tx.clone();
            async move {
                conn.head().await;
                body_tx.send_replace(Some(conn.rest().await));
            }
        })
        .await;
        let rig = Rig::start().await;
        let mut client = rig.connect().await;
        client.send(&request("POST /", upstream.address, "transfer-encoding: chunked\r\n")).await;
        eventually("the request at the upstream", || upstream.connections() == 1).await;
        client.send(&(chunk.to_owned() + &request("GET /smuggled", upstream.address, ""))).await;
        let answer = client.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{chunk:?} got {answer:?}");
        let body = within("the end at the upstream", body.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
        assert!(!body.ends_with("0\r\n\r\n") && !body.contains("smuggled"), "{chunk:?} became {body:?}");
    }
}

#[tokio::test]
async fn headers_of_ours_in_trailers_end_here() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
        let body = conn.until("0\r\n").await.unwrap() + &conn.head().await.unwrap();
        assert_eq!(body, "0\r\nx-sum: 1\r\n\r\n");
        conn.send(OK).await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let trailer = "transfer-encoding: chunked\r\ntrailer: x-sum, slime-orig-dest\r\n";
    client.send(&request("POST /", upstream.address, trailer)).await;
    client.send("0\r\nx-sum: 1\r\nslime-orig-dest: 1.2.3.4:5\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
}
