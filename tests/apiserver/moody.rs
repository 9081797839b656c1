//! An API server in a bad mood: a proxy in front of a real one that answers late, refuses, and breaks watches off. And that a controller
//! behind it learns everything all the same.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::history::History;
use super::proxy::Repeating;
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.30";
const HOSTS: usize = 12;
/// How many times each mood has to be met.
const MET: u64 = 2;

type Answer = Response<UnsyncBoxBody<Bytes, anyhow::Error>>;

/// What it may do to a request.
const MOODS: [(&str, u16, &str); 5] = [
    ("conflict", 409, "Conflict"),
    ("too many requests", 429, "TooManyRequests"),
    ("internal error", 500, "InternalError"),
    ("unavailable", 503, "ServiceUnavailable"),
    ("timeout", 504, "Timeout"),
];

/// What it does next, by a number that is always the same.
struct Moods {
    dice: AtomicU64,
    refused_writes: AtomicUsize,
    met: std::sync::Mutex<BTreeMap<&'static str, u64>>,
}

impl Moods {
    fn below(&self, limit: u64) -> u64 {
        let step = |dice: u64| dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = self.dice.fetch_update(Relaxed, Relaxed, |dice| Some(step(dice))).unwrap_or_else(|dice| dice);
        (dice >> 33) % limit
    }

    /// Writes meet one mood after the other; nobody is in conflict who only reads.
    fn next(&self, is_write: bool) -> (&'static str, u16, &'static str) {
        let [_, others @ ..] = MOODS;
        if is_write {
            return MOODS[self.refused_writes.fetch_add(1, Relaxed) % MOODS.len()];
        }
        others[usize::try_from(self.below(4)).unwrap_or_default()]
    }

    fn meets(&self, mood: &'static str) {
        *self.met.lock().unwrap().entry(mood).or_default() += 1;
    }
}

/// The proxy, and a kubeconfig that leads to it.
struct Moody {
    kubeconfig: PathBuf,
    moods: Arc<Moods>,
    _serving: JoinSet<()>,
}

impl Moody {
    async fn before(cluster: &Cluster) -> Self {
        let options = KubeConfigOptions::default();
        let known = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(known.clone(), &options).await.unwrap();
        (config.read_timeout, config.connect_timeout) = (None, Some(Duration::from_secs(5)));
        let client = Client::try_from(config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let context = json!({"cluster": "moody", "user": "none"});
        let written = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "moody",
            "clusters": [{"name": "moody", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "none", "user": {}}], "contexts": [{"name": "moody", "context": context}],
        });
        let kubeconfig = cluster.folder().join("moody.kubeconfig");
        std::fs::write(&kubeconfig, written.to_string()).unwrap();
        let moods = Arc::new(Moods {
            dice: AtomicU64::new(42),
            refused_writes: AtomicUsize::new(0),
            met: std::sync::Mutex::default(),
        });
        let mut serving = JoinSet::new();
        let asked = moods.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (client, moods) = (client.clone(), asked.clone());
                let serve = service_fn(move |request| answer(client.clone(), moods.clone(), request));
                connections.spawn(async move {
                    let served =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                    // A watch that was broken off, or a client that has gone.
                    drop(served.await);
                });
            }
        });
        Self { kubeconfig, moods, _serving: serving }
    }
}

async fn answer(client: Client, moods: Arc<Moods>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    if is_watch {
        return Ok(watch(client, &moods, request).await);
    }
    if moods.below(3) == 0 {
        moods.meets("late");
        tokio::time::sleep(Duration::from_millis(moods.below(400))).await;
    }
    if moods.below(3) == 0 {
        let (mood, code, reason) = moods.next(request.method() != Method::GET);
        moods.meets(mood);
        return Ok(refusal(code, reason));
    }
    Ok(passed(client, request).await.unwrap_or_else(|error| {
        eprintln!("the API server behind it: {error}");
        refusal(502, "Unreachable")
    }))
}

/// A watch is refused, told to begin anew, or broken off in the middle.
async fn watch(client: Client, moods: &Moods, request: Request<Incoming>) -> Answer {
    match moods.below(5) {
        0 => {
            moods.meets("watch refused as too old");
            refusal(410, "Expired")
        }
        1 => {
            moods.meets("watch ended as too old");
            let event = json!({"type": "ERROR", "object": status(410, "Expired")});
            let body = Full::new(Bytes::from(format!("{event}\n")));
            Response::new(body.map_err(anyhow::Error::from).boxed_unsync())
        }
        _ => {
            moods.meets("watch cut");
            let lasts = Duration::from_millis(200 + moods.below(3_000));
            let Ok(answer) = passed(client, request).await else { return refusal(502, "Unreachable") };
            let (head, body) = answer.into_parts();
            let ends = Box::pin(tokio::time::sleep(lasts));
            let frames = BodyStream::new(body).take_until(ends);
            let cut = futures::stream::once(async { Err(anyhow::anyhow!("cut")) });
            Response::from_parts(head, StreamBody::new(frames.chain(cut)).boxed_unsync())
        }
    }
}

async fn passed(client: Client, request: Request<Incoming>) -> anyhow::Result<Answer> {
    let (mut head, body) = request.into_parts();
    head.headers.remove("host");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    head.uri = path.parse()?;
    let body = body.collect().await?.to_bytes();
    let answer = client.send(Request::from_parts(head, Body::from(body))).await?;
    Ok(answer
        .map(|body| body.into_data_stream().map_ok(hyper::body::Frame::data).map_err(anyhow::Error::from))
        .map(|frames| StreamBody::new(frames).boxed_unsync()))
}

fn status(code: u16, reason: &str) -> serde_json::Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "in a bad mood", "reason": reason, "code": code})
}

fn refusal(code: u16, reason: &str) -> Answer {
    let body = Full::new(Bytes::from(status(code, reason).to_string()));
    let mut answer = Response::new(body.map_err(anyhow::Error::from).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_api_server_that_is_late_refuses_and_cuts_watches_everything_is_learned_all_the_same() {
    let Some(cluster) = Cluster::start("moody API server").await else { return };
    let objects = &cluster.objects;
    for number in 0..HOSTS {
        objects.service("default", &format!("host-{number}"), json!({})).await;
    }
    objects.service("default", "mine", json!({})).await;
    objects.pod("default", "mine", MINE).await;
    let moody = Moody::before(&cluster).await;
    let history = History::record(&cluster);
    let mut controller = Controller::start_at(cluster.folder(), &moody.kubeconfig, &json!({"autoFence": true}));
    controller.ready().await;
    let callers = Repeating::start(controller.log_source());
    objects.label("Service", "default", "mine", "slime.io/serviceFenced", Some("true")).await;
    for number in 0..HOSTS {
        callers.add(MINE, &format!("host-{number}:9080"));
        let expected = format!("*/host-{number}.default.svc.cluster.local");
        eventually("it is learned", DEADLINE, || async {
            match objects.hosts("default", "mine").await {
                Some(hosts) if hosts.contains(&expected) => Ok(()),
                other => Err((other, controller.log())),
            }
        })
        .await;
    }
    history.assert_only_grown(&cluster).await;
    // What its user changes and deletes is followed too.
    objects.fence("default", "host-1", json!({"enable": true})).await;
    eventually("another Sidecar", DEADLINE, || async { objects.hosts("default", "host-1").await.ok_or("none") }).await;
    objects.label("Service", "default", "mine", "slime.io/serviceFenced", None).await;
    objects.gone("ServiceFence", "default", "mine", || controller.log()).await;
    controller.assert_running();
    let met = moody.moods.met.lock().unwrap().clone();
    println!("moods that were met: {met:?}");
    for (mood, ..) in MOODS {
        assert!(met.get(mood).is_some_and(|count| *count >= MET), "{mood}: {met:?}");
    }
    for mood in ["late", "watch cut", "watch refused as too old", "watch ended as too old"] {
        assert!(met.get(mood).is_some_and(|count| *count >= MET), "{mood}: {met:?}");
    }
}
