use super::*;

#[tokio::test]
async fn the_first_chunk_of_an_endless_answer_arrives_before_its_end() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        conn.head().await; // Never comes: the answer has no end.
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    assert!(client.until("first").await.unwrap().contains("transfer-encoding: chunked"));
}

#[tokio::test]
async fn the_start_of_an_upload_arrives_before_its_end() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        let head = conn.head().await.unwrap();
        assert!(head.contains("content-length: 8\r\n"), "{head}");
        conn.until("half").await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await;
        let rest = conn.until("rest").await.unwrap();
        conn.send(&format!("half{rest}")).await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("POST /", upstream.address, "content-length: 8\r\n")).await;
    client.send("half").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    client.send("rest").await;
    assert_eq!(client.until("rest").await.unwrap(), "halfrest");
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        let head = conn.head().await.unwrap();
        assert!(head.contains("transfer-encoding: chunked\r\n") && head.contains("trailer: x-sum\r\n"), "{head}");
        let body = conn.until("0\r\n").await.unwrap() + &conn.head().await.unwrap();
        assert_eq!(body, "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
        conn.send(&format!("{head}3\r\ndef\r\n0\r\nx-sum: 2\r\n\r\n")).await;
    })
    .await;
    let rig = Rig::start().await;
    let more = "transfer-encoding: chunked\r\ntrailer: x-sum\r\nte: trailers\r\n";
    let mut client = rig.connect().await;
    client.send(&request("POST /", upstream.address, more)).await;
    client.send("3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.contains("trailer: x-sum\r\n"), "{head}");
    assert_eq!(client.head().await.unwrap(), "3\r\ndef\r\n0\r\nx-sum: 2\r\n\r\n");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_headers_and_the_connection() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nx-length: unknown\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
    ] {
        let (rig, upstream) = (Rig::start().await, Upstream::answering(answer).await);
        let mut client = rig.connect().await;
        for _ in 0..2 {
            client.send(&request(&format!("{method} /"), upstream.address, "")).await;
            let head = client.head().await.unwrap();
            assert_eq!(lines(&head), lines(answer), "{method} {answer}");
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_that_ends_with_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let (rig, upstream) = (Rig::start().await, Upstream::answering(answer).await);
    let mut client = rig.connect().await;
    client.send(&format!("GET / HTTP/1.0\r\nhost: reviews\r\nslime-orig-dest: {}\r\n\r\n", upstream.address)).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(upstream.heads()[0].starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_continue_is_told() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.until("body").await;
        conn.send(OK).await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("PUT /", upstream.address, "expect: 100-continue\r\ncontent-length: 4\r\n")).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_complete() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    })
    .await;
    let answer = Rig::start().await.ask("GET /", upstream.address, "").await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_exchange_at_the_destination_too() {
    let (gone_tx, mut gone_rx) = watch::channel(false);
    let upstream = Upstream::playing(move |mut conn, _| {
        let gone_tx = gone_tx.clone();
        async move {
            conn.head().await;
            conn.rest().await;
            gone_tx.send_replace(true);
        }
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    eventually("the request at the upstream", || upstream.connections() == 1).await;
    drop(client);
    within("the end at the upstream", gone_rx.wait_for(|gone| *gone)).await.unwrap();
}

#[tokio::test]
async fn a_protocol_switch_becomes_a_tunnel() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        let head = conn.head().await.unwrap();
        assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello").await;
        let said = conn.until(".").await.unwrap();
        conn.send(&said.to_uppercase()).await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n")).await;
    let head = client.until("hello").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket\r\n"), "{head}");
    client.send("echo.").await;
    assert_eq!(client.rest().await, "ECHO.");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_is_over_is_passed_on() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        conn.rest().await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("POST /", upstream.address, "content-length: 1000\r\n")).await;
    client.send("start").await;
    let answer = client.until("\r\n\r\nno").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_destination_of_ipv6_is_reached() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut conn = Conn::new(listener.accept().await.unwrap().0);
        conn.head().await;
        conn.send(OK).await;
    });
    assert!(Rig::start().await.ask("GET /", address, "").await.starts_with("HTTP/1.1 200"));
}
