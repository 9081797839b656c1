//! The list of ports, from the ConfigMap that the operator (or the controller, with autoPort) writes.

use std::collections::{BTreeMap, BTreeSet};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::Lookup};
use kube::{Api, Client};
use lazyload_api::names;
use serde::Deserialize;
use tokio::sync::watch;

/// Key of the ConfigMap under which the list stands.
const CFG_KEY: &str = "cfg";

/// A set of ports.
pub type PortSet = BTreeSet<u16>;

/// A port list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortListError {
    /// No key `cfg`.
    #[error("key {CFG_KEY} is missing")]
    NoCfg,
    /// Not the expected YAML.
    #[error("key {CFG_KEY}: expected YAML `wormholePorts: [PORT, …]`")]
    Malformed(#[source] Box<serde_saphyr::Error>),
    /// A value that is no port.
    #[error("port {value:?}: expected a number from 1 to 65535")]
    Port {
        /// As written.
        value: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cfg {
    #[serde(default)]
    wormhole_ports: Vec<Scalar>,
}

/// Ports are numbers, but quoted ones are understood too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(u64),
    Text(String),
}

/// Reads the value of the key `cfg`.
///
/// # Errors
/// Other YAML, or a value that is no port.
pub fn parse_cfg(cfg: &str) -> Result<PortSet, PortListError> {
    let cfg: Cfg = serde_saphyr::from_str(cfg).map_err(|error| PortListError::Malformed(Box::new(error)))?;
    let texts = cfg.wormhole_ports.into_iter().map(|port| match port {
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => text,
    });
    texts.map(|text| parse_port(&text)).collect()
}

/// Reads `9080,9090`, the older form, as it stands in the environment.
///
/// # Errors
/// A value that is no port.
pub fn parse_list(list: &str) -> Result<PortSet, PortListError> {
    list.split(',').filter(|port| !port.trim().is_empty()).map(parse_port).collect()
}

/// Reads one port.
///
/// # Errors
/// A value that is no port.
pub fn parse_port(text: &str) -> Result<u16, PortListError> {
    let port = text.trim().parse().ok().filter(|&port: &u16| port != 0);
    port.ok_or_else(|| PortListError::Port { value: text.to_owned() })
}

/// Watches the labelled ConfigMaps of a namespace and keeps `ports` equal to what they list together. A ConfigMap that is deleted, or becomes
/// unreadable, leaves its ports as they were: nothing that serves stops because of it.
pub async fn follow(client: Client, namespace: &str, ports: watch::Sender<Option<PortSet>>) {
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let selector = format!("{}={}", names::CONFIG_LABEL, names::GLOBAL_SIDECAR);
    let events = watcher(config_maps, watcher::Config::default().labels(&selector)).default_backoff();
    apply(events, ports).await;
}

async fn apply(
    events: impl Stream<Item = Result<Event<ConfigMap>, watcher::Error>>,
    ports: watch::Sender<Option<PortSet>>,
) {
    let mut events = std::pin::pin!(events);
    let mut by_name: BTreeMap<String, PortSet> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(config_map) | Event::InitApply(config_map)) => {
                let name = name_of(&config_map);
                match read(&config_map) {
                    Ok(listed) => {
                        by_name.insert(name, listed);
                        let all: PortSet = by_name.values().flatten().copied().collect();
                        ports.send_if_modified(|ports| ports.replace(all.clone()).as_ref() != Some(&all));
                    }
                    Err(error) => {
                        let reason = describe(&error);
                        tracing::warn!(config_map = name, reason, "unusable port list; what was there is kept");
                    }
                }
            }
            Ok(Event::Delete(config_map)) => {
                let config_map = name_of(&config_map);
                tracing::warn!(config_map, "the port list was deleted; its ports are kept");
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => tracing::warn!(%error, "failed to watch the ConfigMap with the port list"),
        }
    }
}

fn name_of(config_map: &ConfigMap) -> String {
    Lookup::name(config_map).unwrap_or_default().into_owned()
}

fn read(config_map: &ConfigMap) -> Result<PortSet, PortListError> {
    let cfg = config_map.data.as_ref().and_then(|data| data.get(CFG_KEY)).ok_or(PortListError::NoCfg)?;
    parse_cfg(cfg)
}

fn describe(error: &PortListError) -> String {
    let parts: Vec<String> = super::failure::chain(error).map(ToString::to_string).collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(name: &str, cfg: &str) -> ConfigMap {
        let mut config_map = ConfigMap::default();
        config_map.metadata.name = Some(name.to_owned());
        config_map.data = Some([(CFG_KEY.to_owned(), cfg.to_owned())].into());
        config_map
    }

    async fn after(events: Vec<Event<ConfigMap>>) -> Option<Vec<u16>> {
        let (ports_tx, ports_rx) = watch::channel(None);
        apply(futures::stream::iter(events.into_iter().map(Ok)), ports_tx).await;
        let ports = ports_rx.borrow();
        ports.as_ref().map(|ports| ports.iter().copied().collect())
    }

    #[test]
    fn ports_may_be_numbers_or_texts() {
        let ports = parse_cfg("wormholePorts:\n- 9080\n- \"80\"\nother: 1\n").unwrap();
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [80, 9080]);
        assert!(parse_cfg("wormholePorts: []").unwrap().is_empty());
        assert_eq!(parse_list("9080, 80,").unwrap().into_iter().collect::<Vec<_>>(), [80, 9080]);
    }

    #[test]
    fn what_is_no_port_is_named() {
        for cfg in ["wormholePorts: [0]", "wormholePorts: [65536]", "wormholePorts: [http]"] {
            let error = parse_cfg(cfg).unwrap_err();
            assert!(matches!(error, PortListError::Port { .. }), "{cfg}: {error}");
        }
        assert!(matches!(parse_cfg("wormholePorts: 9080"), Err(PortListError::Malformed(_))));
        assert!(parse_list("9080;80").is_err());
    }

    #[tokio::test]
    async fn a_changed_list_replaces_the_old_one() {
        let events = vec![
            Event::InitApply(config_map("a", "wormholePorts: [1, 2]")),
            Event::Apply(config_map("a", "wormholePorts: [2, 3]")),
        ];
        assert_eq!(after(events).await, Some(vec![2, 3]));
    }

    #[tokio::test]
    async fn an_unreadable_or_deleted_list_leaves_its_ports() {
        let good = config_map("a", "wormholePorts: [1]");
        let events = vec![
            Event::InitApply(good.clone()),
            Event::Apply(config_map("a", "wormholePorts: [x]")),
            Event::Apply(ConfigMap { data: None, ..good.clone() }),
            Event::Delete(good),
        ];
        assert_eq!(after(events).await, Some(vec![1]));
    }

    #[tokio::test]
    async fn until_there_is_a_readable_list_there_is_none() {
        assert_eq!(
            after(vec![Event::Init, Event::Apply(config_map("a", "wormholePorts: [x]")), Event::InitDone]).await,
            None
        );
    }
}
