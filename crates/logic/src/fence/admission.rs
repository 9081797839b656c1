//! Whose first call is denied: on the way through the global-sidecar it carries the global-sidecar's identity, and no policy admits that.

use std::collections::BTreeSet;

use super::completion::service_of_host;
use super::named::{Identities, MOST, Named};
use crate::index::Index;
use crate::policy::{Peer, Policy};
use crate::types::ObjectRef;

/// Names listed in a sentence.
const LISTED: usize = 10;

/// What of a fence's calls may be denied on their way through the global-sidecar, in a sentence. `by_calls_alone` are hosts that nothing
/// but a call has brought into the fence.
#[must_use]
pub fn denied_first_calls(
    by_calls_alone: &BTreeSet<String>,
    named: &Named,
    identities: &Identities,
    global_sidecar: &Peer<'_>,
    index: &Index,
) -> Option<String> {
    let mut parts = Vec::new();
    if !named.mesh_wide.is_empty() {
        let policies: Vec<String> = named.mesh_wide.iter().map(ObjectRef::to_string).collect();
        parts.push(format!(
            "AuthorizationPolicy {} names this workload for the whole mesh, which imports nothing",
            listed(&policies)
        ));
    }
    if named.left_out > 0 {
        parts.push(format!(
            "{} hosts of policies are beyond the {MOST} that policies bring into a fence",
            named.left_out
        ));
    }
    let denied: Vec<String> = by_calls_alone
        .iter()
        .filter(|host| !named.dependencies.contains_key(*host))
        .filter_map(|host| denial(host, identities, global_sidecar, index))
        .collect();
    if !denied.is_empty() {
        parts.push(format!("these were learned by a call that was denied on its way: {}", listed(&denied)));
    }
    let what = format!(
        "the first call of a host goes through the global-sidecar, and carries the identity {}/{}: ",
        global_sidecar.namespace, global_sidecar.account
    );
    let advice = ". Allow that identity, or give the hosts in spec.host";
    (!parts.is_empty()).then(|| what + &parts.join("; ") + advice)
}

/// The host and the policies that admit this workload, or may, and do not admit the global-sidecar; `None` if there is nothing to tell.
fn denial(host: &str, identities: &Identities, global_sidecar: &Peer<'_>, index: &Index) -> Option<String> {
    let service = index.find_service(&service_of_host(host)?)?;
    let policies = index.policies_protecting(service);
    let admits = |policy: &Policy, peer: &Peer<'_>| policy.rules.iter().any(|rule| rule.may_admit(peer));
    if policies.is_empty() || policies.values().any(|policy| admits(policy, global_sidecar)) {
        return None;
    }
    // Where the workload is not admitted either, the mesh means it.
    let is_admitting =
        |policy: &Policy| identities.are_unknown() || identities.peers().any(|peer| admits(policy, &peer));
    let admitting: Vec<String> =
        policies.iter().filter(|(_, policy)| is_admitting(policy)).map(|(id, _)| id.to_string()).collect();
    (!admitting.is_empty()).then(|| format!("{host} (AuthorizationPolicy {})", listed(&admitting)))
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    let more = names.len() - shown.len();
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
