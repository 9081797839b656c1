//! What a user is told at a fence, and what the API server itself refuses.

use serde_json::{Map, Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::objects::{condition, hosts_of, name_of};
use super::proxy::send;
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.20";

fn fence(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
        "metadata": {"namespace": "default", "name": name}, "spec": spec,
    })
}

/// Waits until the conditions of these types are as expected.
async fn told(cluster: &Cluster, controller: &Controller, name: &str, expected: &[(&str, &str)]) -> Value {
    eventually(&format!("{name} tells {expected:?}"), DEADLINE, || async {
        let fence = cluster.objects.find("ServiceFence", "default", name).await.ok_or("gone".to_owned())?;
        let told = expected.iter().all(|(kind, words)| condition(&fence, kind) == *words);
        if told { Ok(fence) } else { Err(format!("{:#}\n{}", fence["status"]["conditions"], controller.log())) }
    })
    .await
}

#[tokio::test]
async fn what_can_never_work_is_refused_and_what_the_seed_prints_is_accepted() {
    let Some(cluster) = Cluster::start("CRD rules").await else { return };
    let objects = &cluster.objects;
    let deadline = |seconds: Value| json!({"host": {"a.b": {"deadline": {"expire": {"seconds": seconds}}}}});
    let long = "a".repeat(318);
    for (number, (spec, expected)) in [
        (json!({"host": {"": {}}}), "remove the empty or overlong key"),
        (json!({"host": {long: {}}}), "remove the empty or overlong key"),
        (json!({"host": {"a b": {}}}), "without spaces"),
        (deadline(json!(-1)), "should be greater than or equal to 0"),
        (deadline(json!("soon")), "should match"),
        (deadline(json!("-1")), "should match"),
        (json!({"enable": "yes"}), "must be of type boolean"),
        (json!({"namespaceSelector": "test"}), "must be of type array"),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = objects.create(&fence(&format!("refused-{number}"), &spec)).await;
        let words = refused.expect_err(&format!("accepted: {spec}")).to_string();
        assert!(words.contains(expected) && words.contains("spec"), "{spec}: {words}");
    }
    for (number, spec) in [
        json!({"enable": true}),
        json!({"enable": true, "host": {"reviews.default.svc.cluster.local": {"stable": null}}}),
        json!({"enable": true, "host": {"reviews.default.svc.cluster.local": null}}),
        json!({"enable": true, "host": {"test/*": {}}}),
        json!({"enable": true, "host": {"details.default.svc.cluster.local": {"stable": {}}}}),
        json!({"enable": true, "labelSelector": [
            {"selector": {"app": "details"}}, {"selector": {"app": "reviews", "group": "default"}}]}),
        json!({"enable": true, "workloadSelector": {"fromService": true}}),
        // The original writes 64-bit integers as text.
        deadline(json!("1")),
        deadline(json!(1)),
        json!({"host": {"a.b": {"stable": {}, "deadline": {"expire": {"seconds": 0, "nanos": 1}}}}}),
        json!({"host": {"a.b": {"auto": {"duration": {"seconds": "60"}}, "RecentlyCalled": {"seconds": "1"}}}}),
    ]
    .into_iter()
    .enumerate()
    {
        objects
            .create(&fence(&format!("accepted-{number}"), &spec))
            .await
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
    }
}

#[tokio::test]
async fn a_fence_from_before_a_rule_keeps_working_and_can_be_changed_elsewhere() {
    let Some(cluster) = Cluster::start_without_crds("ratcheting").await else { return };
    cluster.install_originals_crds().await;
    cluster.install_istio_crds(&["Sidecar", "VirtualService"]).await;
    let objects = &cluster.objects;
    objects.fence("default", "old", json!({"enable": true, "host": {"": {}, "a b": {}, "good.example.com": {}}})).await;
    cluster.install_product_crds().await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    told(&cluster, &controller, "old", &[("SidecarApplied", "True Applied"), ("SpecValid", "False LeftOut")]).await;
    assert_eq!(objects.hosts("default", "old").await.unwrap()[0], "*/good.example.com");
    objects.label("ServiceFence", "default", "old", "team", Some("x")).await;
    objects.merge("ServiceFence", "default", "old", json!({"spec": {"enable": false}})).await;
    told(&cluster, &controller, "old", &[("SidecarApplied", "False Disabled"), ("Ready", "True Disabled")]).await;
}

#[tokio::test]
async fn conditions_and_events_follow_the_fence_and_a_steady_cluster_writes_nothing() {
    let Some(cluster) = Cluster::start("conditions").await else { return };
    let objects = &cluster.objects;
    objects.service("default", "details", json!({})).await;
    objects.pod("default", "mine", MINE).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    objects.fence("default", "mine", json!({"enable": true, "host": {"my_host.example.com": {}}})).await;
    let first = told(
        &cluster,
        &controller,
        "mine",
        &[
            ("Ready", "True Applied"),
            ("SidecarApplied", "True Applied"),
            ("SpecValid", "False LeftOut"),
            ("Conflict", ""),
        ],
    )
    .await;
    assert_eq!(first["status"]["observedGeneration"], 1);
    objects.fence("default", "service", json!({"enable": true, "workloadSelector": {"fromService": true}})).await;
    told(&cluster, &controller, "service", &[("Ready", "False ServiceMissing")]).await;
    objects.service("default", "service", json!({})).await;
    told(&cluster, &controller, "service", &[("Ready", "True Applied")]).await;
    let _stream = send(&controller, &[(MINE, "details:9080")]).await;
    eventually("it has learned", DEADLINE, || async {
        let hosts = objects.hosts("default", "mine").await.unwrap_or_default();
        if hosts.len() == 3 { Ok(()) } else { Err(hosts) }
    })
    .await;
    let told_events = ["HostLearned mine", "SidecarCreated mine", "SidecarCreated service", "SpecInvalid mine"];
    eventually("the Events are there", DEADLINE, || async {
        let all = objects.list("Event").await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut told: Vec<String> =
            all.iter().map(|it| format!("{} {}", text(&it["reason"]), text(&it["regarding"]["name"]))).collect();
        told.sort();
        if told == told_events { Ok(()) } else { Err((told, controller.log())) }
    })
    .await;

    // A restart changes no word and no time.
    let before = (objects.list("ServiceFence").await, objects.list("Sidecar").await, objects.versions("Event").await);
    controller.kill();
    controller.start_again();
    controller.ready().await;
    objects.fence("default", "barrier", json!({"enable": false})).await;
    told(&cluster, &controller, "barrier", &[("Ready", "True Disabled")]).await;
    let mut fences = objects.list("ServiceFence").await;
    fences.retain(|fence| name_of(fence) != "default/barrier");
    assert_eq!((fences, objects.list("Sidecar").await, objects.versions("Event").await), before);
}

#[tokio::test]
async fn a_sidecar_is_handed_over_by_an_annotation_and_a_revision_that_is_gone_leaves_it() {
    let Some(cluster) = Cluster::start("adoption").await else { return };
    let objects = &cluster.objects;
    let theirs = objects
        .apply(&json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
            "metadata": {"namespace": "default", "name": "mine"},
            "spec": {
                "egress": [{"hosts": ["./*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
                "workloadSelector": {"labels": {"app": "mine", "theirs": "too"}},
            },
        }))
        .await;
    let mut labelled = fence("mine", &json!({"enable": true}));
    labelled["metadata"]["labels"] = json!({"istio.io/rev": "canary"});
    let ours = objects.apply(&labelled).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    told(&cluster, &controller, "mine", &[("Conflict", "True ForeignSidecar")]).await;
    assert_eq!(objects.find("Sidecar", "default", "mine").await.unwrap(), theirs);

    let annotation = json!({"metadata": {"annotations": {"lazyload.slime.io/adopt": "true"}}});
    objects.merge("Sidecar", "default", "mine", annotation).await;
    told(&cluster, &controller, "mine", &[("Conflict", ""), ("Ready", "True Applied")]).await;
    let adopted = objects.find("Sidecar", "default", "mine").await.unwrap();
    assert_eq!(adopted["metadata"]["uid"], theirs["metadata"]["uid"]);
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], ours["metadata"]["uid"]);
    assert_eq!(adopted["metadata"]["labels"], json!({"istio.io/rev": "canary"}));
    assert_eq!(
        adopted["spec"],
        json!({
            "egress": [{"hosts": ["istio-system/*", "mesh-operator/*"]}],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "workloadSelector": {"labels": {"app": "mine"}},
        })
    );

    objects.label("ServiceFence", "default", "mine", "istio.io/rev", None).await;
    eventually("the revision has left the Sidecar", DEADLINE, || async {
        let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("gone".to_owned())?;
        if sidecar["metadata"]["labels"]["istio.io/rev"].is_null() { Ok(()) } else { Err(controller.log()) }
    })
    .await;
}

#[tokio::test]
async fn a_pod_of_two_fences_has_one_sidecar_that_carries_what_both_need() {
    let Some(cluster) = Cluster::start("overlapping fences").await else { return };
    let objects = &cluster.objects;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let both = json!({"labels": {"app": "db"}});
    let spec = |host: &str| json!({"enable": true, "workloadSelector": both, "host": {host: {}}});
    objects.fence("default", "b-first", spec("first.example.com")).await;
    told(&cluster, &controller, "b-first", &[("Ready", "True Applied")]).await;
    // The second one selects more pods, so it rules from now on: the first one's Sidecar goes, after its hosts are in the other.
    objects.fence("default", "c-second", spec("second.example.com")).await;
    told(
        &cluster,
        &controller,
        "c-second",
        &[("SidecarApplied", "False RuledByOther"), ("Conflict", "True OverlappingFence")],
    )
    .await;
    eventually("one Sidecar has both hosts", DEADLINE, || async {
        let sidecars = objects.list("Sidecar").await;
        let hosts = sidecars.first().and_then(hosts_of).unwrap_or_default();
        let both = ["*/first.example.com", "*/second.example.com"].iter().all(|host| hosts.iter().any(|it| it == host));
        if sidecars.len() == 1 && name_of(&sidecars[0]) == "default/b-first" && both { Ok(()) } else { Err(sidecars) }
    })
    .await;
    // Once the ruling fence is gone the other one rules.
    objects.delete("ServiceFence", "default", "b-first").await;
    eventually("the other Sidecar is there", DEADLINE, || async {
        cluster.collect_garbage().await;
        let names = objects.names("Sidecar").await;
        if names == ["default/c-second"] { Ok(()) } else { Err(names) }
    })
    .await;
    told(&cluster, &controller, "c-second", &[("Ready", "True Applied"), ("Conflict", "")]).await;
}

#[tokio::test]
async fn five_thousand_hosts_work() {
    let Some(cluster) = Cluster::start("five thousand hosts").await else { return };
    let objects = &cluster.objects;
    objects.fence("default", "mine", json!({"enable": false})).await;
    let host = |number: usize| format!("service-with-a-long-name-{number:04}.namespace.svc.cluster.local");
    let evidence: Map<String, Value> =
        (0..5_000).map(|number| (format!("{{destination_service=\"{}\"}}", host(number)), json!("1"))).collect();
    objects.merge_status("ServiceFence", "default", "mine", json!({"metricStatus": evidence})).await;
    objects.merge("ServiceFence", "default", "mine", json!({"spec": {"enable": true}})).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let fence = told(&cluster, &controller, "mine", &[("Ready", "True Applied"), ("Truncated", "")]).await;
    assert_eq!(fence["status"]["domains"].as_object().unwrap().len(), 5_000);
    assert_eq!(fence["status"]["metricStatus"].as_object().unwrap().len(), 5_000);
    assert_eq!(objects.hosts("default", "mine").await.unwrap().len(), 5_002);
    eprintln!("a fence with 5,000 hosts takes {} bytes", fence.to_string().len());
}

#[tokio::test]
async fn of_ten_thousand_long_names_as_many_are_kept_as_fit_and_the_rest_is_told() {
    let Some(cluster) = Cluster::start("ten thousand long names").await else { return };
    let objects = &cluster.objects;
    objects.service("default", "mine", json!({})).await;
    objects.pod("default", "mine", MINE).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    objects.fence("default", "mine", json!({"enable": true})).await;
    told(&cluster, &controller, "mine", &[("Ready", "True Applied")]).await;
    let long = ["x".repeat(60), "y".repeat(60), "z".repeat(45)].join(".");
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("h{number:05}.{long}.very-long-namespace-name-indeed.svc.cluster.local:80"))
        .collect();
    assert_eq!(names[0].len() - ":80".len(), 224);
    let mut stream = send(&controller, &[]).await;
    for names in names.chunks(500) {
        let calls: Vec<(&str, &str)> = names.iter().map(|name| (MINE, name.as_str())).collect();
        assert!(stream.send(&calls).await);
    }
    let fence = eventually("it is told that there is no room for more", DEADLINE, || async {
        let fence =
            told(&cluster, &controller, "mine", &[("Ready", "True Applied"), ("Truncated", "True TooLarge")]).await;
        let words = fence["status"]["conditions"].to_string();
        if words.contains("more hosts were called than can be kept") { Ok(fence) } else { Err(words) }
    })
    .await;
    let kept = fence["status"]["metricStatus"].as_object().unwrap().len();
    eprintln!("{kept} of 10,000 hosts of 224 bytes are kept; the fence takes {} bytes", fence.to_string().len());
    assert!((3_000..4_000).contains(&kept), "{kept}");
    assert_eq!(controller.metric("lazyload_writes_total{change=\"write_status\",outcome=\"rejected\"}").await, 0.0);
    controller.assert_running();
}
