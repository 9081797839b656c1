//! Settings that may be written in several places: one place is enough, and two that differ are refused with both names.

use serde_json::Value;

use super::reader::{Reader, SettingsError};
use super::resolve::Context;
use super::{GlobalSidecarMode, MetricSource, values};

/// Which global-sidecar serves.
pub(super) fn mode(
    general: &Reader<'_>,
    misc: &Reader<'_>,
    context: &Context,
) -> Result<GlobalSidecarMode, SettingsError> {
    let component = context.component_type.clone().map(Value::String);
    let candidates = [
        general.key("globalSidecarMode"),
        misc.key("globalSidecarMode"),
        Reader::new("component.globalSidecar.type", component.as_ref()),
    ];
    let found = agreed(&candidates, "mode", "cluster or namespace", |text| match text {
        "cluster" => Some(GlobalSidecarMode::Cluster),
        "namespace" | "namespaced" => Some(GlobalSidecarMode::Namespace),
        _ => None,
    })?;
    Ok(found.unwrap_or_default())
}

/// Where calls are learned from.
pub(super) fn source(
    general: &Reader<'_>,
    misc: &Reader<'_>,
    root: &Reader<'_>,
) -> Result<MetricSource, SettingsError> {
    let candidates = [general.key("metricSourceType"), misc.key("metricSourceType")];
    let found = agreed(&candidates, "source", "accesslog or prometheus", |text| match text {
        "accesslog" => Some(MetricSource::AccessLog),
        "prometheus" => Some(MetricSource::Prometheus),
        _ => None,
    })?;
    let prometheus = root.key("metric").key("prometheus").is_set();
    Ok(found.unwrap_or(if prometheus { MetricSource::Prometheus } else { MetricSource::AccessLog }))
}

/// The lease by which several controllers agree on one that writes; `None` if there is only one. It is named as the original names it:
/// `lazyload`, or `lazyload-REVISION`; a module of another name has its own.
pub(super) fn lease(root: &Reader<'_>) -> Result<Option<String>, SettingsError> {
    let misc = root.key("global").key("misc");
    let spellings = ["enableLeaderElection", "enable-leader-election"].map(|key| misc.key(key));
    let written = spellings.iter().find(|spelling| spelling.is_set());
    if !written.map_or(Ok(false), Reader::flag)? {
        return Ok(None);
    }
    let revision = root.key("global").key("deployRev");
    let name = root.key("name").name()?.unwrap_or_else(|| "lazyload".to_owned());
    let Some(suffix) = revision.name()? else { return Ok(Some(name)) };
    if !values::is_dns_label(&suffix) {
        return Err(revision.error("lower-case letters, digits and '-', because the lease is named after it"));
    }
    Ok(Some(format!("{name}-{suffix}")))
}

fn agreed<T: Copy + PartialEq>(
    candidates: &[Reader<'_>],
    what: &str,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, SettingsError> {
    let mut chosen: Option<(&str, T)> = None;
    for candidate in candidates {
        let Some(text) = candidate.name()? else { continue };
        let value = read(&text).ok_or_else(|| candidate.error(expected))?;
        match chosen {
            Some((path, first)) if first != value => {
                return Err(candidate.error(&format!("the same {what} as {path}, or nothing")));
            }
            Some(_) => {}
            None => chosen = Some((candidate.path(), value)),
        }
    }
    Ok(chosen.map(|(_, value)| value))
}
