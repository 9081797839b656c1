//! Learned hosts that nobody calls: when they go into quarantine, what keeps them out of it, and how they come back.

use std::collections::BTreeMap;
use std::time::Duration;

use lazyload_logic::observation::Call;
use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::Event;
use lazyload_logic::state::analyze::PeerAuthentications;
use lazyload_logic::state::explain::Way;
use lazyload_logic::types::{Kind, ObjectRef};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_labelled_namespace, mk_namespace, mk_pod, mk_service, mk_virtual_service};
use crate::world::World;

const LABEL: &str = "lazyload.slime.io/expire-unused-after";
/// Time between two marks of a proxy that is heard.
const TICK: Duration = Duration::from_secs(10);
/// The lease of these tests.
const LEASE: Duration = Duration::from_secs(960);
/// What of the time that is heard does not count yet: the last half minute, and what has passed since the last look.
const LATE: Duration = Duration::from_secs(120);

fn entry() -> Value {
    let mut entry = World::labels_only();
    entry["general"]["callerLogs"] = json!("on");
    entry["general"]["expireUnusedAfter"] = json!("960s");
    entry
}

fn objects() -> Vec<Value> {
    let mut objects = vec![
        mk_namespace("mesh-operator", None),
        mk_namespace("default", None),
        mk_service("mesh-operator", "global-sidecar", None),
        mk_service("default", "a", Some("true")),
        mk_pod("default", "a-1", "a", "10.0.0.1"),
    ];
    objects.extend(["b", "c", "d"].map(|name| mk_service("default", name, None)));
    objects
}

impl World {
    fn mark(&mut self, address: &str, heard: bool) {
        let make = if heard { Call::heard } else { Call::lost };
        self.on(Event::Called(vec![make(address.parse().unwrap(), None)]));
    }

    /// Lets so much time pass in which these proxies are heard, and the first of them tells that these hosts are called.
    fn live(&mut self, time: Duration, heard: &[&str], called: &[&str]) {
        let end = self.now + time;
        while self.now < end {
            for host in called {
                self.call(heard.first().unwrap_or(&A), host);
            }
            for address in heard {
                self.mark(address, true);
            }
            self.settle_within(TICK);
        }
    }

    fn status(&self) -> &Value {
        &self.cluster.get(Kind::Fence, "default", "a").unwrap()["status"]
    }

    fn is_quarantined(&self, name: &str) -> bool {
        self.status()["unused"][fqdn(name, "default")]["quarantinedSince"].is_string()
    }

    fn routes(&self, name: &str) -> bool {
        self.cluster.hosts("default", "a").contains(&format!("*/{}", fqdn(name, "default")))
    }
}

const A: &str = "10.0.0.1";

/// A world in which `a` has called `b` and `c`, and its proxy is heard.
fn world(entry: Value, objects: &[Value]) -> World {
    let mut world = World::start(entry, objects);
    world.live(TICK, &[A], &["b", "c"]);
    assert!(world.routes("b") && world.routes("c"));
    world
}

#[test]
fn a_host_that_nobody_calls_goes_into_quarantine_in_stages_and_its_first_call_brings_it_back_with_a_longer_lease() {
    let mut world = world(entry(), &objects());
    world.live(LEASE - TICK, &[A], &["c"]);
    assert!(world.routes("b") && !world.is_quarantined("b"));
    assert!(world.status()["unused"][fqdn("b", "default")]["forSeconds"].as_u64().unwrap() >= 700);
    let updates = world.count("update_sidecar");
    world.live(LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b") && world.routes("c"));
    world.live(LATE, &[A], &["c"]);
    assert!(!world.routes("b"));
    assert_eq!(world.count("update_sidecar"), updates + 2, "its route goes first, then its cluster");
    assert_eq!(world.status()["domains"][fqdn("b", "default")]["status"], "EXPIRE");
    assert_eq!(world.status()["metricStatus"].as_object().unwrap().len(), 2, "nothing is forgotten");
    let explained = world.state.explain(&ObjectRef::new("default", "a"), Some("b"), 0).unwrap();
    let host = &explained.hosts[0];
    assert!(host.way == Way::Fallback && host.causes[0].kind == "quarantine", "{host:?}");
    assert!(host.causes[0].what.ends_with("not called for 16m"), "{host:?}");
    assert_eq!(world.state.census().quarantined, 1);

    // At once, whether its own proxy tells it or the global-sidecar's.
    world.call(A, "b:9080");
    world.settle_within(TICK);
    assert!(world.routes("b") && !world.is_quarantined("b"));
    let told = json!({"leaseSeconds": 2 * LEASE.as_secs(), "falseExpiries": 1});
    assert_eq!(world.status()["unused"][fqdn("b", "default")], told);
    let reasons: Vec<&str> = world.state.take_notices().iter().map(|notice| notice.reason).collect();
    for reason in ["HostsQuarantined", "HostsReturned"] {
        assert_eq!(reasons.iter().filter(|known| **known == reason).count(), 1, "{reasons:?}");
    }
    assert_eq!((world.state.learned().quarantined, world.state.learned().returned), (1, 1));

    world.live(2 * LEASE - 2 * TICK, &[A], &["c"]);
    assert!(world.routes("b"));
    world.live(2 * LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b") && !world.routes("b") && world.routes("c"));
}

#[test]
fn hosts_that_are_called_cost_no_write_and_those_that_are_not_at_most_a_sixteenth_of_the_lease_each() {
    let mut world = world(entry(), &objects());
    world.live(LATE, &[A], &["b", "c"]);
    let writes = world.total_writes();
    world.live(3 * LEASE, &[A], &["b", "c"]);
    assert_eq!(world.total_writes(), writes);
    world.live(LEASE - TICK, &[A], &[]);
    let statuses = world.total_writes() - writes;
    assert!((12..=16).contains(&statuses), "{statuses}");
}

#[test]
fn time_in_which_not_every_pod_is_heard_counts_for_nothing() {
    let long = 3 * LEASE;
    let mut two = objects();
    two.push(mk_pod("default", "a-2", "a", "10.0.0.2"));
    let mut world = world(entry(), &two);
    world.live(long, &[A], &["c"]);
    assert!(world.routes("b") && world.state.census().unheard == 1);
    world.live(LEASE + LATE, &[A, "10.0.0.2"], &["c"]);
    assert!(world.is_quarantined("b") && world.state.census().heard == 1);

    let mut silent = self::world(entry(), &objects());
    silent.live(long, &[], &[]);
    assert!(silent.routes("b"));

    let mut losing = self::world(entry(), &objects());
    for _ in 0..long.as_secs() / TICK.as_secs() {
        losing.mark(A, false);
        losing.live(TICK, &[A], &["c"]);
    }
    assert!(losing.routes("b"));

    // Nobody is there, and nobody who is no pod can be heard.
    let mut empty = self::world(entry(), &objects());
    empty.cluster.delete(Kind::Pod, "default", "a-1");
    empty.live(long, &[], &[]);
    assert!(empty.routes("b"));
    let mut machine = objects();
    machine.push(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "a-vm", "labels": {"kubernetes.io/service-name": "a"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}]}));
    let mut machine = self::world(entry(), &machine);
    machine.live(long, &[A], &["c"]);
    assert!(machine.routes("b"));
}

#[test]
fn what_something_else_asks_for_or_the_fallback_could_not_serve_stays() {
    let long = 2 * LEASE;
    let mut fence = world(entry(), &objects());
    let mut declared = fence.cluster.get(Kind::Fence, "default", "a").unwrap().clone();
    declared["spec"]["host"] = json!({"b": {}});
    fence.put(declared);
    fence.live(long, &[A], &["c"]);
    assert!(fence.routes("b") && !fence.is_quarantined("b"));

    let mut ports = objects();
    ports[5]["spec"]["ports"] = json!([{"name": "http", "port": 9080}, {"name": "tcp", "port": 5432}]);
    let mut ports = world(entry(), &ports);
    ports.live(long, &[A], &["c"]);
    assert!(ports.routes("b") && !ports.is_quarantined("b"));

    let mut protected = objects();
    protected.push(json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "default", "name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "b"}}, "rules": [{"from": [{"source": {"namespaces": ["elsewhere"]}}]}]}}));
    let mut protected = world(entry(), &protected);
    protected.live(long, &[A], &["c"]);
    assert!(protected.routes("b"), "its first call could be denied");

    // Behind a host that is called there may be another one; and one that only routes know has any port.
    let mut routed = objects();
    routed.push(mk_virtual_service("default", "virtual.example", "virtual.example", "b"));
    let mut routed = world(entry(), &routed);
    routed.live(long, &[A], &["c", "virtual.example"]);
    assert!(routed.is_quarantined("b") && routed.routes("b"), "it stays for the route's sake");
    routed.live(long, &[A], &["c"]);
    assert!(routed.cluster.hosts("default", "a").contains(&"*/virtual.example".to_owned()));

    let mut alone = objects();
    alone.remove(2);
    let mut alone = world(entry(), &alone);
    alone.live(long, &[A], &["c"]);
    assert!(alone.routes("b"), "without a fallback nothing goes");
}

#[test]
fn without_what_callers_tell_nothing_expires_and_that_is_told() {
    let mut deaf = entry();
    deaf["general"]["callerLogs"] = json!("off");
    let mut world = world(deaf, &objects());
    world.live(2 * LEASE, &[A], &["c"]);
    assert!(world.routes("b") && world.status().get("unused").is_none() && world.cluster.caller_logs.is_empty());
    let conditions = world.status()["conditions"].as_array().unwrap();
    let valid = conditions.iter().find(|condition| condition["type"] == "SpecValid").unwrap();
    assert!(valid["status"] == "False" && valid["message"].as_str().unwrap().contains("general.callerLogs"), "{valid}");
    let findings = world.state.analyze(&PeerAuthentications::default(), 0);
    let found: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.code.name(), finding.message)).collect();
    assert!(found.iter().any(|found| found.starts_with("LZ002 general.expireUnusedAfter")), "{found:?}");
}

#[test]
fn labels_say_which_fences_hosts_expire_and_their_proxies_tell_only_as_long() {
    let mut silent = entry();
    silent["general"]["expireUnusedAfter"] = json!("off");
    let mut world = world(silent, &objects());
    assert!(world.cluster.caller_logs.is_empty(), "an enforced fence needs none");
    world.live(2 * LEASE, &[A], &["c"]);
    assert!(world.routes("b"));
    world.put(mk_labelled_namespace("default", LABEL, Some("960s")));
    world.live(LEASE + 2 * LATE, &[A], &["c"]);
    assert!(!world.routes("b") && world.cluster.caller_logs.len() == 1);

    let mut fence = world.cluster.get(Kind::Fence, "default", "a").unwrap().clone();
    fence["metadata"]["labels"][LABEL] = json!("off");
    world.put(fence);
    world.live(LATE, &[A], &["c"]);
    assert!(world.routes("b") && world.cluster.caller_logs.is_empty(), "what nobody asks for any more comes back");
    assert_eq!(world.status().get("unused"), None);
}

#[test]
fn in_break_glass_nothing_goes_and_when_the_setting_goes_what_is_in_quarantine_comes_back() {
    let mut world = world(entry(), &objects());
    world.put(mk_labelled_namespace("default", "lazyload.slime.io/break-glass", Some("on")));
    world.live(2 * LEASE, &[A], &["c"]);
    assert!(!world.is_quarantined("b") && world.cluster.caller_logs.is_empty());
    world.put(mk_namespace("default", None));
    world.live(LEASE + 2 * LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b"));
    let mut off = entry();
    off["general"]["expireUnusedAfter"] = json!("off");
    let settings = resolve(&off, &Context::default()).unwrap().settings;
    world.on(Event::Settings(Box::new(settings)));
    world.settle_within(TICK);
    assert!(world.routes("b") && !world.is_quarantined("b"));
}

#[test]
fn a_restart_goes_on_where_the_status_is_and_a_clock_that_jumps_changes_nothing() {
    let mut world = world(entry(), &objects());
    for _ in 0..2 {
        world.live(LEASE / 2, &[A], &["c"]);
        world.wrong += 400 * 24 * 3600;
        let writes = world.total_writes();
        world.restart();
        world.settle_within(TICK);
        // Who starts does not know whether the EnvoyFilter is as it should be, and writes it once.
        assert!(world.total_writes() <= writes + 1 && world.routes("b"));
        world.wrong -= 800 * 24 * 3600;
    }
    world.live(4 * LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b") && !world.routes("b"));
    world.restart();
    world.live(LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b") && !world.routes("b"), "{}", world.status());
    world.call(A, "b");
    world.settle_within(TICK);
    assert!(world.routes("b"));
}

#[test]
fn what_a_user_has_forgotten_is_not_in_quarantine_either() {
    let mut world = world(entry(), &objects());
    world.live(LEASE + 2 * LATE, &[A], &["c"]);
    assert!(world.is_quarantined("b"));
    let mut fence = world.cluster.get(Kind::Fence, "default", "a").unwrap().clone();
    fence["metadata"]["annotations"] = json!({"lazyload.slime.io/forget": "1 *"});
    world.put(fence);
    world.settle_within(LATE);
    assert!(world.status().get("unused").is_none() && world.status().get("domains").is_none(), "{}", world.status());
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A pod calls a host.
    Call(usize, usize),
    /// A pod's proxy is heard from now on, or not any more.
    Heard(usize, bool),
    /// A pod comes, or goes.
    Pod(usize, bool),
    /// Something that a pod's proxy told is lost.
    Lost(usize),
    /// The controller is killed and starts anew.
    Restart,
    /// The clock on the wall jumps by so many days.
    Jump(i16),
    /// So many ticks pass.
    Wait(u8),
}

const HOSTS: [&str; 3] = ["b", "c", "d"];
const PODS: [&str; 2] = [A, "10.0.0.2"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PODS.len(), 0..HOSTS.len()).prop_map(|(pod, host)| Step::Call(pod, host)),
        2 => (0..PODS.len(), prop_oneof![4 => Just(true), 1 => Just(false)]).prop_map(|(pod, heard)| Step::Heard(pod, heard)),
        1 => (0..PODS.len(), any::<bool>()).prop_map(|(pod, comes)| Step::Pod(pod, comes)),
        1 => (0..PODS.len()).prop_map(Step::Lost),
        1 => Just(Step::Restart),
        1 => any::<i16>().prop_map(Step::Jump),
        6 => (1_u8..60).prop_map(Step::Wait),
    ]
}

/// What must hold, kept beside the world: how long each host was not called in time in which all pods may count as heard.
struct Played {
    world: World,
    there: [bool; 2],
    heard: [bool; 2],
    /// When each was heard last.
    last: [Duration; 2],
    silent: BTreeMap<usize, Duration>,
    quarantined: usize,
}

impl Played {
    fn new() -> Self {
        let world = World::start(entry(), &objects());
        let (there, heard, last) = ([true, false], [true; 2], [world.now; 2]);
        Self { world, there, heard, last, silent: BTreeMap::new(), quarantined: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Call(pod, host) if self.there[pod] => {
                self.world.call(PODS[pod], HOSTS[host]);
                self.silent.insert(host, Duration::ZERO);
                self.pass();
                assert!(
                    self.world.routes(HOSTS[host]),
                    "its first call brings it in, and back: {}",
                    self.world.status()
                );
            }
            Step::Heard(pod, heard) => self.heard[pod] = heard,
            Step::Pod(pod, comes) => {
                self.there[pod] = comes;
                let name = format!("a-{}", pod + 1);
                if comes {
                    self.world.put(mk_pod("default", &name, "a", PODS[pod]));
                } else {
                    self.world.cluster.delete(Kind::Pod, "default", &name);
                }
                self.world.settle_within(Duration::ZERO);
            }
            Step::Lost(pod) => self.world.mark(PODS[pod], false),
            Step::Restart => self.world.restart(),
            Step::Jump(days) => self.world.wrong += i64::from(days) * 24 * 3600,
            Step::Wait(ticks) => (0..ticks).for_each(|_| self.tick()),
            Step::Call(..) => {}
        }
        self.check();
    }

    fn tick(&mut self) {
        for (pod, address) in PODS.iter().enumerate() {
            if self.there[pod] && self.heard[pod] {
                self.world.mark(address, true);
                self.last[pod] = self.world.now;
            }
        }
        self.pass();
    }

    fn pass(&mut self) {
        self.world.settle_within(TICK);
        let now = self.world.now;
        let there: Vec<usize> = (0..PODS.len()).filter(|pod| self.there[*pod]).collect();
        if !there.is_empty() && there.iter().all(|pod| now - self.last[*pod] <= Duration::from_secs(40)) {
            self.silent.values_mut().for_each(|silent| *silent += TICK);
        }
    }

    fn check(&mut self) {
        for (host, silent) in &self.silent {
            let name = HOSTS[*host];
            let key = format!("{{destination_service=\"{}\"}}", fqdn(name, "default"));
            let status = self.world.status();
            assert!(status["metricStatus"].get(&key).is_some(), "{name} is forgotten: {status}");
            if self.world.is_quarantined(name) {
                self.quarantined += 1;
                assert!(*silent >= LEASE, "{name} was called {silent:?} of heard time ago: {status}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_host_that_is_called_is_in_quarantine_and_nothing_learned_is_forgotten(
        steps in prop::collection::vec(step(), 20..60),
    ) {
        let mut played = Played::new();
        for step in &steps {
            played.step(step);
        }
        // In the end all are called again.
        played.step(&Step::Pod(0, true));
        for host in 0..HOSTS.len() {
            played.step(&Step::Call(0, host));
        }
    }
}

#[test]
fn what_the_random_schedules_watch_for_does_happen() {
    let mut played = Played::new();
    let heard = [Step::Call(0, 0), Step::Call(0, 1), Step::Wait(60), Step::Call(0, 1), Step::Wait(60)];
    heard.iter().for_each(|step| played.step(step));
    assert!(played.quarantined > 0 && played.world.is_quarantined("b") && !played.world.is_quarantined("c"));
}
