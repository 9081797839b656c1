//! HTTP/2 in bytes, for what no client library sends: headers that would become lines of HTTP/1 somewhere, and lengths that are not true.

use http::Response;

use super::http2::{empty, serving};
use super::*;

/// A frame's type.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// Flags of HEADERS and DATA.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Literal fields without indexing and without Huffman: bytes as they are.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// What the forwarder makes of a request: the end of the stream or connection, or the block of an answer's headers.
async fn told(rig: &Rig, head: &[(&str, &str)], body: Option<&str>) -> Result<Vec<u8>, u8> {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let end = if body.is_some() { 0 } else { END_STREAM };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &fields(head)));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut header = [0; 9];
        if within("a frame", stream.read_exact(&mut header)).await.is_err() {
            return Err(GOAWAY);
        }
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[1], header[2]]))];
        stream.read_exact(&mut payload).await.unwrap();
        match header[3] {
            HEADERS => return Ok(payload),
            RST_STREAM | GOAWAY => return Err(header[3]),
            _ => {}
        }
    }
}

/// The request that all others are variations of.
fn honest(destination: &str) -> Vec<(&str, &str)> {
    let path = [(":method", "POST"), (":scheme", "http"), (":authority", "reviews:9080"), (":path", "/")];
    [path.as_slice(), &[("slime-orig-dest", destination)]].concat()
}

#[tokio::test]
async fn what_would_be_two_lines_or_two_lengths_in_http1_is_refused() {
    let (seen_tx, seen) = watch::channel(0);
    let (address, _) = serving(100, move |_| {
        seen_tx.send_modify(|seen| *seen += 1);
        async { Response::new(empty()) }
    })
    .await;
    let (rig, destination) = (Rig::start().await, address.to_string());
    // 200 has a place of its own in the table of HPACK: 0x88.
    let answer = told(&rig, &honest(&destination), Some("body")).await.unwrap();
    assert_eq!((answer[0], *seen.borrow()), (0x88, 1));
    let mut served = Vec::new();
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("content-length", "5"),
        ("content-length", "-1"),
        ("x", "1\r\ntransfer-encoding: chunked"),
        ("x", "1\ny: 2"),
        ("x", "1\0"),
        ("x\r\ny", "1"),
        ("x: 1\r\ny", "1"),
        ("x y", "1"),
        ("X-Upper", "1"),
        ("x:y", "1"),
        ("", "1"),
        (":x", "1"),
        (":path", "/again"),
        (":status", "200"),
        ("host", "a\r\nb: c"),
    ] {
        let mut head = honest(&destination);
        head.push((name, value));
        if told(&rig, &head, Some("body")).await.is_ok_and(|answer| answer[0] == 0x88) {
            served.push((name, value));
        }
    }
    for (name, value) in [
        (":path", "/ HTTP/1.1\r\nhost: evil\r\n\r\n"),
        (":path", "/a b"),
        (":path", ""),
        (":method", "GET / HTTP/1.1\r\nx: y"),
        (":method", "G T"),
        (":method", "CONNECT"),
        (":authority", "reviews:9080\r\nx: y"),
        (":authority", "a/b"),
        (":scheme", "http://evil/?"),
    ] {
        let mut head = honest(&destination);
        head.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = value);
        if told(&rig, &head, Some("body")).await.is_ok_and(|answer| answer[0] == 0x88) {
            served.push((name, value));
        }
    }
    assert_eq!(served, []);
    assert_eq!(*seen.borrow(), 1, "reached the destination");
}
