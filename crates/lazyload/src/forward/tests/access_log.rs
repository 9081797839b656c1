//! One line for each request, when all of it is over.

use std::io;

use tracing::subscriber::DefaultGuard;

use super::*;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn collect() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn of_requests(&self) -> Vec<String> {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains("lazyload::access")).map(str::to_owned).collect()
    }

    async fn has(&self, count: usize) -> Vec<String> {
        eventually("the lines", || self.of_requests().len() >= count).await;
        self.of_requests()
    }
}

async fn logging() -> Rig {
    Rig::of(GlobalSidecarConfig { access_log: true, ..Rig::config(Guard::Off, limits(), None) }).await
}

#[tokio::test]
async fn a_request_has_one_line_with_what_envoy_tells_by_default() {
    let (lines, _guard) = Lines::collect();
    let upstream = Upstream::playing(|mut conn, _| async move {
        conn.until("body").await;
        conn.send(OK).await;
    })
    .await;
    let more = "content-length: 4\r\nuser-agent: a \"b\"\r\nx-request-id: 7\r\nx-forwarded-for: 10.0.0.1\r\n";
    let rig = logging().await;
    let mut client = rig.connect().await;
    client.send(&format!("{}body", request("POST /a?b", upstream.address, more))).await;
    assert!(client.until("hi").await.is_some());
    let seen = lines.has(1).await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
    let upstream = format!("upstream=\"{}\"", upstream.address);
    for field in [
        "method=\"POST\" path=\"/a?b\" protocol=HTTP/1.1 status=200 flags=\"-\" received=4 sent=2 duration_ms=",
        "forwarded_for=\"10.0.0.1\" user_agent=\"a \\\"b\\\"\" request_id=\"7\" authority=\"reviews:9080\"",
        &upstream,
    ] {
        assert!(seen[0].contains(field), "{field} is not in {}", seen[0]);
    }
}

#[tokio::test]
async fn what_went_wrong_has_envoys_word() {
    let (lines, _guard) = Lines::collect();
    let rig = logging().await;
    let silent = Upstream::playing(|mut conn, _| async move {
        conn.head().await;
    })
    .await;
    let broken = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await;
    rig.ask("GET /refused", "127.0.0.1:1".parse().unwrap(), "").await;
    rig.ask("GET /no-route", silent.address, "slime-orig-dest: 1.2.3.4:5\r\n").await;
    rig.ask("GET /no-answer", silent.address, "").await;
    let mut leaving = rig.connect().await;
    leaving.send(&request("GET /left", broken.address, "")).await;
    assert!(leaving.until("hi").await.is_some());
    drop(leaving);
    let seen = lines.has(4).await;
    for (path, rest) in [
        ("/refused", "status=502 flags=\"UF\""),
        ("/no-route", "status=400 flags=\"NR\""),
        ("/no-answer", "status=502 flags=\"UC\""),
        ("/left", "status=200 flags=\"DC\" received=0 sent=2"),
    ] {
        let line = seen.iter().find(|line| line.contains(path)).unwrap();
        assert!(line.contains(rest), "{rest} is not in {line}");
    }
}

#[tokio::test]
async fn without_being_asked_for_there_is_no_line() {
    let (lines, _guard) = Lines::collect();
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    assert!(rig.ask("GET /", upstream.address, "").await.ends_with("hi"));
    assert_eq!(lines.of_requests(), [""; 0]);
}
