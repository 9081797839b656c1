//! Answers that a real Prometheus gives rarely or never, from a server that says what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lazyload_logic::prometheus::Told;
use lazyload_logic::settings::{Access, Prometheus};
use lazyload_logic::types::ObjectRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::PrometheusClient;
use super::counters::PrometheusCounters;
use super::round::Asked;

/// Cannot be asked for several fences at once.
const SINGLE: &str = "sum without (pod) (x_total{app=\"$source_app\"})";
const BATCHED: &str = "sum(x_total{app=\"$source_app\"}) by (destination_service)";
const GOOD: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"destination_service":"b.c"},"value":[1,"1"]}]}}"#;
const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// What to do with a request: status and body, or to say nothing at all.
type Answer = Box<dyn Fn(&str) -> Option<(u16, String)> + Send + Sync>;

struct Server {
    address: String,
    /// Heads and bodies of all requests.
    requests: Arc<Mutex<Vec<String>>>,
}

async fn server(answer: Answer) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (answer, seen) = (Arc::new(answer), requests.clone());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, answer.clone(), seen.clone()));
        }
    });
    Server { address, requests }
}

/// One request for each connection.
async fn serve(mut connection: TcpStream, answer: Arc<Answer>, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = String::new();
    let mut part = [0; 4096];
    loop {
        let read = connection.read(&mut part).await.unwrap_or(0);
        request.push_str(&String::from_utf8_lossy(&part[..read]));
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let body = request.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if read == 0 || (body.is_some() && body >= length) {
            break;
        }
    }
    seen.lock().unwrap().push(request.clone());
    match answer(&request) {
        Some((status, body)) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has read enough has gone.
            drop(connection.write_all(head.as_bytes()).await);
            drop(connection.write_all(body.as_bytes()).await);
        }
        None => std::future::pending().await,
    }
}

fn settings(address: &str, access: Access) -> Prometheus {
    Prometheus {
        address: address.to_owned(),
        handlers: BTreeMap::new(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(20),
        window: None,
        access,
    }
}

fn fences(names: &[&str]) -> BTreeSet<ObjectRef> {
    names.iter().map(|name| ObjectRef::new("default", *name)).collect()
}

fn outcomes(counters: &PrometheusCounters) -> BTreeMap<&'static str, u64> {
    counters.queries().filter(|(_, count)| *count > 0).collect()
}

/// Asks once; the provider of TLS is the process's.
async fn ask(asked: &mut Asked, settings: &Prometheus, names: &[&str], counters: &PrometheusCounters) -> (Told, bool) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let session = PrometheusClient::new(settings).unwrap().session().await.unwrap();
    asked.ask(&session, &fences(names), true, counters).await
}

#[tokio::test]
async fn one_fence_that_fails_stops_no_other() {
    for (name, bad) in [
        ("refused", Some((422, r#"{"status":"error","errorType":"execution","error":"no"}"#.to_owned()))),
        ("status", Some((500, "<html>oops</html>".to_owned()))),
        ("status", Some((302, String::new()))),
        ("unreadable", Some((200, "<html>log in</html>".to_owned()))),
        ("unreadable", Some((200, GOOD[..60].to_owned()))),
        ("unauthorized", Some((403, "no".to_owned()))),
        ("timed_out", None),
    ] {
        let server = server(Box::new(
            move |request| {
                if request.contains("bad") { bad.clone() } else { Some((200, GOOD.to_owned())) }
            },
        ))
        .await;
        let mut settings = settings(&server.address, Access::default());
        if name == "timed_out" {
            settings.timeout = Duration::from_millis(500);
        }
        let counters = PrometheusCounters::default();
        let (told, there) = ask(&mut Asked::new("h", SINGLE), &settings, &["a", "bad", "c"], &counters).await;
        assert_eq!(told.fences.keys().cloned().collect::<BTreeSet<_>>(), fences(&["a", "c"]), "{name}");
        assert!(there, "{name}");
        assert_eq!(outcomes(&counters), BTreeMap::from([("answered", 2), (name, 1)]));
        let state = counters.handlers()["h"];
        assert_eq!((state.queries, state.failed, state.hosts), (3, 1, 2), "{name}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let server = server(Box::new(|_| Some((200, " ".repeat(17 * 1024 * 1024))))).await;
    let counters = PrometheusCounters::default();
    ask(&mut Asked::new("h", BATCHED), &settings(&server.address, Access::default()), &["a"], &counters).await;
    assert_eq!(outcomes(&counters), BTreeMap::from([("too_large", 1)]));
}

#[tokio::test]
async fn nobody_there_ends_a_round_early() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let names: Vec<String> = (0..500).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let counters = PrometheusCounters::default();
    let (told, there) =
        ask(&mut Asked::new("h", SINGLE), &settings(&address, Access::default()), &names, &counters).await;
    assert!(told.fences.is_empty() && !there);
    assert!(outcomes(&counters)["unreachable"] < 30, "{:?}", outcomes(&counters));
    assert_eq!(counters.handlers()["h"].failed, 500, "what was not sent is no answer either");
}

#[tokio::test]
async fn a_query_that_is_too_much_is_asked_about_fewer_fences() {
    // As with --query.max-samples: about a hundred names are too many.
    let server = server(Box::new(|request| {
        let names = request.matches("%7C").count();
        let refusal = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        Some(if names > 100 { (422, refusal.to_owned()) } else { (200, EMPTY.to_owned()) })
    }))
    .await;
    let names: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let counters = PrometheusCounters::default();
    let (mut asked, settings) = (Asked::new("h", BATCHED), settings(&server.address, Access::default()));
    let mut rounds = 0;
    while ask(&mut asked, &settings, &names, &counters).await.0.fences.len() < 300 {
        rounds += 1;
        assert!(rounds < 10, "{:?}", outcomes(&counters));
    }
    assert!(rounds > 1 && counters.handlers()["h"].queries < 10);
}

#[tokio::test]
async fn warnings_are_counted_and_the_answer_counts() {
    let warned = GOOD.replacen('{', r#"{"warnings":["partial answer"],"#, 1);
    let server = server(Box::new(move |_| Some((200, warned.clone())))).await;
    let counters = PrometheusCounters::default();
    let settings = settings(&server.address, Access::default());
    let (told, _) = ask(&mut Asked::new("h", BATCHED), &settings, &["a"], &counters).await;
    assert_eq!(told.fences[&ObjectRef::new("default", "a")].len(), 1);
    assert_eq!(counters.warnings.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_rotated_token_is_sent_with_the_next_round() {
    let server = server(Box::new(|_| Some((200, EMPTY.to_owned())))).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let mut access = Access { bearer_token_file: Some(token.display().to_string()), ..Access::default() };
    access.headers.0.insert("X-Scope-OrgID".to_owned(), "team".to_owned());
    let settings = settings(&server.address, access);
    let counters = PrometheusCounters::default();
    let mut asked = Asked::new("h", BATCHED);
    for text in ["first\n", "second"] {
        std::fs::write(&token, text).unwrap();
        ask(&mut asked, &settings, &["a"], &counters).await;
    }
    let requests = server.requests.lock().unwrap().join("\n");
    assert!(requests.contains("authorization: Bearer first\r\n"), "{requests}");
    assert!(requests.contains("authorization: Bearer second\r\n"), "{requests}");
    assert!(requests.contains("x-scope-orgid: team\r\n"), "{requests}");
    assert!(requests.contains("POST /api/v1/query HTTP/1.1"), "{requests}");
}
