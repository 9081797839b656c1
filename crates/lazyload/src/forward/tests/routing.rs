use super::*;

#[tokio::test]
async fn a_short_name_arrives_completed_and_nothing_else_is_added_or_kept_of_ours() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let more = "slime-source-ns: default\r\naccept: */*\r\n";
    let answer = rig.ask("GET /a?b=c", upstream.address, more).await;
    assert!(answer.ends_with("hi"), "{answer}");
    let heads = upstream.heads();
    assert!(heads[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heads:?}");
    assert_eq!(lines(&heads[0]), ["accept: */*", "host: reviews.default:9080"]);
}

#[tokio::test]
async fn an_unknown_short_name_is_left_alone_and_empty_headers_of_ours_end_here_too() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    rig.ask("GET /", upstream.address, "slime-source-ns: other\r\n").await;
    rig.ask("GET /", upstream.address, "slime-source-ns:\r\n").await;
    for head in upstream.heads() {
        assert_eq!(lines(&head), ["host: reviews:9080"]);
    }
}

#[tokio::test]
async fn an_absolute_target_is_sent_on_in_origin_form() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    rig.ask("GET http://ratings.default/x?y", upstream.address, "").await;
    assert!(
        upstream.heads()[0].starts_with("GET /x?y HTTP/1.1\r\nhost: ratings.default\r\n"),
        "{:?}",
        upstream.heads()
    );
}

#[tokio::test]
async fn options_for_the_whole_server_stay_so() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    rig.ask("OPTIONS *", upstream.address, "").await;
    assert!(upstream.heads()[0].starts_with("OPTIONS * HTTP/1.1\r\n"), "{:?}", upstream.heads());
}

#[tokio::test]
async fn headers_of_one_connection_end_here_in_both_directions() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-own: 1\r\n\r\nhi";
    let (rig, upstream) = (Rig::start().await, Upstream::answering(answer).await);
    let more = "connection: x-hop, te\r\nx-hop: 1\r\nkeep-alive: 3\r\nproxy-connection: x\r\nte: gzip, trailers\r\nx-own: 1\r\n";
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, more)).await;
    let head = client.head().await.unwrap();
    assert_eq!(lines(&head), ["content-length: 2", "x-own: 1"]);
    assert_eq!(lines(&upstream.heads()[0]), ["host: reviews:9080", "te: trailers", "x-own: 1"]);
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (rig, upstream) = (Rig::start().await, Upstream::answering(answer).await);
    let answer = rig.ask("GET /", upstream.address, "").await;
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n"), "{answer}");
    assert_eq!(upstream.heads().len(), 1);
}

#[tokio::test]
async fn an_encoded_body_is_passed_on_as_it_is() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nzzzz";
    let (rig, upstream) = (Rig::start().await, Upstream::answering(answer).await);
    let answer = rig.ask("GET /", upstream.address, "").await;
    assert!(answer.contains("content-encoding: gzip\r\n") && answer.ends_with("zzzz"), "{answer}");
}

#[tokio::test]
async fn without_an_original_destination_host_is_dialled() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let mut client = rig.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", upstream.address)).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    let host = format!("host: {}", upstream.address);
    assert_eq!(lines(&upstream.heads()[0]), [host.as_str(), "x-lazyload-dialled-by-host: 1"]);
}

#[tokio::test]
async fn a_request_for_the_forwarder_itself_does_not_run_in_circles() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", rig.address)).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 508") && head.contains("x-lazyload-failure: client; "), "{head}");
}
