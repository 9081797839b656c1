//! One end of a connection, spoken to in bytes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// A read or a write that takes longer has failed.
const GIVE_UP: Duration = Duration::from_secs(10);

pub struct Conn {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Conn {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// A connection to a proxy.
    pub async fn to(proxy: &Proxy) -> anyhow::Result<Self> {
        Ok(Self::new(TcpStream::connect(proxy.address).await?))
    }

    /// The connection, and what was read of it and not used.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
        tokio::time::timeout(GIVE_UP, self.stream.write_all(text.as_ref()))
            .await
            .context("a write took too long")??;
        Ok(())
    }

    /// Everything up to and with `end`.
    pub async fn until(&mut self, end: &str) -> anyhow::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end.as_bytes()) {
                let read = self.unread.drain(..at + end.len()).collect();
                return Ok(String::from_utf8(read)?);
            }
            let unread = String::from_utf8_lossy(&self.unread).into_owned();
            let read = tokio::time::timeout(GIVE_UP, self.stream.read_buf(&mut self.unread)).await;
            let read = read.with_context(|| format!("{end:?} did not come, but {unread:?}"))??;
            anyhow::ensure!(read > 0, "closed before {end:?}, after {unread:?}");
        }
    }

    /// A head, with its empty line.
    pub async fn head(&mut self) -> anyhow::Result<String> {
        self.until("\r\n\r\n").await
    }

    /// So many bytes.
    pub async fn exactly(&mut self, count: usize) -> anyhow::Result<String> {
        while self.unread.len() < count {
            let read =
                tokio::time::timeout(GIVE_UP, self.stream.read_buf(&mut self.unread)).await.context("too slow")??;
            anyhow::ensure!(read > 0, "closed after {} of {count} bytes", self.unread.len());
        }
        Ok(String::from_utf8(self.unread.drain(..count).collect())?)
    }

    /// Everything up to the end of the connection, be it orderly or not.
    pub async fn rest(&mut self) -> anyhow::Result<String> {
        let end = tokio::time::timeout(GIVE_UP, self.stream.read_to_end(&mut self.unread)).await;
        end.with_context(|| format!("no end after {:?}", String::from_utf8_lossy(&self.unread)))?.ok();
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// Drops whatever comes until the connection ends; how much it was.
    pub async fn drained(&mut self) -> usize {
        let mut count = self.unread.len();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(GIVE_UP, self.stream.read(&mut buffer)).await {
            count += read;
        }
        count
    }
}

/// A request head with the destination in its header.
pub fn request(line: &str, destination: SocketAddr, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: reviews.default:9080\r\nslime-orig-dest: {destination}\r\n{more}\r\n")
}

/// Sends one request and returns the whole answer.
pub async fn ask(proxy: &Proxy, line: &str, destination: SocketAddr, more: &str) -> anyhow::Result<String> {
    let mut client = Conn::to(proxy).await?;
    client.send(request(line, destination, &format!("connection: close\r\n{more}"))).await?;
    client.rest().await
}

/// The header lines of a head with lower-case names, sorted.
pub fn all_lines(head: &str) -> Vec<String> {
    let lower = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines: Vec<_> = head.lines().skip(1).map(lower).collect();
    lines.sort_unstable();
    lines
}

/// [`all_lines`] without what Envoy adds; a row of its own tells that.
pub fn lines(head: &str) -> Vec<String> {
    let added = ["date: ", "x-forwarded-proto: "];
    let mut lines = all_lines(head);
    lines.retain(|line| !added.iter().any(|added| line.starts_with(added)));
    lines
}

/// Fails with what was seen unless it begins like that.
pub fn begins(seen: &str, expected: &str) -> anyhow::Result<()> {
    anyhow::ensure!(seen.starts_with(expected), "{}", seen.lines().next().unwrap_or("nothing"));
    Ok(())
}

/// Fails with what was seen unless it has this part.
pub fn has(seen: &str, part: &str) -> anyhow::Result<()> {
    anyhow::ensure!(seen.contains(part), "no {part:?} in {seen:?}");
    Ok(())
}

/// Fails with what was seen if it has this part.
pub fn lacks(seen: &str, part: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!seen.to_ascii_lowercase().contains(part), "{part:?} in {seen:?}");
    Ok(())
}
