//! Whether names of Services are found: a client looks its callee up before any proxy hears of the call, and proxies look up the controller.

use super::doctor::{Check, Known, failed, not_known, ok};

const ABOUT: &str = "DNS";

/// What was asked about the cluster's DNS.
#[derive(Debug)]
pub struct Dns {
    /// Its Services, each with how many of its addresses are ready.
    pub servers: Vec<(String, usize)>,
    /// Names of ours that were looked up, with how many addresses they have; none where `doctor` runs outside of the cluster.
    pub looked_up: Vec<(String, Known<usize>)>,
}

/// Judges it.
pub(super) fn checks(dns: &Dns) -> Vec<Check> {
    const LOOK: &str = "look at the pods of the cluster's DNS: until it answers, no Service is found by its name";
    let mut checks: Vec<Check> = dns
        .servers
        .iter()
        .map(|(name, addresses)| match addresses {
            0 => failed(ABOUT, format!("Service {name}: no address is ready"), LOOK),
            addresses => ok(ABOUT, format!("Service {name}: ready addresses: {addresses}")),
        })
        .collect();
    if checks.is_empty() {
        let what = "there is neither a Service kube-system/kube-dns nor one with the label k8s-app=kube-dns".to_owned();
        checks.push(not_known(ABOUT, what, "look at the cluster's DNS by its own means"));
    }
    for (name, found) in &dns.looked_up {
        checks.push(match found {
            Ok(0) => failed(ABOUT, format!("{name} has no address here"), "look whether its Service is there"),
            Ok(_) => ok(ABOUT, format!("{name} is found here")),
            Err(why) => failed(ABOUT, format!("{name} is not found here: {why}"), LOOK),
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Verdict::{self, Failed, NotKnown, Ok as Well};
    use super::*;

    fn verdicts(servers: &[usize], looked_up: &[Known<usize>]) -> Vec<Verdict> {
        let servers = servers.iter().map(|ready| ("kube-system/kube-dns".to_owned(), *ready)).collect();
        let looked_up = looked_up.iter().map(|found| ("x.y.svc.cluster.local".to_owned(), found.clone())).collect();
        let checks = checks(&Dns { servers, looked_up });
        assert!(checks.iter().all(|check| check.remedy.is_empty() == (check.verdict == Well)), "{checks:?}");
        checks.into_iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn a_dns_without_ready_addresses_and_names_that_are_not_found_fail() {
        assert_eq!(verdicts(&[2], &[]), [Well]);
        assert_eq!(verdicts(&[0], &[Ok(1)]), [Failed, Well]);
        assert_eq!(verdicts(&[1, 1], &[Err("no such host".to_owned()), Ok(0)]), [Well, Well, Failed, Failed]);
        assert_eq!(verdicts(&[], &[]), [NotKnown]);
    }
}
