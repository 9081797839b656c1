//! What is wrong with one fence.

use lazyload_api::names;
use lazyload_api::service_fence::DomainStatus;

use super::{Code, Finding, finding, pairs, some_of};
use crate::fence::scope::has_fallback;
use crate::fence::sidecar::{desired_hosts, workload_labels};
use crate::fence::switch::{EVERYTHING, Form};
use crate::fence::validity::spec_problems;
use crate::index::selects;
use crate::state::State;
use crate::types::{Fence, Labels, Sidecar};

impl State {
    pub(super) fn of_fence(&self, fence: &Fence, unix_seconds: i64, findings: &mut Vec<Finding>) {
        let (namespace, name) = (&fence.id.namespace, &fence.id.name);
        let mut found = |code, message: String, remedy: String| {
            findings.push(finding(code, format!("ServiceFence {}", fence.id), message, remedy));
        };
        for problem in spec_problems(&fence.id, &fence.spec, &self.index) {
            found(Code::BadSpec, problem, "correct the spec; everything else of it is in force".to_owned());
        }
        for problem in self.mode_problems(fence) {
            found(Code::BadSpec, problem, "correct the label, or remove it".to_owned());
        }
        let external: Vec<&str> = hosts_where(fence, |domain| domain.external);
        if !external.is_empty() {
            let what = format!(
                "the mesh does not know {}: their calls go through the global-sidecar for good",
                some_of(&external)
            );
            found(Code::External, what, "declare a ServiceEntry for what should be called directly".to_owned());
        }
        if !fence.spec.enable {
            let what = "spec.enable is not true: it learns, and hides nothing".to_owned();
            return found(Code::Disabled, what, "set spec.enable: true".to_owned());
        }
        let mode = self.mode(fence);
        if !mode.is_enforced() {
            // Break-glass is told once, for the Namespace that has the label.
            if mode.glass.is_none() {
                let remedy = match mode.wait {
                    Some(_) => format!("nothing, if it may wait; else {}=off", names::ENFORCE_AFTER_LABEL),
                    None => format!("once what it has learned looks complete, {}=enforce", names::MODE_LABEL),
                };
                found(Code::NotEnforced, mode.sentence(&self.settings, fence), remedy);
            }
            return;
        }
        if !has_fallback(&self.settings, namespace) {
            let what = format!(
                "namespace {namespace} is not in general.namespace: no global-sidecar would serve what it hides, so it has no Sidecar"
            );
            return found(
                Code::WithoutFallback,
                what,
                format!("add {namespace} to general.namespace of the SlimeBoot"),
            );
        }
        let Some(workload) = workload_labels(&self.settings, fence, &self.index) else {
            let what = format!("spec.workloadSelector.fromService: there is no Service {} with a selector", fence.id);
            let remedy = "make it, or name the pods in spec.workloadSelector.labels".to_owned();
            return found(Code::UnknownPods, what, remedy);
        };
        if self.index.labels_of_pods(namespace, &workload).next().is_none() {
            let what = format!("no pod has the labels {}", pairs(&workload));
            found(Code::NoPods, what, "nothing, if it is scaled to zero; else correct the selector".to_owned());
        }
        let learned = self.in_use(&fence.id);
        if let (_, Some(denied)) = self.dependencies(fence, &learned, unix_seconds) {
            found(
                Code::FirstCallsDenied,
                denied,
                "allow the global-sidecar's identity there, or give the hosts in spec.host".to_owned(),
            );
        }
        for rival in self.rivals(fence, &workload) {
            let what =
                format!("Sidecar {} selects the same pods, and which of the two Istio takes is not defined", rival.id);
            found(
                Code::RivalSidecar,
                what,
                "delete one of the two, or make their selectors exclude each other".to_owned(),
            );
        }
        match self.index.find_sidecar(&fence.id) {
            Some(sidecar) if sidecar.owner_uid.is_none() && !sidecar.adopt => found(
                Code::ForeignSidecar,
                format!(
                    "Sidecar {} is somebody else's, so it decides what the pods see, and nothing that is learned reaches it",
                    fence.id
                ),
                format!(
                    "delete it, or hand it over: kubectl -n {namespace} annotate sidecar {name} {}=true",
                    names::ADOPT_ANNOTATION
                ),
            ),
            sidecar if self.claims.ruler(&fence.id).is_none() => {
                let missing = self.missing(fence, sidecar);
                if !missing.is_empty() {
                    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
                    let what = format!("status.domains has {}, and its Sidecar has not", some_of(&missing));
                    let remedy = "wait a few seconds if a switch is under way; else look at the fence's conditions and the controller's log";
                    found(Code::Missing, what, remedy.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Entries that the Sidecar should route, and neither routes nor announces.
    fn missing(&self, fence: &Fence, sidecar: Option<&Sidecar>) -> Vec<String> {
        let form = sidecar.map(|sidecar| Form::of(&sidecar.spec)).unwrap_or_default();
        let is_there = |entry: &str| {
            [entry, EVERYTHING].iter().any(|entry| form.routed.contains(entry) || form.announced.contains(entry))
        };
        let domains = fence.status.domains.iter().filter(|(_, domain)| !domain.external);
        let domains = domains.map(|(host, domain)| (host.clone(), domain.clone())).collect();
        desired_hosts(&self.settings, &fence.id, &domains).into_iter().filter(|entry| !is_there(entry)).collect()
    }

    /// Sidecars of other names, not ours, with a selector that some pod of the fence satisfies.
    fn rivals<'a>(&'a self, fence: &'a Fence, workload: &'a Labels) -> impl Iterator<Item = &'a Sidecar> {
        let foreign = self.index.sidecars().filter(|sidecar| {
            sidecar.id.namespace == fence.id.namespace && sidecar.id != fence.id && sidecar.owner_uid.is_none()
        });
        foreign.filter(move |sidecar| {
            let Some(selector) = &sidecar.spec.workload_selector else { return false };
            let mut pods = self.index.labels_of_pods(&fence.id.namespace, workload);
            pods.any(|labels| selects(&selector.labels, labels))
        })
    }
}

fn hosts_where(fence: &Fence, wanted: impl Fn(&lazyload_api::service_fence::Destinations) -> bool) -> Vec<&str> {
    let active = fence.status.domains.iter().filter(|(_, domain)| domain.status == DomainStatus::Active);
    active.filter(|(_, domain)| wanted(domain)).map(|(host, _)| host.as_str()).collect()
}
