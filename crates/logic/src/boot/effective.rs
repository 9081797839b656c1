//! The module entry as the controller gets it: the controller sees neither `component` nor the rest of the SlimeBoot.

use serde_json::{Map, Value};

use super::Dispatch;
use crate::settings::{GlobalSidecarMode, MetricSource, Settings};

/// Writes what was resolved into the entry, so that reading it again gives the same settings.
pub(super) fn module_entry(
    entry: Value,
    settings: &Settings,
    istio_namespace: &str,
    dispatches: &[Dispatch],
    log_port: u16,
) -> Value {
    let mut entry = as_map(entry);
    let mut general = as_map(entry.remove("general").unwrap_or_default());
    let mode = match settings.mode {
        GlobalSidecarMode::Cluster => "cluster",
        GlobalSidecarMode::Namespace => "namespace",
    };
    let source = match settings.source {
        MetricSource::AccessLog => "accesslog",
        MetricSource::Prometheus => "prometheus",
    };
    general.insert("globalSidecarMode".to_owned(), mode.into());
    general.insert("metricSourceType".to_owned(), source.into());
    // A proxy has the clusters of the hosts in its Sidecar: without them a dispatch would be a 503 for fenced callers.
    let mut stable = settings.stable_hosts.clone();
    for host in dispatches.iter().filter_map(Dispatch::registered_host) {
        if stable.iter().all(|known| known != host) {
            stable.push(host.to_owned());
        }
    }
    if !stable.is_empty() {
        general.insert("stableHost".to_owned(), stable.into());
    }
    if settings.caller_logs.is_some_and(|port| port != log_port) {
        general.insert("callerLogsPort".to_owned(), log_port.into());
    }
    entry.insert("general".to_owned(), Value::Object(general));

    let mut global = as_map(entry.remove("global").unwrap_or_default());
    for (key, value) in [("slimeNamespace", settings.slime_namespace.as_str()), ("istioNamespace", istio_namespace)] {
        let missing = global.get(key).and_then(Value::as_str).is_none_or(str::is_empty);
        if missing {
            global.insert(key.to_owned(), value.into());
        }
    }
    entry.insert("global".to_owned(), Value::Object(global));
    Value::Object(entry)
}

fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
