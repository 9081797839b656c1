//! Random schedules.

use proptest::prelude::*;

use super::*;

/// What may happen.
#[derive(Clone, Debug)]
enum Happening {
    Says(usize),
    RollsOut,
    Passes(u64),
    Acts(usize),
    Restarts,
    IsRemoved,
    ControllersWrite,
    Declares(Vec<u16>),
    HasDeclared,
}

fn specs() -> Vec<Value> {
    let dispatches = json!([{"name": "sohu", "domains": ["*.sohu.com"], "cluster": "_GLOBAL_SIDECAR"}, {"name": "rest", "domains": ["*"], "cluster": "PassthroughCluster"}]);
    let mut with_port = cluster(&[9080]);
    with_port["component"]["globalSidecar"]["port"] = json!(8888);
    let mut elsewhere = cluster(&[9080]);
    elsewhere["module"][0]["general"]["clusterGsNamespace"] = json!("gateways");
    let mut renamed = cluster(&[9080]);
    renamed["module"][0]["name"] = json!("other");
    renamed["module"][0]["kind"] = json!("lazyload");
    let mut elected = cluster(&[9080]);
    elected["module"][0]["global"] = json!({"misc": {"enableLeaderElection": "on"}});
    let mut none = cluster(&[9080]);
    none["module"][0]["enable"] = json!(false);
    let mut measured = spec(&json!({"wormholePort": [9080], "metricSourceType": "prometheus"}));
    measured["module"][0]["metric"] = json!({"prometheus": {
        "address": "http://prometheus.istio-system:9090", "handlers": {"destination": {"query": "up", "type": "Group"}},
    }});
    vec![
        cluster(&[9080]),
        cluster(&[9080, 7000]),
        finding(true),
        finding(false),
        cluster(&[]),
        with_port,
        elsewhere,
        renamed,
        elected,
        none,
        spec(&json!({"wormholePort": [80], "dispatches": dispatches})),
        measured,
        namespaces(&["shop"]),
        namespaces(&["shop", "bank"]),
        namespaces(&["bank", "mesh-operator"]),
        spec(&json!({"wormholePort": ["wrong"]})),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..specs().len()).prop_map(Happening::Says),
        3 => Just(Happening::RollsOut),
        2 => (1_u64..7).prop_map(Happening::Passes),
        6 => (1_usize..30).prop_map(Happening::Acts),
        1 => Just(Happening::Restarts),
        1 => Just(Happening::IsRemoved),
        2 => prop::collection::vec(7000_u16..7003, 0..3).prop_map(Happening::Declares),
        3 => Just(Happening::ControllersWrite),
        1 => Just(Happening::HasDeclared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_nobody_is_sent_to_what_is_not_there_and_in_the_end_there_is_what_was_said_last(
        happenings in prop::collection::vec(happening(), 1..16), last in 0..specs().len() - 1
    ) {
        let specs = specs();
        let mut world = World::new();
        for happening in happenings {
            match happening {
                Happening::Says(one) => world.boot("lazyload", &specs[one]),
                Happening::RollsOut => world.roll_out(),
                Happening::Passes(seconds) => world.now += Duration::from_secs(seconds),
                Happening::Acts(count) => {
                    for _ in 0..count {
                        world.step();
                    }
                }
                Happening::IsRemoved => world.remove("lazyload"),
                Happening::Restarts => world.restart(),
                Happening::Declares(ports) => world.declares("shop/web", &ports),
                Happening::ControllersWrite => world.controllers_write(),
                Happening::HasDeclared => world.all_is_declared(),
            }
        }
        world.all_is_declared();
        // One that is being deleted goes first.
        world.converge();
        world.converge();
        world.boot("lazyload", &specs[last]);
        world.converge();
        world.converge();
        let spec: lazyload_api::slime_boot::SlimeBootSpec = serde_json::from_value(specs[last].clone()).unwrap();
        let wanted = crate::boot::read(&spec).unwrap().installation;
        let wanted: BTreeSet<String> =
            wanted.iter().flat_map(crate::boot::desired_objects).filter_map(|body| Some(Key::of(&body)?.to_string())).collect();
        prop_assert_eq!(world.names(), wanted);
        prop_assert_eq!(&world.condition("lazyload", "Ready")["status"], "True");
        world.controllers_write();
        world.remove("lazyload");
        world.converge();
        world.converge();
        prop_assert_eq!(world.names(), BTreeSet::new());
        prop_assert!(world.boots.is_empty() && world.sidecars.is_empty());
    }
}
