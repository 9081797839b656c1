//! Asks the proxies of a fence's pods whether a new form of its Sidecar has reached them: once before it is written, and then until they
//! all have it. Who does not answer is not waited for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lazyload_logic::fence::proxy::{PATH, PORT, Reading};
use lazyload_logic::state::Word;
use tokio::time::Instant;

/// Longest that a write waits for the proxies' first answers. A proxy that is slow is just the one to wait for.
const FIRST_ANSWER: Duration = Duration::from_millis(500);
/// Longest that an answer may take later on.
const ANSWER: Duration = Duration::from_secs(2);
/// Answers that may be missing in a row: the pod may be going.
const MISSING: u32 = 3;
/// Who did not answer in that time is not asked again for this long; who refuses at once is.
const SILENCE: Duration = Duration::from_secs(60);
/// Silent ones that are remembered.
const REMEMBERED: usize = 10_000;
/// Between two questions at least, and times as long as the answers took, first and later on: a proxy with many statistics is not kept busy.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_FOR_ANSWER: (u32, u32) = (2, 8);
/// Pushes take this long at most where nothing is slow.
const SOON: Duration = Duration::from_millis(500);
const PAUSE_AT_MOST: Duration = Duration::from_millis(500);
/// Nobody is asked for longer than this.
const AT_MOST: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks proxies. A copy shares what it knows.
#[derive(Clone)]
pub struct Proxies {
    client: Client<HttpConnector, Empty<Bytes>>,
    silent: Arc<Mutex<BTreeMap<IpAddr, Instant>>>,
    /// What the last two pushes took at least, and the last one, in milliseconds: there is no use in asking much earlier.
    lately: Arc<(AtomicU64, AtomicU64)>,
}

/// Proxies that answered before a write.
pub struct Asked {
    readings: Vec<(IpAddr, Reading)>,
    /// How many did not.
    pub silent: u64,
}

impl Asked {
    /// Whether nobody answered.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }
}

impl Default for Proxies {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .build(connector);
        Self { client, silent: Arc::default(), lately: Arc::default() }
    }
}

impl Proxies {
    /// Asks before a write.
    pub async fn before(&self, addresses: Vec<IpAddr>) -> Asked {
        let asked = addresses.into_iter().filter(|address| !self.is_silent(address));
        let asked = asked.map(|address| async move {
            let begun = Instant::now();
            (address, self.ask(address, FIRST_ANSWER).await, begun.elapsed())
        });
        let mut answered = Asked { readings: Vec::new(), silent: 0 };
        for (address, reading, took) in join_all(asked).await {
            match reading {
                Some(reading) => answered.readings.push((address, reading)),
                None => {
                    answered.silent += 1;
                    if took >= FIRST_ANSWER {
                        self.remember_silent(address);
                    }
                }
            }
        }
        answered
    }

    /// Asks after the write until all have the new form; returns what to think of it.
    pub async fn after(&self, asked: Asked) -> Word {
        let start = Instant::now();
        let mut missing: BTreeMap<IpAddr, u32> = BTreeMap::new();
        let mut readings = asked.readings;
        let mut has_arrived = false;
        let mut pause = Duration::from_millis(self.lately.0.load(Relaxed)) * 3 / 4;
        while !readings.is_empty() {
            if start.elapsed() > AT_MOST {
                return Word::Silent;
            }
            tokio::time::sleep(pause.max(PAUSE)).await;
            let begun = Instant::now();
            let answers = readings.iter().map(|(address, _)| self.ask(*address, ANSWER));
            let answers = join_all(answers).await;
            let times = if start.elapsed() < SOON { PAUSE_FOR_ANSWER.0 } else { PAUSE_FOR_ANSWER.1 };
            pause = (begun.elapsed() * times).min(PAUSE_AT_MOST);
            let mut answers = answers.into_iter();
            readings.retain(|(address, earlier)| match answers.next().flatten() {
                Some(reading) if reading.is_after(earlier) => {
                    has_arrived = true;
                    false
                }
                Some(_) => {
                    missing.remove(address);
                    true
                }
                None => {
                    let count = missing.entry(*address).or_default();
                    *count += 1;
                    *count < MISSING
                }
            });
        }
        if !has_arrived {
            return Word::Silent;
        }
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.lately.1.swap(took, Relaxed);
        self.lately.0.store(took.min(before), Relaxed);
        Word::Arrived
    }

    async fn ask(&self, address: IpAddr, within: Duration) -> Option<Reading> {
        let uri = format!("http://{}{PATH}", SocketAddr::new(address, PORT)).parse::<Uri>().ok()?;
        let asked = async {
            let answer = self.client.get(uri).await.ok().filter(|answer| answer.status() == StatusCode::OK)?;
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes();
            Reading::of(&String::from_utf8_lossy(&body))
        };
        tokio::time::timeout(within, asked).await.ok().flatten()
    }

    fn is_silent(&self, address: &IpAddr) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.get(address).is_some_and(|since| since.elapsed() < SILENCE)
    }

    fn remember_silent(&self, address: IpAddr) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.len() >= REMEMBERED {
            silent.retain(|_, since| since.elapsed() < SILENCE);
        }
        if silent.len() < REMEMBERED {
            silent.insert(address, Instant::now());
        }
    }
}
