//! Keys that are no settings: each is warned of, with the known one that was probably meant. Source: contract 1.2–1.7.

use serde_json::Map;

use super::reader::{Reader, SettingsError};

/// A map of the module entry and its known keys; `[]` stands for each item of a list.
type Level = (&'static str, &'static [&'static str]);

/// What the module entry may hold. Maps that are not listed are the user's own, or are read as a whole.
const LEVELS: &[Level] = &[
    ("", &["bundle", "enable", "fence", "general", "global", "kind", "metric", "mode", "name"]),
    ("general", GENERAL),
    ("fence", GENERAL),
    ("general.dispatches[]", DISPATCH),
    ("fence.dispatches[]", DISPATCH),
    ("general.domainAliases[]", ALIAS),
    ("fence.domainAliases[]", ALIAS),
    (
        "global",
        &[
            "clientGoTokenBucket",
            "configRev",
            "configSources",
            "deployRev",
            "enableConvertSeToIstioRes",
            "istioConfigSource",
            "istioNamespace",
            "istioRev",
            "log",
            "masterUrl",
            "misc",
            "multicluster",
            "selfResourceRev",
            "service",
            "slimeNamespace",
            "strictRev",
        ],
    ),
    ("global.log", &["enableQuote", "ilogLevel", "klogLevel", "logLevel", "logRotate", "logRotateConfig"]),
    ("global.log.logRotateConfig", &["compress", "filePath", "maxAgeDay", "maxBackups", "maxSizeMB"]),
    (
        "global.misc",
        &[
            "aux-addr",
            "console-addr",
            "console-hosts",
            "enable-leader-election",
            "enableLeaderElection",
            "globalSidecarMode",
            "logSourcePort",
            "metricSourceType",
            "metrics-addr",
            "pathRedirect",
            "seLabelSelectorKeys",
            "xdsSourceEnableIncPush",
        ],
    ),
    ("metric", &["k8s", "prometheus"]),
];

const GENERAL: &[&str] = &[
    "accessLogSecurity",
    "addEnvHeaderViaLua",
    "autoFence",
    "autoPort",
    "blackNamespaceList",
    "callerLogs",
    "callerLogsPort",
    "cleanupWormholePort",
    "clusterGsNamespace",
    "defaultFence",
    "disableIpv4Passthrough",
    "dispatches",
    "domainAliases",
    "enableShortDomain",
    "enforceAfter",
    "expireUnusedAfter",
    "fenceLabelKeyAlias",
    "fenceMode",
    "globalSidecar",
    "globalSidecarMode",
    "managementSelectors",
    "metricSourceType",
    "namespace",
    "passthroughByDefault",
    "policyDependencies",
    "proxyVersion",
    "render",
    "stableHost",
    "supportH2",
    "switching",
    "whiteNamespaceList",
    "wormholePort",
];
const DISPATCH: &[&str] = &["cluster", "domainRegex", "domains", "name"];
const ALIAS: &[&str] = &["pattern", "templates"];

/// One line for each key of a module entry that does nothing.
///
/// # Errors
/// Something that must be a map is none.
pub(super) fn warnings(entry: &Reader<'_>) -> Result<Vec<String>, SettingsError> {
    let mut warnings = Vec::new();
    for (path, known) in LEVELS {
        for map in places(entry, path)? {
            let place = map.path().strip_prefix("module").unwrap_or_default().trim_start_matches('.').to_owned();
            warnings.extend(unknown_keys(&map, known)?.into_iter().map(|key| warning(&place, key, known)));
        }
    }
    Ok(warnings)
}

/// Warnings of a map outside of the module entry.
pub(crate) fn warnings_of(map: &Reader<'_>, known: &[&str]) -> Result<Vec<String>, SettingsError> {
    Ok(unknown_keys(map, known)?.into_iter().map(|key| warning(map.path(), key, known)).collect())
}

/// Keys of a map that are none of these, in order.
pub(super) fn unknown_keys<'a>(map: &Reader<'a>, known: &[&str]) -> Result<Vec<&'a String>, SettingsError> {
    let keys = map.map()?.into_iter().flat_map(Map::keys);
    Ok(keys.filter(|key| !known.contains(&key.as_str())).collect())
}

/// The maps at a path of [`LEVELS`]; one that is not set has no keys.
fn places<'a>(entry: &Reader<'a>, path: &str) -> Result<Vec<Reader<'a>>, SettingsError> {
    let mut place = entry.clone();
    for key in path.split('.').filter(|key| !key.is_empty()) {
        match key.strip_suffix("[]") {
            Some(key) => return place.key(key).list(),
            None => place = place.key(key),
        }
    }
    Ok(vec![place])
}

fn warning(place: &str, key: &str, known: &[&str]) -> String {
    let dot = if place.is_empty() { "" } else { "." };
    let hint = match (nearest(key, known), elsewhere(place, key)) {
        (Some(near), _) => format!("; did you mean {place}{dot}{near}?"),
        (None, Some(path)) => format!("; did you mean {path}.{key}?"),
        (None, None) => String::new(),
    };
    format!("{place}{dot}{key} is not a known setting and has no effect{hint}")
}

/// The known key that is nearest, if it is near: a third of the letters may differ.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let written = plain(key);
    let distances = known.iter().map(|known| (strsim::osa_distance(&written, &plain(known)), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= written.len() / 3).then_some(nearest)
}

/// Where a key of this spelling belongs.
fn elsewhere(place: &str, key: &str) -> Option<&'static str> {
    let fits = |level: &&Level| level.0 != place && !level.0.ends_with("[]") && level.1.contains(&key);
    LEVELS.iter().find(fits).map(|(path, _)| *path).filter(|path| !path.is_empty())
}
