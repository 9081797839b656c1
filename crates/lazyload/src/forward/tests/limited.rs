//! Limits, and what they must not touch.

use super::*;

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_but_a_connection_at_rest_is_not() {
    let limits = Limits { request_head: Duration::from_millis(200), ..limits() };
    let (rig, upstream) = (Rig::with(limits, None).await, Upstream::answering(OK).await);
    let (mut slow, mut late, mut resting) = (rig.connect().await, rig.connect().await, rig.connect().await);
    slow.send("GET / HT").await;
    for client in [&mut late, &mut resting] {
        client.send(&request("GET /", upstream.address, "")).await;
        assert!(client.until("hi").await.is_some());
    }
    late.send("GET / HTTP/1.1\r\nhost: a\r\n").await;
    for cut in [slow, late] {
        let mut cut = cut;
        let answer = cut.rest().await;
        assert!(!answer.contains("200"), "{answer}");
    }
    tokio::time::sleep(limits.request_head * 2).await;
    resting.send(&request("GET /", upstream.address, "")).await;
    assert!(resting.until("hi").await.is_some());
}

#[tokio::test]
async fn a_slow_upload_a_slow_answer_and_a_tunnel_are_no_slow_heads() {
    let limits = Limits { request_head: Duration::from_millis(100), ..limits() };
    let pause = limits.request_head * 4;
    let upstream = Upstream::playing(move |mut conn, _| async move {
        let head = conn.head().await.unwrap();
        if head.contains("upgrade: echo\r\n") {
            conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
            let said = conn.until(".").await.unwrap();
            conn.send(&said).await;
            return;
        }
        conn.until("body").await;
        tokio::time::sleep(pause).await;
        conn.send(OK).await;
    })
    .await;
    let rig = Rig::with(limits, None).await;
    let (mut upload, mut tunnel) = (rig.connect().await, rig.connect().await);
    upload.send(&request("POST /", upstream.address, "content-length: 4\r\n")).await;
    tunnel.send(&request("GET /", upstream.address, "connection: upgrade\r\nupgrade: echo\r\n")).await;
    tunnel.head().await.unwrap();
    upload.send("bo").await;
    tunnel.send("a").await;
    tokio::time::sleep(pause).await;
    upload.send("dy").await;
    tunnel.send("b.").await;
    assert!(upload.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(tunnel.rest().await, "ab.");
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_and_are_served_when_there_is_room() {
    let (rig, upstream) =
        (Rig::with(Limits { client_connections: 1, ..limits() }, None).await, Upstream::answering(OK).await);
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    for client in [&mut first, &mut second] {
        client.send(&request("GET /", upstream.address, "")).await;
    }
    assert!(first.until("hi").await.is_some());
    assert_eq!(upstream.heads().len(), 1);
    drop(first);
    assert!(second.until("hi").await.is_some());
}

#[tokio::test]
async fn a_destination_with_all_its_connections_in_use_is_busy_and_others_are_not() {
    let silent = Upstream::playing(|mut conn, _| async move {
        conn.rest().await;
    })
    .await;
    let other = Upstream::answering(OK).await;
    let limits = Limits { upstream_connections_per_destination: 1, connect: Duration::from_secs(1), ..limits() };
    let rig = Rig::with(limits, None).await;
    let mut waiting = rig.connect().await;
    waiting.send(&request("GET /", silent.address, "")).await;
    eventually("the first request at the upstream", || silent.connections() == 1).await;
    let answer = rig.ask("GET /", silent.address, "").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("x-lazyload-failure: ours; "), "{answer}");
    assert!(rig.ask("GET /", other.address, "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let probe = free_port().await;
    let (rig, upstream) = (Rig::with(limits(), Some(probe)).await, Upstream::answering(OK).await);
    let mut client = rig.connect().await;
    for _ in 0..3 {
        client.send(&request("GET /", upstream.address, "")).await;
        assert!(client.until("hi").await.is_some());
    }
    rig.ask("GET /", "127.0.0.1:1".parse().unwrap(), "").await;
    rig.ask("GET /", upstream.address, "slime-orig-dest: 1.2.3.4:5\r\n").await;
    let mut prober = Conn::new(TcpStream::connect(("127.0.0.1", probe)).await.unwrap());
    prober.send("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let text = prober.rest().await;
    for line in [
        "lazyload_forward_requests_total{protocol=\"http1\",result=\"answered\"} 3",
        "lazyload_forward_requests_total{protocol=\"http1\",result=\"failed_upstream\"} 1",
        "lazyload_forward_requests_total{protocol=\"http1\",result=\"failed_client\"} 1",
        "lazyload_forward_refused_total{reason=\"header_repeated\"} 1",
        "lazyload_forward_upstream_connects_total 1",
        "lazyload_forward_upstream_reused_total 2",
        "lazyload_forward_upstream_connections 1",
        "lazyload_forward_upstream_idle 1",
        "lazyload_forward_own_latency_seconds_count 3",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} is not in:\n{text}");
    }
}
