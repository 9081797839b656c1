use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Frames = mpsc::Sender<Result<Frame<Bytes>, BoxError>>;

pub(super) fn empty() -> AnyBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent as one goes along.
fn open_body() -> (Frames, AnyBody) {
    let (frames_tx, frames_rx) = mpsc::channel(1);
    (frames_tx, StreamBody::new(ReceiverStream::new(frames_rx)).boxed_unsync())
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers(name: &'static str) -> Result<Frame<Bytes>, BoxError> {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, "1".parse().unwrap());
    trailers.insert("slime-orig-dest", "1.2.3.4:5".parse().unwrap());
    trailers.insert("content-length", "7".parse().unwrap());
    Ok(Frame::trailers(trailers))
}

/// A server of HTTP/2: its address, how many connections it has got.
pub(super) async fn serving<F, Answered>(streams: u32, answer: F) -> (SocketAddr, watch::Receiver<usize>)
where
    F: Fn(Request<Incoming>) -> Answered + Clone + Send + 'static,
    Answered: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count_tx, connections) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count_tx.send_modify(|count| *count += 1);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answering.await) }
            });
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(streams).max_header_list_size(1 << 20);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

impl Rig {
    async fn connect_http2(&self) -> SendRequest<AnyBody> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn to(destination: SocketAddr, body: AnyBody) -> Request<AnyBody> {
    Request::post("http://reviews:9080/a?b")
        .header("slime-orig-dest", destination.to_string())
        .header("slime-source-ns", "default")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = within("the body", response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_goes_on_in_the_protocol_in_which_it_came_completed_and_without_our_headers() {
    let (heads_tx, mut heads) = mpsc::unbounded_channel();
    let (address, connections) = serving(100, move |request| {
        let head = (request.version(), request.uri().to_string(), request.headers().clone());
        heads_tx.send(head).unwrap();
        async { Response::new(empty()) }
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect_http2().await;
    for _ in 0..2 {
        let mut request = to(address, empty());
        *request.method_mut() = http::Method::GET;
        let response = client.send_request(request).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        let (version, uri, headers) = heads.recv().await.unwrap();
        assert_eq!((version, uri.as_str()), (Version::HTTP_2, "http://reviews.default:9080/a?b"));
        assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["te"]);
    }
    assert_eq!(*connections.borrow(), 1);

    // On the same port, HTTP/1.1 as ever.
    let upstream = Upstream::answering(OK).await;
    assert!(rig.ask("GET /", upstream.address, "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn bodies_flow_both_ways_at_once_and_trailers_come_without_what_ends_here() {
    let (address, _) = serving(100, |request| async {
        let (frames, body) = open_body();
        tokio::spawn(async move {
            let mut received = request.into_body();
            while let Some(Ok(frame)) = received.frame().await {
                if let Some(trailers) = frame.trailers_ref() {
                    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-up"]);
                }
                frames.send(Ok(frame)).await.unwrap();
            }
            frames.send(data("end")).await.unwrap_err();
        });
        Response::new(body)
    })
    .await;
    let rig = Rig::start().await;
    let (frames, body) = open_body();
    let response = rig.connect_http2().await.send_request(to(address, body)).await.unwrap();
    let mut answer = response.into_body();
    for word in ["one", "two"] {
        frames.send(data(word)).await.unwrap();
        let echo = within("the echo", answer.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echo, word);
    }
    frames.send(trailers("x-up")).await.unwrap();
    let trailers = within("the trailers", answer.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-up"]);
}

#[tokio::test]
async fn a_reset_of_the_destination_reaches_the_client_with_its_reason() {
    let (address, _) = serving(100, |_| async {
        let (frames, body) = open_body();
        tokio::spawn(async move {
            frames.send(data("some")).await.unwrap();
            frames.send(Err(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM).into())).await.unwrap();
        });
        Response::new(body)
    })
    .await;
    let rig = Rig::start().await;
    let response = rig.connect_http2().await.send_request(to(address, empty())).await.unwrap();
    let mut body = response.into_body();
    let error = loop {
        match within("a frame", body.frame()).await.expect("a reset, not an end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let reason = crate::forward::failure::chain(&error).find_map(|cause| cause.downcast_ref::<h2::Error>()?.reason());
    assert_eq!(reason, Some(h2::Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_client_that_cancels_ends_the_stream_at_the_destination_before_and_after_the_answers_head() {
    for answers_first in [false, true] {
        let (gone_tx, mut gone) = watch::channel(false);
        let (came_tx, mut came) = watch::channel(false);
        let (address, _) = serving(100, move |request| {
            let (gone_tx, came_tx) = (gone_tx.clone(), came_tx.clone());
            let (frames, body) = open_body();
            tokio::spawn(async move {
                came_tx.send_replace(true);
                let ended = request.into_body().frame().await;
                assert!(matches!(ended, Some(Err(_))), "a reset, not an end");
                gone_tx.send_replace(true);
                drop(frames);
            });
            async move {
                if !answers_first {
                    std::future::pending::<()>().await;
                }
                Response::new(body)
            }
        })
        .await;
        let rig = Rig::start().await;
        let mut client = rig.connect_http2().await;
        let (frames, body) = open_body();
        let _asking = tokio::spawn(async move { client.send_request(to(address, body)).await });
        within("the request", came.wait_for(|came| *came)).await.unwrap();
        frames.send(Err(h2::Error::from(h2::Reason::CANCEL).into())).await.unwrap();
        within("the end at the destination", gone.wait_for(|gone| *gone)).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_client_does_not_read_is_not_fetched() {
    let (sent_tx, sent) = watch::channel(0usize);
    let (address, _) = serving(100, move |_| {
        let sent_tx = sent_tx.clone();
        let (frames, body) = open_body();
        tokio::spawn(async move {
            while frames.send(Ok(Frame::data(Bytes::from_static(&[0; 16 * 1024])))).await.is_ok() {
                sent_tx.send_modify(|sent| *sent += 16 * 1024);
            }
        });
        async { Response::new(body) }
    })
    .await;
    let rig = Rig::start().await;
    let response = rig.connect_http2().await.send_request(to(address, empty())).await.unwrap();
    let mut last = 0;
    while last == 0 || last != *sent.borrow() {
        last = *sent.borrow();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What both ends and we may hold: windows (the test's client offers 2 MiB) and buffers.
    assert!(last < 4 * 1024 * 1024, "{last} bytes were fetched for nobody");
    let mut body = response.into_body().into_data_stream();
    let mut read = 0;
    while read < 8 * 1024 * 1024 {
        read += within("more", body.next()).await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_is_over_is_passed_on() {
    let (address, _) =
        serving(100, |_| async { Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(empty()).unwrap() })
            .await;
    let rig = Rig::start().await;
    let (frames, body) = open_body();
    frames.send(data("start")).await.unwrap();
    let response = within("an answer", rig.connect_http2().await.send_request(to(address, body))).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_destination_that_allows_few_streams_gets_more_connections() {
    let (address, connections) = serving(2, |_| async {
        let (frames, body) = open_body();
        tokio::spawn(async move { frames.closed().await });
        Response::new(body)
    })
    .await;
    let rig = Rig::start().await;
    let mut client = rig.connect_http2().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(within("an answer", client.send_request(to(address, empty()))).await.unwrap());
    }
    assert!((3..=5).contains(&*connections.borrow()), "{} connections", *connections.borrow());
}

#[tokio::test]
async fn requests_that_come_at_once_share_a_connection() {
    let (address, connections) = serving(100, |_| async { Response::new(empty()) }).await;
    let rig = Rig::start().await;
    let mut client = rig.connect_http2().await;
    let asked: Vec<_> = (0..90).map(|_| client.send_request(to(address, empty()))).collect();
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(*connections.borrow(), 1);
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_in_our_words_and_one_within_it_passes() {
    let (address, _) = serving(100, |_| async { Response::new(empty()) }).await;
    let rig = Rig::start().await;
    let mut client = rig.connect_http2().await;
    for (fields, status) in [(60, 200), (70, 431), (120, 431), (60, 200)] {
        let mut request = to(address, empty());
        for number in 0..fields {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            request.headers_mut().insert(name, "x".repeat(980).parse().unwrap());
        }
        let answer = within("an answer", client.send_request(request)).await.unwrap();
        let failure = answer.headers().get("x-lazyload-failure").map(|value| value.to_str().unwrap());
        let expected = (status == 431).then_some("client; the request head is too large");
        assert_eq!((answer.status().as_u16(), failure), (status, expected), "{fields} KiB");
    }
}

#[tokio::test]
async fn a_connection_that_its_destination_closed_fails_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(|_: Request<Incoming>| async { Ok::<_, std::convert::Infallible>(Response::new(empty())) });
            tokio::spawn(async move {
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                let brief = tokio::time::timeout(Duration::from_millis(20), connection.as_mut()).await;
                if brief.is_err() {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            });
        }
    });
    let rig = Rig::start().await;
    let mut client = rig.connect_http2().await;
    for number in 0..300 {
        let request = if number % 2 == 0 {
            to(address, empty())
        } else {
            Request::get("http://reviews/").header("slime-orig-dest", address.to_string()).body(empty()).unwrap()
        };
        let response = within("an answer", client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "request {number}: {:?}", response.headers());
    }
}

#[tokio::test]
async fn a_failure_is_told_in_http_and_to_grpc_in_its_own_words() {
    let rig = Rig::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut client = rig.connect_http2().await;
    let response = client.send_request(to(nobody, empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(response.headers()["x-lazyload-failure"].to_str().unwrap().starts_with("upstream; failed to connect"));
    assert!(text(response).await.starts_with("lazyload global-sidecar: upstream side: failed to connect"));

    let mut request = to(nobody, empty());
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "14");
    assert!(response.headers()["grpc-message"].to_str().unwrap().contains("failed to connect"));
    assert!(text(response).await.is_empty());
}

#[tokio::test]
async fn a_drain_says_goaway_lets_streams_finish_and_ends() {
    let (go_tx, go) = watch::channel(false);
    let (came_tx, mut came) = watch::channel(false);
    let (address, _) = serving(100, move |_| {
        let mut go = go.clone();
        came_tx.send_replace(true);
        async move {
            go.wait_for(|go| *go).await.unwrap();
            Response::new(empty())
        }
    })
    .await;
    let limits = Limits { drain_grace: GIVE_UP * 10, ..limits() };
    let rig = Rig::with(limits, None).await;
    let mut client = rig.connect_http2().await;
    let response = tokio::spawn(client.send_request(to(address, empty())));
    within("the request", came.wait_for(|came| *came)).await.unwrap();
    rig.shutdown.cancel();
    let mut other = client.clone();
    within("GOAWAY", async {
        while other.send_request(to("127.0.0.1:1".parse().unwrap(), empty())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Who connects during the grace is served.
    let mut late = rig.connect_http2().await;
    let late = tokio::spawn(async move { late.send_request(to(address, empty())).await.map(|answer| answer.status()) });
    go_tx.send_replace(true);
    assert_eq!(within("the answer", response).await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(within("the late answer", late).await.unwrap().unwrap(), StatusCode::OK);
    rig.ended.abort();
}
