use super::*;

#[tokio::test]
async fn requests_one_after_the_other_share_one_upstream_connection() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let mut client = rig.connect().await;
    for _ in 0..3 {
        client.send(&request("GET /", upstream.address, "")).await;
        assert!(client.until("hi").await.is_some());
    }
    assert_eq!(upstream.connections(), 1);
}

/// Answers the first request of the first connection only; a second one there finds the connection closed.
async fn stale_after_one() -> Upstream {
    Upstream::playing(|mut conn, number| async move {
        conn.head().await;
        conn.send(OK).await;
        while conn.head().await.is_some() && number > 1 {
            conn.send(OK).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_does_not_fail_a_request_that_may_be_sent_again() {
    let (rig, upstream) = (Rig::start().await, stale_after_one().await);
    let mut client = rig.connect().await;
    for _ in 0..2 {
        client.send(&request("GET /", upstream.address, "")).await;
        assert!(client.until("hi").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_post_is_not_sent_again() {
    let (rig, upstream) = (Rig::start().await, stale_after_one().await);
    let mut client = rig.connect().await;
    client.send(&request("POST /", upstream.address, "content-length: 0\r\n")).await;
    assert!(client.until("hi").await.is_some());
    client.send(&request("POST /", upstream.address, "content-length: 0\r\n")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 502") && head.contains("x-lazyload-failure: upstream; "), "{head}");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_fresh_connection_that_is_closed_without_an_answer_is_a_failure_and_not_tried_again() {
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
    })
    .await;
    let answer = Rig::start().await.ask("GET /", upstream.address, "").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_serves_the_requests_of_all_event_loops() {
    let (rig, upstream) = (Rig::on_cores(3, limits()).await, Upstream::answering(OK).await);
    for _ in 0..6 {
        assert!(rig.ask("GET /", upstream.address, "").await.ends_with("hi"));
    }
    assert_eq!(upstream.connections(), 1);
}
