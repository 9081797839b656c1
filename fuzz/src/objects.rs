//! What the API server, or a folder of YAML, says that objects are.

use lazyload_logic::convert;
use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::{Event, State};
use lazyload_logic::types::{Kind, Now};
use serde_json::{Value, json};

/// Any JSON is an object, of no watched kind, or malformed; the state takes each that is one, and what it plans is of that name.
pub fn objects(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let object = match convert::object(&value) {
        Ok(Some(object)) => object,
        Ok(None) => return,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let settings = resolve(&json!({"general": {"autoFence": true, "defaultFence": true}}), &Context::default())
        .expect("settings")
        .settings;
    let (mut state, _) = State::new(settings);
    let now = Now { monotonic: std::time::Duration::from_secs(1), unix_seconds: 1_000_000 };
    let (kind, id) = (object.kind(), object.id());
    state.on(Event::Applied(Box::new(object)), now);
    for kind in Kind::ALL {
        state.on(Event::Listed(kind), now);
    }
    for change in state.plan(now) {
        assert!(kind == Kind::Namespace || *change.id() == id, "{change:?}");
    }
    state.on(Event::Deleted(kind, id), now);
    state.plan(now);
}
