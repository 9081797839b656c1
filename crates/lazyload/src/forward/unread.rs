//! A head that cannot be read is answered by the HTTP library, with a status and not a word. Here its answer gets what all others have.

use bytes::Bytes;
use http::StatusCode;
use lazyload_api::names::FAILURE_HEADER;

use super::failure::Failure;

/// How the library's answers end, which are nothing but a status.
const WORDLESS: &[u8] = b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The library's answer with the reason in it; nothing if these bytes are something else.
pub(super) fn in_words(written: &[u8]) -> Option<Bytes> {
    let line = written.strip_suffix(WORDLESS)?.strip_prefix(b"HTTP/1.1 ")?;
    let status = StatusCode::from_bytes(line.get(..3)?).ok().filter(StatusCode::is_client_error)?;
    if line.contains(&b'\n') {
        return None;
    }
    let failure = Failure::Unreadable(status);
    let (text, header) = (failure.text(), failure.header());
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{FAILURE_HEADER}: {header}\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    Some(Bytes::from(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_library_gets_words_and_no_other_does() {
        let wordless = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = in_words(wordless.as_bytes()).unwrap();
        let answer = std::str::from_utf8(&answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert!(answer.contains("x-lazyload-failure: client; the request head is too large\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\nlazyload global-sidecar: client side: the request head is too large\n"),
            "{answer}"
        );
        for other in [
            "HTTP/1.1 431 Request Header Fields Too Large\r\nx: y\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            assert!(in_words(other.as_bytes()).is_none(), "{other}");
        }
    }
}
