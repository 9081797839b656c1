//! Controllers that take the place of others, and annotations that replace nothing.

use super::*;

#[test]
fn a_controller_without_a_lease_is_gone_before_one_with_a_lease_begins() {
    let of = |election: &str| {
        let mut spec = cluster(&[9080]);
        spec["module"][0]["global"] = json!({"misc": {"enableLeaderElection": election}});
        spec["replicaCount"] = json!(if election == "on" { 2 } else { 1 });
        spec
    };
    let controller = Key::new("Deployment", "mesh-operator", "lazyload").unwrap();
    let mut world = World::new();
    let strategy = |world: &World| world.store[&controller]["spec"]["strategy"]["type"].clone();
    world.boot("lazyload", &of("off"));
    world.converge();
    assert_eq!(strategy(&world), "Recreate");
    world.boot("lazyload", &of("on"));
    world.run();
    assert_eq!(world.store[&controller]["spec"]["replicas"], 2);
    assert_eq!(strategy(&world), "Recreate", "the old pods go first");
    // Also for an operator that knows nothing of what it began.
    world.restart();
    world.run();
    assert_eq!(strategy(&world), "Recreate");
    world.acts.clear();
    world.converge();
    assert_eq!(strategy(&world), "RollingUpdate");
    let writes = |world: &World| world.acts.iter().filter(|act| **act == format!("apply {controller}")).count();
    assert_eq!(writes(&world), 1);
    world.acts.clear();
    world.boot("lazyload", &of("off"));
    world.converge();
    assert_eq!(
        (strategy(&world), writes(&world)),
        (json!("Recreate"), 1),
        "the other way Kubernetes ends the old ones first"
    );
}

#[test]
fn a_controller_of_another_name_starts_when_the_old_one_has_ended() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.controllers_write();
    let mut renamed = cluster(&[9080]);
    renamed["module"][0]["name"] = json!("other");
    renamed["module"][0]["kind"] = json!("lazyload");
    world.boot("lazyload", &renamed);
    world.run();
    assert!(
        world.store[&Key::new("Deployment", "mesh-operator", "lazyload").unwrap()]["metadata"]["deletionTimestamp"]
            .is_string()
    );
    assert!(!world.names().contains("Deployment mesh-operator/other"));
    world.converge();
    assert!(world.names().contains("Deployment mesh-operator/other"));
    assert!(!world.sidecars[""].wide, "it goes on where the old one was");
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
}

#[test]
fn what_kubernetes_reports_in_annotations_causes_no_write_and_what_a_user_writes_there_does() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let key = Key::new("Deployment", "mesh-operator", "lazyload").unwrap();
    let mut annotated = |annotation: &str, subresource: &str| {
        let fields = json!({"f:metadata": {"f:annotations": {".": {}, (format!("f:{annotation}")): {}}}});
        let object = world.store.get_mut(&key).unwrap();
        object["metadata"]["annotations"] = json!({annotation: "1"});
        object["metadata"]["managedFields"] = json!([{"manager": "m", "subresource": subresource, "fieldsV1": fields}]);
        let object = object.clone();
        world.hear(Event::Applied(Box::new(object)));
        world.now += Duration::from_secs(3);
        world.acts.clear();
        world.run();
        world.acts.clone()
    };
    assert_eq!(annotated("deployment.kubernetes.io/revision", "status"), Vec::<String>::new());
    assert_eq!(annotated("deployment.kubernetes.io/revision", ""), ["apply Deployment mesh-operator/lazyload"]);
}
