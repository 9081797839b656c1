//! The client: a closed loop on each connection or stream. Every answer must be 200 and whole.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use http::Request;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::http1::answer_length;
use crate::rows::Protocol;
use lazyload_bench_common::procfs;

/// Until all connections have had an answer.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// A window in which nothing was answered lasts on until something is, or for so long.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Windows that are never what is waited for.
const WINDOW: u32 = 1 << 24;

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Whom to ask.
    #[arg(long)]
    target: SocketAddr,
    /// What Slime-Orig-Dest says.
    #[arg(long)]
    destination: SocketAddr,
    /// The process whose CPU time is measured.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    protocol: Protocol,
    #[arg(long)]
    bytes: usize,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    streams: usize,
    #[arg(long)]
    churn: bool,
    #[arg(long)]
    warm_ms: u64,
    #[arg(long)]
    measure_ms: u64,
}

/// What one load has shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub requests: usize,
    /// Requests without a whole answer; a failed one ends nothing.
    pub failed: usize,
    pub failure: Option<String>,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// Of the process, at its highest so far.
    pub memory_mib: f64,
    /// Open in the process while all connections are.
    pub descriptors: usize,
}

#[derive(Default)]
struct Tally {
    /// How many connections have had an answer.
    clients: usize,
    /// Counting has begun.
    on: bool,
    nanoseconds: Vec<u64>,
    failed: usize,
    failure: Option<String>,
}

type Shared = Rc<RefCell<Tally>>;

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let seen = LocalSet::new().run_until(load(arguments)).await?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

async fn load(arguments: Arguments) -> anyhow::Result<Seen> {
    let tally = Shared::default();
    let mut clients = JoinSet::new();
    for _ in 0..arguments.connections {
        clients.spawn_local(client(arguments.clone(), Rc::clone(&tally)));
    }
    // Opening a thousand connections at once is not what is measured.
    let all_answered = async {
        while tally.borrow().clients < arguments.connections {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _or_measured_all_the_same = tokio::time::timeout(CONNECTS_WITHIN, all_answered).await;
    tokio::time::sleep(Duration::from_millis(arguments.warm_ms)).await;
    let (began, cpu_before) = (Instant::now(), procfs::cpu_seconds(arguments.pid)?);
    tally.borrow_mut().on = true;
    tokio::time::sleep(Duration::from_millis(arguments.measure_ms)).await;
    while tally.borrow().nanoseconds.is_empty() && began.elapsed() < ANSWERS_WITHIN {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_, memory_mib) = procfs::memory(arguments.pid)?;
    let descriptors = procfs::descriptors(arguments.pid)?;
    let (elapsed, cpu_after) = (began.elapsed(), procfs::cpu_seconds(arguments.pid)?);
    tally.borrow_mut().on = false;
    let mut tally = tally.borrow_mut();
    tally.nanoseconds.sort_unstable();
    let at = |share: f64| {
        let last = tally.nanoseconds.len().saturating_sub(1);
        let index = ((tally.nanoseconds.len() as f64 * share) as usize).min(last);
        // Where nothing was answered, it took as long as the window at least.
        let window = elapsed.as_secs_f64() * 1e6;
        tally.nanoseconds.get(index).map_or(window, |nanoseconds| *nanoseconds as f64 / 1000.0)
    };
    Ok(Seen {
        requests: tally.nanoseconds.len(),
        failed: tally.failed,
        failure: tally.failure.clone(),
        seconds: elapsed.as_secs_f64(),
        cpu_seconds: cpu_after - cpu_before,
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: at(1.0),
        memory_mib,
        descriptors,
    })
}

async fn client(arguments: Arguments, tally: Shared) {
    loop {
        let ended = match arguments.protocol {
            Protocol::Http1 => http1(&arguments, &tally).await,
            Protocol::Http2 => http2(&arguments, &tally).await,
        };
        if let Err(error) = ended {
            let mut tally = tally.borrow_mut();
            tally.failed += 1;
            tally.failure.get_or_insert_with(|| format!("{error:#}"));
            drop(tally);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn count(tally: &Shared, began: Instant, is_first: bool) {
    let mut tally = tally.borrow_mut();
    tally.clients += usize::from(is_first);
    if tally.on {
        tally.nanoseconds.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

/// One connection: until it fails, or for one request if connections are to come and go.
async fn http1(arguments: &Arguments, tally: &Shared) -> anyhow::Result<()> {
    let head = format!(
        "GET /{} HTTP/1.1\r\nhost: reviews.default:9080\r\nuser-agent: bench\r\naccept: */*\r\n\
         slime-orig-dest: {}\r\nslime-source-ns: default\r\n\r\n",
        arguments.bytes, arguments.destination
    );
    let mut read = Vec::with_capacity(arguments.bytes + 4096);
    let (mut began, mut is_first) = (Instant::now(), true);
    let mut stream = TcpStream::connect(arguments.target).await?;
    stream.set_nodelay(true)?;
    loop {
        stream.write_all(head.as_bytes()).await?;
        read.clear();
        let mut length = None;
        while length.is_none_or(|length| read.len() < length) {
            ensure!(stream.read_buf(&mut read).await? > 0, "closed within an answer");
            if length.is_none() {
                length = answer_length(&read)?;
            }
        }
        ensure!(length == Some(read.len()), "more bytes than the answer has");
        count(tally, began, is_first);
        is_first = false;
        if arguments.churn {
            return Ok(());
        }
        began = Instant::now();
    }
}

/// The same for a connection of HTTP/2, with its streams.
async fn http2(arguments: &Arguments, tally: &Shared) -> anyhow::Result<()> {
    let began = Instant::now();
    let stream = TcpStream::connect(arguments.target).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake::<_, bytes::Bytes>(stream).await?;
    let mut connection = tokio::task::spawn_local(connection);
    let mut streams = JoinSet::new();
    for _ in 0..arguments.streams {
        streams.spawn_local(exchanges(sender.clone(), arguments.clone(), Rc::clone(tally), began));
    }
    drop(sender);
    // In this order: who has its answer lets the connection end.
    let ended = tokio::select! {
        biased;
        ended = streams.join_next() => ended.context("no stream")??,
        ended = &mut connection => Err(ended?.err().map_or_else(|| anyhow::anyhow!("closed"), Into::into)),
    };
    connection.abort();
    ended
}

async fn exchanges(
    mut sender: h2::client::SendRequest<bytes::Bytes>,
    arguments: Arguments,
    tally: Shared,
    mut began: Instant,
) -> anyhow::Result<()> {
    let mut is_first = true;
    loop {
        sender = sender.ready().await?;
        let request = Request::get(format!("http://reviews.default:9080/{}", arguments.bytes))
            .header("user-agent", "bench")
            .header("accept", "*/*")
            .header("slime-orig-dest", arguments.destination.to_string())
            .header("slime-source-ns", "default")
            .body(())?;
        let (answer, _) = sender.send_request(request, true)?;
        let answer = answer.await?;
        ensure!(answer.status() == http::StatusCode::OK, "unexpected answer: {}", answer.status());
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            length += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        ensure!(length == arguments.bytes, "{length} bytes instead of {}", arguments.bytes);
        count(&tally, began, is_first);
        is_first = false;
        if arguments.churn {
            return Ok(());
        }
        began = Instant::now();
    }
}
