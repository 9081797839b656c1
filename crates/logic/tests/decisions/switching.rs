//! Switches in stages: a proxy beside the cluster watches every form of a Sidecar and counts what would be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lazyload_logic::fence::switch::{EVERYTHING, Form};
use lazyload_logic::state::{Change, Event, Outcome, Word};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::objects::{mk_fence, mk_labelled_namespace, mk_namespace, mk_pod, mk_service, mk_virtual_service};
use crate::schedule::Dice;
use crate::simulated_cluster::read;
use crate::world::World;

const CALLER: &str = "10.0.0.1";
/// istiod does not see what lasts shorter than this.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// What left the routes must stay for at least as long after its push.
const LINGER: Duration = Duration::from_millis(800);

/// What one Sidecar is at one time.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    routed: BTreeSet<String>,
    announced: BTreeSet<String>,
}

impl Seen {
    fn everything() -> Self {
        Self { routed: BTreeSet::from([EVERYTHING.to_owned()]), announced: BTreeSet::new() }
    }

    fn of(sidecar: &Value) -> Self {
        let Object::Sidecar(sidecar) = read(sidecar) else { panic!("no Sidecar") };
        let form = Form::of(&sidecar.spec);
        let owned = |hosts: &BTreeSet<&str>| hosts.iter().map(|host| (*host).to_owned()).collect();
        Self { routed: owned(&form.routed), announced: owned(&form.announced) }
    }

    fn imports(&self, host: &str) -> bool {
        [&self.routed, &self.announced].into_iter().any(|hosts| hosts.contains(host) || hosts.contains(EVERYTHING))
    }
}

/// A proxy under load: it uses every route it has, and a route for a while after it was taken away.
struct Proxy {
    form: Seen,
    /// From when each import is there.
    since: BTreeMap<String, Duration>,
    /// When a host left the routes.
    left: BTreeMap<String, Duration>,
    /// The Sidecar is gone since then, which istiod has not told us yet.
    gone: Option<Duration>,
    /// How long the last form that was written is on its way.
    delay: Duration,
    /// With it everything has arrived that was written before.
    is_asked: bool,
}

impl Proxy {
    fn new() -> Self {
        let since = BTreeMap::from([(EVERYTHING.to_owned(), Duration::ZERO)]);
        Self { form: Seen::everything(), since, left: BTreeMap::new(), gone: None, delay: DEBOUNCE, is_asked: false }
    }

    fn sees(&mut self, sidecar: Option<&Value>, now: Duration) {
        if let Some(gone) = self.gone.filter(|gone| now >= *gone + DEBOUNCE) {
            self.gone = None;
            self.becomes(Seen::everything(), gone);
        }
        match sidecar {
            Some(sidecar) => {
                self.gone = None;
                self.becomes(Seen::of(sidecar), now);
            }
            None if self.form != Seen::everything() => {
                self.gone.get_or_insert(now);
            }
            None => {}
        }
    }

    fn becomes(&mut self, form: Seen, now: Duration) {
        if self.is_asked {
            let arrives = now + self.delay;
            self.since.values_mut().chain(self.left.values_mut()).for_each(|at| *at = (*at).min(arrives));
        }
        if form == self.form {
            return;
        }
        for host in &form.routed {
            if self.form.routed.contains(host) || self.form.routed.contains(EVERYTHING) {
                continue;
            }
            let since = self.since.get(host).or(self.since.get(EVERYTHING));
            let since = since.unwrap_or_else(|| panic!("{host} is routed at {now:?} and was never announced"));
            assert!(*since <= now, "{host} is routed at {now:?}, announced at {since:?}");
        }
        for host in &self.form.routed {
            if !form.routed.contains(host) && !form.routed.contains(EVERYTHING) {
                self.left.insert(host.clone(), now + self.delay);
            }
        }
        self.left.retain(|host, left| {
            let used = *left + LINGER > now && !form.routed.contains(host) && !form.routed.contains(EVERYTHING);
            assert!(!used || form.imports(host), "{host} left the routes at {left:?} and is gone at {now:?}: {form:?}");
            used
        });
        let imports: BTreeSet<String> = form.routed.union(&form.announced).cloned().collect();
        let everything = self.since.get(EVERYTHING).copied();
        let since = |host: &String| self.since.get(host).copied().or(everything).unwrap_or(now + self.delay);
        self.since = imports.iter().map(|host| (host.clone(), since(host))).collect();
        self.form = form;
    }
}

/// A cluster with one workload, what happens to it, and its proxy.
struct Mesh {
    world: World,
    proxy: Proxy,
    dice: Dice,
    /// Kubernetes removes what has no owner any more at this time.
    garbage: Option<Duration>,
    hosts: usize,
    /// No write fails.
    calm: bool,
    /// istiod takes up to this long, and the proxies say when they have what was written.
    slowest: Option<Duration>,
    /// What they will say, and when.
    said: Vec<(Duration, u64)>,
}

impl Mesh {
    fn new(dice: Dice) -> Self {
        let world = World::start(entry("lossless"), &objects());
        Self { world, proxy: Proxy::new(), dice, garbage: None, hosts: 0, calm: false, slowest: None, said: Vec::new() }
    }

    /// The same with an istiod of any slowness. Nobody forgets and no write fails there: who does not know what it wrote cannot ask for it.
    fn slow(dice: Dice, slowest: Duration) -> Self {
        Self { slowest: Some(slowest), calm: true, ..Self::new(dice) }
    }

    fn look(&mut self) {
        let sidecar = self.world.cluster.get(Kind::Sidecar, "default", "a").cloned();
        self.proxy.sees(sidecar.as_ref(), self.world.now);
    }

    /// Lets time pass, with every alarm and write on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.world.now + time;
        for _ in 0..10_000 {
            if self.garbage.is_some_and(|at| at <= self.world.now) {
                self.garbage = None;
                self.world.cluster.collect_garbage();
            }
            self.say();
            self.look();
            self.world.hear();
            let changes = self.world.plan();
            for change in &changes {
                let is_asked = self.slowest.is_some() && !self.world.state.proxies_of(change).is_empty();
                self.proxy.delay = if is_asked { self.any_delay() } else { DEBOUNCE };
                self.proxy.is_asked = is_asked;
                let outcome = self.write(change);
                if matches!(change, Change::DeleteFence { .. }) {
                    self.garbage.get_or_insert(self.world.now + Duration::from_millis(20));
                }
                self.look();
                let version = version(&outcome);
                self.world.finish(change, outcome);
                if let Some(version) = version.filter(|_| is_asked) {
                    self.word(version, Word::Asked);
                    self.said.push((self.world.now + self.proxy.delay, version));
                }
            }
            if !changes.is_empty() {
                continue;
            }
            let said = self.said.iter().map(|(at, _)| *at).min();
            let next = [self.world.state.next_alarm(), self.garbage, said].into_iter().flatten().min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.world.now = self.world.now.max(at),
                None => {
                    self.world.now = end;
                    return;
                }
            }
        }
        panic!("never at rest: {:?}", self.world.cluster.writes);
    }

    fn any_delay(&mut self) -> Duration {
        let slowest = self.slowest.unwrap_or(DEBOUNCE).as_millis();
        Duration::from_millis(self.dice.below(usize::try_from(slowest).unwrap()) as u64)
    }

    /// Lets the proxies say what is due.
    fn say(&mut self) {
        let now = self.world.now;
        let (due, later) = std::mem::take(&mut self.said).into_iter().partition(|(at, _)| *at <= now);
        self.said = later;
        for (_, version) in due {
            self.word(version, Word::Arrived);
        }
    }

    fn word(&mut self, version: u64, word: Word) {
        self.world.on(Event::Proxies { id: ObjectRef::new("default", "a"), version, word });
    }

    /// One write of twenty fails, and half of those were made all the same.
    fn write(&mut self, change: &Change) -> Outcome {
        match if self.calm { 2 } else { self.dice.below(40) } {
            0 => Outcome::Failed,
            1 => {
                self.world.cluster.apply(change);
                Outcome::Failed
            }
            _ => self.world.cluster.apply(change),
        }
    }

    fn happens(&mut self) {
        match self.dice.below(14) {
            12 => {
                let mode =
                    [None, Some("observe"), Some("recommend"), Some("enforce"), Some("maybe")][self.dice.below(5)];
                self.world.put(mk_labelled_namespace("default", "lazyload.slime.io/mode", mode));
            }
            13 => {
                let namespace = ["default", "mesh-operator"][self.dice.below(2)];
                let glass = [None, Some("on"), Some("off")][self.dice.below(3)];
                self.world.put(mk_labelled_namespace(namespace, "lazyload.slime.io/break-glass", glass));
            }
            0..=3 => {
                self.hosts += 1;
                self.world.call(CALLER, &format!("h{}.other.svc.cluster.local:80", self.hosts));
            }
            4 => self.world.put(mk_virtual_service("default", "b", "b", &format!("d{}", self.dice.below(4)))),
            5 => self.world.cluster.delete(Kind::VirtualService, "default", "b"),
            6 => self.fence(&json!({"enable": false})),
            7 | 8 => self.fence(&json!({"enable": true, "host": {"b": {}}})),
            9 => {
                // A write that fails around this moment comes too late for istiod's debounce: nothing can be done about that.
                self.calm = true;
                self.pass(Duration::from_secs(1));
                self.world.cluster.delete(Kind::Fence, "default", "a");
                self.garbage = Some(self.world.now + Duration::from_millis(self.dice.below(60) as u64));
                // Both watches are heard before a crash; what is deleted while nobody looks is Kubernetes' alone.
                self.pass(Duration::from_millis(70));
                self.calm = self.slowest.is_some();
            }
            10 => {
                let label = [None, Some("true"), Some("false")][self.dice.below(3)];
                self.world.put(mk_service("default", "a", label));
            }
            _ if self.slowest.is_none() => self.world.restart(),
            _ => {}
        }
    }

    fn fence(&mut self, spec: &Value) {
        let mut fence = mk_fence("default", "a", spec.clone());
        if let Some(old) = self.world.cluster.get(Kind::Fence, "default", "a") {
            fence["metadata"]["labels"] = old["metadata"]["labels"].clone();
        }
        self.world.put(fence);
        self.garbage.get_or_insert(self.world.now + Duration::from_millis(20));
    }
}

fn entry(switching: &str) -> Value {
    json!({"general": {"switching": switching, "autoFence": true}})
}

fn objects() -> Vec<Value> {
    vec![
        mk_namespace("default", None),
        mk_service("default", "a", None),
        mk_service("default", "b", None),
        mk_pod("default", "a-1", "a", CALLER),
    ]
}

fn spec(world: &World) -> Option<Value> {
    world.cluster.get(Kind::Sidecar, "default", "a").map(|sidecar| sidecar["spec"].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_cluster_comes_after_its_route_or_goes_before_it_whatever_happens(seed in any::<u64>()) {
        let mut mesh = Mesh::new(Dice(seed));
        for _ in 0..40 {
            mesh.happens();
            let pause = [3, 30, 200, 1500][mesh.dice.below(4)];
            let pause = Duration::from_millis(mesh.dice.below(pause) as u64);
            mesh.pass(pause);
        }
        assert_ends_as_one_step_does(&mut mesh);
    }

    #[test]
    fn however_slow_istiod_is_no_cluster_comes_after_its_route_where_the_proxies_tell(seed in any::<u64>()) {
        slowed(seed);
    }
}

fn slowed(seed: u64) {
    let mut dice = Dice(seed);
    let slowest = [150, 1_000, 20_000][dice.below(3)];
    let mut mesh = Mesh::slow(dice, Duration::from_millis(slowest));
    for _ in 0..40 {
        mesh.happens();
        let pause = [3, 30, 200, 1500, 20_000][mesh.dice.below(5)];
        let pause = Duration::from_millis(mesh.dice.below(pause) as u64);
        mesh.pass(pause);
    }
    assert_ends_as_one_step_does(&mut mesh);
}

#[test]
fn a_sidecar_that_went_with_its_fence_is_put_back_where_the_next_fence_hides_nothing() {
    // Random schedules that lost requests: every cluster was still on its way when the fence was replaced under break-glass.
    for seed in [8_149_795_075_435_579_768, 13_487_979_947_042_842_757, 14_053_272_928_786_023_841] {
        slowed(seed);
    }
}

fn version(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Stored(Some(stored)) => match &**stored {
            Object::Sidecar(sidecar) => Some(sidecar.version),
            _ => None,
        },
        _ => None,
    }
}

fn assert_ends_as_one_step_does(mesh: &mut Mesh) {
    mesh.pass(Duration::from_secs(300));
    mesh.look();
    let fences = mesh.world.cluster.all(Kind::Fence).into_iter().cloned();
    let routes = mesh.world.cluster.all(Kind::VirtualService).into_iter().cloned();
    let service = mesh.world.cluster.get(Kind::Service, "default", "a").unwrap().clone();
    let namespaces = mesh.world.cluster.all(Kind::Namespace).into_iter().cloned();
    let now = objects().into_iter().chain([service]).chain(namespaces).chain(fences).chain(routes);
    let now: Vec<Value> = now.collect();
    assert_eq!(spec(&mesh.world), spec(&World::start(entry("fastest"), &now)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn under_constant_news_no_host_waits_for_more_than_two_switches(seed in any::<u64>()) {
        let mut mesh = Mesh::new(Dice(seed));
        mesh.fence(&json!({"enable": true}));
        mesh.pass(Duration::from_secs(20));
        let mut learned: BTreeMap<String, Duration> = BTreeMap::new();
        for number in 0..300 {
            let host = format!("h{number}.other.svc.cluster.local");
            mesh.world.call(CALLER, &format!("{host}:80"));
            learned.insert(format!("*/{host}"), mesh.world.now);
            let pause = mesh.dice.below(60) as u64;
            mesh.pass(Duration::from_millis(pause));
            let routed = &mesh.proxy.form.routed;
            learned.retain(|host, _| !routed.contains(host));
            // Its own gathering, the pace of one switch each second, two waits, and a write that failed.
            let waited = learned.values().map(|at| mesh.world.now - *at).max().unwrap_or_default();
            assert!(waited < Duration::from_secs(3), "{waited:?}");
        }
        let writes = mesh.world.count("update_sidecar");
        assert!(writes < 80, "{writes} writes for 300 hosts");
    }
}

#[test]
fn a_switch_on_its_way_does_not_wait_for_the_status_of_later_news() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.calm = true;
    mesh.fence(&json!({"enable": true}));
    mesh.pass(Duration::from_secs(20));
    let mut learned: BTreeMap<String, Duration> = BTreeMap::new();
    for number in 0..200 {
        let host = format!("h{number}.other.svc.cluster.local");
        mesh.world.call(CALLER, &format!("{host}:80"));
        learned.insert(format!("*/{host}"), mesh.world.now);
        mesh.pass(Duration::from_millis(30));
        let routed = &mesh.proxy.form.routed;
        learned.retain(|host, _| !routed.contains(host));
        // The pace of one status and of one switch each second, and one wait.
        let waited = learned.values().map(|at| mesh.world.now - *at).max().unwrap_or_default();
        assert!(waited < Duration::from_millis(1500), "{waited:?}");
    }
}

#[test]
fn a_host_is_routed_as_soon_as_the_proxies_have_its_cluster_and_not_before() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.calm = true;
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    mesh.world.call(CALLER, "b:80");
    // The status first, then the announcement.
    let announced = loop {
        mesh.world.hear();
        let Some(change) = mesh.world.plan().pop() else {
            mesh.world.now = mesh.world.state.next_alarm().unwrap();
            continue;
        };
        let asked = mesh.world.state.proxies_of(&change);
        let outcome = mesh.world.cluster.apply(&change);
        let version = version(&outcome);
        mesh.world.finish(&change, outcome);
        if let Some(version) = version {
            assert_eq!(asked, [CALLER.parse::<std::net::IpAddr>().unwrap()]);
            break version;
        }
    };
    mesh.word(announced, Word::Asked);
    mesh.world.settle_within(Duration::from_secs(10));
    let listeners = |mesh: &Mesh| spec(&mesh.world).unwrap()["egress"].as_array().unwrap().len();
    assert_eq!(listeners(&mesh), 2, "announced");
    mesh.word(announced - 1, Word::Arrived);
    mesh.world.settle_within(Duration::from_secs(10));
    assert_eq!(listeners(&mesh), 2, "an older form has arrived");
    mesh.word(announced, Word::Arrived);
    mesh.world.settle_within(Duration::ZERO);
    assert_eq!(listeners(&mesh), 1, "routed at once");
}

#[test]
fn proxies_that_never_say_that_they_have_it_hold_a_host_up_for_half_a_minute_at_most() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.calm = true;
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    mesh.world.call(CALLER, "b:80");
    mesh.world.settle_within(Duration::from_millis(100));
    let announced = mesh.world.cluster.get(Kind::Sidecar, "default", "a").unwrap();
    let announced = announced["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    mesh.word(announced, Word::Asked);
    mesh.world.settle_within(Duration::from_secs(25));
    assert_eq!(mesh.world.cluster.hosts("default", "a").len(), 2, "not routed");
    mesh.world.settle_within(Duration::from_secs(10));
    assert_eq!(mesh.world.cluster.hosts("default", "a").len(), 3, "routed");
}

#[test]
fn what_is_announced_next_has_the_other_port_so_that_a_proxy_tells_the_two_apart() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.calm = true;
    mesh.fence(&json!({"enable": true}));
    let mut ports = Vec::new();
    for number in 0..4 {
        mesh.world.settle_within(Duration::from_secs(20));
        mesh.world.call(CALLER, &format!("h{number}.other.svc.cluster.local:80"));
        mesh.world.settle_within(Duration::from_millis(100));
        ports.push(spec(&mesh.world).unwrap()["egress"][0]["port"]["number"].clone());
    }
    // The first one had everything announced on the first port.
    assert_eq!(ports, [15998, 15999, 15998, 15999]);
}

#[test]
fn a_first_visit_costs_two_writes_and_a_second_host_on_the_way_none_of_its_own() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    assert_eq!(
        (mesh.world.count("create_sidecar"), mesh.world.count("update_sidecar")),
        (1, 1),
        "enabled in two writes"
    );
    mesh.world.call(CALLER, "b:80");
    mesh.world.settle_within(Duration::from_millis(20));
    mesh.world.call(CALLER, "c:80");
    mesh.world.settle_within(Duration::from_secs(20));
    assert_eq!(mesh.world.count("update_sidecar"), 3, "announced and routed");
    assert_eq!(mesh.world.cluster.hosts("default", "a").len(), 4);
}

#[test]
fn an_edit_by_hand_is_mended_without_losing_what_it_brought() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    let mut edited = mesh.world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
    edited["spec"]["egress"] = json!([{"hosts": ["./*"]}]);
    mesh.world.put(edited);
    mesh.world.settle_within(Duration::from_millis(20));
    assert_eq!(mesh.world.cluster.hosts("default", "a"), ["./*"], "still routed while its successors warm");
    mesh.world.settle_within(Duration::from_secs(20));
    assert_eq!(spec(&mesh.world).unwrap()["egress"], json!([{"hosts": ["istio-system/*", "mesh-operator/*"]}]));
}

#[test]
fn a_new_selector_has_every_cluster_ready_for_the_pods_that_leave_and_those_that_come() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    mesh.fence(&json!({"enable": true, "workloadSelector": {"labels": {"app": "other"}}}));
    mesh.world.settle_within(Duration::from_millis(20));
    let selected = |mesh: &Mesh| spec(&mesh.world).unwrap()["workloadSelector"]["labels"]["app"].clone();
    let everything = |mesh: &Mesh| spec(&mesh.world).unwrap()["egress"][0]["hosts"] == json!(["*/*"]);
    assert_eq!((selected(&mesh), everything(&mesh)), (json!("a"), true));
    mesh.world.settle_within(Duration::from_millis(300));
    assert_eq!((selected(&mesh), everything(&mesh)), (json!("other"), true));
    mesh.world.settle_within(Duration::from_secs(20));
    assert_eq!((selected(&mesh), everything(&mesh)), (json!("other"), false));
}

#[test]
fn a_sidecar_that_outlives_its_fence_has_no_owner_and_goes_by_itself_even_after_a_restart() {
    for garbage_first in [false, true] {
        let mut mesh = Mesh::new(Dice(1));
        mesh.fence(&json!({"enable": true}));
        mesh.world.settle_within(Duration::from_secs(20));
        mesh.world.cluster.delete(Kind::Fence, "default", "a");
        if garbage_first {
            mesh.world.cluster.collect_garbage();
        }
        mesh.world.settle_within(Duration::from_millis(20));
        let sidecar = mesh.world.cluster.get(Kind::Sidecar, "default", "a").expect("kept, or put back").clone();
        assert!(sidecar["metadata"]["ownerReferences"].is_null() && !sidecar["metadata"]["labels"].is_null());
        assert_eq!(sidecar["spec"]["egress"][0]["hosts"], json!(["*/*"]));
        mesh.world.restart();
        mesh.world.settle_within(Duration::from_secs(20));
        assert_eq!(spec(&mesh.world), None);
        assert_eq!(mesh.world.state.next_alarm(), None);
    }
}

#[test]
fn a_fence_made_anew_takes_over_the_sidecar_that_was_leaving() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    mesh.world.cluster.delete(Kind::Fence, "default", "a");
    mesh.world.settle_within(Duration::from_millis(20));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    let fence = mesh.world.cluster.get(Kind::Fence, "default", "a").unwrap()["metadata"]["uid"].clone();
    let sidecar = mesh.world.cluster.get(Kind::Sidecar, "default", "a").unwrap();
    assert_eq!(sidecar["metadata"]["ownerReferences"][0]["uid"], fence);
    assert!(sidecar.pointer("/metadata/labels/lazyload.slime.io~1leaving").is_none(), "{sidecar}");
    assert_eq!(sidecar["spec"]["egress"].as_array().unwrap().len(), 1);
}

#[test]
fn a_farewell_that_is_refused_is_final() {
    let mut mesh = Mesh::new(Dice(1));
    mesh.fence(&json!({"enable": true}));
    mesh.world.settle_within(Duration::from_secs(20));
    mesh.world.cluster.delete(Kind::Fence, "default", "a");
    mesh.world.cluster.collect_garbage();
    mesh.world.hear();
    let changes = mesh.world.plan();
    assert!(matches!(changes[..], [Change::ApplySidecar { owner_uid: None, .. }]));
    // As in a namespace that is being deleted.
    mesh.world.finish(&changes[0], Outcome::Rejected("the namespace is being terminated".to_owned()));
    mesh.world.settle_within(Duration::from_secs(600));
    assert_eq!(spec(&mesh.world), None);
}

#[test]
fn without_stages_a_proxy_would_lose_requests() {
    // The watching proxy itself: what the fastest way does must not pass.
    let world = World::start(entry("fastest"), &objects());
    let mut mesh = Mesh { world, ..Mesh::new(Dice(1)) };
    mesh.world.put(mk_fence("default", "a", json!({"enable": true})));
    let lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mesh.pass(Duration::from_secs(2))));
    assert!(lost.is_err(), "everything left in one step, and nobody noticed");
}
