//! Reads what decides the route off a request, and carries out what `route` decides about headers.

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use lazyload_api::names::{DIALLED_BY_HOST_HEADER, ORIG_DEST_HEADER, SOURCE_NS_HEADER};
use lazyload_logic::route::{
    ENDS_HERE, NO_TRAILER, Refusal, RequestHead, has_content_length, kept_te, listed_in_connection, wanted_upgrade,
};

/// Ours: they tell the forwarder where to go, and are nobody else's business.
const OURS: [&str; 3] = [ORIG_DEST_HEADER, SOURCE_NS_HEADER, DIALLED_BY_HOST_HEADER];

/// The request head as `route` wants it.
pub(super) fn read(parts: &Parts, listener_port: u16) -> Result<RequestHead<'_>, Refusal> {
    for header in ["Host", ORIG_DEST_HEADER, SOURCE_NS_HEADER] {
        let count = parts.headers.get_all(header).iter().count();
        if count > 1 {
            return Err(Refusal::Several { header, count });
        }
    }
    Ok(RequestHead {
        is_connect: parts.method == Method::CONNECT,
        target_authority: parts.uri.authority().map(http::uri::Authority::as_str),
        host: text(&parts.headers, "Host")?,
        original_destination: text(&parts.headers, ORIG_DEST_HEADER)?,
        source_namespace: text(&parts.headers, SOURCE_NS_HEADER)?,
        dialled_by_host: parts.headers.contains_key(DIALLED_BY_HOST_HEADER),
        listener_port,
    })
}

fn text<'a>(headers: &'a HeaderMap, header: &'static str) -> Result<Option<&'a str>, Refusal> {
    let value = headers.get(header).map(HeaderValue::to_str).transpose();
    value.map(|value| value.map(str::trim)).map_err(|_| Refusal::NotText { header })
}

/// The protocol that a message asks to switch to.
pub(super) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE).filter(|_| version == Version::HTTP_11)?;
    let protocol = upgrade.to_str().ok()?;
    let wanted = |connection: &HeaderValue| {
        connection.to_str().is_ok_and(|connection| wanted_upgrade(connection, protocol).is_some())
    };
    headers.get_all(CONNECTION).iter().any(wanted).then(|| upgrade.clone())
}

/// Makes a request's headers those that the destination sees, but for Host.
pub(super) fn for_upstream(headers: &mut HeaderMap, by_host: bool, upgrade: Option<HeaderValue>) {
    let te = headers.get_all(TE).iter().find_map(|value| kept_te(value.to_str().ok()?));
    end_here(headers);
    for name in OURS {
        headers.remove(name);
    }
    if let Some(te) = te {
        headers.insert(TE, HeaderValue::from_static(te));
    }
    if by_host {
        headers.insert(DIALLED_BY_HOST_HEADER, HeaderValue::from_static("1"));
    }
    switch(headers, upgrade);
}

/// Makes an answer's headers those that the client sees.
pub(super) fn for_client(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    end_here(headers);
    switch(headers, upgrade);
}

/// Makes trailers, of either direction, those that the other side sees.
pub(super) fn for_trailers(trailers: &mut HeaderMap) {
    for name in OURS.iter().chain(&ENDS_HERE).chain(&NO_TRAILER) {
        trailers.remove(*name);
    }
}

/// Whether the body's framing is as clear to everybody else as it is to us. `raw` is the head as it came, or a part of it.
pub(super) fn check_framing(parts: &Parts, raw: &[u8]) -> Result<(), Refusal> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        let value = String::from_utf8_lossy(coding.as_bytes()).into_owned();
        return Err(Refusal::TransferCoding { value });
    }
    // The parser has dropped Content-Length silently.
    if has_content_length(raw) { Err(Refusal::TwoLengths) } else { Ok(()) }
}

fn end_here(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(listed_in_connection) {
        headers.remove(name);
    }
    for name in ENDS_HERE {
        headers.remove(name);
    }
}

fn switch(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}
