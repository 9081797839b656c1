//! Which of several spellings wins, and what a missing setting means. Source: contract 0.3 (D1, D2, D5, D8, D11), 1.3–1.7.

use std::time::Duration;

use lazyload_api::names;
use serde_json::{Map, Value};

use super::reader::{Reader, SettingsError};
use super::{
    Dispatch, DomainAlias, LogSecurity, MetricSource, Mode, NamespaceSelector, Revisions, Settings, Switching, choices,
    keys, values,
};
use super::{log_file, prometheus};

/// The port of the controller's Service for access logs, unless the SlimeBoot says otherwise.
pub(crate) const DEFAULT_LOG_PORT: u16 = 8082;

/// Shorter than this, what is called now and then would come and go.
const SHORTEST_LEASE: Duration = Duration::from_secs(10);

/// What is known from outside the module entry.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `component.globalSidecar.type` of the SlimeBoot, where it is known.
    pub component_type: Option<String>,
    /// Namespace of the installation; default of `global.slimeNamespace`.
    pub namespace: Option<String>,
}

/// Settings, and what their user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The effective settings.
    pub settings: Settings,
    /// One line for each oddity that changes nothing.
    pub warnings: Vec<String>,
}

/// Resolves a module entry (`SlimeBoot.spec.module[]`, or the controller's config file) into settings.
///
/// # Errors
/// The first setting that has the wrong form, or contradicts another one.
pub fn resolve(entry: &Value, context: &Context) -> Result<Resolved, SettingsError> {
    let root = Reader::new("module", Some(entry));
    root.map()?;
    let general_value = merged_general(&root)?;
    let general = Reader::new("general", Some(&general_value));
    let global = root.key("global");
    let misc = global.key("misc");
    let mut warnings = keys::warnings(&root)?;

    let source = choices::source(&general, &misc, &root)?;
    let asked = Reader::new("metric.prometheus", root.key("metric").key("prometheus").value());
    warnings.extend(prometheus::warnings(&asked)?);
    let prometheus = match source {
        MetricSource::Prometheus => Some(prometheus::read(&asked)?),
        MetricSource::AccessLog => None,
    };
    if asked.is_set() && prometheus.is_none() {
        warnings.push("metric.prometheus has no effect: metricSourceType is accesslog".to_owned());
    }
    warnings.extend(log_file::warnings(&global.key("log"))?);
    let slime_namespace = values::namespace(&global.key("slimeNamespace"))?
        .or_else(|| context.namespace.clone())
        .unwrap_or_else(|| names::DEFAULT_SLIME_NAMESPACE.to_owned());
    let text_or = |reader: Reader<'_>, default: &str| -> Result<String, SettingsError> {
        Ok(reader.name()?.unwrap_or_else(|| default.to_owned()))
    };

    if general.key("blackNamespaceList").name()?.is_some() && general.key("whiteNamespaceList").name()?.is_some() {
        let black = general.key("blackNamespaceList");
        return Err(black.error("nothing where whiteNamespaceList is set"));
    }
    let auto_fence = general.key("autoFence").flag()?;
    let settings = Settings {
        module_name: text_or(root.key("name"), "lazyload")?,
        wormhole_ports: wormhole_ports(&general)?,
        auto_port: general.key("autoPort").flag()?,
        auto_fence,
        default_fence: general.key("defaultFence").flag()?,
        black_namespaces: values::comma_namespaces(&general.key("blackNamespaceList"))?.unwrap_or_default(),
        white_namespaces: values::comma_namespaces(&general.key("whiteNamespaceList"))?,
        management_selectors: management_selectors(&general)?,
        pod_label: values::pod_label(&general.key("fenceLabelKeyAlias"))?,
        record_written_hosts: general.key("enableShortDomain").flag()?,
        revisions: revisions(&global, auto_fence)?,
        namespaces: values::namespaces(&general.key("namespace"))?,
        dispatches: dispatches(&general)?,
        domain_aliases: domain_aliases(&general)?,
        stable_hosts: general.key("stableHost").texts()?,
        cluster_gs_namespace: values::namespace(&general.key("clusterGsNamespace"))?,
        passthrough_by_default: general.key("passthroughByDefault").flag()?,
        add_env_header_via_lua: general.key("addEnvHeaderViaLua").flag()?,
        proxy_version: general.key("proxyVersion").name()?,
        support_h2: general.key("supportH2").flag()?,
        cleanup_wormhole_port: general.key("cleanupWormholePort").flag()?,
        mode: choices::mode(&general, &misc, context)?,
        source,
        prometheus,
        log_security: log_security(&general.key("accessLogSecurity"))?,
        caller_logs: caller_logs(&general)?,
        switching: switching(&general.key("switching"))?,
        fence_mode: fence_mode(&general.key("fenceMode"))?,
        enforce_after: enforce_after(&general.key("enforceAfter"))?,
        expire_unused_after: expire_unused_after(&general.key("expireUnusedAfter"))?,
        policy_dependencies: on_unless_off(&general.key("policyDependencies"))?,
        service_label: service_label(&global.key("service"))?,
        istio_namespace: values::namespace(&global.key("istioNamespace"))?
            .unwrap_or_else(|| names::DEFAULT_ISTIO_NAMESPACE.to_owned()),
        slime_namespace,
        log_level: values::log_level(&global.key("log").key("logLevel"))?,
        log_file: log_file::read(&global.key("log"))?,
        metrics_address: values::listener(&misc.key("metrics-addr"), ":8080")?,
        aux_address: values::listener(&misc.key("aux-addr"), ":8081")?,
        log_source_address: values::listener(&misc.key("logSourcePort"), ":8082")?,
        console_address: values::listener_unless_off(&misc.key("console-addr"), "127.0.0.1:8083")?,
        console_hosts: values::comma_list(&misc.key("console-hosts"))?.unwrap_or_default(),
        lease: choices::lease(&root)?,
    };
    if settings.enforce_after > 0 && !settings.hears_what_is_not_fenced() {
        warnings.push(
            "general.enforceAfter waits for nothing: without general.callerLogs no call of a fence is heard that has no Sidecar"
                .to_owned(),
        );
    }
    Ok(Resolved { settings, warnings })
}

/// `general` over its legacy name `fence`, key by key.
fn merged_general(root: &Reader<'_>) -> Result<Value, SettingsError> {
    let mut merged = Map::new();
    for reader in [root.key("fence"), root.key("general")] {
        if let Some(map) = reader.map()? {
            merged.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    Ok(Value::Object(merged))
}

fn management_selectors(general: &Reader<'_>) -> Result<Vec<NamespaceSelector>, SettingsError> {
    general.key("managementSelectors").list()?.iter().map(NamespaceSelector::read).collect()
}

fn service_label(reader: &Reader<'_>) -> Result<String, SettingsError> {
    reader.name()?.map_or_else(|| Ok("app".to_owned()), |key| values::label_key(reader, &key))
}

fn revisions(global: &Reader<'_>, auto_fence: bool) -> Result<Revisions, SettingsError> {
    let own = global.key("selfResourceRev");
    let revisions = Revisions {
        managed: values::comma_list(&global.key("istioRev"))?.unwrap_or_default(),
        strict: global.key("strictRev").flag()?,
        own: own.name()?,
    };
    // The controller would make fences and then leave them alone.
    if auto_fence && !revisions.manages(revisions.own.as_deref()) {
        return Err(own.error("a revision of global.istioRev, because autoFence makes fences of this revision"));
    }
    Ok(revisions)
}

/// A flag that is set unless somebody takes it away.
fn on_unless_off(reader: &Reader<'_>) -> Result<bool, SettingsError> {
    Ok(reader.name()?.is_none() || reader.flag()?)
}

fn switching(reader: &Reader<'_>) -> Result<Switching, SettingsError> {
    match reader.name()?.as_deref() {
        None | Some("lossless") => Ok(Switching::Lossless),
        Some("fastest") => Ok(Switching::Fastest),
        Some(_) => Err(reader.error("lossless or fastest")),
    }
}

/// The port is the renderer's to say, who knows the Service.
fn caller_logs(general: &Reader<'_>) -> Result<Option<u16>, SettingsError> {
    let port = general.key("callerLogsPort");
    let port = if port.is_set() { port.port()? } else { DEFAULT_LOG_PORT };
    Ok(general.key("callerLogs").flag()?.then_some(port))
}

fn fence_mode(reader: &Reader<'_>) -> Result<Mode, SettingsError> {
    let Some(name) = reader.name()? else { return Ok(Mode::default()) };
    Mode::of_name(&name).ok_or_else(|| reader.error("enforce, recommend or observe"))
}

fn enforce_after(reader: &Reader<'_>) -> Result<i64, SettingsError> {
    let Some(text) = reader.name()? else { return Ok(0) };
    enforce_after_of(&text).ok_or_else(|| reader.error("a time such as 12h or 3d, or off"))
}

/// Seconds; zero where it is said that nothing is waited for.
pub(crate) fn enforce_after_of(text: &str) -> Option<i64> {
    // In YAML an `off` without quotes may be a flag.
    if ["off", "no", "false"].contains(&text) {
        return Some(0);
    }
    i64::try_from(prometheus::parse_time(text)?.as_secs()).ok()
}

fn expire_unused_after(reader: &Reader<'_>) -> Result<Option<Duration>, SettingsError> {
    let Some(text) = reader.name()? else { return Ok(None) };
    let after = expire_unused_after_of(&text);
    let after = after.ok_or_else(|| reader.error("a time of at least 10s such as 720h or 30d, or off"))?;
    Ok(Some(after).filter(|after| !after.is_zero()))
}

/// How long learned hosts stay without a call, as it is written; zero where it is said that they stay for good.
pub(crate) fn expire_unused_after_of(text: &str) -> Option<Duration> {
    // In YAML an `off` without quotes may be a flag.
    if ["off", "no", "false"].contains(&text) {
        return Some(Duration::ZERO);
    }
    prometheus::parse_time(text).filter(|time| *time >= SHORTEST_LEASE)
}

fn log_security(reader: &Reader<'_>) -> Result<LogSecurity, SettingsError> {
    match reader.name()?.as_deref() {
        // In YAML an `off` without quotes may be a flag.
        None | Some("off" | "false") => Ok(LogSecurity::Off),
        Some("permissive") => Ok(LogSecurity::Permissive),
        Some("strict") => Ok(LogSecurity::Strict),
        Some(_) => Err(reader.error("off, permissive or strict")),
    }
}

fn wormhole_ports(general: &Reader<'_>) -> Result<Vec<u16>, SettingsError> {
    let mut ports = Vec::new();
    for item in general.key("wormholePort").list()? {
        let port = item.port()?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

fn dispatches(general: &Reader<'_>) -> Result<Vec<Dispatch>, SettingsError> {
    let items = general.key("dispatches").list()?;
    items
        .iter()
        .map(|item| {
            item.map()?;
            Ok(Dispatch {
                name: item.key("name").name()?.ok_or_else(|| item.key("name").error("a name"))?,
                domains: item.key("domains").texts()?,
                cluster: item.key("cluster").name()?.ok_or_else(|| item.key("cluster").error("a cluster"))?,
                domain_regex: item.key("domainRegex").name()?,
            })
        })
        .collect()
}

fn domain_aliases(general: &Reader<'_>) -> Result<Vec<DomainAlias>, SettingsError> {
    let items = general.key("domainAliases").list()?;
    items
        .iter()
        .map(|item| {
            item.map()?;
            Ok(DomainAlias {
                pattern: item.key("pattern").text()?.unwrap_or_default(),
                templates: item.key("templates").texts()?,
            })
        })
        .collect()
}
