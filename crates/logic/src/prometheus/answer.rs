//! What Prometheus answers to an instant query, and what of it is evidence for which fence. Source: Prometheus' HTTP API, contract 3.3.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Samples;
use super::template::Query;
use crate::ledger::host_of_evidence;
use crate::observation::authority;
use crate::types::ObjectRef;

/// Why a sample is no evidence: not exactly one label that can name a host; no host in it (`unknown`, an address, nonsense); nothing was
/// called (zero, or no number).
pub const SKIP_REASONS: [&str; 3] = ["labels", "no_host", "no_calls"];

/// An answer that tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not an answer of Prometheus.
    #[error("failed to read the answer: {0}")]
    Malformed(String),
    /// Prometheus says what is wrong.
    #[error("{kind}: {message}")]
    Refused {
        /// Its kind of error, such as `bad_data` or `execution`.
        kind: String,
        /// Its explanation.
        message: String,
    },
    /// The query gives no instant vector.
    #[error("expected a query that gives an instant vector, got a {0}")]
    NotAVector(String),
}

/// What an answer tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Evidence for every fence of the query, with or without any.
    pub fences: BTreeMap<ObjectRef, Samples>,
    /// Series that were left out, in the order of [`SKIP_REASONS`].
    pub skipped: [u64; SKIP_REASONS.len()],
    /// What Prometheus remarked; the answer counts nevertheless.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<Data<T>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data<T> {
    #[serde(rename = "resultType")]
    result_type: String,
    result: T,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Query {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// It is an error, or not what this query should give.
    pub fn read(&self, body: &[u8]) -> Result<Found, AnswerError> {
        let outside: Envelope<IgnoredAny> = parse(body)?;
        if outside.status != "success" {
            return Err(AnswerError::Refused {
                kind: outside.error_type.unwrap_or(outside.status),
                message: outside.error.unwrap_or_default(),
            });
        }
        match outside.data {
            None => return Err(AnswerError::Malformed("no data".to_owned())),
            Some(data) if data.result_type != "vector" => return Err(AnswerError::NotAVector(data.result_type)),
            Some(_) => {}
        }
        let inside: Envelope<Vec<Series>> = parse(body)?;
        let mut found = Found {
            fences: self.fences.iter().map(|fence| (fence.clone(), Samples::new())).collect(),
            warnings: inside.warnings.unwrap_or_default(),
            ..Found::default()
        };
        let by_values = self.fences_by_values();
        for series in inside.data.map(|data| data.result).unwrap_or_default() {
            self.sort_in(series, &by_values, &mut found);
        }
        Ok(found)
    }

    /// The fences of each combination of values of the dividing labels.
    fn fences_by_values(&self) -> BTreeMap<Vec<&str>, Vec<&ObjectRef>> {
        let mut by_values: BTreeMap<Vec<&str>, Vec<&ObjectRef>> = BTreeMap::new();
        for fence in &self.fences {
            let values = self.labels.values().map(|variable| variable.value(fence)).collect();
            by_values.entry(values).or_default().push(fence);
        }
        by_values
    }

    fn sort_in(&self, series: Series, by_values: &BTreeMap<Vec<&str>, Vec<&ObjectRef>>, found: &mut Found) {
        let Series { mut metric, value: (_, value) } = series;
        let text = |label: &String| metric.get(label).map_or("", String::as_str);
        let values: Vec<&str> = self.labels.keys().map(text).collect();
        // `ns=~"x|y", app=~"a|b"` also finds x/b where only x/a and y/b were meant.
        let Some(fences) = by_values.get(&values) else { return };
        let fences = fences.clone();
        metric.retain(|label, _| !self.added.contains(label));
        match evidence(&metric, &value) {
            Ok(key) => {
                for fence in fences {
                    if let Some(samples) = found.fences.get_mut(fence) {
                        samples.insert(key.clone(), value.clone());
                    }
                }
            }
            Err(reason) => {
                if let Some(count) = found.skipped.get_mut(reason) {
                    *count += 1;
                }
            }
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(body).map_err(|error| AnswerError::Malformed(error.to_string()))
}

/// The key of a series in `status.metricStatus`, which is the metric's text form; or the number of a reason in [`SKIP_REASONS`].
fn evidence(metric: &BTreeMap<String, String>, value: &str) -> Result<String, usize> {
    let mut labels = metric.iter();
    let (Some((name, text)), None) = (labels.next(), labels.next()) else { return Err(0) };
    if !matches!(name.as_str(), "destination_service" | "request_host") {
        return Err(0);
    }
    let key = format!("{{{name}={text:?}}}");
    let named = host_of_evidence(&key).is_some_and(|_| authority::parse(text).is_ok_and(|host| host.is_dns_1123()));
    if !named {
        return Err(1);
    }
    let called = value.parse::<f64>().is_ok_and(|number| number > 0.0);
    if called { Ok(key) } else { Err(2) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::Template;
    use super::*;

    fn query(template: &str, names: &[(&str, &str)]) -> Query {
        let fences: BTreeSet<_> = names.iter().map(|(namespace, name)| ObjectRef::new(*namespace, *name)).collect();
        Template::new(template).queries(&fences, 100).remove(0)
    }

    fn answer(series: &[Value]) -> Vec<u8> {
        json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string().into_bytes()
    }

    fn series(metric: &Value, value: &str) -> Value {
        json!({"metric": metric, "value": [1_700_000_000.5, value]})
    }

    const BY_APP: &str = r#"sum(x_total{app="$source_app"}) by (destination_service)"#;

    #[test]
    fn keys_and_values_are_the_text_forms_of_metric_and_sample() {
        let found = query(BY_APP, &[("default", "a")]).read(&answer(&[
            series(&json!({"destination_service": "details.default.svc.cluster.local"}), "12"),
            series(&json!({"destination_service": "reviews.default.svc.cluster.local"}), "12.5"),
        ]));
        let samples = &found.unwrap().fences[&ObjectRef::new("default", "a")];
        assert_eq!(samples[r#"{destination_service="details.default.svc.cluster.local"}"#], "12");
        assert_eq!(samples[r#"{destination_service="reviews.default.svc.cluster.local"}"#], "12.5");
    }

    #[test]
    fn what_names_no_host_or_was_not_called_is_left_out_by_reason() {
        let found = query(BY_APP, &[("default", "a")]).read(&answer(&[
            series(&json!({}), "1"),
            series(&json!({"destination_service": "a.b", "pod": "p"}), "1"),
            series(&json!({"destination_service_name": "a"}), "1"),
            series(&json!({"destination_service": "unknown"}), "1"),
            series(&json!({"destination_service": "10.0.0.1"}), "1"),
            series(&json!({"destination_service": "a\"b"}), "1"),
            series(&json!({"destination_service": "a_b.c"}), "1"),
            series(&json!({"destination_service": "a.b"}), "0"),
            series(&json!({"destination_service": "a.b"}), "NaN"),
        ]));
        let found = found.unwrap();
        assert_eq!(found.skipped, [3, 4, 2]);
        assert!(found.fences[&ObjectRef::new("default", "a")].is_empty());
    }

    #[test]
    fn an_answer_about_many_fences_is_divided_by_their_labels() {
        let template = r#"sum(x_total{app="$source_app",ns="$namespace"}) by (request_host)"#;
        let found = query(template, &[("x", "a"), ("y", "b")]).read(&answer(&[
            series(&json!({"request_host": "one.z:80", "app": "a", "ns": "x"}), "1"),
            series(&json!({"request_host": "two.z", "app": "b", "ns": "y"}), "2"),
            series(&json!({"request_host": "three.z", "app": "b", "ns": "x"}), "3"),
            series(&json!({"request_host": "four.z"}), "4"),
        ]));
        let found = found.unwrap();
        assert_eq!(
            found.fences[&ObjectRef::new("x", "a")].keys().collect::<Vec<_>>(),
            [r#"{request_host="one.z:80"}"#]
        );
        assert_eq!(found.fences[&ObjectRef::new("y", "b")].keys().collect::<Vec<_>>(), [r#"{request_host="two.z"}"#]);
    }

    #[test]
    fn a_label_that_the_user_shows_is_not_taken_away() {
        let template = r#"sum(x_total{app="$source_app"}) by (destination_service, app)"#;
        let shown = series(&json!({"destination_service": "a.b", "app": "a"}), "1");
        let found = query(template, &[("x", "a"), ("x", "b")]).read(&answer(&[shown]));
        assert_eq!(found.unwrap().skipped, [1, 0, 0]);
    }

    #[test]
    fn warnings_stop_nothing_and_errors_are_told_as_prometheus_tells_them() {
        let query = query(BY_APP, &[("default", "a")]);
        let warned = json!({"status": "success", "warnings": ["partial"], "data": {"resultType": "vector",
            "result": [series(&json!({"destination_service": "a.b"}), "1")]}});
        let found = query.read(warned.to_string().as_bytes()).unwrap();
        assert_eq!((found.warnings.len(), found.fences.values().map(BTreeMap::len).sum::<usize>()), (1, 1));

        let refused = json!({"status": "error", "errorType": "execution", "error": "too many samples"});
        assert_eq!(query.read(refused.to_string().as_bytes()).unwrap_err().to_string(), "execution: too many samples");
        let scalar = json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}});
        assert_eq!(query.read(scalar.to_string().as_bytes()), Err(AnswerError::NotAVector("scalar".into())));
        for garbage in ["", "<html>", "{}", r#"{"status":"success"}"#, "[1]"] {
            assert!(matches!(query.read(garbage.as_bytes()), Err(AnswerError::Malformed(_))), "{garbage}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(query(BY_APP, &[("default", "a")]).read(&body));
        }

        #[test]
        fn any_template_gives_queries(text in ".{0,60}") {
            let fences = [ObjectRef::new("x", "a"), ObjectRef::new("y", "b")].into();
            proptest::prop_assert!(!Template::new(&text).queries(&fences, 10).is_empty());
        }
    }
}
