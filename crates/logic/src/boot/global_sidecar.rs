//! The objects of the global-sidecar but for its access log. Source: contract 4.3, 4.4; B3, B44, B53.

use lazyload_api::names;
use serde_json::{Value, json};

use super::meta::{binding, cluster_metadata, env_from_field, merged, metadata, rule, set, set_if_any};
use super::place::Place;
use super::{GlobalSidecar, Installation, access_log, metadata_exchange};
use crate::checksum::checksum;
use crate::settings::MetricSource;

const NAME: &str = names::GLOBAL_SIDECAR;
/// Any user but root and 1337, whose traffic Istio exempts from interception.
const USER: u32 = 65532;
/// Seconds for requests in flight when a pod goes.
const GRACE_PERIOD: u32 = 60;

/// Account, rights and configuration: nothing of it runs.
pub(super) fn base(sidecar: &GlobalSidecar, place: &Place) -> Vec<Value> {
    let namespace = &place.namespace;
    // By namespace, so that installations beside each other do not share it.
    let role = format!("{NAME}.{namespace}");
    let meta = |labels: Value| metadata(namespace, NAME, labels);
    let ports: String = sidecar.ports.iter().map(|port| format!("- {port}\n")).collect();
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(json!({"account": NAME}))}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta(json!({})),
            "rules": [reading("configmaps")],
        }),
        binding("Role", &meta(json!({})), namespace, NAME),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_metadata(&role),
            "rules": [reading("services")],
        }),
        binding("ClusterRole", &cluster_metadata(&role), namespace, NAME),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(json!({names::CONFIG_LABEL: NAME})),
            "data": {"cfg": format!("wormholePorts:\n{ports}")},
        }),
    ]
}

/// What the global-sidecar may do: read names of services in the cluster, and the port list in its namespace.
pub(super) fn rules() -> [Value; 2] {
    [reading("services"), reading("configmaps")]
}

fn reading(resource: &str) -> Value {
    rule("", &[resource], &["get", "list", "watch"])
}

/// The Service: because of its ports, every proxy that sees it listens on them.
pub(super) fn service(sidecar: &GlobalSidecar, place: &Place) -> Value {
    let ports: Vec<Value> = sidecar
        .ports
        .iter()
        .map(|port| json!({"name": format!("http-{port}"), "port": port, "targetPort": port, "protocol": "TCP"}))
        .collect();
    let labels = json!({"app": NAME, "service": NAME, names::SERVICE_FENCED_LABEL: "false"});
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata(&place.namespace, NAME, labels),
        "spec": {"type": "ClusterIP", "sessionAffinity": "None", "selector": {"app": NAME}, "ports": ports},
    })
}

/// Requests reach it in the protocol in which they are made, and leave its proxy for it so: HTTP/2, and with it gRPC, is kept.
pub(super) fn protocol(place: &Place) -> Value {
    let host = format!("{NAME}.{}{}", place.namespace, names::SERVICE_DOMAIN_SUFFIX);
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule",
        "metadata": metadata(&place.namespace, NAME, json!({})),
        "spec": {"host": host, "trafficPolicy": {"connectionPool": {"http": {"useClientProtocol": true}}}},
    })
}

/// Its proxy sees every service, even where a default Sidecar of the mesh or the namespace hides them from others.
pub(super) fn scope(place: &Place) -> Value {
    json!({
        "apiVersion": names::SIDECAR_API_VERSION, "kind": "Sidecar",
        "metadata": metadata(&place.namespace, NAME, json!({})),
        "spec": {"workloadSelector": {"labels": {"app": NAME}}, "egress": [{"hosts": ["*/*"]}]},
    })
}

/// What tells the injector how the proxy starts, and what the pod reads only when it starts.
fn annotations(installation: &Installation) -> Value {
    let mut proxy_metadata = json!({format!("ISTIO_META_{}", names::SLIME_APP_METADATA): names::SLIME_APP_VALUE});
    let mut annotations = json!({});
    match installation.settings.source {
        MetricSource::AccessLog => {
            set(&mut annotations, "sidecar.istio.io/bootstrapOverride", names::ACCESS_LOG_SOURCE.into());
            let checksum = checksum(&access_log::bootstrap(installation));
            set(&mut annotations, names::CONFIG_CHECKSUM_ANNOTATION, checksum.into());
        }
        MetricSource::Prometheus => {
            set(&mut proxy_metadata, "ISTIO_META_ISTIO_VERSION", metadata_exchange::CLAIMED_VERSION.into());
        }
    }
    let proxy = json!({"holdApplicationUntilProxyStarts": true, "proxyMetadata": proxy_metadata});
    set(&mut annotations, "proxy.istio.io/config", proxy.to_string().into());
    annotations
}

/// The Deployment.
pub(super) fn deployment(installation: &Installation, sidecar: &GlobalSidecar, place: &Place) -> Value {
    let mut pod = json!({
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": GRACE_PERIOD,
        // Ports below 1024 without a capability: a safe sysctl, of this pod's network alone.
        "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
        "containers": [container(installation, sidecar)],
    });
    set_if_any(&mut pod, "imagePullSecrets", &installation.image_pull_secrets);
    set_if_any(&mut pod, "tolerations", &sidecar.tolerations);
    set_if_any(&mut pod, "affinity", &sidecar.affinity);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata(&place.namespace, NAME, json!({"app": NAME})),
        "spec": {
            "replicas": sidecar.replicas,
            // A new pod is ready before an old one goes: callers must not notice.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {
                    "labels": merged(&sidecar.labels, json!({"app": NAME})),
                    "annotations": merged(&sidecar.annotations, annotations(installation)),
                },
                "spec": pod,
            },
        },
    })
}

fn container(installation: &Installation, sidecar: &GlobalSidecar) -> Value {
    let settings = &installation.settings;
    // Not those that come and go while it runs: naming a port opens none, and a change here rolls the pods.
    let mut ports: Vec<Value> =
        sidecar.written_ports.iter().map(|port| json!({"containerPort": port, "protocol": "TCP"})).collect();
    let probe_port = sidecar.probe_port;
    // By this name a PodMonitor finds it.
    ports.push(json!({"name": "metrics", "containerPort": probe_port, "protocol": "TCP"}));
    let mut environment = vec![
        json!({"name": "CLEAN_UP_WORMHOLE_PORT", "value": settings.cleanup_wormhole_port.to_string()}),
        json!({"name": "PROBE_PORT", "value": probe_port.to_string()}),
        json!({"name": "LOG_LEVEL", "value": settings.log_level}),
        env_from_field("POD_NAMESPACE", "metadata.namespace"),
    ];
    if sidecar.logs_access {
        environment.push(json!({"name": "ACCESS_LOG", "value": "true"}));
    }
    let mut container = json!({
        "name": NAME,
        "image": sidecar.image.name,
        "imagePullPolicy": sidecar.image.pull_policy,
        "command": ["/lazyload", "global-sidecar"],
        "env": environment,
        "ports": ports,
        "livenessProbe": {
            "httpGet": {"path": "/healthz/live", "port": probe_port},
            "initialDelaySeconds": 600, "periodSeconds": 30, "timeoutSeconds": 15, "failureThreshold": 3,
        },
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": probe_port},
            "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 30,
        },
        // Of the container, not of the pod: the injected init container must keep its own.
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "privileged": false, "readOnlyRootFilesystem": true,
            "runAsGroup": USER, "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    set_if_any(&mut container, "resources", &sidecar.resources);
    container
}
