use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, StreamingService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use super::*;
use crate::observe::codec::RawCodec;

/// A real gRPC server whose methods do what their names say.
#[derive(Clone)]
struct Calls {
    method: String,
    cancelled: watch::Sender<usize>,
}

impl NamedService for Calls {
    const NAME: &'static str = "test.Calls";
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let calls = Self { method, ..self.clone() };
        Box::pin(async move { Ok(tonic::server::Grpc::new(RawCodec).streaming(calls, request).await) })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

struct OnDrop(watch::Sender<usize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl StreamingService<Bytes> for Calls {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let Self { method, cancelled } = self.clone();
        Box::pin(async move {
            let timeout = request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
            let mut received = request.into_inner();
            let answers: Answers = match method.as_str() {
                "Echo" => Box::pin(received),
                "Join" => {
                    let mut joined = Vec::new();
                    while let Some(message) = received.message().await? {
                        joined.extend_from_slice(&message);
                    }
                    Box::pin(futures::stream::iter([Ok(Bytes::from(joined))]))
                }
                "Many" => {
                    let message = received.message().await?.unwrap();
                    Box::pin(futures::stream::iter((0..100).map(move |_| Ok(message.clone()))))
                }
                "Deadline" => Box::pin(futures::stream::iter([Ok(Bytes::from(timeout.unwrap_or_default()))])),
                "Refuse" => return Err(Status::not_found("no such thing: 50% ä")),
                "RefuseLate" => Box::pin(futures::stream::iter([
                    Ok(Bytes::from_static(b"one")),
                    Err(Status::resource_exhausted("no more")),
                ])),
                "Hang" => {
                    let guard = OnDrop(cancelled);
                    Box::pin(futures::stream::pending().inspect(move |_: &Result<Bytes, Status>| {
                        let _held = &guard;
                    }))
                }
                _ => return Err(Status::unimplemented(method)),
            };
            Ok(Response::new(answers))
        })
    }
}

struct Rpc {
    rig: Rig,
    destination: SocketAddr,
    cancelled: watch::Receiver<usize>,
    client: Grpc<Channel>,
}

/// A client that was sent to the global-sidecar, and a server behind it.
async fn rpc() -> Rpc {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = listener.local_addr().unwrap();
    let (cancelled_tx, cancelled) = watch::channel(0);
    let service = Calls { method: String::new(), cancelled: cancelled_tx };
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let rig = Rig::start().await;
    let channel = Endpoint::from_shared(format!("http://{}", rig.address)).unwrap().connect().await.unwrap();
    Rpc { rig, destination, cancelled, client: Grpc::new(channel) }
}

impl Rpc {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("slime-orig-dest", self.destination.to_string().parse().unwrap());
        request
    }

    async fn unary(&mut self, method: &'static str, message: &'static str) -> Result<Bytes, Status> {
        let request = self.request(Bytes::from_static(message.as_bytes()));
        self.client.ready().await.unwrap();
        let answer = self.client.unary(request, PathAndQuery::from_static(method), RawCodec);
        within(method, answer).await.map(Response::into_inner)
    }
}

#[tokio::test]
async fn a_unary_call_is_answered() {
    assert_eq!(rpc().await.unary("/test.Calls/Echo", "hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_client_streams_and_is_answered_when_it_has_ended() {
    let mut rpc = rpc().await;
    let (messages, received) = mpsc::channel(1);
    let request = rpc.request(ReceiverStream::new(received));
    rpc.client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Calls/Join");
    let asking = tokio::spawn(async move { rpc.client.client_streaming(request, path, RawCodec).await });
    for word in ["a", "b", "c"] {
        messages.send(Bytes::from_static(word.as_bytes())).await.unwrap();
    }
    drop(messages);
    let answer: Bytes = within("the answer", asking).await.unwrap().unwrap().into_inner();
    assert_eq!(answer, "abc");
}

#[tokio::test]
async fn a_server_streams() {
    let mut rpc = rpc().await;
    let request = rpc.request(Bytes::from_static(b"x"));
    rpc.client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Calls/Many");
    let answers = rpc.client.server_streaming(request, path, RawCodec).await.unwrap().into_inner();
    let answers: Vec<Result<Bytes, Status>> = within("all answers", answers.collect()).await;
    assert_eq!(answers.len(), 100);
    assert!(answers.into_iter().all(|answer| answer.unwrap() == "x"));
}

#[tokio::test]
async fn both_talk_in_turns_and_the_server_may_go_on_when_the_client_has_ended() {
    let mut rpc = rpc().await;
    let (messages, received) = mpsc::channel(1);
    let request = rpc.request(ReceiverStream::new(received));
    rpc.client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Calls/Echo");
    let mut answers = rpc.client.streaming(request, path, RawCodec).await.unwrap().into_inner();
    for word in ["ping", "pong"] {
        messages.send(Bytes::from_static(word.as_bytes())).await.unwrap();
        let answer: Bytes = within("the echo", answers.message()).await.unwrap().unwrap();
        assert_eq!(answer, word);
    }
    messages.send(Bytes::from_static(b"last")).await.unwrap();
    drop(messages);
    assert_eq!(within("the last echo", answers.message()).await.unwrap().unwrap(), "last");
    assert_eq!(within("the end", answers.message()).await.unwrap(), None);
}

#[tokio::test]
async fn statuses_come_as_the_server_gave_them_with_and_without_messages_before() {
    let mut rpc = rpc().await;
    let status = rpc.unary("/test.Calls/Refuse", "x").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no such thing: 50% ä"));

    let request = rpc.request(Bytes::from_static(b"x"));
    let path = PathAndQuery::from_static("/test.Calls/RefuseLate");
    rpc.client.ready().await.unwrap();
    let mut answers = rpc.client.server_streaming(request, path, RawCodec).await.unwrap().into_inner();
    let first: Option<Bytes> = within("the first", answers.message()).await.unwrap();
    assert_eq!(first.unwrap(), "one");
    let status = within("the status", answers.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no more"));
}

#[tokio::test]
async fn a_deadline_is_passed_on() {
    let mut rpc = rpc().await;
    let mut request = rpc.request(Bytes::new());
    request.set_timeout(Duration::from_secs(17));
    rpc.client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Calls/Deadline");
    let answer: Response<Bytes> = rpc.client.unary(request, path, RawCodec).await.unwrap();
    assert_eq!(answer.into_inner(), "17000000u");
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_ends_at_the_server() {
    let mut rpc = rpc().await;
    let request = rpc.request(Bytes::new());
    rpc.client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Calls/Hang");
    let answers: Streaming<Bytes> = rpc.client.server_streaming(request, path, RawCodec).await.unwrap().into_inner();
    assert_eq!(*rpc.cancelled.borrow(), 0);
    drop(answers);
    within("the end at the server", rpc.cancelled.wait_for(|count| *count == 1)).await.unwrap();
}

#[tokio::test]
async fn a_failure_of_our_own_is_a_grpc_status_that_clients_may_try_again() {
    let mut rpc = rpc().await;
    rpc.destination = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let status = rpc.unary("/test.Calls/Echo", "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = format!("lazyload global-sidecar: upstream side: failed to connect to {}", rpc.destination);
    assert!(status.message().starts_with(&expected), "{status:?}");
    drop(rpc.rig);
}
