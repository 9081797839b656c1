//! Label selectors on namespaces, with the meaning that Kubernetes gives them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::keys::unknown_keys;
use super::reader::{Reader, SettingsError};
use super::values::label_key;
use crate::types::Labels;

/// A Kubernetes label selector; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSelector {
    /// Each must hold.
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether labels fulfil every requirement. `NotIn` holds too where the label is absent.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Reads one selector. A misspelt field would select every namespace, so it is an error here.
    pub(super) fn read(selector: &Reader<'_>) -> Result<Self, SettingsError> {
        if selector.map()?.is_none() {
            return Err(selector.error("a selector with matchLabels or matchExpressions"));
        }
        if let Some(unknown) = unknown_keys(selector, &["matchLabels", "matchExpressions"])?.first() {
            return Err(selector.key(unknown).error("matchLabels or matchExpressions only"));
        }
        let mut requirements = Vec::new();
        let labels = selector.key("matchLabels");
        for key in labels.map()?.into_iter().flat_map(serde_json::Map::keys) {
            let value = labels.key(key).text()?.unwrap_or_default();
            let operator = Operator::In(BTreeSet::from([value]));
            requirements.push(Requirement { key: label_key(&labels.key(key), key)?, operator });
        }
        for expression in selector.key("matchExpressions").list()? {
            requirements.push(Requirement::read(&expression)?);
        }
        Ok(Self { requirements })
    }

    /// As it would be written.
    pub(super) fn to_value(&self) -> Value {
        let expressions = self.requirements.iter().map(|requirement| {
            let (operator, values) = match &requirement.operator {
                Operator::In(values) => ("In", Some(values)),
                Operator::NotIn(values) => ("NotIn", Some(values)),
                Operator::Exists => ("Exists", None),
                Operator::DoesNotExist => ("DoesNotExist", None),
            };
            serde_json::json!({"key": requirement.key, "operator": operator, "values": values})
        });
        expressions.collect()
    }
}

impl Requirement {
    fn read(expression: &Reader<'_>) -> Result<Self, SettingsError> {
        if let Some(unknown) = unknown_keys(expression, &["key", "operator", "values"])?.first() {
            return Err(expression.key(unknown).error("key, operator and values only"));
        }
        let key = expression.key("key");
        let written = key.name()?.ok_or_else(|| key.error("a label key"))?;
        let values = expression.key("values");
        let set: BTreeSet<String> = values
            .list()?
            .iter()
            .map(Reader::text)
            .map(|text| Ok(text?.unwrap_or_default()))
            .collect::<Result<_, SettingsError>>()?;
        let operator = expression.key("operator");
        let operator = match (operator.name()?.as_deref(), set.is_empty()) {
            (Some("In"), false) => Operator::In(set),
            (Some("NotIn"), false) => Operator::NotIn(set),
            (Some("In" | "NotIn"), true) => return Err(values.error("at least one value for In and NotIn")),
            (Some("Exists"), true) => Operator::Exists,
            (Some("DoesNotExist"), true) => Operator::DoesNotExist,
            (Some("Exists" | "DoesNotExist"), false) => {
                return Err(values.error("nothing for Exists and DoesNotExist"));
            }
            _ => return Err(operator.error("In, NotIn, Exists or DoesNotExist")),
        };
        Ok(Self { key: label_key(&key, &written)?, operator })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn read(selector: Value) -> Result<NamespaceSelector, SettingsError> {
        NamespaceSelector::read(&Reader::new("s", Some(&selector)))
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_operator_means_what_it_means_in_kubernetes() {
        let (mesh, other, none) = (labels(&[("env", "mesh")]), labels(&[("env", "other")]), labels(&[]));
        for (selector, expected) in [
            (json!({"matchLabels": {"env": "mesh"}}), [true, false, false]),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["mesh", "x"]}]}),
                [true, false, false],
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["mesh"]}]}),
                [false, true, true],
            ),
            (json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}), [true, true, false]),
            (json!({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}), [false, false, true]),
            (
                json!({"matchLabels": {"env": "mesh"}, "matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}),
                [false; 3],
            ),
            (json!({}), [true; 3]),
        ] {
            let found = read(selector.clone()).unwrap();
            assert_eq!([&mesh, &other, &none].map(|labels| found.selects(labels)), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_named_by_its_path() {
        for (selector, message) in [
            (
                json!({"matchLabel": {"a": "b"}}),
                r#"s.matchLabel: expected matchLabels or matchExpressions only, got {"a":"b"}"#,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}),
                r#"s.matchExpressions[0].operator: expected In, NotIn, Exists or DoesNotExist, got "Is""#,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
                "s.matchExpressions[0].values: expected at least one value for In and NotIn, got nothing",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                r#"s.matchExpressions[0].values: expected nothing for Exists and DoesNotExist, got ["b"]"#,
            ),
            (
                json!({"matchExpressions": [{"operator": "Exists"}]}),
                "s.matchExpressions[0].key: expected a label key, got nothing",
            ),
            (
                json!({"matchLabels": {"a b": "c"}}),
                r#"s.matchLabels.a b: expected a label key such as example.com/name, got "c""#,
            ),
            (json!("all"), r#"s: expected a map, got "all""#),
        ] {
            assert_eq!(read(selector).unwrap_err().to_string(), message);
        }
    }
}
