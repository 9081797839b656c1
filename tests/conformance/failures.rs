//! Failures: each cause has its status, and ours says which side failed and why.

use std::net::SocketAddr;
use std::time::Duration;

use super::conn::{Conn, ask, begins, has, request};
use super::destination::{Destination, OK};
use super::proxy::{Kind, Proxy};
use super::table::{compare, rows};

type Checked = anyhow::Result<()>;

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_honest() {
    let rows = rows![
        "400: no Host" => no_host,
        "400: several Hosts" => two_hosts,
        "400: an original destination that is none" => no_destination,
        "400: a head that is no HTTP" => no_http,
        "404: no such host" => no_such_host,
        "431: a head beyond the limit" => long_head,
        "431: a head beyond the limit, in one line" => long_line,
        "a head of 59 KiB passes" => large_head,
        "502: nobody listens" => refused,
        "502: closed without an answer" => closed,
        "502: an answer that is no HTTP" => not_http_answer,
        "502: an answer head beyond the limit" => long_answer_head,
        "504: the destination does not accept" => unaccepting,
        "gRPC: status 200, grpc-status 14, no body" => grpc,
        "502 arrives although the client goes on with an upload of 64 MiB" => refused_upload,
        "the connection is of use after a failure of the destination" => kept,
    ];
    compare("Failures", rows).await;
}

/// As it runs in a mesh; Envoy dials whatever it is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_dialled_is_misdirected() {
    let Some(_) = Proxy::both("guard").await else { return };
    let (ours, to) = (Proxy::ours("full").await, nobody().await.unwrap());
    for (line, host, to) in [
        ("GET /", "a.b", to.to_string()),
        ("GET /", "a.b", "169.254.169.254:80".to_owned()),
        ("GET /", "a.b", "[::1]:80".to_owned()),
        ("GET /", "a.b", "10.96.0.1:10250".to_owned()),
        ("GET /", "localhost", String::new()),
    ] {
        let to = if to.is_empty() { to } else { format!("slime-orig-dest: {to}\r\n") };
        let answer =
            raw(&ours, &format!("{line} HTTP/1.1\r\nhost: {host}\r\n{to}connection: close\r\n\r\n")).await.unwrap();
        failed(&ours, &answer, 421, "client").unwrap_or_else(|error| panic!("{host} {to}: {error}: {answer}"));
    }
}

/// A status and, of ours, the side that failed.
fn failed(proxy: &Proxy, answer: &str, status: u16, side: &str) -> Checked {
    begins(answer, &format!("HTTP/1.1 {status} "))?;
    if proxy.kind == Kind::Ours {
        has(answer, &format!("x-lazyload-failure: {side}; "))?;
    }
    Ok(())
}

async fn raw(proxy: &Proxy, bytes: &str) -> anyhow::Result<String> {
    let mut client = Conn::to(proxy).await?;
    client.send(bytes).await?;
    client.rest().await
}

async fn nobody() -> anyhow::Result<SocketAddr> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn no_host(proxy: &Proxy) -> Checked {
    let to = nobody().await?;
    failed(proxy, &raw(proxy, &format!("GET / HTTP/1.1\r\nslime-orig-dest: {to}\r\n\r\n")).await?, 400, "client")
}

async fn two_hosts(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let answer = raw(proxy, &request("GET /", destination.address, "host: b\r\nconnection: close\r\n")).await?;
    failed(proxy, &answer, 400, "client")
}

async fn no_destination(proxy: &Proxy) -> Checked {
    let answer = raw(proxy, "GET / HTTP/1.1\r\nhost: a.b\r\nslime-orig-dest: a:b\r\nconnection: close\r\n\r\n").await?;
    failed(proxy, &answer, 400, "client")
}

async fn no_http(proxy: &Proxy) -> Checked {
    failed(proxy, &raw(proxy, "no http\r\n\r\n").await?, 400, "client")
}

async fn no_such_host(proxy: &Proxy) -> Checked {
    let answer = raw(proxy, "GET / HTTP/1.1\r\nhost: no-such.invalid\r\nconnection: close\r\n\r\n").await?;
    failed(proxy, &answer, 404, "client")
}

async fn long_head(proxy: &Proxy) -> Checked {
    let more: String = (0..90).map(|number| format!("x-{number}: {}\r\n", "x".repeat(1000))).collect();
    let answer = raw(proxy, &request("GET /", nobody().await?, &more)).await?;
    failed(proxy, &answer, 431, "client")
}

async fn long_line(proxy: &Proxy) -> Checked {
    let more = format!("x: {}\r\n", "x".repeat(90_000));
    failed(proxy, &raw(proxy, &request("GET /", nobody().await?, &more)).await?, 431, "client")
}

async fn large_head(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let value = "x".repeat(59 * 1024);
    let answer = ask(proxy, "GET /", destination.address, &format!("x: {value}\r\n")).await?;
    begins(&answer, "HTTP/1.1 200")?;
    has(&destination.noted(1).await?[0], &value)
}

async fn refused(proxy: &Proxy) -> Checked {
    failed(proxy, &ask(proxy, "GET /", nobody().await?, "").await?, 502, "upstream")
}

async fn refused_upload(proxy: &Proxy) -> Checked {
    let mut client = Conn::to(proxy).await?;
    let length = 64 << 20;
    client.send(request("POST /", nobody().await?, &format!("content-length: {length}\r\n"))).await?;
    let part = vec![b'x'; 64 * 1024];
    for _ in 0..length / part.len() {
        // Without looking at the answer, and whether or not it is taken: what counts is that the answer is not lost.
        if client.send(&part).await.is_err() {
            break;
        }
    }
    failed(proxy, &client.head().await?, 502, "upstream")
}

async fn closed(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move { conn.head().await.map(drop) }).await?;
    failed(proxy, &ask(proxy, "GET /", destination.address, "").await?, 502, "upstream")
}

async fn not_http_answer(proxy: &Proxy) -> Checked {
    let destination = Destination::answering("SSH-2.0-OpenSSH_9.6\r\n").await?;
    failed(proxy, &ask(proxy, "GET /", destination.address, "").await?, 502, "upstream")
}

async fn long_answer_head(proxy: &Proxy) -> Checked {
    let answer = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(2 << 20));
    let destination = Destination::answering(answer).await?;
    failed(proxy, &ask(proxy, "GET /", destination.address, "").await?, 502, "upstream")
}

async fn unaccepting(proxy: &Proxy) -> Checked {
    // A queue for one connection, filled: the system drops further attempts.
    let listener = tokio::net::TcpSocket::new_v4()?;
    listener.bind("127.0.0.1:0".parse()?)?;
    let listener = listener.listen(0)?;
    let to = listener.local_addr()?;
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(to)).await
    {
        waiting.push(stream);
    }
    failed(proxy, &ask(proxy, "GET /", to, "").await?, 504, "upstream")
}

async fn grpc(proxy: &Proxy) -> Checked {
    let answer =
        ask(proxy, "POST /", nobody().await?, "content-type: application/grpc\r\ncontent-length: 0\r\n").await?;
    begins(&answer, "HTTP/1.1 200 ")?;
    has(&answer, "grpc-status: 14\r\n")?;
    anyhow::ensure!(answer.ends_with("\r\n\r\n"), "{answer:?}");
    Ok(())
}

async fn kept(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", nobody().await?, "")).await?;
    let head = client.head().await?;
    let length =
        head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let length: usize = length.ok_or_else(|| anyhow::anyhow!("{head:?}"))?;
    let body = client.exactly(length).await?;
    client.send(request("GET /", destination.address, "")).await?;
    let head = client.head().await?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head:?} after {body:?}");
    Ok(())
}
