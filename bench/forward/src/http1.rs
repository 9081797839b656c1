//! As much of HTTP/1.1 as both ends need: heads without bodies, answers with a Content-Length.

use anyhow::{Context, bail};

/// Where the head at the start of `bytes` ends; nothing if it is not complete.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// How many bytes the whole answer has, if its head is here and says 200.
pub fn answer_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = head_end(bytes) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("unexpected answer: {}", head.lines().next().unwrap_or_default());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some(end + length.context("an answer without Content-Length")??))
}

/// The size that `GET /SIZE HTTP/1.1` asks for.
pub fn wanted(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.split(' ').nth(1)?.strip_prefix('/')?.parse().ok()
}
