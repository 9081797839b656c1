//! What of a big fence fits into the objects that the API server stores. Source: etcd takes 1.5 MiB a request (`--max-request-bytes`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use lazyload_api::service_fence::{Destinations, DomainStatus, ServiceFenceSpec, Unused};

use crate::ledger::evidence_size;

/// Bytes of one object. What the API server adds (managed fields, the request around it) has the rest of the 1.5 MiB.
pub const OBJECT: usize = 1_400_000;
/// Bytes of what is told of a host that is not called, besides its name.
const UNUSED: usize = 130;
/// Bytes kept free for metadata and conditions.
const RESERVE: usize = 30_000;

/// Dependencies as far as they fit into a fence's status, and what was done for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// As `status.domains` has them.
    pub domains: BTreeMap<String, Destinations>,
    /// Dependencies without their `hosts`, which has only the dependency itself then.
    pub shortened: usize,
    /// Dependencies that are not shown.
    pub left_out: usize,
}

/// Fits dependencies into a status. First `hosts` goes where it only repeats the dependency, then such dependencies as a whole, the last
/// by name first: they follow from the spec and from `metricStatus`. Then the others.
#[must_use]
pub fn fit_status(
    domains: BTreeMap<String, Destinations>,
    metric_status: &BTreeMap<String, String>,
    unused: &BTreeMap<String, Unused>,
    spec: &ServiceFenceSpec,
) -> Shown {
    let total = domains.len();
    let mut size: usize = domains.iter().map(|(name, domain)| domain_size(name, domain)).sum();
    let learned: usize = metric_status.iter().map(|(key, count)| evidence_size(key, count)).sum();
    let learned = learned + unused.keys().map(|host| host.len() + UNUSED).sum::<usize>();
    if spec.host.len() < 1000 && size + learned < OBJECT / 2 {
        return Shown { domains, ..Shown::default() };
    }
    // Twice: whoever wrote the spec owns each of its fields, in an annotation or in managed fields.
    let written = serde_json::to_vec(spec).map_or(0, |bytes| 2 * bytes.len());
    let room = OBJECT.saturating_sub(RESERVE + written + learned);
    let mut shown = Shown { domains, ..Shown::default() };
    if size <= room {
        return shown;
    }
    for (name, domain) in &mut shown.domains {
        if repeats(name, domain) {
            size -= domain_size(name, domain);
            domain.hosts.clear();
            size += domain_size(name, domain);
            shown.shortened += 1;
        }
    }
    for only_plain in [true, false] {
        if size <= room {
            break;
        }
        shown.domains = std::mem::take(&mut shown.domains)
            .into_iter()
            .rev()
            .filter(|(name, domain)| {
                let plain = domain.hosts.is_empty() && !name.ends_with("/*") && domain.status == DomainStatus::Active;
                let goes = size > room && (plain || !only_plain);
                if goes {
                    size -= domain_size(name, domain);
                }
                !goes
            })
            .collect();
    }
    shown.left_out = total - shown.domains.len();
    shown.shortened = shown.shortened.min(shown.domains.len());
    shown
}

/// The hosts of a dependency as a status shows it: itself where `hosts` was left out, none where it is external.
#[must_use]
pub fn hosts_of<'a>(name: &'a str, domain: &'a Destinations) -> Cow<'a, [String]> {
    if domain.hosts.is_empty() && !domain.external && !name.ends_with("/*") {
        return Cow::Owned(vec![name.to_owned()]);
    }
    Cow::Borrowed(&domain.hosts)
}

/// Dependencies as far as their hosts fit into a Sidecar, and how many do not. What `is_in` the Sidecar already stays there.
#[must_use]
pub fn fit_sidecar<'a>(
    domains: &'a BTreeMap<String, Destinations>,
    is_in: impl Fn(&str) -> bool,
) -> (Cow<'a, BTreeMap<String, Destinations>>, usize) {
    let weight = |name: &str, domain: &Destinations| {
        let hosts: usize = domain.hosts.iter().map(|host| host.len() + 6).sum();
        hosts + if name.ends_with("/*") { name.len() + 4 } else { 0 }
    };
    let total: usize = domains.iter().map(|(name, domain)| weight(name, domain)).sum();
    let room = OBJECT - RESERVE;
    if total <= room {
        return (Cow::Borrowed(domains), 0);
    }
    let (there, new): (Vec<_>, Vec<_>) =
        domains.iter().partition(|(name, domain)| name.ends_with("/*") || domain.hosts.iter().all(|host| is_in(host)));
    let mut taken = 0;
    let mut fitting = BTreeMap::new();
    for (name, domain) in there.into_iter().chain(new) {
        let weight = weight(name, domain);
        if taken + weight <= room {
            taken += weight;
            fitting.insert(name.clone(), domain.clone());
        }
    }
    let left_out = domains.len() - fitting.len();
    (Cow::Owned(fitting), left_out)
}

fn domain_size(name: &str, domain: &Destinations) -> usize {
    let hosts: usize = domain.hosts.iter().map(|host| host.len() + 3).sum();
    let status = if domain.status == DomainStatus::Active { 0 } else { 24 };
    name.len() + 6 + status + if domain.hosts.is_empty() { 0 } else { hosts + 12 }
}

fn repeats(name: &str, domain: &Destinations) -> bool {
    matches!(domain.hosts.as_slice(), [only] if only == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::evidence_key;

    fn domains(count: usize, length: usize) -> BTreeMap<String, Destinations> {
        let name = |number: usize| format!("{number:05}.{}", "x".repeat(length - 6));
        let domain = |name: String| (name.clone(), Destinations { hosts: vec![name], ..Destinations::default() });
        (0..count).map(|number| domain(name(number))).collect()
    }

    fn evidence(domains: &BTreeMap<String, Destinations>) -> BTreeMap<String, String> {
        domains.keys().map(|name| (evidence_key(name), "1".to_owned())).collect()
    }

    fn bytes(shown: &Shown, learned: &BTreeMap<String, String>) -> usize {
        serde_json::to_vec(&shown.domains).unwrap().len() + serde_json::to_vec(learned).unwrap().len()
    }

    #[test]
    fn an_external_host_stands_for_no_host_of_a_sidecar() {
        let external = Destinations { external: true, ..Destinations::default() };
        assert!(hosts_of("www.example.com", &external).is_empty());
        assert_eq!(*hosts_of("a.b", &Destinations::default()), ["a.b".to_owned()]);
    }

    #[test]
    fn five_thousand_learned_hosts_are_shown_in_full() {
        let all = domains(5_000, 60);
        let learned = evidence(&all);
        let shown = fit_status(all.clone(), &learned, &BTreeMap::new(), &ServiceFenceSpec::default());
        assert_eq!(shown, Shown { domains: all, shortened: 0, left_out: 0 });
        assert!(bytes(&shown, &learned) < OBJECT);
    }

    #[test]
    fn what_does_not_fit_goes_in_order_repeated_hosts_plain_dependencies_the_rest() {
        let mut all = domains(7_000, 60);
        let routed = Destinations { hosts: vec!["zz.b".into(), "elsewhere.b".into()], ..Destinations::default() };
        all.insert("zz.b".to_owned(), routed.clone());
        let learned = evidence(&all);
        let shown = fit_status(all.clone(), &learned, &BTreeMap::new(), &ServiceFenceSpec::default());
        assert_eq!((shown.shortened, shown.left_out), (7_000, 0));
        let mut all = domains(10_000, 67);
        all.insert("zz.b".to_owned(), routed.clone());
        let learned = evidence(&all);
        let shown = fit_status(all.clone(), &learned, &BTreeMap::new(), &ServiceFenceSpec::default());
        assert!(shown.left_out > 0 && bytes(&shown, &learned) < OBJECT, "{}", shown.left_out);
        assert_eq!(shown.domains["zz.b"], routed, "what cannot be derived stays");
        assert_eq!(hosts_of("zz.b", &shown.domains["zz.b"]).len(), 2);
        let (first, domain) = shown.domains.first_key_value().unwrap();
        assert_eq!(hosts_of(first, domain).concat(), *first);
    }

    #[test]
    fn a_sidecar_keeps_what_it_has_and_takes_what_fits() {
        let all = domains(10_000, 250);
        let (fitting, left_out) = fit_sidecar(&all, |host| host.starts_with("09"));
        assert_eq!(fitting.len() + left_out, 10_000);
        assert!(fitting.len() > 5_000, "{}", fitting.len());
        assert!(fitting.keys().filter(|host| host.starts_with("09")).count() == 1_000);
        let (fitting, left_out) = fit_sidecar(&fitting, |_| false);
        assert_eq!((fitting.len(), left_out), (fitting.len(), 0));
        assert!(matches!(fitting, Cow::Borrowed(_)));
    }
}
