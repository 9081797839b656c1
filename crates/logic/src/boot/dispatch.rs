//! Where the user sends unmatched hosts instead. What Envoy would refuse is refused here: it refuses a whole table of routes for one
//! wrong route. Source: contract 4.5; seed S39–S42; B4.

use std::collections::BTreeSet;

use lazyload_api::names;
use serde_json::Value;

use super::BootError;
use super::template;
use crate::settings::{self, Settings};

/// A rule that is known to be one that Envoy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Name of its routes.
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

impl Dispatch {
    /// The host of the mesh's registry that it sends to, if it says one.
    pub(super) fn registered_host(&self) -> Option<&str> {
        let Target::Cluster(name) = &self.target else { return None };
        let (_, host) = name.strip_prefix("outbound|")?.rsplit_once('|')?;
        (host.contains('.') && !host.contains('*')).then_some(host)
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the global-sidecar that serves the caller.
    GlobalSidecar,
    /// To a cluster of the caller's proxy.
    Cluster(String),
}

/// Reads all rules; `values` is what templates see. Warnings are one line each.
pub(super) fn dispatches(
    settings: &Settings,
    values: &Value,
    module_path: &str,
) -> Result<(Vec<Dispatch>, Vec<String>), BootError> {
    let mut seen = Seen::default();
    let mut warnings = Vec::new();
    let mut dispatches = Vec::new();
    for (position, written) in settings.dispatches.iter().enumerate() {
        let path = format!("{module_path}.general.dispatches[{position}]");
        let at = |field: &str| format!("{path}.{field}");
        seen.name(&written.name, &at("name"))?;
        seen.domains(written, &at("domains"))?;
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
        // Access logs separate their fields by spaces.
        if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BootError::new(path, format!("expected a name without white space, got {name:?}")));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(BootError::new(path, format!("{name:?} names two dispatches; choose another")));
        }
        Ok(())
    }

    fn domains(&mut self, written: &settings::Dispatch, path: &str) -> Result<(), BootError> {
        for (position, domain) in written.domains.iter().enumerate() {
            domain_of_envoy(domain, &format!("{path}[{position}]"))?;
            if !self.domains.insert(domain.to_ascii_lowercase()) {
                return Err(BootError::new(path, format!("{domain:?} occurs twice; keep it in one dispatch")));
            }
        }
        Ok(())
    }
}

/// Every rule but the one for the rest, each as an expression on the whole authority, in the order in which Envoy would look for domains:
/// exact ones, then suffixes and then prefixes with the longest first. Expressions of the user's come last.
pub(super) fn by_precedence(dispatches: &[Dispatch]) -> impl Iterator<Item = (&Dispatch, String)> {
    let mut domains: Vec<(&str, &Dispatch)> = dispatches
        .iter()
        .flat_map(|dispatch| dispatch.domains.iter().map(move |domain| (domain.as_str(), dispatch)))
        .collect();
    domains.sort_by_key(|(domain, _)| {
        let class = if domain.starts_with('*') { 1 } else { i32::from(domain.ends_with('*')) * 2 };
        (class, std::cmp::Reverse(domain.len()))
    });
    let expressions = dispatches.iter().filter_map(|dispatch| Some((dispatch, dispatch.domain_regex.clone()?)));
    domains.into_iter().map(|(domain, dispatch)| (dispatch, expression(domain))).chain(expressions)
}

/// What Envoy's domain matches: in any case, with any port unless it says one; `*` stands for at least one character.
fn expression(domain: &str) -> String {
    let (before, literal, after) = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(suffix), _) => (".+", suffix, ""),
        (None, Some(prefix)) => ("", prefix, ".+"),
        (None, None) => ("", domain, ""),
    };
    let says_port =
        literal.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !literal.ends_with(']'));
    let port = if says_port || !after.is_empty() { "" } else { r"(:\d+)?" };
    format!("(?i){before}{}{after}{port}", regex::escape(literal))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the rule that gets this authority, as Envoy would find it: the first whose expression is all of it.
    fn owner(dispatches: &[Dispatch], authority: &str) -> String {
        let fits = |regex: &str| regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(authority);
        let first = by_precedence(dispatches).find(|(_, regex)| fits(regex));
        first.map_or_else(|| "the rest".to_owned(), |(dispatch, _)| dispatch.name.clone())
    }

    fn dispatch(name: &str, domains: &[&str], regex: Option<&str>) -> Dispatch {
        Dispatch {
            name: name.to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            gets_the_rest: false,
            domain_regex: regex.map(str::to_owned),
            target: Target::GlobalSidecar,
        }
    }

    #[test]
    fn a_domain_matches_like_one_of_envoys_virtual_hosts() {
        let dispatches = [
            dispatch("expression", &[], Some(r"www\..*")),
            dispatch("prefix", &["www.baidu.*", "baidu.*"], None),
            dispatch("suffix", &["*.baidu.com", "*-x.com"], None),
            dispatch("longer suffix", &["*.map.baidu.com"], None),
            dispatch("exact", &["www.163.com", "[fd00::1]"], None),
            dispatch("exact with port", &["www.163.com:8080", "[fd00::1]:8080"], None),
        ];
        for (authority, expected) in [
            ("www.163.com", "exact"),
            ("WWW.163.com", "exact"),
            ("www.163.com:80", "exact"),
            ("www.163.com:8080", "exact with port"),
            ("[fd00::1]", "exact"),
            ("[fd00::1]:80", "exact"),
            ("[fd00::1]:8080", "exact with port"),
            ("www.163.com.x", "expression"),
            ("www.163xcom", "expression"),
            ("a.baidu.com:80", "suffix"),
            ("a.b-x.com", "suffix"),
            ("a.map.baidu.com", "longer suffix"),
            ("www.baidu.com", "suffix"),
            ("www.baidu.org:80", "prefix"),
            ("baidu.com", "prefix"),
            (".baidu.com", "the rest"),
            ("baidu.", "the rest"),
            ("x163.com", "the rest"),
        ] {
            assert_eq!(owner(&dispatches, authority), expected, "{authority}");
        }
    }
}
