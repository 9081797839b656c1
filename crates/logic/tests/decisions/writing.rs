//! When something is written, and when not: failures, refusals, echoes, foreign edits, bursts, alarms.

use std::time::Duration;

use lazyload_logic::state::{Change, Event, Outcome};
use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_fence, mk_foreign_sidecar, mk_namespace, mk_pod, mk_service, mk_virtual_service};
use crate::simulated_cluster::read;
use crate::world::{START_SECONDS, World};

const CALLER: &str = "10.0.0.1";

/// A manual fence `a` with one pod, at rest.
fn one_fence(spec: Value) -> World {
    World::start(json!({}), &objects(spec))
}

fn objects(spec: Value) -> Vec<Value> {
    vec![
        mk_namespace("default", None),
        mk_service("default", "a", None),
        mk_service("default", "b", None),
        mk_pod("default", "a-1", "a", CALLER),
        mk_fence("default", "a", spec),
    ]
}

fn enabled() -> Value {
    json!({"enable": true})
}

fn id() -> ObjectRef {
    ObjectRef::new("default", "a")
}

#[test]
fn nothing_is_written_before_everything_is_listed() {
    let mut world = World::new(json!({"general": {"autoFence": true, "defaultFence": true}}), &objects(enabled()));
    world.hear();
    world.call(CALLER, "b:80");
    for kind in Kind::ALL {
        assert!(world.plan().is_empty(), "before {} was listed", kind.name());
        assert!(world.state.unlisted().contains(&kind));
        world.on(Event::Listed(kind));
    }
    assert!(!world.plan().is_empty());
}

#[test]
fn a_failed_write_is_tried_again_and_a_refused_one_waits_for_a_change() {
    let mut world = World::new(World::fastest(), &objects(enabled()));
    world.list();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let changes = world.plan();
        assert_eq!(changes.len(), 1);
        world.finish(&changes[0], Outcome::Failed);
        assert!(world.plan().is_empty(), "it waits before it tries again");
        let at = world.state.next_alarm().expect("an alarm for the next try");
        waits.push((at - world.now).as_millis());
        world.now = at;
    }
    assert_eq!(waits[..3], [100, 200, 400]);
    assert_eq!(waits[9], 30_000);

    let changes = world.plan();
    world.finish(&changes[0], Outcome::Rejected("no".to_owned()));
    world.settle_within(Duration::from_secs(600));
    assert_eq!(world.count("create_sidecar"), 0, "refused: nothing is tried again by itself");
    assert_eq!(world.count("write_status"), 1, "it is told once");
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.settle();
    assert_eq!(world.cluster.hosts("default", "a")[0], "*/x.example.com");
}

#[test]
fn a_refused_write_is_tried_again_when_everything_is_looked_at_again() {
    let mut world = World::new(json!({}), &objects(enabled()));
    world.list();
    let changes = world.plan();
    world.finish(&changes[0], Outcome::Rejected("no".to_owned()));
    world.on(Event::Heal);
    world.settle();
    assert!(world.has(Kind::Sidecar, "default", "a"));
}

#[test]
fn a_refused_status_does_not_keep_learned_hosts_out_of_the_sidecar() {
    let mut world = one_fence(enabled());
    world.call(CALLER, "b:80");
    for _ in 0..10 {
        for change in world.plan() {
            let refused = matches!(change, Change::WriteStatus { .. });
            let outcome = if refused { Outcome::Rejected("no".to_owned()) } else { world.cluster.apply(&change) };
            world.finish(&change, outcome);
        }
        world.now += Duration::from_millis(100);
    }
    assert_eq!(world.cluster.hosts("default", "a")[0], "*/b.default.svc.cluster.local");
}

#[test]
fn an_edit_of_our_sidecar_is_mended_although_the_echo_of_our_write_came_before_its_answer() {
    let mut world = World::new(World::fastest(), &objects(enabled()));
    world.list();
    let changes = world.plan();
    let outcome = world.cluster.apply(&changes[0]);
    world.hear();
    world.finish(&changes[0], outcome);
    world.settle();
    // The write that follows has the same content as the first one, now with `exists`.
    for _ in 0..2 {
        let mut edited = world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
        edited["spec"]["egress"] = json!([{"hosts": ["./*"]}]);
        world.put(edited);
        world.hear();
        world.now += Duration::from_secs(60);
        let changes = world.plan();
        assert_eq!(changes.len(), 1, "the edit is mended");
        let outcome = world.cluster.apply(&changes[0]);
        world.hear();
        world.finish(&changes[0], outcome);
        assert_eq!(world.cluster.hosts("default", "a"), ["istio-system/*", "mesh-operator/*"]);
    }
}

#[test]
fn an_edit_heard_between_the_write_and_its_answer_is_mended() {
    let mut world = one_fence(enabled());
    world.call(CALLER, "b:80");
    world.settle();
    world.call(CALLER, "c:80");
    let change = loop {
        world.now += Duration::from_millis(200);
        let changes = world.plan();
        let Some(change) = changes.into_iter().next() else { continue };
        let outcome = world.cluster.apply(&change);
        if matches!(change, Change::ApplySidecar { .. }) {
            let mut edited = world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
            edited["spec"]["egress"] = json!([{"hosts": ["./*"]}]);
            world.put(edited);
            world.hear();
            world.finish(&change, outcome);
            break change;
        }
        world.finish(&change, outcome);
    };
    world.settle();
    assert_eq!(world.cluster.hosts("default", "a").len(), 4, "{change:?}");
}

#[test]
fn a_write_that_changes_nothing_or_is_rewritten_on_its_way_is_not_repeated() {
    let drops_hosts = |body: &mut Value| {
        if body["kind"] == "Sidecar" {
            body["spec"]["egress"] = json!([{"hosts": ["./*"]}]);
        }
    };
    let stamps: fn(&mut Value) = |body| {
        if body["kind"] == "Sidecar" {
            static STAMP: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let stamp = STAMP.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            body["metadata"]["labels"]["stamp"] = json!(stamp.to_string());
            body["spec"]["egress"] = json!([{"hosts": ["./*"]}]);
        }
    };
    for mutate in [drops_hosts, stamps] {
        let mut world = World::new(json!({}), &objects(enabled()));
        world.cluster.mutate = Some(mutate);
        world.list();
        world.settle_within(Duration::from_secs(60));
        let before = world.total_writes();
        // Created, then tried once in stages and once in one step, and told.
        assert!(before <= 4, "{:?}", world.cluster.writes);
        // A real change goes out all the same.
        world.call(CALLER, "b:80");
        world.settle();
        assert!(world.count("write_status") <= 2, "{:?}", world.cluster.writes);
        assert!(world.count("create_sidecar") + world.count("update_sidecar") + 1 > before);
    }
}

#[test]
fn an_object_that_stays_because_of_a_finalizer_is_not_deleted_over_and_over() {
    let mut world = one_fence(enabled());
    world.cluster.finalizers = true;
    world.put(mk_fence("default", "a", json!({"enable": false})));
    world.settle_within(Duration::from_secs(60));
    assert!(world.count("delete_sidecar") <= 2, "{:?}", world.cluster.writes);
}

#[test]
fn a_deletion_is_not_repeated_while_its_event_is_on_the_way() {
    let mut world = World::start(World::fastest(), &objects(enabled()));
    world.put(mk_fence("default", "a", json!({"enable": false})));
    world.hear();
    let changes = world.plan();
    assert!(matches!(changes[..], [Change::DeleteSidecar { .. }]));
    let outcome = world.cluster.apply(&changes[0]);
    world.finish(&changes[0], outcome);
    let told = world.plan();
    assert!(matches!(told[..], [Change::WriteStatus { .. }]), "only that it is gone is told");
    let outcome = world.cluster.apply(&told[0]);
    world.finish(&told[0], outcome);
    world.hear();
    world.put(mk_fence("default", "a", enabled()));
    world.settle();
    assert!(world.has(Kind::Sidecar, "default", "a"));
}

#[test]
fn a_fence_made_anew_while_the_old_one_is_being_deleted_is_not_forgotten() {
    let mut entry = World::labels_only();
    entry["general"]["switching"] = json!("fastest");
    let mut world = World::start(entry, &[mk_namespace("default", None), mk_service("default", "a", Some("true"))]);
    world.put(mk_service("default", "a", Some("false")));
    world.hear();
    let changes = world.plan();
    assert!(matches!(changes[..], [Change::DeleteFence { .. }]));
    let outcome = world.cluster.apply(&changes[0]);
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.hear();
    world.finish(&changes[0], outcome);
    world.settle();
    assert_eq!(world.cluster.hosts("default", "a")[0], "*/x.example.com");
}

#[test]
fn a_fence_made_anew_while_a_write_for_the_old_one_is_refused_gets_its_own() {
    let mut world = one_fence(json!({"enable": true, "host": {"x.example.com": {}}}));
    let old =
        world.cluster.get(Kind::Sidecar, "default", "a").unwrap()["metadata"]["ownerReferences"][0]["uid"].clone();
    world.call(CALLER, "b:80");
    let changes = world.plan();
    assert!(matches!(changes[..], [Change::WriteStatus { .. }]));
    world.cluster.delete(Kind::Fence, "default", "a");
    let outcome = world.cluster.apply(&changes[0]);
    assert!(matches!(outcome, Outcome::Rejected(_)));
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.hear();
    world.finish(&changes[0], outcome);
    // The old Sidecar lingers: garbage is collected later.
    for _ in 0..6 {
        for change in world.plan() {
            let outcome = world.cluster.apply(&change);
            world.finish(&change, outcome);
        }
        world.now += Duration::from_millis(500);
    }
    let hosts = world.cluster.hosts("default", "a");
    assert_eq!(hosts[..2], ["*/b.default.svc.cluster.local", "*/x.example.com"]);
    world.settle();
    let sidecar = world.cluster.get(Kind::Sidecar, "default", "a").expect("it is the new fence's now");
    assert_ne!(sidecar["metadata"]["ownerReferences"][0]["uid"], old);
}

#[test]
fn a_sidecar_that_a_user_put_in_place_of_ours_is_not_overwritten_although_we_have_not_heard_of_it() {
    let mut world = one_fence(enabled());
    world.cluster.delete(Kind::Sidecar, "default", "a");
    world.put(mk_foreign_sidecar("default", "a"));
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    let foreign = world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
    // The fence's watch is faster than the Sidecar's.
    let (late, early): (Vec<Event>, Vec<Event>) = world.cluster.take_events().into_iter().partition(is_of_sidecar);
    for event in early {
        world.on(event);
    }
    world.settle();
    for event in late {
        world.on(event);
    }
    world.settle();
    assert_eq!(world.cluster.get(Kind::Sidecar, "default", "a"), Some(&foreign));
}

fn is_of_sidecar(event: &Event) -> bool {
    match event {
        Event::Applied(object) => object.kind() == Kind::Sidecar,
        Event::Deleted(kind, _) => *kind == Kind::Sidecar,
        _ => false,
    }
}

#[test]
fn once_a_foreign_sidecar_is_gone_ours_takes_its_place() {
    let mut start = objects(enabled());
    start.push(mk_foreign_sidecar("default", "a"));
    let mut world = World::start(json!({}), &start);
    assert_eq!(world.total_writes(), world.count("write_status"));
    world.cluster.delete(Kind::Sidecar, "default", "a");
    world.settle();
    assert_eq!(world.cluster.hosts("default", "a"), ["istio-system/*", "mesh-operator/*"]);
}

#[test]
fn bursts_cost_few_writes() {
    // 200 hosts in a second; each write is answered 5 ms after it was handed out.
    for latency in [0, 5, 20] {
        let mut world = one_fence(enabled());
        let before = world.total_writes();
        let sidecars = world.count("create_sidecar") + world.count("update_sidecar");
        let mut answers: Vec<(Duration, Change)> = Vec::new();
        for step in 0..1_000_u64 {
            if step % 5 == 0 {
                world.call(CALLER, &format!("h{step}:80"));
            }
            let due: Vec<_> = answers.extract_if(.., |(at, _)| *at <= world.now).collect();
            for (_, change) in due {
                let outcome = world.cluster.apply(&change);
                world.hear();
                world.finish(&change, outcome);
            }
            let at = world.now + Duration::from_millis(latency);
            answers.extend(world.plan().into_iter().map(|change| (at, change)));
            world.now += Duration::from_millis(1);
        }
        for (_, change) in answers {
            let outcome = world.cluster.apply(&change);
            world.finish(&change, outcome);
        }
        world.settle_within(Duration::from_secs(5));
        let written = world.count("create_sidecar") + world.count("update_sidecar") - sidecars;
        assert!(written <= 10, "{written} Sidecar writes with {latency} ms");
        assert_eq!(world.cluster.hosts("default", "a").len(), 202);
        assert!(world.total_writes() - before <= 220, "{:?}", world.cluster.writes);
    }
}

#[test]
fn services_that_come_and_go_cost_few_sidecar_writes_too() {
    let mut world = one_fence(json!({"enable": true, "labelSelector": [{"selector": {"team": "x"}}]}));
    for number in 0..200 {
        let mut service = mk_service("other", &format!("s{number}"), None);
        service["metadata"]["labels"] = json!({"team": "x"});
        world.put(service);
        world.settle_within(Duration::from_millis(5));
    }
    world.settle_within(Duration::from_secs(5));
    // Ten at once, then one in each second that passes.
    assert!(world.count("update_sidecar") <= 12, "{:?}", world.cluster.writes);
    assert_eq!(world.cluster.hosts("default", "a").len(), 202);
}

#[test]
fn a_removed_host_leaves_after_its_grace_by_alarm_alone_and_not_before() {
    let mut world = one_fence(json!({"enable": true, "host": {"x.example.com": {}}}));
    world.put(mk_fence("default", "a", enabled()));
    world.settle();
    let status = |world: &World| world.cluster.get(Kind::Fence, "default", "a").unwrap()["status"].clone();
    assert_eq!(status(&world)["domains"]["x.example.com"]["status"], "EXPIREWAIT");
    world.settle_within(Duration::from_secs(27));
    assert_eq!(world.cluster.hosts("default", "a")[0], "*/x.example.com");
    world.settle_within(Duration::from_secs(5));
    assert_eq!(world.cluster.hosts("default", "a"), ["istio-system/*", "mesh-operator/*"]);
    assert_eq!(status(&world).get("domains"), None);
    assert_eq!(world.state.next_alarm(), None);
}

#[test]
fn a_removed_host_that_comes_back_within_its_grace_stays() {
    let mut world = one_fence(json!({"enable": true, "host": {"x.example.com": {}}}));
    let before = world.count("update_sidecar");
    world.put(mk_fence("default", "a", enabled()));
    world.settle_within(Duration::from_secs(20));
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.cluster.hosts("default", "a")[0], "*/x.example.com");
    assert_eq!(world.count("update_sidecar"), before, "the Sidecar never needed a change");
}

#[test]
fn a_failed_status_write_at_the_end_of_the_grace_does_not_begin_it_anew() {
    let mut world = one_fence(json!({"enable": true, "host": {"x.example.com": {}}}));
    world.put(mk_fence("default", "a", enabled()));
    world.settle_within(Duration::from_secs(29));
    world.now += Duration::from_secs(2);
    let changes = world.plan();
    assert!(matches!(changes[..], [Change::WriteStatus { .. }]));
    world.finish(&changes[0], Outcome::Failed);
    world.settle();
    assert_eq!(world.cluster.hosts("default", "a"), ["istio-system/*", "mesh-operator/*"]);
}

#[test]
fn a_deadline_passes_by_alarm_alone() {
    let deadline = START_SECONDS + 90;
    let mut world =
        one_fence(json!({"enable": true, "host": {"x.example.com": {"deadline": {"expire": {"seconds": deadline}}}}}));
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.cluster.hosts("default", "a").len(), 3);
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.cluster.hosts("default", "a").len(), 2);
    let fence = world.cluster.get(Kind::Fence, "default", "a").unwrap();
    assert_eq!(fence["status"]["domains"]["x.example.com"]["status"], "EXPIRE");
}

#[test]
fn a_far_deadline_costs_one_alarm_however_often_the_fence_is_looked_at() {
    let mut world =
        one_fence(json!({"enable": true, "host": {"x.example.com": {"deadline": {"expire": {"seconds": "9000000"}}}}}));
    for step in 0..1_000 {
        world.now += Duration::from_nanos(1_234_567 + step);
        world.on(Event::Heal);
        assert!(world.plan().is_empty());
    }
    let alarms = format!("{:?}", world.state);
    let alarms = alarms.split("alarms: ").nth(1).unwrap().split("waiting_calls").next().unwrap();
    assert!(alarms.matches("ObjectRef").count() <= 1, "{alarms}");
}

#[test]
fn healing_a_cluster_at_rest_and_hearing_old_news_again_writes_nothing() {
    let mut start = objects(json!({"enable": true, "host": {"b": {}}, "namespaceSelector": ["default"]}));
    start.push(mk_virtual_service("default", "b", "b", "c"));
    let mut world = World::start(json!({}), &start);
    world.call(CALLER, "d:80");
    world.settle();
    let before = world.total_writes();
    world.on(Event::Heal);
    world.settle();
    world.list();
    world.settle();
    assert_eq!(world.total_writes(), before);
}

#[test]
fn an_answer_for_a_fence_that_was_deleted_meanwhile_does_not_bring_it_back() {
    let mut world = one_fence(enabled());
    world.call(CALLER, "b:80");
    let changes = world.plan();
    let outcome = world.cluster.apply(&changes[0]);
    world.cluster.delete(Kind::Fence, "default", "a");
    world.hear();
    world.finish(&changes[0], outcome);
    world.settle();
    assert!(world.state.index().find_fence(&id()).is_none());
    assert!(!world.has(Kind::Sidecar, "default", "a"));
}

#[test]
fn one_malformed_object_or_log_entry_stops_nothing_and_is_counted() {
    let mut world = World::new(json!({}), &objects(enabled()));
    let malformed = mk_fence("default", "broken", json!({"enable": "certainly", "host": 7}));
    let error = lazyload_logic::convert::object(&malformed).unwrap_err();
    assert_eq!(error.to_string(), "failed to read ServiceFence default/broken");
    assert!(lazyload_logic::convert::object(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {}})).is_err());
    assert!(lazyload_logic::convert::object(&json!("not even an object")).unwrap().is_none());
    world.list();
    for line in ["", "[2026", "{\"no\": \"log\"}", "\u{0}\u{fffd}"] {
        assert!(lazyload_logic::observation::parse_line(line).is_err(), "{line}: the reader of logs counts it");
    }
    for authority in ["", ":80", "10.0.0.9:80", "not a host", "b:80"] {
        world.call(CALLER, authority);
    }
    world.settle();
    assert_eq!(world.state.learned().hosts, 1);
    assert_eq!(world.cluster.hosts("default", "a")[0], format!("*/{}", fqdn("b", "default")));
}

#[test]
fn a_sidecar_never_has_an_accidental_empty_selector() {
    let mut world = one_fence(json!({"enable": true, "workloadSelector": {"fromService": true}}));
    let before = world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
    let mut bare = mk_service("default", "a", None);
    bare["spec"]["selector"] = json!({});
    world.put(bare);
    world.settle();
    world.cluster.delete(Kind::Service, "default", "a");
    world.settle();
    assert_eq!(world.cluster.get(Kind::Sidecar, "default", "a"), Some(&before));
    world.cluster.delete(Kind::Sidecar, "default", "a");
    world.settle();
    assert!(!world.has(Kind::Sidecar, "default", "a"));
    // Neither `read` nor an empty map of labels makes one.
    world.put(mk_fence("default", "a", json!({"enable": true, "workloadSelector": {"labels": {}}})));
    world.settle();
    let sidecar = world.cluster.get(Kind::Sidecar, "default", "a").unwrap();
    assert_eq!(sidecar["spec"]["workloadSelector"]["labels"], json!({"app": "a"}));
    assert_eq!(read(sidecar).kind(), Kind::Sidecar);
}
