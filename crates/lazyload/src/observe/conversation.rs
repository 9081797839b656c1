//! The server and the client over a real connection on the loopback interface.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use lazyload_logic::observation::Call;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::client::{AccessLogSender, mk_message, open};
use super::seen::Limits;
use super::server::{ObserveError, serve_within};
use super::{Counters, Door, METHOD, SERVICE};

/// Longest that anything may take; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(30);

const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 11));

struct Running {
    address: SocketAddr,
    calls: mpsc::Receiver<Vec<Call>>,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ObserveError>>,
}

/// A server that never forgets a pair by time, so that no test depends on how fast it runs.
async fn start(capacity: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls_tx, calls) = mpsc::channel(capacity);
    let (counters, shutdown) = (Arc::new(Counters::default()), CancellationToken::new());
    let limits = Limits { period: Duration::from_secs(3600), ..Limits::default() };
    let server =
        tokio::spawn(serve_within(limits, listener, Door::open(), calls_tx, counters.clone(), None, shutdown.clone()));
    Running { address, calls, counters, shutdown, server }
}

impl Running {
    async fn next(&mut self) -> Vec<String> {
        let calls = timeout(DEADLINE, self.calls.recv()).await.expect("no call came").expect("the server is gone");
        calls.iter().map(|call| format!("{} {} {}", call.caller, call.authority, call.count)).collect()
    }

    async fn counts(&self, counter: fn(&Counters) -> &AtomicU64, expected: u64) {
        eventually(DEADLINE, || counter(&self.counters).load(Relaxed) == expected).await;
    }
}

async fn eventually(deadline: Duration, predicate: impl Fn() -> bool) {
    let poll = async {
        while !predicate() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(deadline, poll).await.expect("it did not come to be");
}

#[tokio::test]
async fn an_entry_is_passed_on_at_once_and_its_repeats_are_absorbed() {
    let mut running = start(8).await;
    let mut sender = AccessLogSender::new(running.address);
    sender.send(CALLER, "details:9080", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
    for _ in 0..3 {
        sender.send(CALLER, "details:9080", 9080).await.unwrap();
    }
    sender.send(CALLER, "reviews:9080", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 reviews 1"]);
    assert!(running.calls.try_recv().is_err());
    running.counts(|counters| &counters.absorbed, 3).await;
}

#[tokio::test]
async fn what_the_receiver_had_no_room_for_is_passed_on_by_the_next_entry() {
    let mut running = start(1).await;
    let mut sender = AccessLogSender::new(running.address);
    sender.send(CALLER, "details", 9080).await.unwrap();
    sender.send(CALLER, "reviews", 9080).await.unwrap();
    running.counts(|counters| &counters.overflow, 1).await;
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
    sender.send(CALLER, "reviews", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 reviews 1"]);
}

#[tokio::test]
async fn a_message_of_garbage_is_counted_and_the_stream_goes_on() {
    let mut running = start(8).await;
    let mut sender = AccessLogSender::new(running.address);
    sender.send_message(Bytes::from_static(b"\xff\xff not a message")).await.unwrap();
    sender.send_message(Bytes::new()).await.unwrap();
    sender.send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
    running.counts(|counters| &counters.messages_malformed, 1).await;
    running.counts(|counters| &counters.messages, 3).await;
}

#[tokio::test]
async fn a_message_too_large_ends_its_own_stream_only() {
    let mut running = start(8).await;
    let (mut good, mut bad) = (AccessLogSender::new(running.address), AccessLogSender::new(running.address));
    good.send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
    bad.send_message(vec![0; 5 * 1024 * 1024].into()).await.unwrap();
    running.counts(|counters| &counters.streams_broken, 1).await;
    running.counts(|counters| &counters.streams_open, 1).await;
    good.send(CALLER, "reviews", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 reviews 1"]);
}

#[tokio::test]
async fn a_stream_that_is_cut_is_forgotten_and_the_sender_opens_another() {
    let mut running = start(8).await;
    let mut sender = AccessLogSender::new(running.address);
    sender.send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
    running.counts(|counters| &counters.streams_open, 1).await;
    drop(sender);
    running.counts(|counters| &counters.streams_open, 0).await;

    // A new stream remembers nothing: the receiver hears of the pair again.
    let mut sender = AccessLogSender::new(running.address);
    sender.send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(running.next().await, ["172.17.0.11 details 1"]);
}

#[tokio::test]
async fn the_sender_connects_again_after_the_server_was_gone() {
    let mut first = start(8).await;
    let mut sender = AccessLogSender::new(first.address);
    sender.send(CALLER, "details", 9080).await.unwrap();
    first.next().await;
    first.shutdown.cancel();
    timeout(DEADLINE, first.server).await.unwrap().unwrap().unwrap();

    let listener = TcpListener::bind(first.address).await.unwrap();
    let (calls_tx, mut calls) = mpsc::channel(8);
    let (limits, never) = (Limits::default(), CancellationToken::new());
    tokio::spawn(serve_within(limits, listener, Door::open(), calls_tx, Arc::default(), None, never));
    let arrived = timeout(DEADLINE, async {
        loop {
            // Until the sender has heard of the old stream's end, entries vanish, as they do with Envoy; none is an error.
            sender.send(CALLER, "reviews", 9080).await.unwrap();
            tokio::select! {
                arrived = calls.recv() => return arrived,
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    });
    assert_eq!(arrived.await.unwrap().unwrap()[0].authority, "reviews");
}

#[tokio::test]
async fn without_a_server_the_sender_says_where_it_should_be() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = AccessLogSender::new(unused).send(CALLER, "details", 9080).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to connect to the access-log server at {unused}"));
}

#[tokio::test]
async fn many_streams_are_served_side_by_side() {
    const STREAMS: u8 = 50;
    let mut running = start(usize::from(STREAMS)).await;
    let mut senders = Vec::new();
    for number in 0..STREAMS {
        let mut sender = AccessLogSender::new(running.address);
        for _ in 0..10 {
            sender.send(IpAddr::from([10, 0, 0, number]), "details", 9080).await.unwrap();
        }
        senders.push(sender);
    }
    running.counts(|counters| &counters.streams_open, STREAMS.into()).await;
    running.counts(|counters| &counters.entries, 10 * u64::from(STREAMS)).await;
    let mut callers = Vec::new();
    for _ in 0..STREAMS {
        callers.extend(running.next().await);
    }
    callers.sort();
    callers.dedup();
    assert_eq!(callers.len(), usize::from(STREAMS));
    assert!(running.calls.try_recv().is_err());
    running.counts(|counters| &counters.absorbed, 9 * u64::from(STREAMS)).await;
}

#[tokio::test]
async fn the_server_answers_only_at_the_end_of_the_stream() {
    let mut running = start(8).await;
    let (stream_tx, stream_rx) = mpsc::channel(8);
    let answer = tokio::spawn(open(running.address, METHOD, stream_rx).await.unwrap());
    stream_tx.send(mk_message(&[(CALLER, "details", 9080)])).await.unwrap();
    running.next().await;
    assert!(!answer.is_finished());
    drop(stream_tx);
    let answer = timeout(DEADLINE, answer).await.unwrap().unwrap().unwrap();
    assert!(answer.into_inner().is_empty());
}

#[tokio::test]
async fn an_unknown_method_or_service_is_unimplemented() {
    let running = start(8).await;
    let other_method = "/envoy.service.accesslog.v3.AccessLogService/Other";
    assert!(other_method.contains(SERVICE));
    for method in [other_method, "/envoy.service.metrics.v3.MetricsService/StreamMetrics"] {
        let (_stream_tx, stream_rx) = mpsc::channel(8);
        let answer = open(running.address, method, stream_rx).await.unwrap();
        let status = timeout(DEADLINE, answer).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{method}");
    }
}

#[tokio::test]
async fn shutting_down_ends_open_streams_with_an_answer() {
    let mut running = start(8).await;
    let (stream_tx, stream_rx) = mpsc::channel(8);
    let answer = tokio::spawn(open(running.address, METHOD, stream_rx).await.unwrap());
    stream_tx.send(mk_message(&[(CALLER, "details", 9080)])).await.unwrap();
    running.next().await;
    running.shutdown.cancel();
    timeout(DEADLINE, running.server).await.unwrap().unwrap().unwrap();
    assert!(timeout(DEADLINE, answer).await.unwrap().unwrap().is_ok());
    assert_eq!(running.counters.streams_open.load(Relaxed), 0);
}

#[tokio::test]
async fn without_a_receiver_streams_end() {
    let mut running = start(8).await;
    running.calls.close();
    let (stream_tx, stream_rx) = mpsc::channel(8);
    let answer = open(running.address, METHOD, stream_rx).await.unwrap();
    stream_tx.send(mk_message(&[(CALLER, "details", 9080)])).await.unwrap();
    assert_eq!(timeout(DEADLINE, answer).await.unwrap().unwrap_err().code(), Code::Unavailable);
}
