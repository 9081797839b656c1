//! Reads what decides the route off a request, and carries out what `route` decides about headers.

use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use lazyload_api::names::{DIALLED_BY_HOST_HEADER, ORIG_DEST_HEADER, SOURCE_NS_HEADER};
use lazyload_logic::route::{
    Refusal, RequestHead, ends_here, has_content_length, is_no_trailer, kept_te, listed_in_connection, wanted_upgrade,
};

static ORIG_DEST: HeaderName = HeaderName::from_static("slime-orig-dest");
static SOURCE_NS: HeaderName = HeaderName::from_static("slime-source-ns");
static DIALLED_BY_HOST: HeaderName = HeaderName::from_static(DIALLED_BY_HOST_HEADER);
/// Ours: they tell the forwarder where to go, and are nobody else's business.
static OURS: [&HeaderName; 3] = [&ORIG_DEST, &SOURCE_NS, &DIALLED_BY_HOST];

/// The request head as `route` wants it.
pub(super) fn read(parts: &Parts, listener_port: u16) -> Result<RequestHead<'_>, Refusal> {
    let host = single(&parts.headers, &HOST, "Host")?;
    let original_destination = single(&parts.headers, &ORIG_DEST, ORIG_DEST_HEADER)?;
    let source_namespace = single(&parts.headers, &SOURCE_NS, SOURCE_NS_HEADER)?;
    Ok(RequestHead {
        is_connect: parts.method == Method::CONNECT,
        target_authority: parts.uri.authority().map(http::uri::Authority::as_str),
        host: text(host, "Host")?,
        original_destination: text(original_destination, ORIG_DEST_HEADER)?,
        source_namespace: text(source_namespace, SOURCE_NS_HEADER)?,
        dialled_by_host: parts.headers.contains_key(&DIALLED_BY_HOST),
        listener_port,
    })
}

/// How long a head is as HTTP/2 counts (RFC 9113 section 6.5.2), but for the names of its pseudo-headers.
pub(super) fn list_bytes(parts: &Parts) -> usize {
    const EACH: usize = 32;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + EACH);
    target + fields.sum::<usize>()
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    header: &'static str,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.count() {
        0 => Ok(first),
        more => Err(Refusal::Several { header, count: more + 1 }),
    }
}

fn text<'a>(value: Option<&'a HeaderValue>, header: &'static str) -> Result<Option<&'a str>, Refusal> {
    let value = value.map(HeaderValue::to_str).transpose();
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
    remove_listed(headers);
    remove(headers, |name| OURS.contains(&name) || ends_here(name.as_str()));
    if let Some(te) = te {
        headers.insert(TE, HeaderValue::from_static(te));
    }
    if by_host {
        headers.insert(&DIALLED_BY_HOST, HeaderValue::from_static("1"));
    }
    switch(headers, upgrade);
}

/// Makes an answer's headers those that the client sees.
pub(super) fn for_client(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    remove_listed(headers);
    remove(headers, |name| OURS.contains(&name) || ends_here(name.as_str()));
    switch(headers, upgrade);
}

/// Makes trailers, of either direction, those that the other side sees.
pub(super) fn for_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| OURS.contains(&name) || is_no_trailer(name.as_str()));
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

/// What Connection lists concerns this connection only.
fn remove_listed(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(listed_in_connection) {
        headers.remove(name);
    }
}

/// Looks at each name once: cheaper than to look for each name that there might be.
fn remove(headers: &mut HeaderMap, is_gone: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| is_gone(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

fn switch(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_are_those_that_everybody_uses() {
        for (name, text) in [(&ORIG_DEST, ORIG_DEST_HEADER), (&SOURCE_NS, SOURCE_NS_HEADER)] {
            assert!(text.eq_ignore_ascii_case(name.as_str()), "{text}");
        }
    }
}
