//! The objects of the controller, named like the module. Source: contract 5.2–5.4.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::{binding, cluster_metadata, env_from_field, metadata, rule, set_if_any};
use super::{Controller, Installation, election, log_volume, mesh_identity, pod_security};
use crate::checksum::checksum;
use crate::settings::{MetricSource, Settings};

/// Where the global-sidecars' proxies send their logs.
const LOG_PORT: &str = "log-source-port";
const READ: &[&str] = &["get", "list", "watch"];
/// What server-side apply, deletion and watching need.
const OWN: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// Account, rights and configuration: nothing of it runs.
pub(super) fn base(installation: &Installation) -> Vec<Value> {
    let name = &installation.settings.module_name;
    let namespace = &installation.namespace;
    let role = format!("{name}.{namespace}");
    let mut objects = Vec::new();
    if installation.controller.create_service_account {
        objects.push(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(namespace, name, json!({"app": name})),
        }));
    }
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_metadata(&role),
        "rules": rules(&installation.settings),
    }));
    objects.push(binding("ClusterRole", &cluster_metadata(&role), namespace, name));
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(namespace, name, json!({"app": name})),
        "data": {"cfg": installation.config.to_string()},
    }));
    objects
}

/// The Service, and that of the leader where there is one.
pub(super) fn services(installation: &Installation) -> Vec<Value> {
    let service = service(installation);
    [service.clone()].into_iter().chain(election::leader_service(installation, service)).collect()
}

/// What the controller may do.
pub(super) fn rules(settings: &Settings) -> Vec<Value> {
    let mut rules = base_rules();
    if settings.caller_log_port().is_some() {
        // Whoever may write EnvoyFilters may change what every proxy does: only where its user asks for it.
        rules.push(rule("networking.istio.io", &["envoyfilters"], &["create", "delete", "get", "patch"]));
    }
    rules
}

/// What every controller may do.
pub(super) fn base_rules() -> Vec<Value> {
    vec![
        rule("", &["namespaces", "pods", "services"], READ),
        rule("discovery.k8s.io", &["endpointslices"], READ),
        rule("networking.istio.io", &["serviceentries", "virtualservices"], READ),
        rule("security.istio.io", &["authorizationpolicies"], READ),
        rule("gateway.networking.k8s.io", &["grpcroutes", "httproutes"], READ),
        rule("networking.istio.io", &["sidecars"], OWN),
        rule("microservice.slime.io", &["servicefences"], OWN),
        rule("microservice.slime.io", &["servicefences/status"], &["get", "patch"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        // A Sidecar blocks the deletion of its fence: some clusters ask for this right then.
        rule("microservice.slime.io", &["servicefences/finalizers"], &["update"]),
    ]
}

/// The Service: the global-sidecar's proxy sends its access log there.
fn service(installation: &Installation) -> Value {
    let name = &installation.settings.module_name;
    let Controller { service_type, http_port, auxiliary_port, log_source_port, .. } = &installation.controller;
    let mut ports = vec![
        json!({"name": "http", "port": http_port, "targetPort": "aux-port", "protocol": "TCP"}),
        json!({"name": "aux-port", "port": auxiliary_port, "targetPort": "aux-port", "protocol": "TCP", "appProtocol": "http"}),
    ];
    if listens_for_logs(installation) {
        ports.push(json!({
            "name": LOG_PORT, "port": log_source_port, "targetPort": LOG_PORT, "protocol": "TCP", "appProtocol": "grpc",
        }));
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata(&installation.namespace, name, json!({"app": name, names::SERVICE_FENCED_LABEL: "false"})),
        "spec": {
            "type": service_type,
            "selector": {"app": name},
            "ports": ports,
        },
    })
}

/// The Deployment. It is replaced, not rolled, unless there is a lease: two controllers at once would both write. The checksum covers only what the controller does
/// not read again while it runs.
pub(super) fn deployment(installation: &Installation) -> Value {
    let Installation { settings, controller, .. } = installation;
    let name = &settings.module_name;
    let (mut volumes, mut mounts) = (
        vec![json!({"name": "config-volume", "configMap": {"name": name, "defaultMode": 420}})],
        vec![json!({"name": "config-volume", "mountPath": "/etc/slime/config"})],
    );
    for (volume, mount) in [log_volume::of(installation), mesh_identity::of(installation)].into_iter().flatten() {
        volumes.push(volume);
        mounts.push(mount);
    }
    let mut pod = json!({
        "serviceAccountName": name,
        "securityContext": pod_security::of_pod(controller),
        "containers": [container(installation, &mounts)],
        "volumes": with(&volumes, &controller.volumes),
    });
    set_if_any(&mut pod, "imagePullSecrets", &installation.image_pull_secrets);
    set_if_any(&mut pod, "nodeSelector", &controller.node_selector);
    set_if_any(&mut pod, "tolerations", &controller.tolerations);
    set_if_any(&mut pod, "affinity", &controller.affinity);
    let strategy = match settings.lease {
        // A new one is there before an old one goes, so that somebody always hears the access logs.
        Some(_) => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
        None => json!({"type": "Recreate"}),
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(&installation.namespace, name, json!({"app": name})),
        "spec": {
            "replicas": controller.replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {
                    "labels": {"app": name, names::INJECT_LABEL: "false"},
                    "annotations": {names::CONFIG_CHECKSUM_ANNOTATION: checksum(&settings.restart_fingerprint())},
                },
                "spec": pod,
            },
        },
    })
}

fn container(installation: &Installation, mounts: &[Value]) -> Value {
    let Installation { settings, controller, .. } = installation;
    let own_env = ["WATCH_NAMESPACE", "POD_NAMESPACE", "POD_NAME"]
        .into_iter()
        .filter(|name| controller.env.iter().all(|variable| variable.get("name").is_none_or(|taken| taken != name)))
        .map(|name| env_from_field(name, if name == "POD_NAME" { "metadata.name" } else { "metadata.namespace" }));
    let ports = ports(settings);
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number, "protocol": "TCP"});
    let mut named = vec![port("aux-port", ports.auxiliary)];
    if listens_for_logs(installation) {
        named.push(port(LOG_PORT, ports.log_source));
    }
    named.push(port("http-metrics", ports.metrics));
    let probe = |path: &str, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "aux-port"},
            "initialDelaySeconds": 3, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": failures,
        })
    };
    let mut container = json!({
        "name": "slime",
        "image": controller.image.name,
        "imagePullPolicy": controller.image.pull_policy,
        "command": ["/lazyload", "controller"],
        "env": with(&own_env.collect::<Vec<_>>(), &controller.env),
        "ports": named,
        "readinessProbe": probe("/modules/readyz", 1),
        "livenessProbe": probe("/modules/livez", 2),
        "volumeMounts": with(mounts, &controller.volume_mounts),
        "securityContext": pod_security::of_container(controller),
    });
    set_if_any(&mut container, "resources", &controller.resources);
    container
}

fn listens_for_logs(installation: &Installation) -> bool {
    installation.settings.source == MetricSource::AccessLog
}

fn with(first: &[Value], then: &[Value]) -> Vec<Value> {
    [first, then].concat()
}

/// Where the controller listens.
pub(super) struct Ports {
    /// Health, metrics, log level.
    pub(super) auxiliary: u16,
    /// Access logs.
    pub(super) log_source: u16,
    /// Metrics alone.
    pub(super) metrics: u16,
}

/// The ports of the settings' addresses.
pub(super) fn ports(settings: &Settings) -> Ports {
    Ports {
        auxiliary: port_of(&settings.aux_address, 8081),
        log_source: port_of(&settings.log_source_address, 8082),
        metrics: port_of(&settings.metrics_address, 8080),
    }
}

/// Port of a listening address such as `:8081`; an address without one is the controller's to complain of.
fn port_of(address: &str, default: u16) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(default)
}
