//! What matters of an access-log message, read from its bytes without decoding the rest: borrows, does not allocate.
//!
//! | message (package `envoy.`…)                             | field                              | number |
//! |---------------------------------------------------------|------------------------------------|--------|
//! | `service.accesslog.v3.StreamAccessLogsMessage`          | `http_logs`, `tcp_logs`            | 2, 3   |
//! | `…HTTPAccessLogEntries`, `…TCPAccessLogEntries`         | `log_entry` (repeated)             | 1      |
//! | `data.accesslog.v3.HTTPAccessLogEntry`                  | `common_properties`                | 1      |
//! |                                                         | `request`                          | 3      |
//! |                                                         | `response`                         | 4      |
//! | `AccessLogCommon`                                       | `tls_properties`                   | 4      |
//! |                                                         | `start_time`                       | 5      |
//! |                                                         | `upstream_cluster`                 | 15     |
//! |                                                         | `downstream_direct_remote_address` | 20     |
//! | `config.core.v3.Address` (one of)                       | `socket_address`                   | 1      |
//! |                                                         | `pipe`, `envoy_internal_address`   | 2, 3   |
//! | `SocketAddress`                                         | `address`                          | 2      |
//! | `TLSProperties`                                         | `peer_certificate_properties`      | 5      |
//! | `…CertificateProperties`                                | `subject_alt_name` (repeated)      | 1      |
//! | `…SubjectAltName` (one of)                              | `uri`, `dns`                       | 1, 2   |
//! | `HTTPRequestProperties`                                 | `authority`                        | 3      |
//! | `HTTPResponseProperties`                                | `response_code`                    | 1      |
//! | `google.protobuf.UInt32Value`                           | `value`                            | 1      |
//!
//! As every decoder does: of a repeated single field the last value counts, repeated sub-messages merge, of alternatives the
//! last one counts. Unlike a decoder: an entry that is malformed costs that entry alone.

use lazyload_logic::observation::{Caller, Entry, identity};

use super::fields::{Fields, Malformed, Value};

/// One entry of a message, in the bytes that it came in. Texts are judged by [`Scanned::entry`]: a later value may replace a bad one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    /// What decisions are made from.
    pub(super) said: Said<'a>,
    /// The answer's status code; 0 where there was none.
    pub(super) response_code: u32,
    /// When the call began, as a message that nobody has read yet: it is wanted of new pairs alone, and a bad one costs nothing else.
    pub(super) began: &'a [u8],
}

/// What decisions are made from: the same bytes always tell the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) caller: SaidCaller<'a>,
    pub(super) peer: Option<&'a [u8]>,
    pub(super) upstream_cluster: &'a [u8],
    pub(super) authority: &'a [u8],
}

/// The caller's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SaidCaller<'a> {
    #[default]
    Absent,
    NotSocket,
    Socket(&'a [u8]),
}

impl<'a> Said<'a> {
    /// The same as text.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn entry(&self) -> Result<Entry<'a>, Malformed> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed);
        let caller = match self.caller {
            SaidCaller::Absent => Caller::Absent,
            SaidCaller::NotSocket => Caller::NotSocket,
            SaidCaller::Socket(address) => Caller::Address(text(address)?),
        };
        Ok(Entry {
            caller,
            peer: self.peer.map(text).transpose()?,
            upstream_cluster: text(self.upstream_cluster)?,
            authority: text(self.authority)?,
        })
    }
}

/// What could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// One entry.
    Entry,
    /// One entry, because it is of a connection and not of a request.
    Tcp,
    /// The message around the entries; some may be lost.
    Message,
}

/// The entries of a `StreamAccessLogsMessage`.
pub(super) fn scan(message: &[u8]) -> Entries<'_> {
    Entries { message: Fields::new(message), logs: Fields::new(&[]), tcp: false }
}

/// See [`scan`].
#[derive(Clone, Debug)]
pub(super) struct Entries<'a> {
    message: Fields<'a>,
    /// The entries of the field that is being read.
    logs: Fields<'a>,
    tcp: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Scanned<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.logs.next() {
                Some(Ok((1, _))) if self.tcp => return Some(Err(Bad::Tcp)),
                Some(Ok((1, value))) => return Some(read_entry(value).map_err(|Malformed| Bad::Entry)),
                Some(Ok(_)) => {}
                Some(Err(Malformed)) => return Some(Err(Bad::Message)),
                None => match self.message.next()? {
                    Ok((field @ (2 | 3), Value::Bytes(logs))) => {
                        self.logs = Fields::new(logs);
                        self.tcp = field == 3;
                    }
                    Ok((2 | 3, _)) | Err(Malformed) => return Some(Err(Bad::Message)),
                    Ok(_) => {}
                },
            }
        }
    }
}

fn read_entry(value: Value<'_>) -> Result<Scanned<'_>, Malformed> {
    let mut scanned = Scanned::default();
    for field in Fields::new(value.bytes()?) {
        match field? {
            (1, common) => scanned.merge_common(common.bytes()?)?,
            (3, request) => scanned.said.merge_request(request.bytes()?)?,
            (4, response) => scanned.merge_response(response.bytes()?)?,
            _ => {}
        }
    }
    Ok(scanned)
}

impl<'a> Said<'a> {
    fn merge_address(&mut self, address: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(address) {
            match field? {
                (1, socket) => self.merge_socket(socket.bytes()?)?,
                (2 | 3, other) => {
                    other.bytes()?;
                    self.caller = SaidCaller::NotSocket;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_socket(&mut self, socket: &'a [u8]) -> Result<(), Malformed> {
        let mut address: &[u8] = if let SaidCaller::Socket(address) = self.caller { address } else { &[] };
        for field in Fields::new(socket) {
            if let (2, value) = field? {
                address = value.bytes()?;
            }
        }
        self.caller = SaidCaller::Socket(address);
        Ok(())
    }

    fn merge_tls(&mut self, tls: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(tls) {
            let (5, certificate) = field? else { continue };
            for field in Fields::new(certificate.bytes()?) {
                let (1, name) = field? else { continue };
                let uri = read_uri(name.bytes()?)?.filter(|uri| uri.starts_with(b"spiffe://"));
                // One is the rule; of several it is the first one that Istio could have given.
                self.peer = match (self.peer, uri) {
                    (Some(first), Some(other)) if !is_istios(first) && is_istios(other) => Some(other),
                    (first, uri) => first.or(uri),
                };
            }
        }
        Ok(())
    }

    fn merge_request(&mut self, request: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(request) {
            if let (3, authority) = field? {
                self.authority = authority.bytes()?;
            }
        }
        Ok(())
    }
}

impl<'a> Scanned<'a> {
    fn merge_common(&mut self, common: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(common) {
            match field? {
                (4, tls) => self.said.merge_tls(tls.bytes()?)?,
                (5, Value::Bytes(time)) => self.began = time,
                (15, cluster) => self.said.upstream_cluster = cluster.bytes()?,
                (20, address) => self.said.merge_address(address.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_response(&mut self, response: &[u8]) -> Result<(), Malformed> {
        for field in Fields::new(response) {
            let (1, code) = field? else { continue };
            for field in Fields::new(code.bytes()?) {
                if let (1, value) = field? {
                    self.response_code = value.uint32()?;
                }
            }
        }
        Ok(())
    }
}

fn is_istios(uri: &[u8]) -> bool {
    std::str::from_utf8(uri).is_ok_and(|uri| identity::parse(uri).is_some())
}

/// The URI of a subject alternative name, if it is one.
fn read_uri(name: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut uri = None;
    for field in Fields::new(name) {
        match field? {
            (1, value) => uri = Some(value.bytes()?),
            (2, dns) => {
                dns.bytes()?;
                uri = None;
            }
            _ => {}
        }
    }
    Ok(uri)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
