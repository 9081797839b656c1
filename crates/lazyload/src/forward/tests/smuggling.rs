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

/// Published obfuscations of framing (TE.TE, CL.TE, TE.CL, CL.0 and their relatives): none may be read in two ways. Each is refused; which
/// status the refusal has is the library's or ours.
#[tokio::test]
async fn published_obfuscations_of_framing_are_refused() {
    let mut served = Vec::new();
    for lines in [
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: , chunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;a=b",
        "transfer-encoding: chunked\u{b}",
        "transfer-encoding:\u{b}chunked",
        "transfer-encoding: chunked\0",
        "transfer-encoding: ch\u{fc}nked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding:\nchunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding\0: chunked",
        "transfer-encoding: cow\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\ntransfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked\r\ncontent-length: 5",
        "x: y\rcontent-length: 5",
        "content-length: 5\r\ncontent-length: 0",
        "content-length: 0\r\ncontent-length: 5",
        "content-length: 5,5,6",
        "content-length: ,5",
        "content-length: 5 5",
        "content-length: 5\0",
        "content-length: 1e1",
        "content-length: 5;",
        "content-length:\u{b}5",
        "content-length: \u{ff15}",
        "content-length\t: 5",
        "content-length : 5",
        "content length: 5",
        "x(y): 1",
        "x\u{e9}: 1",
        "x\u{7f}: 1",
        ": 5",
    ] {
        let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
        let mut client = rig.connect().await;
        let head = request("POST /", upstream.address, &format!("{lines}\r\n"));
        client.send(&(head + "0\r\n\r\n" + &request("GET /smuggled", upstream.address, ""))).await;
        let answer = client.rest().await;
        let is_refused = ["HTTP/1.1 400 ", "HTTP/1.1 501 "].iter().any(|status| answer.starts_with(status));
        if !is_refused || answer.matches("HTTP/1.1 ").count() != 1 || !upstream.heads().is_empty() {
            served.push((lines, answer, upstream.heads()));
        }
    }
    assert!(served.is_empty(), "{served:#?}");
}

#[tokio::test]
async fn malformed_request_lines_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/3.0",
        "GET /\0 HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET /",
        "GET HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "\u{1}GET / HTTP/1.1",
        " GET / HTTP/1.1",
    ] {
        refused(&format!("{line}\r\nhost: a\r\nDEST\r\n\r\n"), &[400]).await;
    }
}

#[tokio::test]
async fn what_connection_names_takes_no_framing_and_no_address_away() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        let head = conn.head().await.unwrap();
        assert!(head.contains("content-length: 4\r\n") && head.contains("host: reviews:9080\r\n"), "{head}");
        conn.until("body").await.unwrap();
        conn.send(OK).await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let named = "connection: content-length, host, transfer-encoding, slime-orig-dest\r\ncontent-length: 4\r\n";
    client.send(&(request("POST /", upstream.address, named) + "body")).await;
    assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
}

/// CL.0: whatever the method, a length is a length, and the bytes are a body and no request.
#[tokio::test]
async fn a_body_is_a_body_whatever_the_method() {
    let smuggled = "GET /x HTTP/1.1\r\nhost: ab\r\n\r\n";
    let length = format!("content-length: {}\r\n", smuggled.len());
    for method in ["GET", "DELETE", "OPTIONS", "PURGE"] {
        let (body_tx, mut body) = watch::channel(None);
        let expected = length.clone();
        let upstream = Upstream::playing(move |mut conn, _| {
            let (body_tx, expected) = (body_tx.clone(), expected.clone());
            async move {
                let head = conn.head().await.unwrap();
                assert!(head.contains(&expected), "{head}");
                body_tx.send_replace(conn.until("\r\n\r\n").await);
                conn.send(OK).await;
            }
        })
        .await;
        let rig = Rig::start().await;
        let mut client = rig.connect().await;
        let head = request(&format!("{method} /"), upstream.address, &length);
        client.send(&(head + smuggled)).await;
        assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"), "{method}");
        let body = within("the body", body.wait_for(Option::is_some)).await.unwrap().clone();
        assert_eq!(body.as_deref(), Some(smuggled), "{method}");
        assert_eq!(upstream.connections(), 1);
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
    for chunk in [
        "5 x\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello5\r\nhello\r\n",
        "fffffffffffffffff\r\n",
        "10000000000000005\r\nhello\r\n",
        // Ends of a line that not everybody takes for one, in a size and in an extension.
        "5\nhello\r\n",
        "5\rhello\r\n",
        "5;\nx\r\nhello\r\n",
        "5;x=\"\n\"\r\nhello\r\n",
        "\r\n5\r\nhello\r\n",
        // A trailer that is a request.
        "0\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n",
    ] {
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
