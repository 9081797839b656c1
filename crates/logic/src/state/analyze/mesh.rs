//! What fences have in common: a fallback, settings, a controller that makes them.

use std::collections::BTreeSet;

use lazyload_api::names;

use super::{Code, Finding, finding};
use crate::fence::enrollment::decide;
use crate::fence::mode::is_glass_broken;
use crate::state::State;
use crate::types::ObjectRef;

impl State {
    pub(super) fn of_the_mesh(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for problem in &self.problems {
            findings.push(finding(
                Code::BadSetting,
                format!("module {}", self.settings.module_name),
                problem.clone(),
                "correct it in the SlimeBoot; everything else is in force",
            ));
        }
        for namespace in self.index.namespaces().filter(|namespace| is_glass_broken(&namespace.labels)) {
            let name = &namespace.name;
            let is_own = **name == *self.settings.slime_namespace;
            let what = if is_own { "of the mesh".to_owned() } else { format!("in namespace {name}") };
            let flag = if is_own { String::new() } else { format!(" --namespace {name}") };
            findings.push(finding(
                Code::BreakGlass,
                format!("Namespace {name}"),
                format!("the label {} is on: no fence {what} has a Sidecar", names::BREAK_GLASS_LABEL),
                format!("once what it was for is over: lazyload break-glass off{flag}"),
            ));
        }
        for namespace in self.without_global_sidecar() {
            findings.push(finding(
                Code::NoGlobalSidecar,
                format!("Service {namespace}/{}", names::GLOBAL_SIDECAR),
                "there are fences that hide hosts, and it is not there: calls of a host that is not in a Sidecar yet fail, or pass the mesh by".to_owned(),
                "install it (component.globalSidecar.enable of the SlimeBoot), or look why its SlimeBoot is not Ready",
            ));
        }
        for service in self.index.services() {
            let decision = decide(&self.settings, service, self.index.find_namespace(&service.id.namespace));
            if decision.is_enrolled() && self.index.find_fence(&service.id).is_none() {
                findings.push(finding(
                    Code::NotFenced,
                    format!("Service {}", service.id),
                    format!("it should have a ServiceFence ({}), and has none", decision.sentence(&service.id)),
                    "look whether the controller runs and leads: its /modules/readyz and its log",
                ));
            }
        }
        findings
    }

    /// Namespaces whose global-sidecar serves fences and is not there.
    fn without_global_sidecar(&self) -> BTreeSet<String> {
        let fences = self.index.fences().filter(|fence| self.is_enforced(fence));
        let namespaces: BTreeSet<String> =
            fences.map(|fence| self.fallback_namespace(&fence.id.namespace).to_owned()).collect();
        let is_missing = |namespace: &String| {
            self.index.find_service(&ObjectRef::new(namespace.as_str(), names::GLOBAL_SIDECAR)).is_none()
        };
        namespaces.into_iter().filter(is_missing).collect()
    }
}
