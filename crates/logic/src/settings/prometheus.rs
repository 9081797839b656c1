//! `metric.prometheus`: where Prometheus is, what it is asked, and how. Source: contract 1.3, 3.3; what the original does not have is ours.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rusty_promql_parser::lexer::duration::duration;

use serde_json::{Value, json};

use super::keys::warnings_of;
use super::reader::{Reader, SettingsError};
use crate::checksum::checksum;

const KEYS: &[&str] =
    &["address", "basicAuth", "bearerTokenFile", "caFile", "handlers", "headers", "interval", "timeout", "window"];
const HANDLER_KEYS: &[&str] = &["query", "type"];
/// As often as the original asks.
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A week and a day: what runs once a week keeps its direct way.
const WINDOW: Duration = Duration::from_secs(8 * 24 * 3600);

/// How calls are learned from Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prometheus {
    /// `http://HOST[:PORT][/PATH]` or `https://…`, without a slash at the end.
    pub address: String,
    /// What is asked, by the user's names.
    pub handlers: BTreeMap<String, String>,
    /// Time between two rounds.
    pub interval: Duration,
    /// Longest that one query may take.
    pub timeout: Duration,
    /// A host that was not called for so long leaves; `None`: never.
    pub window: Option<Duration>,
    /// What is sent to be let in.
    pub access: Access,
}

impl Prometheus {
    /// As users write it, with a checksum in place of each header's value, which may be a secret.
    pub(super) fn to_value(&self) -> Value {
        let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
        let headers = self.access.headers.0.iter();
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name, format!("#{}", checksum(value)))).collect();
        json!({
            "address": self.address,
            "handlers": self.handlers,
            "interval": seconds(self.interval),
            "timeout": seconds(self.timeout),
            "window": self.window.map(seconds),
            "bearerTokenFile": self.access.bearer_token_file,
            "basicAuth": self.access.basic.as_ref().map(|(user, file)| json!({"username": user, "passwordFile": file})),
            "caFile": self.access.ca_file,
            "headers": headers,
        })
    }
}

/// What is sent to be let in. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// File with a bearer token.
    pub bearer_token_file: Option<String>,
    /// User name, and file with the password.
    pub basic: Option<(String, String)>,
    /// File with the certificates (PEM) that alone are trusted; without it those of the system.
    pub ca_file: Option<String>,
    /// More headers, such as `X-Scope-OrgID`.
    pub headers: Headers,
}

/// Header names and values. The values may be secrets and are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "(not shown)"))).finish()
    }
}

/// Reads the block for the source `prometheus`.
///
/// # Errors
/// The first field that is missing or has the wrong form.
pub(super) fn read(block: &Reader<'_>) -> Result<Prometheus, SettingsError> {
    block.map()?;
    let file = |key: &str| block.key(key).name();
    let window = block.key("window");
    let interval = time(&block.key("interval"), Duration::from_secs(1))?.unwrap_or(INTERVAL);
    let basic = block.key("basicAuth");
    let basic_auth = match basic.map()? {
        None => None,
        Some(_) => {
            let part = |key: &str, what: &str| basic.key(key).name()?.ok_or_else(|| basic.key(key).error(what));
            Some((part("username", "a user name")?, part("passwordFile", "the path of a file with the password")?))
        }
    };
    let bearer_token_file = file("bearerTokenFile")?;
    if bearer_token_file.is_some() && basic_auth.is_some() {
        return Err(block.key("bearerTokenFile").error("nothing where basicAuth is set"));
    }
    Ok(Prometheus {
        address: address(&block.key("address"))?,
        handlers: handlers(&block.key("handlers"))?,
        interval,
        timeout: time(&block.key("timeout"), Duration::from_millis(1))?.unwrap_or(TIMEOUT),
        window: match time(&window, Duration::ZERO)? {
            None => Some(WINDOW),
            Some(Duration::ZERO) => None,
            Some(length) if length < interval * 3 => {
                return Err(window.error("0 for never, or at least three times metric.prometheus.interval"));
            }
            Some(length) => Some(length),
        },
        access: Access { bearer_token_file, basic: basic_auth, ca_file: file("caFile")?, headers: headers(block)? },
    })
}

/// Keys that mean nothing, and handlers that cannot work as they are meant.
pub(super) fn warnings(block: &Reader<'_>) -> Result<Vec<String>, SettingsError> {
    let mut warnings = warnings_of(block, KEYS)?;
    let handlers = block.key("handlers");
    for name in handlers.map()?.into_iter().flat_map(|map| map.keys()) {
        let handler = handlers.key(name);
        warnings.extend(warnings_of(&handler, HANDLER_KEYS)?);
        if handler.key("query").text()?.is_some_and(|query| !query.contains("$source_app")) {
            let path = handler.path();
            warnings.push(format!("{path}.query does not say $source_app, so that every fence gets the same hosts"));
        }
    }
    Ok(warnings)
}

fn address(reader: &Reader<'_>) -> Result<String, SettingsError> {
    let expected = "the address of Prometheus, such as http://prometheus.istio-system:9090, \
                    or general.metricSourceType: accesslog to learn from access logs";
    let Some(text) = reader.name()? else { return Err(reader.error(expected)) };
    let text = text.trim().trim_end_matches('/');
    let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    if text.contains('@') {
        // Not with the text as it is: it ends in logs.
        let found = "one with a user name or password".to_owned();
        return Err(SettingsError {
            path: reader.path().to_owned(),
            expected: "an address alone (use basicAuth)".into(),
            found,
        });
    }
    let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
        && !address.contains(|letter: char| letter.is_whitespace() || letter.is_control() || "?#{}".contains(letter));
    if fits { Ok(address) } else { Err(reader.error(expected)) }
}

fn handlers(reader: &Reader<'_>) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut handlers = BTreeMap::new();
    for name in reader.map()?.into_iter().flat_map(|map| map.keys()) {
        let handler = reader.key(name);
        handler.map()?;
        // The original reads the type and does not use it.
        if handler.key("type").name()?.is_some_and(|text| !matches!(text.as_str(), "Group" | "Value" | "1" | "0")) {
            return Err(handler.key("type").error("Group or Value"));
        }
        let query = handler.key("query");
        let text = query.text()?.filter(|text| !text.trim().is_empty());
        handlers.insert(name.clone(), text.ok_or_else(|| query.error("a PromQL query"))?);
    }
    if handlers.is_empty() {
        return Err(reader.error(
            "at least one handler, such as destination: {query: 'sum(istio_requests_total{source_app=\"$source_app\",\
             reporter=\"destination\"})by(destination_service)', type: Group}",
        ));
    }
    Ok(handlers)
}

fn headers(block: &Reader<'_>) -> Result<Headers, SettingsError> {
    let reader = block.key("headers");
    let mut headers = BTreeMap::new();
    for name in reader.map()?.into_iter().flat_map(|map| map.keys()) {
        let header = reader.key(name);
        // The value is not repeated in an error: it may be a secret.
        let wrong = |expected: &str| SettingsError {
            path: header.path().to_owned(),
            expected: expected.to_owned(),
            found: "something else".to_owned(),
        };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(wrong("the name of a header"));
        }
        if ["authorization", "host", "content-length", "content-type"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err(wrong("another header (bearerTokenFile and basicAuth make Authorization)"));
        }
        let value = header.text().ok().flatten().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        headers.insert(name.clone(), value.ok_or_else(|| wrong("printable text"))?);
    }
    Ok(Headers(headers))
}

/// A time such as `10s`, `1h30m` or `8d`; a bare number counts seconds.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
    let written = || match duration(text) {
        Ok(("", read)) => u64::try_from(read.as_millis()).ok().map(Duration::from_millis),
        _ => None,
    };
    seconds.or_else(written)
}

fn time(reader: &Reader<'_>, least: Duration) -> Result<Option<Duration>, SettingsError> {
    let Some(text) = reader.name()? else { return Ok(None) };
    let time = parse_time(&text).filter(|time| *time >= least);
    let expected = format!("a time such as 10s, 1h30m or 8d, at least {least:?}");
    time.map(Some).ok_or_else(|| reader.error(&expected))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const QUERY: &str =
        "sum(istio_requests_total{source_app=\"$source_app\",reporter=\"destination\"})by(destination_service)\n";

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn block(value: Value) -> Result<Prometheus, String> {
        read(&Reader::new("metric.prometheus", Some(&value))).map_err(|error| error.to_string())
    }

    fn with(key: &str, value: Value) -> Result<Prometheus, String> {
        let mut entry = json!({"address": "http://p:9090", "handlers": {"d": {"query": QUERY}}});
        entry[key] = value;
        block(entry)
    }

    #[test]
    fn the_seeds_block_is_read_as_printed() {
        let read = block(json!({
            "address": "http://prometheus.istio-system:9090",
            "handlers": {"destination": {"query": QUERY, "type": "Group"}},
        }))
        .unwrap();
        assert_eq!(read.address, "http://prometheus.istio-system:9090");
        assert_eq!(read.handlers["destination"], QUERY);
        assert_eq!((read.interval, read.timeout, read.window), (INTERVAL, TIMEOUT, Some(WINDOW)));
    }

    #[test]
    fn a_missing_address_or_handler_is_named_with_a_remedy() {
        for (value, field, remedy) in [
            (json!({}), "metric.prometheus.address:", "metricSourceType: accesslog"),
            (json!({"address": "http://p"}), "metric.prometheus.handlers:", "destination: {query:"),
            (
                json!({"address": "http://p", "handlers": {"d": {}}}),
                "metric.prometheus.handlers.d.query:",
                "a PromQL query",
            ),
            (json!({"address": "{{your_prometheus_address}}"}), "metric.prometheus.address:", "http://prometheus"),
            (json!({"address": "ftp://p"}), "metric.prometheus.address:", "http://prometheus"),
            (json!("http://p"), "metric.prometheus:", "a map"),
        ] {
            let error = block(value).unwrap_err();
            assert!(error.starts_with(field) && error.contains(remedy), "{error}");
        }
        let wrong = with("handlers", json!({"d": {"query": QUERY, "type": "Sum"}})).unwrap_err();
        assert_eq!(wrong, "metric.prometheus.handlers.d.type: expected Group or Value, got \"Sum\"");
        for fits in [json!("Value"), json!(1), json!("0")] {
            assert!(with("handlers", json!({"d": {"query": QUERY, "type": fits}})).is_ok());
        }
    }

    #[test]
    fn an_address_needs_no_scheme_and_may_have_a_path() {
        assert_eq!(with("address", json!("p:9090/")).unwrap().address, "http://p:9090");
        assert_eq!(with("address", json!("https://p/prometheus/")).unwrap().address, "https://p/prometheus");
    }

    #[test]
    fn times_are_written_as_in_prometheus() {
        let seconds = |value: Value| with("interval", value).map(|read| read.interval.as_secs());
        assert_eq!(seconds(json!("1m30s")), Ok(90));
        assert_eq!(seconds(json!(15)), Ok(15));
        for wrong in [json!("fast"), json!("0s"), json!("-5s"), json!("10x"), json!([])] {
            assert!(seconds(wrong).is_err());
        }
        assert_eq!(with("window", json!("0")).unwrap().window, None);
        assert_eq!(with("window", json!("1w")).unwrap().window, Some(Duration::from_secs(7 * 24 * 3600)));
        assert!(with("window", json!("20s")).unwrap_err().contains("three times"));
    }

    #[test]
    fn no_secret_is_in_what_is_printed() {
        let shown = format!("{:?}", with("headers", json!({"X-Scope-OrgID": "s3cret"})).unwrap());
        assert!(shown.contains("X-Scope-OrgID") && !shown.contains("s3cret"), "{shown}");
        for error in [
            with("address", json!("http://me:s3cret@p")).unwrap_err(),
            with("headers", json!({"Authorization": "Bearer s3cret"})).unwrap_err(),
            with("headers", json!({"X-A": "s3cret\n"})).unwrap_err(),
        ] {
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn one_way_to_be_let_in_at_most() {
        let both = json!({"address": "http://p", "handlers": {"d": {"query": QUERY}}, "bearerTokenFile": "/t",
            "basicAuth": {"username": "u", "passwordFile": "/p"}});
        assert!(
            block(both).unwrap_err().starts_with("metric.prometheus.bearerTokenFile: expected nothing where basicAuth")
        );
        let half = with("basicAuth", json!({"username": "u"})).unwrap_err();
        assert!(half.starts_with("metric.prometheus.basicAuth.passwordFile:"), "{half}");
    }

    #[test]
    fn what_means_nothing_is_warned_of() {
        let value = json!({"adress": 1, "handlers": {"d": {"query": "sum(x)", "typ": "Group"}}});
        let warnings = warnings(&Reader::new("metric.prometheus", Some(&value))).unwrap();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with("metric.prometheus.adress is not a known setting"));
        assert!(warnings[1].starts_with("metric.prometheus.handlers.d.typ is not a known setting"));
        assert!(warnings[2].contains("does not say $source_app"));
    }
}
