//! Every setting in the user's words, with its effective value and what a change of it takes.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{GlobalSidecarMode, LogFile, MetricSource, Prometheus, Revisions, Settings};

/// What it takes that a changed setting has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// Nothing: the controller reads it again while it runs.
    Nothing,
    /// A restart of the controller.
    Restart,
    /// New objects from `lazyload render`: the controller itself does not use it.
    Render,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Where users write it.
    pub path: &'static str,
    /// Its effective value.
    pub value: Value,
    /// What a change takes.
    pub takes: Takes,
}

impl Settings {
    /// Every setting.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        // Every field by name, so that a new setting cannot be forgotten here.
        let Self {
            module_name,
            wormhole_ports,
            auto_port,
            auto_fence,
            default_fence,
            black_namespaces,
            white_namespaces,
            management_selectors,
            pod_label,
            record_written_hosts,
            revisions,
            namespaces,
            dispatches,
            domain_aliases,
            stable_hosts,
            cluster_gs_namespace,
            passthrough_by_default,
            add_env_header_via_lua,
            proxy_version,
            support_h2,
            cleanup_wormhole_port,
            mode,
            source,
            prometheus,
            log_security,
            caller_logs,
            switching,
            fence_mode,
            enforce_after,
            expire_unused_after,
            policy_dependencies,
            service_label,
            istio_namespace,
            slime_namespace,
            log_level,
            log_file,
            metrics_address,
            aux_address,
            log_source_address,
            console_address,
            console_hosts,
            lease,
        } = self;
        let mode = match mode {
            GlobalSidecarMode::Cluster => "cluster",
            GlobalSidecarMode::Namespace => "namespace",
        };
        let source = match source {
            MetricSource::AccessLog => "accesslog",
            MetricSource::Prometheus => "prometheus",
        };
        let dispatches: Value = dispatches.iter().map(|dispatch| json!({
            "name": dispatch.name, "domains": dispatch.domains, "cluster": dispatch.cluster, "domainRegex": dispatch.domain_regex,
        })).collect();
        let aliases = domain_aliases.iter();
        let aliases: Value =
            aliases.map(|alias| json!({"pattern": alias.pattern, "templates": alias.templates})).collect();
        let selectors: Value = management_selectors.iter().map(super::NamespaceSelector::to_value).collect();
        let pod_label = pod_label.as_ref().map(|label| format!("{}:{}", label.key, label.alias));
        let prometheus = prometheus.as_ref().map(Prometheus::to_value);
        let expire_unused_after = expire_unused_after.map(|after| format!("{}s", after.as_secs()));
        let rows: [(&'static str, Value, Takes); 44] = [
            ("name", json!(module_name), Takes::Render),
            ("general.wormholePort", json!(wormhole_ports), Takes::Render),
            ("general.autoPort", json!(auto_port), Takes::Render),
            ("general.autoFence", json!(auto_fence), Takes::Nothing),
            ("general.defaultFence", json!(default_fence), Takes::Nothing),
            ("general.blackNamespaceList", json!(black_namespaces), Takes::Nothing),
            ("general.whiteNamespaceList", json!(white_namespaces), Takes::Nothing),
            ("general.managementSelectors", selectors, Takes::Nothing),
            ("general.fenceLabelKeyAlias", json!(pod_label), Takes::Nothing),
            ("general.enableShortDomain", json!(record_written_hosts), Takes::Nothing),
            ("general.namespace", json!(namespaces), Takes::Nothing),
            ("general.dispatches", dispatches, Takes::Render),
            ("general.domainAliases", aliases, Takes::Nothing),
            ("general.stableHost", json!(stable_hosts), Takes::Nothing),
            ("general.clusterGsNamespace", json!(cluster_gs_namespace), Takes::Restart),
            ("general.passthroughByDefault", json!(passthrough_by_default), Takes::Render),
            ("general.addEnvHeaderViaLua", json!(add_env_header_via_lua), Takes::Render),
            ("general.proxyVersion", json!(proxy_version), Takes::Render),
            ("general.supportH2", json!(support_h2), Takes::Render),
            ("general.cleanupWormholePort", json!(cleanup_wormhole_port), Takes::Render),
            ("general.globalSidecarMode", json!(mode), Takes::Restart),
            ("general.metricSourceType", json!(source), Takes::Restart),
            ("metric.prometheus", json!(prometheus), Takes::Restart),
            ("general.accessLogSecurity", json!(log_security.name()), Takes::Restart),
            ("general.callerLogs", json!(caller_logs), Takes::Restart),
            ("general.switching", json!(format!("{switching:?}").to_lowercase()), Takes::Nothing),
            ("general.fenceMode", json!(fence_mode.name()), Takes::Nothing),
            ("general.enforceAfter", json!(format!("{enforce_after}s")), Takes::Nothing),
            ("general.expireUnusedAfter", json!(expire_unused_after), Takes::Nothing),
            ("general.policyDependencies", json!(if *policy_dependencies { "on" } else { "off" }), Takes::Nothing),
            ("global.service", json!(service_label), Takes::Nothing),
            ("global.istioNamespace", json!(istio_namespace), Takes::Restart),
            ("global.slimeNamespace", json!(slime_namespace), Takes::Restart),
            ("global.istioRev", json!(revisions.managed), Takes::Restart),
            ("global.strictRev", json!(revisions.strict), Takes::Restart),
            ("global.selfResourceRev", json!(revisions.own), Takes::Nothing),
            ("global.log.logLevel", json!(log_level), Takes::Nothing),
            ("global.log.logRotateConfig", json!(log_file.as_ref().map(LogFile::to_value)), Takes::Nothing),
            ("global.misc.metrics-addr", json!(metrics_address), Takes::Restart),
            ("global.misc.aux-addr", json!(aux_address), Takes::Restart),
            ("global.misc.logSourcePort", json!(log_source_address), Takes::Restart),
            ("global.misc.console-addr", json!(console_address.as_deref().unwrap_or("off")), Takes::Restart),
            ("global.misc.console-hosts", json!(console_hosts), Takes::Restart),
            ("global.misc.enableLeaderElection", json!(lease), Takes::Restart),
        ];
        rows.into_iter().map(|(path, value, takes)| Entry { path, value, takes }).collect()
    }

    /// The settings that only a restart changes, as text: the same text means that no restart is needed.
    #[must_use]
    pub fn restart_fingerprint(&self) -> String {
        self.written(|entry| entry.takes == Takes::Restart)
    }

    /// One line for a log: every setting that says something.
    #[must_use]
    pub fn effective(&self) -> String {
        let says_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        self.written(|entry| !says_nothing(&entry.value))
    }

    fn written(&self, include: impl Fn(&Entry) -> bool) -> String {
        let entries = self.entries().into_iter().filter(include);
        Value::Object(entries.map(|entry| (entry.path.to_owned(), entry.value)).collect::<Map<_, _>>()).to_string()
    }

    /// These settings where a restart is not needed for them, and the running ones elsewhere; and which were kept.
    #[must_use]
    pub fn at_run_time(self, running: &Self) -> (Self, Vec<&'static str>) {
        let (wanted, now) = (self.entries(), running.entries());
        let differ = wanted.iter().zip(&now).filter(|(wanted, now)| wanted.value != now.value);
        let kept = differ.filter(|(wanted, _)| wanted.takes == Takes::Restart).map(|(wanted, _)| wanted.path).collect();
        let merged = Self {
            cluster_gs_namespace: running.cluster_gs_namespace.clone(),
            mode: running.mode,
            source: running.source,
            prometheus: running.prometheus.clone(),
            log_security: running.log_security,
            caller_logs: running.caller_logs,
            // VirtualServices of other revisions are not kept: they would have to be listed again.
            revisions: Revisions { own: self.revisions.own, ..running.revisions.clone() },
            istio_namespace: running.istio_namespace.clone(),
            slime_namespace: running.slime_namespace.clone(),
            metrics_address: running.metrics_address.clone(),
            aux_address: running.aux_address.clone(),
            log_source_address: running.log_source_address.clone(),
            console_address: running.console_address.clone(),
            console_hosts: running.console_hosts.clone(),
            lease: running.lease.clone(),
            ..self
        };
        (merged, kept)
    }
}
