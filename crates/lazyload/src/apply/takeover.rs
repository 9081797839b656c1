//! Makes what others added to an object of ours ours, so that the next application removes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::api::DynamicObject;
use serde_json::{Map, Value};

/// Maps whose every key counts.
const WHOLE: &[&str] = &["data", "matchLabels", "selector"];
/// What belongs to others on any object: their labels and annotations, and the state that they report.
const THEIRS: &[&str] = &["f:metadata", "f:status"];

/// Whether a stored object has more in a list, or in a map that is wanted as a whole, than is wanted.
pub(super) fn exceeds(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() > wanted.len() || stored.iter().zip(wanted).any(|(stored, wanted)| exceeds(stored, wanted))
        }
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().filter(|(key, _)| *key != "metadata").any(|(key, wanted)| {
                let Some(stored) = stored.get(key) else { return false };
                let whole = WHOLE.contains(&key.as_str());
                let more =
                    |stored: &Map<String, Value>| wanted.as_object().is_some_and(|wanted| stored.len() > wanted.len());
                (whole && stored.as_object().is_some_and(more)) || exceeds(stored, wanted)
            })
        }
        _ => false,
    }
}

/// The field managers of an object with everybody's fields counted as applied by this one and by nobody else, for a field that another one
/// has too stays when it is not applied any more; nothing if this one never applied.
pub(super) fn of_everyones_fields(object: &DynamicObject, manager: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let (ours, others): (Vec<_>, Vec<_>) = object.metadata.managed_fields.clone()?.into_iter().partition(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    });
    let mut ours = ours.into_iter().next()?;
    let mut fields = ours.fields_v1.take()?.0;
    let mut entries = Vec::with_capacity(others.len());
    for mut entry in others {
        if let (None, Some(FieldsV1(Value::Object(theirs)))) = (&entry.subresource, &mut entry.fields_v1) {
            let all = std::mem::take(theirs);
            let (kept, taken): (Map<_, _>, Map<_, _>) =
                all.into_iter().partition(|(key, _)| THEIRS.contains(&key.as_str()));
            add(&mut fields, &Value::Object(taken));
            if kept.is_empty() {
                continue;
            }
            *theirs = kept;
        }
        entries.push(entry);
    }
    ours.fields_v1 = Some(FieldsV1(fields));
    entries.push(ours);
    Some(entries)
}

/// Adds the fields of one set to another; both are trees of maps.
fn add(fields: &mut Value, more: &Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else { return };
    for (key, more) in more {
        add(fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), more);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_more_items_and_more_keys_of_whole_maps_exceed() {
        let wanted = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}, "data": {"cfg": "1"}});
        assert!(!exceeds(&wanted, &wanted));
        let defaults = json!({"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": "x"}, "type": "ClusterIP"}, "data": {"cfg": "2"}});
        assert!(!exceeds(&defaults, &wanted));
        for more in [
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
            json!({"spec": {"selector": {"app": "x", "y": "z"}}}),
            json!({"data": {"cfg": "1", "more": "2"}}),
        ] {
            assert!(exceeds(&more, &wanted), "{more}");
        }
    }
}
