//! Where the user sends unmatched hosts instead. What Envoy would refuse is refused here: it refuses a whole table of routes for one
//! wrong virtual host. Source: contract 4.5; seed S39–S42; B4.

use std::collections::BTreeSet;

use lazyload_api::names;
use serde_json::Value;

use super::BootError;
use super::template;
use crate::settings::{self, Settings};

/// Virtual hosts that are there already, or are made for the fallback.
const TAKEN: &[&str] = &[
    names::FALLBACK_VIRTUAL_HOST,
    names::ISTIO_ALLOW_ANY,
    names::ISTIO_BLOCK_ALL,
    names::KEPT_ALLOW_ANY,
    names::KEPT_BLOCK_ALL,
];

/// A rule that is known to be one that Envoy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Name of its virtual host.
    pub name: String,
    /// Domains but for `*`.
    pub domains: Vec<String>,
    /// Whether it also gets what no other rule gets.
    pub gets_the_rest: bool,
    /// Regular expression on the whole authority.
    pub domain_regex: Option<String>,
    /// Where to.
    pub target: Target,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the global-sidecar that serves the caller.
    GlobalSidecar,
    /// To a cluster of the caller's proxy.
    Cluster(String),
}

/// Reads all rules; `values` is what templates see, `ports` are those whose tables get the rules. Warnings are one line each.
pub(super) fn dispatches(
    settings: &Settings,
    values: &Value,
    ports: &[u16],
    module_path: &str,
) -> Result<(Vec<Dispatch>, Vec<String>), BootError> {
    let mut seen = Seen::default();
    let mut warnings = Vec::new();
    let mut dispatches = Vec::new();
    for (position, written) in settings.dispatches.iter().enumerate() {
        let path = format!("{module_path}.general.dispatches[{position}]");
        let at = |field: &str| format!("{path}.{field}");
        seen.name(&written.name, &at("name"))?;
        seen.domains(written, ports, &at("domains"))?;
        if let Some(regex) = &written.domain_regex {
            regular_expression(regex, &at("domainRegex"))?;
        } else if written.domains.is_empty() {
            return Err(BootError::new(at("domains"), "expected at least one domain, or domainRegex, got nothing"));
        }
        let target = target(written, values, &at("cluster"))?;
        if let Target::Cluster(name) = &target
            && !name.contains('|')
            && !ISTIO_CLUSTERS.contains(&name.as_str())
        {
            warnings.push(format!(
                "{}: {name:?} is no cluster that Istio makes; requests get 503 unless something else adds it to the proxies",
                at("cluster")
            ));
        }
        dispatches.push(Dispatch {
            name: written.name.clone(),
            domains: written.domains.iter().filter(|domain| *domain != "*").cloned().collect(),
            gets_the_rest: written.domains.iter().any(|domain| domain == "*"),
            domain_regex: written.domain_regex.clone(),
            target,
        });
    }
    Ok((dispatches, warnings))
}

/// A regular expression that Envoy will read too; both are without backtracking.
pub(super) fn regular_expression(text: &str, path: &str) -> Result<(), BootError> {
    // Envoy refuses programs that are too large; this limit is a little below its own.
    let built = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
    built.map(drop).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        BootError::new(path, format!("expected a regular expression (RE2 syntax), got {text:?}: {reason}"))
    })
}

const ISTIO_CLUSTERS: &[&str] = &[names::PASSTHROUGH_CLUSTER, "BlackHoleCluster"];

#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    domains: BTreeSet<String>,
}

impl Seen {
    fn name(&mut self, name: &str, path: &str) -> Result<(), BootError> {
        if TAKEN.contains(&name) {
            return Err(BootError::new(path, format!("{name:?} is taken by a built-in route; choose another")));
        }
        // Istio's own virtual hosts are HOST:PORT, and the global-sidecar's proxy removes these by name.
        if name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
            return Err(BootError::new(path, format!("expected a name without ':' and white space, got {name:?}")));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(BootError::new(path, format!("{name:?} names two dispatches; choose another")));
        }
        Ok(())
    }

    fn domains(&mut self, written: &settings::Dispatch, ports: &[u16], path: &str) -> Result<(), BootError> {
        for (position, domain) in written.domains.iter().enumerate() {
            domain_of_envoy(domain, &format!("{path}[{position}]"))?;
            // With every port that is added later: it must not be somebody else's domain either.
            let all = ports.iter().flat_map(|port| with_port(domain, *port));
            let all: BTreeSet<String> = all.chain([domain.clone()]).map(|domain| domain.to_ascii_lowercase()).collect();
            for domain in all {
                if !self.domains.insert(domain.clone()) {
                    return Err(BootError::new(path, format!("{domain:?} occurs twice; keep it in one dispatch")));
                }
            }
        }
        Ok(())
    }
}

/// An exact name is also matched with its port, which older proxies do not ignore.
pub(super) fn with_port(domain: &str, port: u16) -> Vec<String> {
    let exact = !domain.contains(['*', ':']);
    let more = exact.then(|| format!("{domain}:{port}"));
    [domain.to_owned()].into_iter().chain(more).collect()
}

fn domain_of_envoy(domain: &str, path: &str) -> Result<(), BootError> {
    let refuse = |message: &str| Err(BootError::new(path, format!("{message}, got {domain:?}")));
    let literal = domain.strip_prefix('*').or_else(|| domain.strip_suffix('*')).unwrap_or(domain);
    if literal.contains('*') {
        return refuse("expected a host, *.HOST, HOST.* or *, with one '*' at most");
    }
    if literal.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_.:[]".contains(c))) {
        return refuse("expected a host, *.HOST, HOST.* or *, without scheme and path");
    }
    let host = literal.split(':').next().unwrap_or_default();
    let of_a_service = domain == literal
        && (host.ends_with(names::SERVICE_DOMAIN_SUFFIX) || host.ends_with(".svc") || !host.contains('.'));
    if of_a_service && !host.starts_with('[') {
        // A proxy that knows the Service has this domain already; Envoy would refuse the whole table.
        return refuse("expected a host outside the cluster, because proxies route a Service's own names already");
    }
    Ok(())
}

fn target(written: &settings::Dispatch, values: &Value, path: &str) -> Result<Target, BootError> {
    if written.cluster == names::DISPATCH_TO_GLOBAL_SIDECAR {
        return Ok(Target::GlobalSidecar);
    }
    let of = |message: String| BootError::new(path, format!("dispatch {:?}: {message}", written.name));
    let name = template::fill(&written.cluster, values).map_err(|error| of(error.to_string()))?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(of(format!("expected the name of a cluster, got {name:?}")));
    }
    if name.contains('|') && !is_istio_cluster(&name) {
        return Err(of(format!(
            "expected DIRECTION|PORT|SUBSET|HOST, such as outbound|80||egress.example.svc.cluster.local, got {name:?}"
        )));
    }
    Ok(Target::Cluster(name))
}

/// `<direction>|<port>|<subset>|<host>`; the subset may be empty.
fn is_istio_cluster(name: &str) -> bool {
    let parts: Vec<&str> = name.split('|').collect();
    let [direction, port, subset, host] = parts.as_slice() else { return false };
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    ["outbound", "inbound"].contains(direction)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
        && plain(subset)
        && plain(host.trim_start_matches("*."))
        && !host.is_empty()
        && !host.split('.').any(str::is_empty)
}
