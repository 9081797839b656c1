//! What a parsed request head does not tell any more about its framing.

/// Whether a raw request head has a Content-Length header; what follows the head is not looked at. A parser that finds Transfer-Encoding too
/// leaves the length out, as it may; whoever parsed the request before us may have done the opposite.
#[must_use]
pub fn has_content_length(raw: &[u8]) -> bool {
    let lines = raw.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    // An empty line may come before the request line, the next one ends the head.
    let head = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
    head.filter_map(|line| line.split(|&byte| byte == b':').next())
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"content-length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_found_in_the_head_and_nowhere_else() {
        for (raw, found) in [
            ("POST / HTTP/1.1\r\nhost: a\r\nContent-LENGTH: 3\r\n\r\n", true),
            ("\r\nPOST / HTTP/1.1\ncontent-length : 3\n\n", true),
            ("POST / HTTP/1.1\r\nx: content-length: 3\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nhost: a\r\n\r\ncontent-length: 3\r\n", false),
            ("", false),
        ] {
            assert_eq!(has_content_length(raw.as_bytes()), found, "{raw:?}");
        }
    }
}
