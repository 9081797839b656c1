//! The destination: answers at once, and costs as little as it can.

use std::net::Ipv4Addr;

use anyhow::Context;
use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::http1::{head_end, wanted};

/// The largest answer.
const LARGEST: usize = 1 << 20;

pub async fn run() -> anyhow::Result<()> {
    let (http1, http2) = (listen()?, listen()?);
    println!("{} {}", http1.local_addr()?, http2.local_addr()?);
    let body = Bytes::from(vec![b'x'; LARGEST]);
    let second = tokio::spawn(accept(http2, body.clone(), serve_http2));
    accept(http1, body, serve_http1).await?;
    second.await?
}

/// Room for all clients at once.
fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(4096)
}

/// Failures of single connections are the clients' to tell: here they are only their end.
async fn accept<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    listener: TcpListener,
    body: Bytes,
    serve: impl Fn(TcpStream, Bytes) -> F,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, body.clone()));
    }
}

async fn serve_http1(mut stream: TcpStream, body: Bytes) -> anyhow::Result<()> {
    let mut unread = Vec::with_capacity(4096);
    let mut answer = Vec::new();
    let mut made_for = None;
    loop {
        while let Some(end) = head_end(&unread) {
            let size = wanted(&unread[..end]).filter(|size| *size <= LARGEST).context("no size in the path")?;
            if made_for != Some(size) {
                answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n").into();
                answer.extend_from_slice(&body[..size]);
                made_for = Some(size);
            }
            unread.drain(..end);
            stream.write_all(&answer).await?;
        }
        if stream.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
    }
}

async fn serve_http2(stream: TcpStream, body: Bytes) -> anyhow::Result<()> {
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.max_concurrent_streams(2000).handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let size = request.uri().path().strip_prefix('/').and_then(|size| size.parse::<usize>().ok());
        let size = size.filter(|size| *size <= LARGEST).context("no size in the path")?;
        let answer = Response::builder()
            .status(StatusCode::OK)
            .header("content-type", "text/plain")
            .header("content-length", size)
            .body(())?;
        let mut sending = respond.send_response(answer, false)?;
        sending.send_data(body.slice(..size), true)?;
    }
    Ok(())
}
