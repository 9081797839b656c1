//! How a Sidecar is changed without losing a request: clusters first in, last out. A proxy that gets a route and its cluster in one push
//! may use the route while the cluster still warms, and answers 503 then. So a host is announced first, in a listener that catches
//! nothing and routes nothing; its cluster is sent and warmed for that alone. What leaves the routes stays announced for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_api::istio::{EgressListener, SidecarSpec};
use lazyload_api::names;
use serde_json::{Value, json};

/// Imports every service of the mesh.
pub const EVERYTHING: &str = "*/*";

/// What a Sidecar imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// Hosts with routes and clusters.
    pub routed: BTreeSet<&'a str>,
    /// Hosts with clusters alone.
    pub announced: BTreeSet<&'a str>,
}

/// What to do about a Sidecar now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// It is as it should be.
    Stay,
    /// It goes on at this time; the time may move when it is asked again.
    Wait(Duration),
    /// It changes into this.
    To(Form<'a>),
}

/// What to do about a Sidecar that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell<'a> {
    /// Every cluster is there already: it can go.
    Go,
    /// It goes on at this time; the time may move when it is asked again.
    Wait(Duration),
    /// It changes into this.
    To(Form<'a>),
}

/// The present, as far as a switch is concerned. Times are monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Duration,
    /// When everything that is imported has reached the proxies.
    pub ready: Duration,
    /// When whatever left the routes is used by no proxy any more.
    pub over: Duration,
}

impl<'a> Form<'a> {
    /// The form of a Sidecar. One that somebody edited is understood as well as it can be: hosts of every listener but ours are routed.
    #[must_use]
    pub fn of(spec: &'a SidecarSpec) -> Self {
        let mut form = Self::default();
        for listener in &spec.egress {
            let hosts = if port_of(listener).is_some() { &mut form.announced } else { &mut form.routed };
            hosts.extend(listener.hosts.iter().map(String::as_str));
        }
        if form.routed.is_empty() {
            // Without a listener, as without a Sidecar.
            form.routed.insert(EVERYTHING);
        }
        form
    }

    /// These hosts, and no switch under way.
    #[must_use]
    pub fn settled(routed: BTreeSet<&'a str>) -> Self {
        Self { routed, announced: BTreeSet::new() }
    }

    /// These hosts for a workload that has every cluster so far, and keeps them for now.
    #[must_use]
    pub fn first(routed: BTreeSet<&'a str>) -> Self {
        Self { routed, announced: BTreeSet::from([EVERYTHING]) }
    }

    /// The egress listeners: the inert one, on this port, is in front of the default one, as Istio demands, and only while there is
    /// something in it.
    #[must_use]
    pub fn egress(&self, port: u16) -> Vec<EgressListener> {
        let owned = |hosts: &BTreeSet<&str>| hosts.iter().map(|host| (*host).to_owned()).collect();
        let inert = EgressListener { hosts: owned(&self.announced), other: inert_listener(port) };
        let default = EgressListener { hosts: owned(&self.routed), other: BTreeMap::new() };
        let inert = Some(inert).filter(|inert| !inert.hosts.is_empty());
        inert.into_iter().chain([default]).collect()
    }

    /// Whether a host's cluster is imported.
    #[must_use]
    pub fn imports(&self, host: &str) -> bool {
        [&self.routed, &self.announced].into_iter().any(|hosts| hosts.contains(host) || hosts.contains(EVERYTHING))
    }

    /// Of the wanted hosts those whose switch has begun, beside what is routed: what a step may go on with although no new switch may
    /// begin yet.
    #[must_use]
    pub fn under_way(&self, wanted: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        self.routed.iter().chain(self.announced.intersection(wanted)).copied().collect()
    }
}

/// The next step towards exactly these routes. Hosts that are wanted from now on wait for those under way, and then go together: no host
/// waits for more than one switch before its own.
#[must_use]
pub fn towards<'a>(form: &Form<'a>, wanted: &BTreeSet<&'a str>, at: &Moment) -> Step<'a> {
    let (known, missing): (BTreeSet<&str>, BTreeSet<&str>) = wanted.iter().partition(|host| form.imports(host));
    if !known.is_subset(&form.routed) && at.ready > at.now {
        return Step::Wait(at.ready);
    }
    // Nothing leaves while its replacement may still be on the way.
    let routed = if missing.is_empty() { wanted.clone() } else { form.routed.union(&known).copied().collect() };
    let mut announced = missing;
    announced.extend(form.routed.difference(&routed));
    if at.over > at.now {
        announced.extend(&form.announced);
    }
    if announced.contains(EVERYTHING) {
        announced = BTreeSet::from([EVERYTHING]);
    } else {
        announced.retain(|host| !routed.contains(host));
    }
    let next = Form { routed, announced };
    match next == *form {
        false => Step::To(next),
        true if next.announced.is_empty() => Step::Stay,
        true => Step::Wait(at.over),
    }
}

/// The next step towards no Sidecar at all: every cluster first.
#[must_use]
pub fn farewell<'a>(form: &Form<'a>, at: &Moment) -> Farewell<'a> {
    if !form.imports(EVERYTHING) {
        return Farewell::To(Form { routed: form.routed.clone(), announced: BTreeSet::from([EVERYTHING]) });
    }
    if at.ready > at.now { Farewell::Wait(at.ready) } else { Farewell::Go }
}

/// The port of a Sidecar's inert listener; `None` while there is none.
#[must_use]
pub fn inert_port(spec: &SidecarSpec) -> Option<u16> {
    spec.egress.iter().find_map(port_of)
}

/// The port of the next inert listener after one with this port.
#[must_use]
pub fn next_port(before: Option<u16>) -> u16 {
    let [first, second] = names::INERT_LISTENER_PORTS;
    if before == Some(first) { second } else { first }
}

fn port_of(listener: &EgressListener) -> Option<u16> {
    names::INERT_LISTENER_PORTS.into_iter().find(|port| listener.other == inert_listener(*port))
}

/// All but the hosts of a listener on loopback that nothing is redirected to. A proxy listener matches services of every port.
fn inert_listener(port: u16) -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("bind".to_owned(), json!("127.0.0.1")),
        ("captureMode".to_owned(), json!("NONE")),
        (
            "port".to_owned(),
            json!({
                "number": port, "protocol": "HTTP_PROXY", "name": names::INERT_LISTENER,
            }),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Moment = moment(0, 100, 100);
    const READY: Moment = moment(100, 100, 500);
    const OVER: Moment = moment(500, 100, 500);

    const fn moment(now: u64, ready: u64, over: u64) -> Moment {
        let ms = Duration::from_millis;
        Moment { now: ms(now), ready: ms(ready), over: ms(over) }
    }

    fn set(text: &str) -> BTreeSet<&str> {
        text.split_whitespace().collect()
    }

    /// `routed | announced`.
    fn form(text: &str) -> Form<'_> {
        let (routed, announced) = text.split_once('|').unwrap_or((text, ""));
        Form { routed: set(routed), announced: set(announced) }
    }

    fn steps(from: &str, wanted: &str, at: &Moment, to: &str) {
        assert_eq!(towards(&form(from), &set(wanted), at), Step::To(form(to)), "{from} -> {wanted}");
    }

    #[test]
    fn a_new_host_is_announced_then_routed_and_nothing_else_is_written() {
        steps("a", "a b", &OVER, "a | b");
        assert_eq!(towards(&form("a | b"), &set("a b"), &BEFORE), Step::Wait(BEFORE.ready));
        steps("a | b", "a b", &OVER, "a b");
        assert_eq!(towards(&form("a b"), &set("a b"), &OVER), Step::Stay);
    }

    #[test]
    fn a_host_that_leaves_stays_announced_until_it_is_used_no_more() {
        steps("a b", "a", &OVER, "a | b");
        assert_eq!(towards(&form("a | b"), &set("a"), &READY), Step::Wait(READY.over));
        steps("a | b", "a", &OVER, "a");
    }

    #[test]
    fn nothing_leaves_before_its_replacement_is_routed() {
        steps("a b", "a c", &OVER, "a b | c");
        steps("a b | c", "a c", &OVER, "a c | b");
        steps("a c | b", "a c", &OVER, "a c");
    }

    #[test]
    fn news_waits_for_the_switch_under_way_and_goes_with_its_next_write() {
        assert_eq!(towards(&form("a | b"), &set("a b c"), &BEFORE), Step::Wait(BEFORE.ready));
        steps("a | b", "a b c", &OVER, "a b | c");
        // What lingers holds nothing up.
        steps("a | b", "a c", &READY, "a | b c");
        steps("a | b c", "a c", &READY, "a c | b");
    }

    #[test]
    fn a_first_sidecar_keeps_every_cluster_and_new_hosts_need_no_announcement() {
        let first = Form::first(set("a"));
        assert_eq!(towards(&first, &set("a"), &READY), Step::Wait(READY.over));
        assert_eq!(towards(&first, &set("a b"), &READY), Step::To(Form::first(set("a b"))));
        assert_eq!(towards(&first, &set("a b"), &OVER), Step::To(form("a b")));
    }

    #[test]
    fn what_comes_back_is_routed_at_once_if_its_cluster_is_still_there() {
        steps("a | b", "a b", &READY, "a b");
    }

    #[test]
    fn a_farewell_has_every_cluster_before_the_sidecar_goes() {
        assert_eq!(farewell(&form("a | b"), &OVER), Farewell::To(form("a | */*")));
        assert_eq!(farewell(&form("a | */*"), &BEFORE), Farewell::Wait(BEFORE.ready));
        assert_eq!(farewell(&form("a | */*"), &READY), Farewell::Go);
    }

    #[test]
    fn a_form_is_read_from_what_it_was_written_as() {
        for text in ["a b", "a | b c", "a | */*"] {
            for port in names::INERT_LISTENER_PORTS {
                let spec = SidecarSpec { egress: form(text).egress(port), ..SidecarSpec::default() };
                assert_eq!(Form::of(&spec), form(text));
                assert_eq!(inert_port(&spec), text.contains('|').then_some(port));
            }
            let spec = SidecarSpec { egress: form(text).egress(next_port(None)), ..SidecarSpec::default() };
            assert!(spec.egress.last().unwrap().other.is_empty(), "the default listener is the last one");
        }
        assert_eq!(Form::of(&SidecarSpec::default()), form("*/*"), "without listeners as without a Sidecar");
        let edited = json!({"egress": [{"hosts": ["x/*"], "port": {"number": 80}}, {"hosts": ["./*"]}]});
        assert_eq!(Form::of(&serde_json::from_value(edited).unwrap()), form("x/* ./*"));
    }
}
