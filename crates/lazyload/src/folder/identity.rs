//! What an API server would add to an object: uid, resource version, generation, time of creation.

use k8s_openapi::jiff::{Timestamp, Unit};
use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Map, Value, json};

/// A uid that is the same each time: a Sidecar that was written down yesterday must still belong to its fence.
pub fn uid(kind: Kind, id: &ObjectRef) -> String {
    // FNV-1a, 128 bits: its value is defined once and for all, unlike that of the standard library's hashers.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in format!("{}/{id}", kind.name()).bytes() {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    // Version 8, variant 1: a UUID made in one's own way.
    let hash = hash & !(0xf << 76) & !(0b11 << 62) | (0x8 << 76) | (0b10 << 62);
    let text = format!("{hash:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Now, as the API server writes times.
pub fn timestamp() -> String {
    Timestamp::now().round(Unit::Second).unwrap_or_default().to_string()
}

/// The object's resource version; 0 without one.
pub fn resource_version(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Gives `new` the metadata that follows from its predecessor: the version is new, the generation grows with a change of the spec, the
/// rest stays. Metadata that a user's file brings along (of a dump from a cluster) is kept.
pub fn succeed(new: &mut Value, old: Option<&Value>, kind: Kind, id: &ObjectRef, version: u64) {
    let of_old = |key: &str| old.and_then(|old| old.pointer(&format!("/metadata/{key}"))).cloned();
    let spec_changed = old.is_some_and(|old| old.get("spec") != new.get("spec"));
    let generation = of_old("generation").and_then(|value| value.as_u64());
    let Some(metadata) = metadata(new) else { return };
    metadata.insert("namespace".to_owned(), json!(&*id.namespace));
    metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
    if !metadata.contains_key("uid") {
        metadata.insert("uid".to_owned(), of_old("uid").unwrap_or_else(|| json!(uid(kind, id))));
    }
    if !metadata.contains_key("creationTimestamp") {
        let created = of_old("creationTimestamp").unwrap_or_else(|| json!(timestamp()));
        metadata.insert("creationTimestamp".to_owned(), created);
    }
    let own = metadata.get("generation").and_then(Value::as_u64);
    let next = generation.map(|generation| generation + u64::from(spec_changed));
    metadata.insert("generation".to_owned(), json!(next.or(own).unwrap_or(1)));
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata").and_then(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_uuid_and_always_the_same() {
        let first = uid(Kind::Fence, &ObjectRef::new("default", "productpage"));
        assert_eq!(first, uid(Kind::Fence, &ObjectRef::new("default", "productpage")));
        assert_ne!(first, uid(Kind::Sidecar, &ObjectRef::new("default", "productpage")));
        assert_eq!(first.len(), 36);
        assert_eq!(first.as_bytes()[14], b'8');
    }

    #[test]
    fn the_generation_grows_with_the_spec_only() {
        let id = ObjectRef::new("default", "a");
        let mut first = json!({"metadata": {"name": "a"}, "spec": {"enable": true}});
        succeed(&mut first, None, Kind::Fence, &id, 1);
        let mut second = json!({"metadata": {"name": "a"}, "spec": {"enable": true}, "status": {"domains": {}}});
        succeed(&mut second, Some(&first), Kind::Fence, &id, 2);
        assert_eq!(second["metadata"]["generation"], 1);
        let mut third = json!({"metadata": {"name": "a"}, "spec": {"enable": false}});
        succeed(&mut third, Some(&second), Kind::Fence, &id, 3);
        assert_eq!(third["metadata"]["generation"], 2);
        assert_eq!(third["metadata"]["uid"], first["metadata"]["uid"]);
    }
}
