//! What a redirection that is in force needs at the global-sidecar: while proxies still have it, this must be served.

use std::collections::BTreeSet;

use lazyload_api::names;
use serde_json::Value;

use super::Installation;

/// Ports that a redirection uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Ports whose requests it sends on, and ports to which.
    ports: BTreeSet<u16>,
}

impl Routes {
    /// Reads an EnvoyFilter `to-global-sidecar`.
    #[must_use]
    pub fn of(filter: &Value) -> Self {
        let mut routes = Self::default();
        for patch in filter.pointer("/spec/configPatches").and_then(Value::as_array).into_iter().flatten() {
            let table = patch.pointer("/match/routeConfiguration/name").and_then(Value::as_str);
            routes.ports.extend(table.and_then(|name| name.parse::<u16>().ok()));
        }
        let text = filter.to_string();
        routes.ports.extend(text.split('"').filter_map(|word| {
            let (port, host) = word.strip_prefix("outbound|")?.split_once("||")?;
            host.strip_prefix(names::GLOBAL_SIDECAR)?.starts_with('.').then(|| port.parse::<u16>().ok())?
        }));
        routes
    }

    /// Whether nothing is used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Adds what another one uses.
    pub fn add(&mut self, other: &Self) {
        self.ports.extend(&other.ports);
    }
}

impl Installation {
    /// The same, with a global-sidecar that also serves what is in use.
    #[must_use]
    pub fn serving_also(&self, in_use: &Routes) -> Self {
        let mut grown = self.clone();
        if let Some(sidecar) = &mut grown.global_sidecar {
            let more: Vec<u16> = in_use
                .ports
                .iter()
                .copied()
                .filter(|port| !sidecar.ports.contains(port) && *port != sidecar.probe_port)
                .collect();
            sidecar.ports.extend(more);
        }
        grown
    }
}
