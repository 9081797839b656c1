//! What to do about the Sidecar of a fence whose pods other fences select too, or whose Sidecar its user hands over. Everything else about
//! Sidecars is in `sidecar`. Reasons: docs/adr/0011.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::service_fence::{Destinations, DomainStatus};

use super::{Futile, Verdict};
use crate::fence::budget::{fit_sidecar, hosts_of};
use crate::fence::enrollment::is_automatic;
use crate::fence::overlap::Claim;
use crate::fence::revision::revision_label;
use crate::fence::sidecar::{desired_hosts, sidecar_spec, workload_labels};
use crate::fence::switch::{EVERYTHING, Form};
use crate::settings::Switching;
use crate::state::{Change, State};
use crate::types::{Fence, Kind, Now, ObjectRef};

type Domains = BTreeMap<String, Destinations>;

impl State {
    /// Takes in what a fence claims after news of it, its Service or its Sidecar, and marks whom that matters to.
    pub(in crate::state) fn refresh_claim(&mut self, kind: Kind, id: &ObjectRef) {
        if !matches!(kind, Kind::Fence | Kind::Service | Kind::Sidecar) {
            return;
        }
        // The hosts of a ruled fence are in its ruler's Sidecar, and a ruled fence waits for that: news of the one matters to the other.
        self.dirty.extend(self.claims.neighbours(id));
        if self.claims.set(id, self.claim(id)) {
            self.dirty.extend(self.claims.neighbours(id));
        }
    }

    fn claim(&self, id: &ObjectRef) -> Option<Claim> {
        let fence = self.index.find_fence(id).filter(|fence| self.is_enforced(fence) && !fence.deleting)?;
        let is_foreign = self.index.find_sidecar(id).is_some_and(|it| it.owner_uid.is_none() && !it.adopt);
        let workload = workload_labels(&self.settings, fence, &self.index).filter(|_| !is_foreign)?;
        Some(Claim { workload, automatic: is_automatic(&fence.labels), created: fence.created })
    }

    /// What to do about the Sidecar, which is to carry these dependencies.
    pub(super) fn look_at_workload(&self, fence: &Fence, carried: &Domains, futile: &mut Futile, now: Now) -> Verdict {
        if let Some(ruler) = self.claims.ruler(&fence.id) {
            let Some(sidecar) = self.index.find_sidecar(&fence.id) else { return Verdict::Nothing };
            if self.is_served_by(ruler, fence, carried) {
                return self.see_off(fence, futile, now).unwrap_or_else(|| {
                    futile.write(Change::DeleteSidecar { id: fence.id.clone(), uid: sidecar.uid.clone() })
                });
            }
        } else if let Some(change) = self.adoption(fence, carried) {
            return futile.write(change);
        }
        self.look_at_sidecar(fence, carried, futile, now)
    }

    /// What the fence's Sidecar carries: its own dependencies and those of the fences that it rules, as far as they fit; and how many do
    /// not.
    pub(super) fn carried<'a>(&self, fence: &Fence, domains: &'a Domains) -> (Cow<'a, Domains>, usize) {
        let there = self.routed(&fence.id);
        let is_in = |host: &str| there.contains(format!("*/{host}").as_str());
        let ruled = self.claims.ruled(&fence.id);
        if ruled.is_empty() {
            return fit_sidecar(domains, is_in);
        }
        let mut all = domains.clone();
        for other in ruled.into_iter().filter_map(|other| self.index.find_fence(other)) {
            for (name, domain) in other
                .status
                .domains
                .iter()
                .filter(|(_, domain)| domain.status != DomainStatus::Expire && !domain.external)
            {
                let hosts = hosts_of(name, domain).into_owned();
                let shown = Destinations { hosts, ..Destinations::default() };
                let known = all.entry(name.clone()).or_insert_with(|| shown.clone());
                if known.status == DomainStatus::Expire {
                    *known = shown;
                }
            }
        }
        let (fitting, left_out) = fit_sidecar(&all, is_in);
        (Cow::Owned(fitting.into_owned()), left_out)
    }

    /// The dependencies that the fence's status tells, or its Sidecar has: the others may not go into the Sidecar before they are told.
    pub(super) fn told(&self, fence: &Fence, domains: &Domains) -> Domains {
        let there = self.routed(&fence.id);
        let is_in = |host: &String| there.contains(format!("*/{host}").as_str());
        let is_told = |name: &String, domain: &Destinations| {
            fence.status.domains.contains_key(name)
                || there.contains(name.as_str())
                || !domain.hosts.is_empty() && domain.hosts.iter().all(is_in)
        };
        domains
            .iter()
            .filter(|(name, domain)| is_told(name, domain))
            .map(|(name, domain)| (name.clone(), domain.clone()))
            .collect()
    }

    /// What the fence's Sidecar has routes for.
    fn routed(&self, id: &ObjectRef) -> BTreeSet<&str> {
        self.index.find_sidecar(id).into_iter().flat_map(|it| Form::of(&it.spec).routed).collect()
    }

    /// Whether the ruler's Sidecar is there, and has all that this fence's would have.
    pub(super) fn is_served_by(&self, ruler: &ObjectRef, fence: &Fence, domains: &Domains) -> bool {
        let owner = self.index.find_fence(ruler).map(|ruler| &ruler.uid);
        let sidecar = self.index.find_sidecar(ruler).filter(|sidecar| sidecar.owner_uid.as_ref() == owner);
        let workload = workload_labels(&self.settings, fence, &self.index);
        let Some((sidecar, workload)) = sidecar.zip(workload) else { return false };
        let selected = sidecar.spec.workload_selector.as_ref().map(|selector| &selector.labels);
        let selects = selected.is_none_or(|labels| labels.iter().all(|(key, value)| workload.get(key) == Some(value)));
        let routed = Form::of(&sidecar.spec).routed;
        let is_there = |host: &String| routed.contains(host.as_str()) || routed.contains(EVERYTHING);
        selects && desired_hosts(&self.settings, &fence.id, domains).iter().all(is_there)
    }

    fn adoption(&self, fence: &Fence, domains: &Domains) -> Option<Change> {
        let sidecar = self.index.find_sidecar(&fence.id).filter(|it| it.owner_uid.is_none() && it.adopt)?;
        let workload = workload_labels(&self.settings, fence, &self.index).filter(|_| self.is_enforced(fence))?;
        let hosts = desired_hosts(&self.settings, &fence.id, domains);
        let hosts = hosts.iter().map(String::as_str).collect();
        // The pods may have any cluster so far; `sidecar` takes it from there.
        let form = match self.settings.switching {
            Switching::Fastest => Form::settled(hosts),
            Switching::Lossless => Form::first(hosts),
        };
        Some(Change::AdoptSidecar {
            id: fence.id.clone(),
            owner_uid: fence.uid.clone(),
            labels: revision_label(&fence.labels),
            spec: Box::new(sidecar_spec(&form, self.inert_port(&fence.id, &form), &workload)),
            uid: sidecar.uid.clone(),
        })
    }
}
