//! What brings each host into a fence, by asking for the dependencies of one source at a time.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::service_fence::ServiceFenceSpec;

use super::{Cause, Since};
use crate::fence::completion::complete_known;
use crate::fence::dependencies::desired_dependencies;
use crate::fence::sidecar::desired_hosts;
use crate::ledger::host_of_evidence;
use crate::state::State;
use crate::types::{Fence, ObjectRef};

type Causes = BTreeMap<String, BTreeSet<Cause>>;

/// One thing that is said or was seen.
struct Source {
    cause: Cause,
    spec: ServiceFenceSpec,
    learned: BTreeSet<String>,
    named: BTreeMap<String, BTreeSet<ObjectRef>>,
}

impl Source {
    fn new(kind: &'static str, what: String, since: Option<Since>) -> Self {
        Self {
            cause: Cause { kind, what, by: None, since },
            spec: ServiceFenceSpec::default(),
            learned: BTreeSet::new(),
            named: BTreeMap::new(),
        }
    }
}

impl State {
    /// By host, or `NAMESPACE/*`.
    pub(super) fn causes(&self, fence: &Fence, unix_seconds: i64) -> Causes {
        let mut causes = Causes::new();
        for source in self.sources(fence) {
            self.follow(fence, &source, unix_seconds, &mut causes);
        }
        for other in self.claims.ruled(&fence.id).into_iter().filter_map(|other| self.index.find_fence(other)) {
            let what = format!("ServiceFence {} has the same pods", other.id);
            let cause = Cause { kind: "fence", what, by: None, since: None };
            for (host, domain) in &other.status.domains {
                for host in std::iter::once(host).chain(&domain.hosts) {
                    causes.entry(host.clone()).or_default().insert(cause.clone());
                }
            }
        }
        for entry in desired_hosts(&self.settings, &fence.id, &BTreeMap::new()) {
            let host = entry.strip_prefix("*/").unwrap_or(&entry);
            let cause = Cause { kind: "settings", what: self.why_always(host), by: None, since: None };
            causes.entry(host.to_owned()).or_default().insert(cause);
        }
        causes
    }

    /// Why every Sidecar has an entry.
    fn why_always(&self, host: &str) -> String {
        let settings = &self.settings;
        let setting = match host.strip_suffix("/*") {
            _ if settings.stable_hosts.iter().any(|stable| stable == host) => "general.stableHost",
            Some(namespace) if namespace == settings.istio_namespace => "global.istioNamespace",
            Some(namespace) if namespace == settings.slime_namespace => "global.slimeNamespace",
            _ => "general.globalSidecarMode, its global-sidecar",
        };
        format!("{setting}: every Sidecar has it")
    }

    fn sources(&self, fence: &Fence) -> Vec<Source> {
        let mut sources = Vec::new();
        let declared = State::declared_since(fence);
        for (host, strategy) in &fence.spec.host {
            let mut source = Source::new("static", format!("spec.host.{host:?}"), declared.clone());
            source.spec.host.insert(host.clone(), strategy.clone());
            sources.push(source);
        }
        for namespace in &fence.spec.namespace_selector {
            let mut source = Source::new("static", format!("spec.namespaceSelector: {namespace}"), declared.clone());
            source.spec.namespace_selector.push(namespace.clone());
            sources.push(source);
        }
        for selector in &fence.spec.label_selector {
            let pairs: Vec<String> = selector.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let what = format!("spec.labelSelector: {}", pairs.join(","));
            let mut source = Source::new("static", what, declared.clone());
            source.spec.label_selector.push(selector.clone());
            sources.push(source);
        }
        for (key, count) in self.ledger.evidence(&fence.id).into_iter().flatten() {
            let Some(host) = host_of_evidence(key).filter(|host| !self.is_quarantined(&fence.id, host)) else {
                continue;
            };
            let what = format!("called as {host}; status.metricStatus.{key}: {count}");
            let mut source = Source::new("learned", what, self.learned_since(&fence.id, host));
            source.learned.insert(host.to_owned());
            sources.push(source);
        }
        for (dependency, policies) in self.named(fence).1.dependencies {
            let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
            let what = format!("AuthorizationPolicy {} names the workload as a caller", names.join(", "));
            let mut source = Source::new("policy", what, None);
            source.named.insert(dependency, policies);
            sources.push(source);
        }
        sources
    }

    fn follow(&self, fence: &Fence, source: &Source, unix_seconds: i64, causes: &mut Causes) {
        let Source { cause, spec, learned, named } = source;
        let found =
            desired_dependencies(&fence.id, spec, learned, named, &self.index, &self.aliases, unix_seconds).domains;
        let said: BTreeSet<&str> = spec.host.keys().chain(learned).chain(named.keys()).map(String::as_str).collect();
        for (domain, destinations) in &found {
            // The first domain that follows from a name is the name itself, completed; others are what aliases make of it.
            let is_alias = said.len() == 1 && found.len() > 1 && !self.is_completed(&said, domain, fence);
            let by = is_alias.then(|| "general.domainAliases".to_owned());
            causes.entry(domain.clone()).or_default().insert(Cause { by: by.clone(), ..cause.clone() });
            for host in destinations.hosts.iter().filter(|host| *host != domain) {
                let by = Some(format!("routes of {domain}"));
                causes.entry(host.clone()).or_default().insert(Cause { by, ..cause.clone() });
            }
        }
    }

    fn is_completed(&self, said: &BTreeSet<&str>, domain: &str, fence: &Fence) -> bool {
        let complete = |host: &&str| complete_known(host, &fence.id.namespace, &self.index);
        said.iter().any(|host| *host == domain || complete(host) == domain)
    }
}
