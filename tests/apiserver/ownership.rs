//! What belongs to the user, and what is put back.

use std::time::Duration;

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::objects::{condition, name_of};
use super::proxy::send;
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.20";

fn sidecar(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
        "metadata": {"namespace": "default", "name": name}, "spec": spec,
    })
}

/// Waits until the controller has handled a fence that was made after everything else.
async fn pass_barrier(cluster: &Cluster, name: &str) {
    cluster.objects.fence("default", name, json!({"enable": true})).await;
    eventually("the barrier's Sidecar", DEADLINE, || async {
        cluster.objects.hosts("default", name).await.ok_or("none")
    })
    .await;
}

#[tokio::test]
async fn a_users_sidecar_of_the_same_name_is_never_changed() {
    let Some(cluster) = Cluster::start("a user's Sidecar").await else { return };
    let objects = &cluster.objects;
    objects.service("default", "details", json!({})).await;
    let mut before = Vec::new();
    let enabled = json!({"enable": true});
    // Before the controller: the Sidecar first, the fence first, and one that has nothing in common with ours.
    before.push(objects.apply(&sidecar("first", &json!({"egress": [{"hosts": ["./*"]}]}))).await);
    objects.fence("default", "first", enabled.clone()).await;
    objects.pod("default", "first", MINE).await;
    objects.fence("default", "second", enabled.clone()).await;
    before.push(objects.apply(&sidecar("second", &json!({"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}))).await);
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    // While it runs.
    before.push(objects.apply(&sidecar("third", &json!({"egress": [{"hosts": ["*/*"]}]}))).await);
    objects.fence("default", "third", enabled.clone()).await;
    // Learning goes on; it is shown in the status, and the Sidecar stays the user's.
    let _stream = send(&controller, &[(MINE, "details:9080")]).await;
    eventually("the status has learned", DEADLINE, || async {
        let fence = objects.find("ServiceFence", "default", "first").await.ok_or("gone")?;
        if fence["status"]["metricStatus"].is_object() { Ok(()) } else { Err("no evidence") }
    })
    .await;
    // The user is told, at each of them.
    for name in ["first", "second", "third"] {
        eventually("the conflict is told", DEADLINE, || async {
            let fence = objects.find("ServiceFence", "default", name).await.ok_or("gone".to_owned())?;
            let told = ["Conflict", "SidecarApplied", "Ready", "SpecValid"].map(|kind| condition(&fence, kind));
            let expected = ["True ForeignSidecar", "False ForeignSidecar", "False ForeignSidecar", "True Valid"];
            if told == expected { Ok(()) } else { Err(format!("{name} {told:?}")) }
        })
        .await;
    }
    pass_barrier(&cluster, "barrier-1").await;
    // While it does not run.
    controller.kill();
    objects.fence("default", "fourth", enabled).await;
    let ours_by_name_only = json!({"egress": [{"hosts": ["istio-system/*", "mesh-operator/*"]}], "workloadSelector": {"labels": {"app": "fourth"}}});
    before.push(objects.apply(&sidecar("fourth", &ours_by_name_only)).await);
    controller.start_again();
    controller.ready().await;
    pass_barrier(&cluster, "barrier-2").await;

    for before in before {
        let now = objects.find("Sidecar", "default", before["metadata"]["name"].as_str().unwrap()).await;
        assert_eq!(now, Some(before));
    }
}

#[tokio::test]
async fn a_users_sidecar_is_not_changed_even_if_it_is_made_a_moment_before_ours() {
    const RACES: u64 = 60;
    let Some(cluster) = Cluster::start("a race for a Sidecar").await else { return };
    let objects = &cluster.objects;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let mut won = Vec::new();
    for race in 0..RACES {
        let name = format!("race-{race:02}");
        // Some have fields in common with ours, some do not, some are the same but for the owner.
        let spec = match race % 3 {
            0 => json!({"egress": [{"hosts": ["./*"]}]}),
            1 => json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}),
            _ => {
                json!({"egress": [{"hosts": ["istio-system/*", "mesh-operator/*"]}], "workloadSelector": {"labels": {"app": name}}})
            }
        };
        let user = async {
            // A different lead each time: the two writes meet in some of the races.
            tokio::time::sleep(Duration::from_micros(race * 250)).await;
            objects.create(&sidecar(&name, &spec)).await.ok()
        };
        let (_, users) = tokio::join!(objects.fence("default", &name, json!({"enable": true})), user);
        won.extend(users);
    }
    eventually("every fence has been handled", DEADLINE, || async {
        let count = objects.list("Sidecar").await.len();
        if count == 60 { Ok(()) } else { Err(count) }
    })
    .await;
    pass_barrier(&cluster, "barrier").await;
    eprintln!("the user was first in {} of {RACES} races", won.len());
    let now = objects.list("Sidecar").await;
    let changed: Vec<_> = won
        .iter()
        .filter(|users| !now.contains(users))
        .map(|users| now.iter().find(|now| name_of(now) == name_of(users)))
        .collect();
    assert!(changed.is_empty(), "{} changed: {changed:#?}", changed.len());
}

#[tokio::test]
async fn our_sidecar_is_put_back_and_a_field_that_is_not_ours_is_left_alone() {
    let Some(cluster) = Cluster::start("foreign edits").await else { return };
    let objects = &cluster.objects;
    objects.service("default", "mine", json!({})).await;
    objects.service("default", "details", json!({})).await;
    objects.pod("default", "mine", MINE).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    objects.fence("default", "mine", json!({"enable": true})).await;
    let mut stream = send(&controller, &[(MINE, "details:9080")]).await;
    let whole = ["*/details.default.svc.cluster.local", "istio-system/*", "mesh-operator/*"];
    let is_whole = |what: &'static str, uid_before: Option<Value>| {
        let whole = whole.map(str::to_owned).to_vec();
        async move {
            eventually(what, DEADLINE, || async {
                let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("none")?;
                let hosts = super::objects::hosts_of(&sidecar);
                let uid = &sidecar["metadata"]["uid"];
                if hosts.as_ref() == Some(&whole) && uid_before.as_ref() != Some(uid) {
                    Ok(sidecar)
                } else {
                    Err("not yet")
                }
            })
            .await
        }
    };
    let first = is_whole("the Sidecar", None).await;

    // Deleted by hand: there again, with all that was learned, at once.
    objects.delete("Sidecar", "default", "mine").await;
    let second = is_whole("a new Sidecar", Some(first["metadata"]["uid"].clone())).await;
    assert_eq!(second["metadata"]["generation"], 1);
    assert_eq!(second["metadata"]["ownerReferences"], first["metadata"]["ownerReferences"]);

    // Edited by hand: hosts, selector, both.
    for edit in [
        json!({"spec": {"egress": [{"hosts": ["./*"]}]}}),
        json!({"spec": {"egress": null}}),
        json!({"spec": {"workloadSelector": null}}),
        json!({"spec": {"workloadSelector": {"labels": {"app": "somebody-else"}}}}),
    ] {
        let edited = objects.merge("Sidecar", "default", "mine", edit).await;
        assert_ne!(edited["spec"], second["spec"]);
        eventually("the Sidecar is put back", DEADLINE, || async {
            let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("none")?;
            if sidecar["spec"] == second["spec"] { Ok(()) } else { Err("edited") }
        })
        .await;
    }

    // A field that is not ours stays, and is no reason to write.
    let policy = json!({"spec": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}});
    let with_policy = objects.merge("Sidecar", "default", "mine", policy).await;
    let known = controller.metric("lazyload_learned_known").await;
    drop(stream);
    stream = send(&controller, &[(MINE, "details:9080")]).await;
    controller.counts("lazyload_learned_known", known + 1.0).await;
    pass_barrier(&cluster, "barrier-1").await;
    assert_eq!(objects.find("Sidecar", "default", "mine").await, Some(with_policy.clone()));
    // Nor is it lost when there is something to write.
    assert!(stream.send(&[(MINE, "mine:9080")]).await);
    eventually("the Sidecar has grown", DEADLINE, || async {
        let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("none")?;
        let policy = &sidecar["spec"]["outboundTrafficPolicy"];
        assert_eq!(*policy, with_policy["spec"]["outboundTrafficPolicy"]);
        if super::objects::hosts_of(&sidecar).is_some_and(|hosts| hosts.len() == 4) { Ok(()) } else { Err("not yet") }
    })
    .await;
}

#[tokio::test]
async fn a_label_that_is_no_longer_selected_leaves_the_sidecar() {
    let Some(cluster) = Cluster::start("selector edits").await else { return };
    let objects = &cluster.objects;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let selects = |labels: Value| json!({"spec": {"workloadSelector": {"labels": labels}}});
    objects
        .fence(
            "default",
            "mine",
            json!({"enable": true, "workloadSelector": {"labels": {"app": "mine", "version": "v1"}}}),
        )
        .await;
    for (edit, expected) in [
        (json!({"version": "v2"}), json!({"app": "mine", "version": "v2"})),
        (json!({"version": null}), json!({"app": "mine"})),
        (json!({"app": null, "run": "mine"}), json!({"run": "mine"})),
    ] {
        eventually("the first Sidecar", DEADLINE, || async { objects.hosts("default", "mine").await.ok_or("none") })
            .await;
        objects.merge("ServiceFence", "default", "mine", selects(edit)).await;
        eventually("the Sidecar follows", DEADLINE, || async {
            let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("none")?;
            let labels = sidecar["spec"]["workloadSelector"]["labels"].clone();
            if labels == expected { Ok(()) } else { Err(format!("{labels}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_fence_made_anew_takes_over_the_sidecar_of_the_one_before() {
    let Some(cluster) = Cluster::start("a fence made anew").await else { return };
    let objects = &cluster.objects;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    // At once, and after the Sidecar has changed in between; no garbage is collected meanwhile.
    for host in [None, Some("a.example.com"), Some("b.example.com")] {
        let fence = objects.fence("default", "mine", json!({"enable": true})).await;
        if let Some(host) = host {
            objects.merge("ServiceFence", "default", "mine", json!({"spec": {"host": {host: {}}}})).await;
        }
        eventually("the Sidecar is the new fence's", DEADLINE, || async {
            let sidecar = objects.find("Sidecar", "default", "mine").await.ok_or("none".to_owned())?;
            let hosts = super::objects::hosts_of(&sidecar).unwrap_or_default();
            let owners = sidecar["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let owned = owners.len() == 1 && owners[0]["uid"] == fence["metadata"]["uid"];
            let seen = host.is_none_or(|host| hosts.contains(&format!("*/{host}")));
            if owned && seen { Ok(()) } else { Err(format!("{owners:?} {hosts:?}\n{}", controller.log())) }
        })
        .await;
        objects.delete("ServiceFence", "default", "mine").await;
    }
}
