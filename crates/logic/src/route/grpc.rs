//! Failures in the words of gRPC: always status 200, and the reason in headers of its own.

use std::fmt::Write;

/// Whether a Content-Type is gRPC's; gRPC-Web's is another.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b'+' | b';' | b' '))
}

/// The gRPC status for an HTTP status of our own (gRPC's own table for answers of proxies, but 421: this peer may not go there).
#[must_use]
pub fn grpc_status(http: u16) -> u16 {
    match http {
        400 | 431 => 13,
        404 | 501 => 12,
        421 => 7,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// A text as `grpc-message` carries it: everything but visible ASCII and spaces percent-encoded.
#[must_use]
pub fn grpc_message(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(kind.as_bytes()), expected, "{kind}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(grpc_message("50% of ä\n"), "50%25 of %C3%A4%0A");
    }

    #[test]
    fn what_may_pass_is_unavailable_and_what_does_not_is_not() {
        assert_eq!([502, 503, 504].map(grpc_status), [14; 3]);
        assert_eq!([400, 404, 421, 508].map(grpc_status), [13, 12, 7, 2]);
    }
}
