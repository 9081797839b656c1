use socket2::{Domain, Socket, Type};

use super::*;

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_the_upstreams_side_and_says_so() {
    let destination = free_address().await;
    let answer = Rig::start().await.ask("GET /", destination, "").await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let reason = format!("failed to connect to {destination}");
    assert!(answer.contains(&format!("x-lazyload-failure: upstream; {reason}")), "{answer}");
    assert!(answer.contains(&format!("\r\n\r\nlazyload global-sidecar: upstream side: {reason}")), "{answer}");
}

#[tokio::test]
async fn a_destination_that_does_not_accept_is_a_timeout() {
    // A queue for one connection, filled: the system drops further attempts.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let destination = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&destination, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    let rig = Rig::with(Limits { connect: Duration::from_millis(50), ..limits() }, None).await;
    let answer = rig.ask("GET /", destination, "").await;
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("no connection within 50ms"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_the_upstreams_side() {
    let upstream = Upstream::answering("SSH-2.0-OpenSSH_9.6\r\n").await;
    let answer = Rig::start().await.ask("GET /", upstream.address, "").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_the_upstreams_side() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let answer = Rig::start().await.ask("GET /", upstream.address, "").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_request_that_leads_nowhere_is_the_clients_side_and_names_the_header() {
    let rig = Rig::start().await;
    for (request, status, named) in [
        ("GET / HTTP/1.1\r\nhost: a\r\nslime-orig-dest: 1.2.3.4:x\r\n\r\n", 400, "Slime-Orig-Dest"),
        ("GET / HTTP/1.1\r\nslime-orig-dest: 127.0.0.1:1\r\n\r\n", 400, "Host"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "Host"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 501, "CONNECT"),
    ] {
        let mut client = rig.connect().await;
        client.send(request).await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request} {head}");
        let failure = head.lines().find(|line| line.starts_with("x-lazyload-failure: client; ")).unwrap();
        assert!(failure.contains(named), "{failure}");
    }
}

#[tokio::test]
async fn a_request_body_that_is_no_chunks_is_the_clients_side() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.rest().await;
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&request("POST /", upstream.address, "transfer-encoding: chunked\r\n")).await;
    client.send("no chunk\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_head_of_endless_length_is_refused() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(limits().request_head_bytes))).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 431"));
}
