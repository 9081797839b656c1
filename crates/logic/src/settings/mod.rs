//! Owns the effective settings of one lazyload module, resolved from what the user wrote.
//! Never guesses silently: what is wrong is an error with its path, what is odd is a warning.
//! Next: `reader` and `values` for how values are read, `resolve` for which spelling wins, `prometheus` for that source, `keys` for
//! misspelt ones, `table` for what each setting is in the end and what a change of it takes.

mod choices;
pub(crate) mod keys;
mod log_file;
mod prometheus;
pub(crate) mod reader;
mod resolve;
mod selector;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::time::Duration;

pub use log_file::LogFile;
pub use prometheus::{Access, Headers, Prometheus};
pub use reader::SettingsError;
pub use resolve::{Context, Resolved, resolve};
pub(crate) use resolve::{DEFAULT_LOG_PORT, enforce_after_of, expire_unused_after_of};
pub use selector::NamespaceSelector;
pub use table::{Entry, Takes};

/// Whether one global-sidecar serves the whole mesh or each listed namespace has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GlobalSidecarMode {
    /// One for the mesh.
    #[default]
    Cluster,
    /// One for each namespace of `general.namespace`.
    Namespace,
}

/// Where calls are learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricSource {
    /// The global-sidecar's access log.
    #[default]
    AccessLog,
    /// Prometheus queries.
    Prometheus,
}

/// How a Sidecar is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switching {
    /// In stages, clusters first in and last out: no request is lost.
    #[default]
    Lossless,
    /// In one step: proxies may answer 503 for some milliseconds.
    Fastest,
}

/// How far a fence goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It learns, and writes nothing but its own status.
    Observe,
    /// The same, and it is meant to be looked at: what its Sidecar would be.
    Recommend,
    /// It has its Sidecar.
    #[default]
    Enforce,
}

impl Mode {
    /// Every mode, the shortest way first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Recommend, Self::Enforce];

    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of this name, which is written exactly so.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// How access logs reach the controller, and whom it believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSecurity {
    /// Plaintext, from whoever reaches the port.
    #[default]
    Off,
    /// Proxies send over mutual TLS; plaintext is taken too, so that either side may be replaced first.
    Permissive,
    /// Mutual TLS alone.
    Strict,
}

impl LogSecurity {
    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        }
    }
}

/// A rule that sends some unmatched domains elsewhere than to the global-sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// Name of the virtual host; scalars such as `163` are taken as text.
    pub name: String,
    /// Envoy virtual host domains.
    pub domains: Vec<String>,
    /// Cluster, `_GLOBAL_SIDECAR`, `PassthroughCluster` or a template.
    pub cluster: String,
    /// Regular expression on the authority, for a route of the catch-all.
    pub domain_regex: Option<String>,
}

/// A rule that adds hosts for hosts that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainAlias {
    /// Regular expression (RE2 syntax).
    pub pattern: String,
    /// What a match expands to, with `$name` for groups.
    pub templates: Vec<String>,
}

/// Which objects this controller is responsible for, by the label `istio.io/rev`. Source: contract 2.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Managed revisions; empty means all.
    pub managed: Vec<String>,
    /// Objects without the label are not managed either.
    pub strict: bool,
    /// Label of the fences that the controller makes.
    pub own: Option<String>,
}

impl Revisions {
    /// Whether objects with this label `istio.io/rev` are managed; an empty label counts as none.
    #[must_use]
    pub fn manages(&self, label: Option<&str>) -> bool {
        self.managed.is_empty()
            || match label.filter(|label| !label.is_empty()) {
                Some(label) => self.managed.iter().any(|managed| managed == label),
                None => !self.strict,
            }
    }
}

/// A pod label of which each value gets a fence. Source: contract 2.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLabel {
    /// Key of the label.
    pub key: String,
    /// What the names of such fences begin with.
    pub alias: String,
}

/// Everything that the controller and the rendered objects depend on. Source: contract 1.3, 1.5–1.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `name` of the module: names the Deployment, Service, ConfigMap.
    pub module_name: String,
    /// Service ports whose unmatched traffic goes to the global-sidecar, in the user's order.
    pub wormhole_ports: Vec<u16>,
    /// Ports are also found by looking at what Services declare.
    pub auto_port: bool,
    /// Automatic mode: labels create fences.
    pub auto_fence: bool,
    /// In automatic mode, the decision where no label speaks.
    pub default_fence: bool,
    /// Namespaces without automatic fences.
    pub black_namespaces: Vec<String>,
    /// If set, the only namespaces with automatic fences.
    pub white_namespaces: Option<Vec<String>>,
    /// If any, only namespaces that one of them selects have automatic fences.
    pub management_selectors: Vec<NamespaceSelector>,
    /// The pod label of which each value gets an automatic fence.
    pub pod_label: Option<PodLabel>,
    /// Record hosts as clients write them, besides the hosts that the mesh knows.
    pub record_written_hosts: bool,
    /// Which objects are ours to look after.
    pub revisions: Revisions,
    /// Namespaces with a global-sidecar of their own (namespace mode).
    pub namespaces: Vec<String>,
    /// Rules for unmatched domains.
    pub dispatches: Vec<Dispatch>,
    /// Rules for extra hosts.
    pub domain_aliases: Vec<DomainAlias>,
    /// Hosts of every Sidecar.
    pub stable_hosts: Vec<String>,
    /// Namespace of the global-sidecar in cluster mode, if not `slime_namespace`.
    pub cluster_gs_namespace: Option<String>,
    /// Unmatched traffic passes through instead of going to the global-sidecar.
    pub passthrough_by_default: bool,
    /// Set `Slime-Source-Ns` by Lua.
    pub add_env_header_via_lua: bool,
    /// Regular expression on the proxy version of the general patches.
    pub proxy_version: Option<String>,
    /// gRPC and HTTP/2 ports count as HTTP.
    pub support_h2: bool,
    /// Remove listeners of ports that left the list.
    pub cleanup_wormhole_port: bool,
    /// One global-sidecar or many.
    pub mode: GlobalSidecarMode,
    /// Where calls are learned from.
    pub source: MetricSource,
    /// How Prometheus is asked, where it is the source.
    pub prometheus: Option<Prometheus>,
    /// How access logs reach the controller, where they are the source.
    pub log_security: LogSecurity,
    /// The port of the controller's Service to which the proxies of fences without a Sidecar tell what they call; `None`: they do not.
    pub caller_logs: Option<u16>,
    /// How Sidecars are changed.
    pub switching: Switching,
    /// How far fences go whose labels do not say, nor those of their Services and namespaces.
    pub fence_mode: Mode,
    /// A fence has its first Sidecar once nothing new was learned for so long (seconds), where no label says otherwise; zero: at once.
    pub enforce_after: i64,
    /// Learned hosts that their fence's pods do not call for so long leave its Sidecar, where no label says otherwise; `None`: they stay.
    pub expire_unused_after: Option<Duration>,
    /// Hosts whose AuthorizationPolicies name the caller are dependencies before any call.
    pub policy_dependencies: bool,
    /// Label key of the default workload selector.
    pub service_label: String,
    /// Istio's root namespace.
    pub istio_namespace: String,
    /// Namespace of the controller.
    pub slime_namespace: String,
    /// Log level of controller and global-sidecar.
    pub log_level: String,
    /// Where log lines of the controller go instead of standard output.
    pub log_file: Option<LogFile>,
    /// Listener of Prometheus metrics, `HOST:PORT` with an empty host for all.
    pub metrics_address: String,
    /// Listener of health and other auxiliary endpoints.
    pub aux_address: String,
    /// Listener of the access-log service.
    pub log_source_address: String,
    /// Listener of the console, `HOST:PORT`; `None`: there is no console.
    pub console_address: Option<String>,
    /// Names by which browsers may ask for the console, besides addresses and `localhost`.
    pub console_hosts: Vec<String>,
    /// Several controllers may run; the one that holds this lease writes. `None`: there is only one.
    pub lease: Option<String>,
}

impl Settings {
    /// Namespace of the global-sidecar in cluster mode.
    #[must_use]
    pub fn global_sidecar_namespace(&self) -> &str {
        self.cluster_gs_namespace.as_deref().unwrap_or(&self.slime_namespace)
    }

    /// Whether calls are heard that do not pass the global-sidecar, as those of a fence without a Sidecar do not.
    #[must_use]
    pub fn hears_what_is_not_fenced(&self) -> bool {
        self.source == MetricSource::Prometheus || self.caller_logs.is_some()
    }

    /// Where proxies of fences without a Sidecar tell what they call: nowhere, where access logs are not the source.
    #[must_use]
    pub fn caller_log_port(&self) -> Option<u16> {
        self.caller_logs.filter(|_| self.source == MetricSource::AccessLog)
    }
}
