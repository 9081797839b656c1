//! curl, as people have it.

use std::path::Path;
use std::time::Duration;

use super::conn::{Conn, begins, has, lacks};
use super::destination::{Destination, OK};
use super::programs::{Serving, run};
use super::proxy::Proxy;
use super::table::{compare, rows};

type Checked = anyhow::Result<()>;

#[tokio::test(flavor = "multi_thread")]
async fn curl_sees_what_it_would_see_without_a_proxy() {
    let rows = rows![
        "GET by HTTP/1.1" => get,
        "GET by HTTP/1.0" => http10,
        "GET by HTTP/2 with prior knowledge" => prior_knowledge,
        "GET with an upgrade to h2c" => upgrade,
        "HEAD" => head,
        "PUT of 8 MiB after 100 (Continue)" => put,
        "POST of chunks from a pipe" => chunks,
        "POST of 8 MiB by HTTP/2" => post_http2,
        "413 before the end of an upload of 64 MiB" => too_large,
        "a redirect is shown, and followed by curl itself with -L" => redirect,
        "--compressed: decoded by curl and by nobody else" => compressed,
        "--raw chunks with a trailer" => raw_trailer,
        "-N: events as they come" => events,
        "CONNECT (curl --proxytunnel) is refused" => connect,
        "a destination with an IPv6 address" => ipv6,
        "a head of 70 KiB: 431" => large_head,
        "two URLs over one connection" => reused,
    ];
    compare("curl", rows).await;
}

/// Runs curl against the proxy, with the destination in its header; what it wrote.
async fn curl(proxy: &Proxy, destination: std::net::SocketAddr, arguments: &[&str]) -> anyhow::Result<String> {
    let mut all = vec!["-sS".to_owned(), "-H".to_owned(), format!("slime-orig-dest: {destination}")];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    if !arguments.iter().any(|argument| argument.contains("http://")) {
        all.push(format!("http://{}/", proxy.address));
    }
    let ended = run(Path::new("curl"), &all, Duration::from_secs(30)).await?;
    anyhow::ensure!(ended.success, "{}", ended.stderr.trim());
    Ok(ended.stdout)
}

/// What to print after the body.
const TOLD: &str = "|%{http_code} %{http_version} %{num_connects} %{size_upload}";

async fn told(proxy: &Proxy, destination: std::net::SocketAddr, arguments: &[&str], expected: &str) -> Checked {
    let seen = curl(proxy, destination, &[&["-w", TOLD], arguments].concat()).await?;
    anyhow::ensure!(seen == expected, "{seen:?} instead of {expected:?}");
    Ok(())
}

async fn get(proxy: &Proxy) -> Checked {
    told(proxy, Destination::answering(OK).await?.address, &[], "hi|200 1.1 1 0").await
}

async fn http10(proxy: &Proxy) -> Checked {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let destination = Destination::answering(chunked).await?;
    let seen = curl(proxy, destination.address, &["--http1.0"]).await?;
    anyhow::ensure!(seen == "hi", "{seen:?}");
    Ok(())
}

const PAGE: &str = "this is the destination\n";

async fn prior_knowledge(proxy: &Proxy) -> Checked {
    let destination = Serving::destination().await;
    told(proxy, destination.address, &["--http2-prior-knowledge"], &format!("{PAGE}|200 2 1 0")).await
}

async fn upgrade(proxy: &Proxy) -> Checked {
    // Either protocol is right, a failure is not.
    let destination = Destination::answering(OK).await?;
    let seen = curl(proxy, destination.address, &["--http2", "-w", TOLD]).await?;
    begins(&seen, "hi|200 ")
}

async fn head(proxy: &Proxy) -> Checked {
    let destination = Destination::answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
    let seen = curl(proxy, destination.address, &["-I"]).await?;
    has(&seen, "content-length: 1000\r\n")
}

/// Reads a body of this length, and answers.
async fn reading(length: usize) -> anyhow::Result<Destination> {
    Destination::playing(move |mut conn, _, notes| async move {
        notes.add(conn.head().await?);
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
        conn.exactly(length).await?;
        conn.send(OK).await
    })
    .await
}

const LARGE: usize = 8 << 20;

fn large_file(size: usize) -> anyhow::Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), vec![b'x'; size])?;
    Ok(file)
}

async fn put(proxy: &Proxy) -> Checked {
    let (destination, file) = (reading(LARGE).await?, large_file(LARGE)?);
    let path = file.path().to_string_lossy();
    let arguments = ["-T", &path, "-H", "Expect: 100-continue", "--expect100-timeout", "20"];
    told(proxy, destination.address, &arguments, &format!("hi|200 1.1 1 {LARGE}")).await
}

async fn chunks(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        notes.add(conn.head().await?);
        notes.add(conn.until("0\r\n\r\n").await?);
        conn.send(OK).await
    })
    .await?;
    // From standard input, which is empty here, and of unknown length: what is sent is the last chunk.
    told(proxy, destination.address, &["-X", "POST", "-H", "Expect:", "-T", "-"], "hi|200 1.1 1 5").await?;
    has(&destination.noted(1).await?[0].to_lowercase(), "transfer-encoding: chunked\r\n")
}

async fn post_http2(proxy: &Proxy) -> Checked {
    let (destination, file) = (Serving::destination().await, large_file(LARGE)?);
    let data = format!("@{}", file.path().to_string_lossy());
    let arguments = ["--http2-prior-knowledge", "--data-binary", &data];
    told(proxy, destination.address, &arguments, &format!("{PAGE}|200 2 1 {LARGE}")).await
}

async fn too_large(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno").await?;
        conn.drained().await;
        Ok(())
    })
    .await?;
    let file = large_file(64 << 20)?;
    let data = format!("@{}", file.path().to_string_lossy());
    let seen =
        curl(proxy, destination.address, &["--data-binary", &data, "-H", "Expect:", "-w", "|%{http_code}"]).await?;
    anyhow::ensure!(seen == "no|413", "{seen:?}");
    Ok(())
}

async fn redirect(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        while let Ok(head) = conn.head().await {
            let moved = "HTTP/1.1 301 Moved Permanently\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
            conn.send(if head.starts_with("GET /there ") { OK } else { moved }).await?;
        }
        Ok(())
    })
    .await?;
    let shown = "%{http_code} %{num_redirects}";
    let seen = curl(proxy, destination.address, &["-w", shown]).await?;
    anyhow::ensure!(seen == "301 0", "{seen:?}");
    let seen = curl(proxy, destination.address, &["-L", "-w", shown]).await?;
    anyhow::ensure!(seen == "hi200 1", "{seen:?}");
    Ok(())
}

async fn compressed(proxy: &Proxy) -> Checked {
    // "hi" by gzip.
    const GZIPPED: [u8; 22] = [31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 200, 4, 0, 172, 42, 147, 216, 2, 0, 0, 0];
    let destination = Destination::playing(|mut conn, _, notes| async move {
        notes.add(conn.head().await?);
        conn.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 22\r\n\r\n").await?;
        conn.send(GZIPPED).await
    })
    .await?;
    told(proxy, destination.address, &["--compressed"], "hi|200 1.1 1 0").await?;
    has(&destination.noted(1).await?[0].to_lowercase(), "accept-encoding: deflate, gzip")
}

async fn raw_trailer(proxy: &Proxy) -> Checked {
    let answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
    let destination = Destination::answering(answer).await?;
    let seen = curl(proxy, destination.address, &["--raw", "-H", "te: trailers"]).await?;
    anyhow::ensure!(seen == "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n", "{seen:?}");
    Ok(())
}

async fn events(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: a\n\n").await?;
        conn.drained().await;
        Ok(())
    })
    .await?;
    // The stream has no end: what has arrived when curl gives up must be there.
    let url = format!("http://{}/", proxy.address);
    let header = format!("slime-orig-dest: {}", destination.address);
    let arguments = ["-sS", "-N", "-m", "2", "-H", &header, &url].map(str::to_owned);
    let ended = run(Path::new("curl"), &arguments, Duration::from_secs(20)).await?;
    begins(&ended.stdout, "data: a")
}

async fn connect(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let (through, to) = (format!("http://{}", proxy.address), format!("http://{}/", destination.address));
    let seen = curl(proxy, destination.address, &["--proxytunnel", "--proxy", &through, &to]).await;
    anyhow::ensure!(seen.is_err(), "{seen:?}");
    anyhow::ensure!(destination.connections() == 0, "a connection was made");
    Ok(())
}

async fn ipv6(proxy: &Proxy) -> Checked {
    let destination = Destination::playing_at("[::1]:0", |mut conn: Conn, _, _| async move {
        conn.head().await?;
        conn.send(OK).await
    })
    .await?;
    told(proxy, destination.address, &[], "hi|200 1.1 1 0").await
}

async fn large_head(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let header = format!("x-large: {}", "x".repeat(70 << 10));
    let seen = curl(proxy, destination.address, &["-H", &header, "-w", "|%{http_code}"]).await?;
    anyhow::ensure!(seen.ends_with("|431"), "{seen:?}");
    Ok(())
}

async fn reused(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let url = format!("http://{}/", proxy.address);
    let seen = curl(proxy, destination.address, &["-w", "%{num_connects}", &url, &url]).await?;
    anyhow::ensure!(seen == "hi1hi0", "{seen:?}");
    lacks(&destination.noted(2).await?[0], "slime")
}
