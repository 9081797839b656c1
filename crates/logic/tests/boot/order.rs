use std::collections::BTreeSet;

use lazyload_logic::boot::read;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::given::objects;

/// Any installation that is accepted.
fn spec() -> impl Strategy<Value = Value> {
    let ports = prop::collection::vec(prop_oneof![Just(80_u16), Just(9080), 1000_u16..9000], 0..5);
    let dispatches = prop::sample::subsequence(vec!["a.com", "*.b.com", "*"], 0..=3);
    let port = prop::option::of(prop_oneof![Just(80_u16), 1000_u16..9000]);
    let namespace = prop::option::of(Just("gateways"));
    let mode = prop_oneof![Just("cluster"), Just("namespace")];
    let source = prop_oneof![Just("accesslog"), Just("prometheus")];
    let kind = (mode, source, prop::sample::subsequence(vec!["default", "shop", "mesh-operator"], 1..=3));
    (ports, dispatches, port, namespace, any::<bool>(), kind).prop_map(|(ports, domains, port, namespace, passthrough, kind)| {
        let (mode, source, namespaces) = kind;
        let dispatches: Vec<Value> = domains
            .iter()
            .enumerate()
            .map(|(position, domain)| json!({"name": position, "domains": [domain], "cluster": "_GLOBAL_SIDECAR"}))
            .collect();
        json!({
            "image": {"repository": "example/lazyload"},
            "module": [{"name": "lazyload", "enable": true, "metric": {"prometheus": {"address": "http://p:9090", "handlers": {"h": {"query": "sum(x)"}}}}, "general": {
                "globalSidecarMode": mode, "metricSourceType": source, "namespace": namespaces, "wormholePort": ports, "dispatches": dispatches, "clusterGsNamespace": namespace, "passthroughByDefault": passthrough,
            }}],
            "component": {"globalSidecar": {"enable": true, "port": port, "sidecarInject": {"enable": true}}},
        })
    })
}

fn desired(spec: Value) -> Vec<Value> {
    objects(&read(&serde_json::from_value(spec).unwrap()).unwrap())
}

fn is_redirection(object: &Value) -> bool {
    object["kind"] == "EnvoyFilter" && object["metadata"]["name"] == "to-global-sidecar"
}

fn name(object: &Value) -> String {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Objects that must exist before this one is of use, by name.
fn needs(object: &Value) -> Vec<String> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut needs = Vec::new();
    let mut need =
        |kind: &str, name: &Value| needs.extend(name.as_str().map(|name| format!("{kind} {namespace}/{name}")));
    match object["kind"].as_str().unwrap() {
        "Deployment" => {
            let template = &object["spec"]["template"];
            need("ServiceAccount", &template["spec"]["serviceAccountName"]);
            need("ConfigMap", &object["metadata"]["name"]);
            need("ConfigMap", &template["metadata"]["annotations"]["sidecar.istio.io/bootstrapOverride"]);
            need("Service", &object["metadata"]["name"]);
        }
        "ClusterRoleBinding" => needs.push(format!("ClusterRole /{}", object["roleRef"]["name"].as_str().unwrap())),
        "RoleBinding" => need("Role", &object["roleRef"]["name"]),
        "EnvoyFilter" => needs.extend(clusters(object).iter().map(|(_, host)| {
            let (name, rest) = host.split_once('.').unwrap();
            format!("Deployment {}/{name}", rest.split('.').next().unwrap())
        })),
        _ => {}
    }
    needs
}

/// Port and host of every Istio cluster that an object names.
fn clusters(object: &Value) -> BTreeSet<(u64, String)> {
    let text = object.to_string();
    let words = text.split('"').filter(|word| word.starts_with("outbound|"));
    words
        .map(|word| {
            let parts: Vec<&str> = word.split('|').collect();
            (parts[1].parse().unwrap(), parts[3].to_owned())
        })
        .collect()
}

/// What istiod makes of a virtual host of this name: all patches of the table one after the other.
fn in_the_end(patches: &[&Value], name: &str) -> Value {
    let mut host = json!({"name": name, "domains": ["of Istio"], "routes": ["of Istio"]});
    for patch in patches {
        assert_eq!(patch["applyTo"], "VIRTUAL_HOST");
        if patch["match"]["routeConfiguration"]["vhost"]["name"] != host["name"] {
            continue;
        }
        let value = &patch["patch"]["value"];
        match patch["patch"]["operation"].as_str().unwrap() {
            "REPLACE" => host = value.clone(),
            "MERGE" => {
                for (key, value) in value.as_object().unwrap() {
                    match &mut host[key] {
                        Value::Array(items) => items.extend(value.as_array().unwrap().iter().cloned()),
                        single => *single = value.clone(),
                    }
                }
            }
            other => panic!("{other}"),
        }
    }
    host
}

#[test]
fn the_filter_for_as_many_ports_as_are_ever_found_fits_into_an_object() {
    let ports: Vec<u16> = (10_000..10_320).collect();
    let spec = json!({
        "image": {"repository": "example/lazyload"},
        "module": [{"name": "lazyload", "enable": true, "general": {"wormholePort": ports, "addEnvHeaderViaLua": true}}],
        "component": {"globalSidecar": {"enable": true, "sidecarInject": {"enable": true}}},
    });
    let sizes: Vec<usize> =
        desired(spec).iter().filter(|it| is_redirection(it)).map(|it| it.to_string().len()).collect();
    assert!(sizes.len() == 1 && sizes[0] < 1_450_000, "{sizes:?}");
}

const CATCH_ALLS: [&str; 3] = ["allow_any", "block_all", "allow_any_dynamic_dns"];

proptest! {
    #[test]
    fn every_object_comes_after_those_that_it_needs(spec in spec()) {
        let objects = desired(spec);
        let mut seen = BTreeSet::new();
        for object in &objects {
            for need in needs(object) {
                prop_assert!(seen.contains(&need), "{} needs {need}", name(object));
            }
            prop_assert!(seen.insert(name(object)), "{} twice", name(object));
        }
        let first_filter = objects.iter().position(|object| object["kind"] == "EnvoyFilter").unwrap();
        prop_assert!(objects[first_filter..].iter().all(|object| object["kind"] == "EnvoyFilter"));
        let first_redirection = objects.iter().position(is_redirection).unwrap();
        prop_assert!(objects[first_redirection..].iter().all(is_redirection));
    }

    #[test]
    fn every_route_goes_to_a_port_that_is_served_and_each_port_has_one_catch_all(spec in spec()) {
        let objects = desired(spec);
        let services: Vec<&Value> =
            objects.iter().filter(|object| object["kind"] == "Service" && object["metadata"]["name"] == "global-sidecar").collect();
        let filters: Vec<&Value> = objects.iter().filter(|object| is_redirection(object)).collect();
        prop_assert_eq!(services.len(), filters.len());
        for (service, filter) in services.iter().zip(filters) {
        let ports: Vec<u64> = service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect();
        prop_assert_eq!(ports.len(), ports.iter().collect::<BTreeSet<_>>().len());
        let host = format!("global-sidecar.{}.svc.cluster.local", service["metadata"]["namespace"].as_str().unwrap());
        for (port, cluster_host) in clusters(filter) {
            prop_assert!(ports.contains(&port));
            prop_assert_eq!(&cluster_host, &host);
        }
        let patches = filter["spec"]["configPatches"].as_array().unwrap();
        for port in &ports {
            let of_port: Vec<&Value> =
                patches.iter().filter(|patch| patch["match"]["routeConfiguration"]["name"] == json!(port.to_string())).collect();
            let fallback = in_the_end(&of_port, &format!("{host}:{port}"));
            let routes = fallback["routes"].as_array().unwrap();
            let all = |route: &&Value| route["match"] == json!({"prefix": "/"});
            prop_assert_eq!(routes.iter().filter(all).count(), 1);
            prop_assert!(all(&routes.last().unwrap()));
            let mut domains: Vec<Value> = fallback["domains"].as_array().unwrap().clone();
            for catch_all in CATCH_ALLS {
                let kept = in_the_end(&of_port, catch_all);
                prop_assert_eq!((&kept["name"], &kept["domains"][0], &kept["routes"]), (&json!(catch_all), &json!("of Istio"), &json!(["of Istio"])));
                let one_table = [domains.clone(), kept["domains"].as_array().unwrap().clone()].concat();
                let distinct: BTreeSet<&str> = one_table.iter().map(|domain| domain.as_str().unwrap()).collect();
                prop_assert_eq!(distinct.len(), one_table.len());
            }
            // A domain of istiod's begins with `*.` if it has a wildcard, and is longer than two characters.
            domains.retain(|domain| !domain.as_str().is_some_and(|text| text.len() == 2 && text.starts_with('*')));
            prop_assert_eq!(domains, Vec::<Value>::new());
        }
        }
    }

    #[test]
    fn each_global_sidecar_keeps_its_own_routes_by_an_earlier_filter(spec in spec()) {
        let objects = desired(spec);
        let owns = objects.iter().filter(|object| object["metadata"]["name"] == "global-sidecar-routes");
        for (own, filter) in owns.zip(objects.iter().filter(|object| is_redirection(object))) {
            prop_assert_eq!(&own["spec"]["workloadSelector"]["labels"]["app"], "global-sidecar");
            prop_assert!(own["spec"]["priority"].as_i64().unwrap() < 0);
            let patches = |filter: &Value| filter["spec"]["configPatches"].as_array().unwrap().clone();
            let both = [patches(own), patches(filter)].concat();
            for patch in &patches(filter) {
                let of_port: Vec<&Value> = both
                    .iter()
                    .filter(|other| other["match"]["routeConfiguration"]["name"] == patch["match"]["routeConfiguration"]["name"])
                    .collect();
                let name = patch["match"]["routeConfiguration"]["vhost"]["name"].as_str().unwrap();
                prop_assert_eq!(&in_the_end(&of_port, name)["routes"], &json!(["of Istio"]), "{}", name);
            }
        }
    }

    #[test]
    fn in_namespace_mode_every_route_to_the_global_sidecar_says_the_namespace_and_stays_in_it(spec in spec()) {
        let namespaces = (spec["module"][0]["general"]["globalSidecarMode"] == "namespace").then(|| spec["module"][0]["general"]["namespace"].clone());
        let objects = desired(spec);
        let filters: Vec<&Value> = objects.iter().filter(|object| is_redirection(object)).collect();
        let Some(namespaces) = namespaces else {
            prop_assert_eq!(filters.len(), 1);
            prop_assert_eq!(&filters[0]["metadata"]["namespace"], "istio-system");
            return Ok(());
        };
        prop_assert_eq!(json!(filters.iter().map(|filter| filter["metadata"]["namespace"].clone()).collect::<Vec<_>>()), namespaces);
        for filter in filters {
            let namespace = filter["metadata"]["namespace"].as_str().unwrap();
            for (_, host) in clusters(filter) {
                prop_assert_eq!(host, format!("global-sidecar.{namespace}.svc.cluster.local"));
            }
            let text = filter.to_string();
            prop_assert!(!text.contains("POD_NAMESPACE"));
            let sources = text.matches(&format!("\"key\":\"Slime-Source-Ns\",\"value\":\"{namespace}\"")).count();
            prop_assert_eq!(sources, text.matches("Slime-Source-Ns").count());
        }
    }

    #[test]
    fn the_configuration_gives_the_controller_the_same_settings(spec in spec()) {
        let reading = read(&serde_json::from_value(spec).unwrap()).unwrap();
        let installation = reading.installation.unwrap();
        let resolved = lazyload_logic::settings::resolve(&installation.config, &lazyload_logic::settings::Context::default()).unwrap();
        prop_assert_eq!(resolved.settings, installation.settings);
    }
}
