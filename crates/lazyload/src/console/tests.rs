//! The console over a socket, on a real engine that writes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lazyload_logic::convert;
use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::{Change, Event, Notice, Outcome, State};
use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::stream::LISTENERS;
use super::{Console, serve, window};
use crate::admin::metrics::Metrics;
use crate::apply::Writer;
use crate::process::readiness::Readiness;
use crate::run::engine::Engine;

/// Whoever waits longer has failed.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Nobody;

impl Writer for Nobody {
    async fn apply_change(&self, _: &Change) -> Outcome {
        Outcome::Stored(None)
    }

    fn tell(&self, _: Notice) {}
}

struct Stage {
    address: SocketAddr,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _calls: mpsc::Sender<Vec<lazyload_logic::observation::Call>>,
}

/// A controller that has heard of these objects.
async fn stage(objects: &[Value]) -> Stage {
    let (state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
    let (metrics, readiness, shutdown) = (Arc::new(Metrics::default()), Readiness::default(), CancellationToken::new());
    let (window, viewed) = window();
    let hosts = ["api.example".to_owned()];
    let console = Console::new(window, metrics.clone(), readiness.clone(), &hosts, shutdown.clone());
    let engine = Engine::new(state, Nobody, metrics.clone(), &readiness).viewed_by(viewed);
    let (events, events_rx) = mpsc::channel(4096);
    let (calls, calls_rx) = mpsc::channel(1);
    tokio::spawn(engine.run(events_rx, calls_rx, shutdown.clone()));
    for object in objects {
        events.send(applied(object)).await.unwrap();
    }
    for kind in Kind::ALL {
        events.send(Event::Listed(kind)).await.unwrap();
    }
    readiness.reached().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, console.of_replica(Some("lazyload-1".to_owned()))));
    Stage { address, events, metrics, shutdown, serving, _calls: calls }
}

fn applied(object: &Value) -> Event {
    Event::Applied(Box::new(convert::object(object).unwrap().unwrap()))
}

/// A fence that is no business of the engine's, as it is disabled.
fn fence(name: &str, version: u32, host: &str) -> Value {
    json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
    "metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": version.to_string()},
    "spec": {"enable": false}, "status": {
        "domains": {host: {"hosts": [host]}}, "metricStatus": {format!("{{destination_service=\"{host}\"}}"): "1"},
    }})
}

impl Stage {
    async fn ask(&self, method: &str, path: &str, host: &str) -> hyper::Response<hyper::body::Incoming> {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = hyper::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        client.request(request.header("host", host).body(Empty::new()).unwrap()).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask("GET", path, "localhost").await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn listen(&self) -> Listening {
        let answer = self.ask("GET", "/api/events", "localhost").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Listening { body: answer.into_body(), read: String::new() }
    }
}

struct Listening {
    body: hyper::body::Incoming,
    read: String,
}

impl Listening {
    /// The next event of this name.
    async fn next(&mut self, name: &str) -> Value {
        let found = async {
            loop {
                while let Some((event, rest)) = self.read.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.read = rest;
                    if let Some(data) = event.strip_prefix(&format!("event: {name}\ndata: ")) {
                        return serde_json::from_str(data).unwrap();
                    }
                }
                let frame = self.body.frame().await.expect("no end").unwrap();
                self.read += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("no event {name}: {}", self.read))
    }
}

#[tokio::test]
async fn whoever_asks_by_a_foreign_name_or_wants_to_change_something_is_refused_and_every_answer_has_its_headers() {
    let stage = stage(&[]).await;
    for (method, path, host, status) in [
        ("GET", "/", "localhost:8083", 200),
        ("HEAD", "/", "127.0.0.1:8083", 200),
        ("GET", "/api/about", "api.example", 200),
        ("GET", "/app.js", "evil.example", 421),
        ("GET", "/api/fences", "evil.example:8083", 421),
        ("GET", "/api/events", "", 421),
        ("POST", "/api/settings", "localhost", 405),
        ("DELETE", "/api/fences/shop/a", "localhost", 405),
        ("GET", "/../Cargo.toml", "localhost", 404),
        ("GET", "/api/nothing", "localhost", 404),
    ] {
        let answer = stage.ask(method, path, host).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {host}");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!((header("x-content-type-options"), header("x-frame-options")), ("nosniff", "DENY"), "{path}");
        assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer", "no-store"), "{path}");
    }
}

#[tokio::test]
async fn a_mesh_of_many_pages_arrives_whole_and_in_order() {
    let names: Vec<String> = (0..300).map(|number| format!("f{number:03}")).collect();
    let fences: Vec<Value> = names.iter().map(|name| fence(name, 1, "b.shop.svc.cluster.local")).collect();
    let stage = stage(&fences).await;
    let (status, text) = stage.get("/api/fences").await;
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!((status, told), (200, names.iter().map(String::as_str).collect()));
    assert_eq!(rows[0]["arrows"], json!([{"to": "shop/b", "reason": "learned", "way": "direct", "evidence": "1"}]));
}

#[tokio::test]
async fn one_fence_is_told_with_both_documents_and_one_that_is_not_there_is_named() {
    let stage = stage(&[fence("a", 1, "b.shop.svc.cluster.local")]).await;
    let (status, text) = stage.get("/api/fences/shop/a").await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &told["report"]["name"], &told["documents"]["sidecar"]), (200, &json!("a"), &Value::Null));
    assert_eq!(told["timeline"][0]["what"], "known");
    let yaml = told["documents"]["fence"].as_str().unwrap();
    assert!(yaml.contains("kind: ServiceFence\n") && yaml.contains("  enable: false\n"), "{yaml}");
    let (status, text) = stage.get("/api/fences/shop/b").await;
    assert_eq!((status, text.as_str()), (404, r#"{"error":"there is no ServiceFence shop/b"}"#));
}

#[tokio::test]
async fn about_settings_savings_and_the_fallback_are_told_as_the_controller_knows_them() {
    let stage = stage(&[fence("a", 1, "x.example")]).await;
    let json = async |path: &str| serde_json::from_str::<Value>(&stage.get(path).await.1).unwrap();
    let about = json("/api/about").await;
    assert_eq!((&about["replica"], &about["leads"], &about["fences"]), (&json!("lazyload-1"), &json!(true), &json!(1)));
    let settings = json("/api/settings").await;
    let console = settings.as_array().unwrap().iter().find(|entry| entry["path"] == "global.misc.console-addr");
    assert_eq!(console.unwrap()["value"], "127.0.0.1:8083");
    assert_eq!(
        json("/api/savings").await,
        json!({"workloads": [], "pods": 0, "saved": {"low": 0, "high": 0}, "secondsAgo": 0})
    );
    assert_eq!(json("/api/fallback").await, json!([]));
}

#[tokio::test]
async fn what_is_different_is_told_live_once_for_a_burst_and_nothing_else() {
    let stage = stage(&[fence("a", 1, "x.example"), fence("b", 1, "x.example")]).await;
    let mut listening = stage.listen().await;
    assert_eq!(listening.next("about").await["fences"], 2);
    for version in 2..5 {
        stage.events.send(applied(&fence("a", version, &format!("h{version}.example")))).await.unwrap();
    }
    stage.events.send(Event::Deleted(Kind::Fence, ObjectRef::new("shop", "b"))).await.unwrap();
    let told = listening.next("fences").await;
    assert_eq!(
        (&told["changed"][0]["arrows"][0]["to"], &told["gone"]),
        (&json!("h4.example"), &json!(["shop/b"])),
        "{told}"
    );
    assert_eq!(told["changed"].as_array().unwrap().len(), 1);
    let busy = json!([{"namespace": "shop", "name": "a", "host": "c", "way": "fallback", "stuck": false, "calls": 2, "lately": 1, "last": 3}]);
    stage.metrics.fallback(serde_json::from_value(busy.clone()).unwrap(), 0);
    assert_eq!(listening.next("fallback").await, busy);

    // The process ends although somebody listens.
    stage.shutdown.cancel();
    tokio::time::timeout(DEADLINE, stage.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn listeners_are_bounded_and_one_that_leaves_makes_room() {
    let stage = stage(&[]).await;
    let mut listening: Vec<Listening> = futures::stream::iter(0..LISTENERS).then(|_| stage.listen()).collect().await;
    let refused = stage.ask("GET", "/api/events", "localhost").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "10");
    drop(listening.pop());
    let room = async {
        while stage.ask("GET", "/api/events", "localhost").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, room).await.unwrap();
}
