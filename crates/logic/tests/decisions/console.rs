//! What the console is told, as JSON: the whole of it for a small mesh, in `tests/console/*.json`; `UPDATE_GOLDEN=1` rewrites them.

#![allow(clippy::disallowed_methods, reason = "golden cases are files")]

use std::path::Path;

use lazyload_logic::report::console::{detail, fence_document, rows, sidecar_document};
use lazyload_logic::state::history::What;
use lazyload_logic::types::ObjectRef;
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_fence, mk_namespace, mk_pod, mk_service};
use crate::world::World;

/// A shop whose front calls what is declared, what it learns, and something outside; and a fence that is not enabled.
fn shop(settings: Value) -> World {
    let spec =
        json!({"enable": true, "host": {"cart": {"stable": {}}, "old": {"deadline": {"expire": {"seconds": 7}}}}});
    let mut objects = vec![
        mk_namespace("shop", None),
        mk_namespace("bank", None),
        mk_fence("shop", "front", spec),
        mk_fence("shop", "idle", json!({"enable": false})),
        mk_pod("shop", "front-1", "front", "10.0.0.1"),
    ];
    objects.extend(["front", "cart", "old", "idle"].map(|name| mk_service("shop", name, None)));
    objects.push(mk_service("bank", "ledger", None));
    let mut world = World::start(settings, &objects);
    world.call("10.0.0.1", "ledger.bank:9080");
    world.call("10.0.0.1", "pay.example");
    world.settle();
    world
}

fn closeup(world: &World) -> lazyload_logic::state::view::Closeup {
    world.state.closeup(&ObjectRef::new("shop", "front")).unwrap()
}

fn assert_golden(name: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
    }
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(*found, expected, "{} (UPDATE_GOLDEN=1 rewrites it)", path.display());
}

#[test]
fn a_mesh_is_told_row_by_row_with_its_arrows() {
    let world = shop(World::fastest());
    let page = world.state.page_of_fences(None);
    assert!(page.next.is_none());
    assert_golden("rows.json", &json!(rows(&page)));
}

#[test]
fn a_fence_is_told_with_its_timeline_and_both_documents() {
    let world = shop(World::fastest());
    let closeup = closeup(&world);
    let documents = [fence_document(&closeup.fence), sidecar_document(closeup.sidecar.as_ref().unwrap())];
    let mut told = json!({"detail": detail(&closeup), "documents": documents});
    told["documents"][1]["metadata"]["ownerReferences"][0]["uid"] = Value::Null;
    assert_golden("detail.json", &told);
}

#[test]
fn the_timeline_has_the_stages_of_a_switch_and_who_taught_it() {
    let world = shop(json!({}));
    let ledger = format!("*/{}", fqdn("ledger", "bank"));
    let told: Vec<What> = closeup(&world).history.into_iter().map(|moment| moment.what).collect();
    let taught = told.iter().position(|what| {
        *what
            == What::Called {
                host: fqdn("ledger", "bank"),
                written: "ledger.bank".into(),
                caller: "shop/front-1".into(),
                verified: false,
            }
    });
    let stage = |pick: fn(&What) -> Option<&Vec<String>>| {
        told.iter().position(|what| pick(what).is_some_and(|hosts| hosts.contains(&ledger)))
    };
    let announced =
        stage(|what| if let What::Sidecar { announced, .. } = what { Some(&announced.first) } else { None });
    let routed = stage(|what| if let What::Sidecar { routed, .. } = what { Some(&routed.first) } else { None });
    assert!(taught.is_some() && taught < announced && announced < routed, "{told:#?}");
}

#[test]
fn after_a_restart_what_was_learned_before_is_said_to_be_from_before() {
    let mut world = shop(World::fastest());
    world.restart();
    assert!(closeup(&world).history.is_empty(), "what is listed did not happen now");
    world.call("10.0.0.1", "new.example");
    let told = detail(&closeup(&world)).unwrap().timeline;
    let What::Known { hosts } = &told[0].what else { panic!("{told:#?}") };
    assert_eq!((told[0].at, hosts.count), (None, 2), "{told:#?}");
    assert!(told.iter().any(|moment| matches!(&moment.what, What::Called { host, .. } if host == "new.example")));
}

#[test]
fn what_is_remembered_is_bounded_over_all_fences_and_the_newest_stays() {
    let mut world = shop(World::fastest());
    for number in 0..9_000 {
        world.call("10.0.0.1", &format!("h{number}.example"));
    }
    let history = closeup(&world).history;
    assert_eq!(history.len(), 8_192);
    assert!(matches!(&history.last().unwrap().what, What::Called { host, .. } if host == "h8999.example"));
}
