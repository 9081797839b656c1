//! Which of several spellings wins, and what a missing setting means. Source: contract 0.3 (D1, D2, D5, D8, D11), 1.3–1.7.

use lazyload_api::names;
use serde_json::{Map, Value};

use super::prometheus;
use super::reader::{Reader, SettingsError};
use super::{Dispatch, DomainAlias, GlobalSidecarMode, MetricSource, Settings, Switching};

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

const GENERAL_KEYS: &[&str] = &[
    "addEnvHeaderViaLua",
    "autoFence",
    "autoPort",
    "blackNamespaceList",
    "cleanupWormholePort",
    "clusterGsNamespace",
    "defaultFence",
    "disableIpv4Passthrough",
    "dispatches",
    "domainAliases",
    "enableShortDomain",
    "fenceLabelKeyAlias",
    "globalSidecar",
    "globalSidecarMode",
    "managementSelectors",
    "metricSourceType",
    "namespace",
    "passthroughByDefault",
    "proxyVersion",
    "render",
    "stableHost",
    "supportH2",
    "switching",
    "whiteNamespaceList",
    "wormholePort",
];

/// Known settings that have no effect yet. A fence that the user excluded must not be made, so one of them is refused.
const NOT_BUILT_YET: &[&str] = &["autoPort", "enableShortDomain", "fenceLabelKeyAlias", "supportH2"];

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
    let mut warnings = warnings(&general)?;
    if general.key("managementSelectors").is_set() {
        return Err(general.key("managementSelectors").error("nothing: it is not built yet, use whiteNamespaceList"));
    }

    let mode = mode(&general, &misc, context)?;
    let source = source(&general, &misc, &root)?;
    let asked = Reader::new("metric.prometheus", root.key("metric").key("prometheus").value());
    warnings.extend(prometheus::warnings(&asked)?);
    let prometheus = match source {
        MetricSource::Prometheus => Some(prometheus::read(&asked)?),
        MetricSource::AccessLog => None,
    };
    if asked.is_set() && prometheus.is_none() {
        warnings.push("metric.prometheus has no effect: metricSourceType is accesslog".to_owned());
    }
    let slime_namespace = global
        .key("slimeNamespace")
        .name()?
        .or_else(|| context.namespace.clone())
        .unwrap_or_else(|| names::DEFAULT_SLIME_NAMESPACE.to_owned());
    let text_or = |reader: Reader<'_>, default: &str| -> Result<String, SettingsError> {
        Ok(reader.name()?.unwrap_or_else(|| default.to_owned()))
    };

    if general.key("blackNamespaceList").name()?.is_some() && general.key("whiteNamespaceList").name()?.is_some() {
        let black = general.key("blackNamespaceList");
        return Err(black.error("nothing where whiteNamespaceList is set"));
    }
    let settings = Settings {
        module_name: text_or(root.key("name"), "lazyload")?,
        wormhole_ports: wormhole_ports(&general)?,
        auto_fence: general.key("autoFence").flag()?,
        default_fence: general.key("defaultFence").flag()?,
        black_namespaces: namespace_list(&general.key("blackNamespaceList"))?.unwrap_or_default(),
        white_namespaces: namespace_list(&general.key("whiteNamespaceList"))?,
        namespaces: general.key("namespace").texts()?,
        dispatches: dispatches(&general)?,
        domain_aliases: domain_aliases(&general)?,
        stable_hosts: general.key("stableHost").texts()?,
        cluster_gs_namespace: general.key("clusterGsNamespace").name()?,
        passthrough_by_default: general.key("passthroughByDefault").flag()?,
        add_env_header_via_lua: general.key("addEnvHeaderViaLua").flag()?,
        proxy_version: general.key("proxyVersion").name()?,
        support_h2: general.key("supportH2").flag()?,
        cleanup_wormhole_port: general.key("cleanupWormholePort").flag()?,
        mode,
        source,
        prometheus,
        switching: switching(&general.key("switching"))?,
        service_label: text_or(global.key("service"), "app")?,
        istio_namespace: text_or(global.key("istioNamespace"), names::DEFAULT_ISTIO_NAMESPACE)?,
        slime_namespace,
        log_level: text_or(global.key("log").key("logLevel"), "info")?,
        metrics_address: text_or(misc.key("metrics-addr"), ":8080")?,
        aux_address: text_or(misc.key("aux-addr"), ":8081")?,
        log_source_address: text_or(misc.key("logSourcePort"), ":8082")?,
    };
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

fn warnings(general: &Reader<'_>) -> Result<Vec<String>, SettingsError> {
    let Some(map) = general.map()? else { return Ok(Vec::new()) };
    let known = |key: &&String| GENERAL_KEYS.contains(&key.as_str());
    let unknown = map.keys().filter(|key| !known(key));
    let idle = NOT_BUILT_YET.iter().filter(|key| map.get(**key).is_some_and(is_meant));
    Ok(unknown
        .map(|key| format!("general.{key} is not a known setting and has no effect"))
        .chain(idle.map(|key| format!("general.{key} is not built yet and has no effect")))
        .collect())
}

/// Whether a value says more than its absence would.
fn is_meant(value: &Value) -> bool {
    !(value.is_null() || *value == Value::Bool(false) || value.as_str().is_some_and(str::is_empty))
}

/// Comma-separated names of `blackNamespaceList` or `whiteNamespaceList`.
fn namespace_list(list: &Reader<'_>) -> Result<Option<Vec<String>>, SettingsError> {
    let text = list.name()?;
    Ok(text.map(|text| text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()))
}

fn mode(general: &Reader<'_>, misc: &Reader<'_>, context: &Context) -> Result<GlobalSidecarMode, SettingsError> {
    let component = context.component_type.clone().map(Value::String);
    let candidates = [
        general.key("globalSidecarMode"),
        misc.key("globalSidecarMode"),
        Reader::new("component.globalSidecar.type", component.as_ref()),
    ];
    let mut chosen: Option<(String, GlobalSidecarMode)> = None;
    for candidate in candidates {
        let Some(text) = candidate.name()? else { continue };
        let mode = match text.as_str() {
            "cluster" => GlobalSidecarMode::Cluster,
            "namespace" | "namespaced" => GlobalSidecarMode::Namespace,
            _ => return Err(candidate.error("cluster or namespace")),
        };
        match &chosen {
            Some((path, first)) if *first != mode => {
                return Err(candidate.error(&format!("the same mode as {path}")));
            }
            Some(_) => {}
            None => chosen = Some((candidate.path().to_owned(), mode)),
        }
    }
    Ok(chosen.map(|(_, mode)| mode).unwrap_or_default())
}

fn source(general: &Reader<'_>, misc: &Reader<'_>, root: &Reader<'_>) -> Result<MetricSource, SettingsError> {
    for candidate in [general.key("metricSourceType"), misc.key("metricSourceType")] {
        match candidate.name()?.as_deref() {
            None => {}
            Some("accesslog") => return Ok(MetricSource::AccessLog),
            Some("prometheus") => return Ok(MetricSource::Prometheus),
            Some(_) => return Err(candidate.error("accesslog or prometheus")),
        }
    }
    let prometheus = root.key("metric").key("prometheus");
    Ok(if prometheus.is_set() { MetricSource::Prometheus } else { MetricSource::AccessLog })
}

fn switching(reader: &Reader<'_>) -> Result<Switching, SettingsError> {
    match reader.name()?.as_deref() {
        None | Some("lossless") => Ok(Switching::Lossless),
        Some("fastest") => Ok(Switching::Fastest),
        Some(_) => Err(reader.error("lossless or fastest")),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn settings(entry: Value) -> Settings {
        resolve(&entry, &Context::default()).unwrap().settings
    }

    #[test]
    fn the_seeds_cluster_accesslog_module_is_read_as_printed() {
        let settings = settings(json!({
            "name": "lazyload", "kind": "lazyload", "enable": true,
            "general": {"wormholePort": ["9080"]},
            "global": {"misc": {"globalSidecarMode": "cluster", "metricSourceType": "accesslog"}},
        }));
        assert_eq!(settings.wormhole_ports, [9080]);
        assert_eq!(settings.mode, GlobalSidecarMode::Cluster);
        assert_eq!(settings.source, MetricSource::AccessLog);
        assert_eq!(settings.slime_namespace, "mesh-operator");
        assert_eq!(settings.aux_address, ":8081");
        assert!(!settings.auto_fence);
    }

    #[test]
    fn prometheus_is_the_source_if_its_block_alone_is_given() {
        let settings = settings(json!({"metric": {"prometheus": {
            "address": "http://p:9090", "handlers": {"destination": {"query": "sum(x{app=\"$source_app\"})by(request_host)"}},
        }}}));
        assert_eq!(settings.source, MetricSource::Prometheus);
        assert_eq!(settings.prometheus.unwrap().address, "http://p:9090");
    }

    #[test]
    fn integers_stand_for_text_and_flags_for_words() {
        let settings = settings(json!({"general": {
            "wormholePort": [9080, "80", 9080], "autoFence": "true",
            "dispatches": [{"name": 163, "domains": ["www.163.com"], "cluster": "PassthroughCluster"}],
        }}));
        assert_eq!(settings.wormhole_ports, [9080, 80]);
        assert!(settings.auto_fence);
        assert_eq!(settings.dispatches[0].name, "163");
    }

    #[test]
    fn general_wins_over_the_legacy_fence_key_by_key() {
        let settings = settings(json!({
            "fence": {"wormholePort": ["1"], "autoFence": true},
            "general": {"wormholePort": ["2"]},
        }));
        assert_eq!(settings.wormhole_ports, [2]);
        assert!(settings.auto_fence);
    }

    #[test]
    fn the_mode_comes_from_the_component_type_if_the_module_is_silent() {
        let context = Context { component_type: Some("namespace".into()), namespace: None };
        let resolved = resolve(&json!({}), &context).unwrap();
        assert_eq!(resolved.settings.mode, GlobalSidecarMode::Namespace);
    }

    #[test]
    fn two_modes_that_differ_are_refused_with_both_names() {
        let context = Context { component_type: Some("namespace".into()), namespace: None };
        let error = resolve(&json!({"general": {"globalSidecarMode": "cluster"}}), &context).unwrap_err();
        assert_eq!(
            error.to_string(),
            "component.globalSidecar.type: expected the same mode as general.globalSidecarMode, got \"namespace\""
        );
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        let error = resolve(&json!({"general": {"wormholePort": ["9080", "http"]}}), &Context::default()).unwrap_err();
        assert_eq!(error.to_string(), "general.wormholePort[1]: expected a port number from 1 to 65535, got \"http\"");
        assert!(resolve(&json!({"general": {"autoFence": "yes please"}}), &Context::default()).is_err());
        assert!(resolve(&json!([]), &Context::default()).is_err());
    }

    #[test]
    fn namespaces_are_listed_in_black_or_in_white_but_not_in_both() {
        let white = settings(json!({"general": {"whiteNamespaceList": "a, b"}}));
        assert_eq!(white.white_namespaces.unwrap(), ["a", "b"]);
        let both = json!({"general": {"blackNamespaceList": "a", "whiteNamespaceList": "b"}});
        let error = resolve(&both, &Context::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "general.blackNamespaceList: expected nothing where whiteNamespaceList is set, got \"a\""
        );
    }

    #[test]
    fn switches_are_lossless_unless_the_fastest_are_wanted() {
        assert_eq!(settings(json!({})).switching, Switching::Lossless);
        assert_eq!(settings(json!({"general": {"switching": "fastest"}})).switching, Switching::Fastest);
        let error = resolve(&json!({"general": {"switching": "fast"}}), &Context::default()).unwrap_err();
        assert_eq!(error.to_string(), "general.switching: expected lossless or fastest, got \"fast\"");
    }

    #[test]
    fn what_is_not_built_yet_is_said() {
        let entry = json!({"general": {"autoPort": true, "supportH2": false}});
        let resolved = resolve(&entry, &Context::default()).unwrap();
        assert_eq!(resolved.warnings, ["general.autoPort is not built yet and has no effect"]);
        assert!(resolve(&json!({"general": {"managementSelectors": [{}]}}), &Context::default()).is_err());
    }

    #[test]
    fn unknown_keys_are_named_and_change_nothing() {
        let resolved = resolve(&json!({"general": {"wormholePorts": ["1"]}}), &Context::default()).unwrap();
        assert_eq!(resolved.warnings, ["general.wormholePorts is not a known setting and has no effect"]);
    }
}
