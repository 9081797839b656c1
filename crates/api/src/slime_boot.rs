//! `SlimeBoot`: the installation as its user writes it.
//! Source: seed "Install-and-Use", contract 1.1–1.8.

use std::borrow::Cow;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the user wants to be installed, kept as it is written: dispatch templates may read any key, and `lazyload_logic::boot` says what
/// is wrong with one by its path. The schema names the known fields and lets every other one pass.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "config.netease.com",
    version = "v1alpha1",
    kind = "SlimeBoot",
    plural = "slimeboots",
    singular = "slimeboot",
    shortname = "slb",
    doc = "An installation of Lazyload",
    namespaced,
    status = "SlimeBootStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(transparent)]
pub struct SlimeBootSpec {
    /// Every field.
    pub fields: Map<String, Value>,
}

/// What became of the installation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlimeBootStatus {
    /// Every field; `conditions` among them.
    pub fields: Map<String, Value>,
}

impl JsonSchema for SlimeBootSpec {
    fn schema_name() -> Cow<'static, str> {
        "SlimeBootSpec".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut fields = known_fields(SPEC);
        fields.insert(
            "image".to_owned(),
            open_object("Image of the controller: repository, tag, pullPolicy.", &known_fields(IMAGE)),
        );
        fields.insert("service".to_owned(), open_object("Service of the controller.", &known_fields(SERVICE)));
        fields.insert(
            "containers".to_owned(),
            open_object("By container name; slime.volumeMounts adds to volumeMounts.", &known_fields(&[])),
        );
        fields.insert(
            "module".to_owned(),
            serde_json::json!({
                "description": "What runs; one entry of kind lazyload.",
                "type": "array", "nullable": true, "items": open_object("A module.", &known_fields(MODULE)),
            }),
        );
        let global_sidecar =
            open_object("Serves requests for hosts that are not known yet.", &known_fields(GLOBAL_SIDECAR));
        let parts = Map::from_iter([("globalSidecar".to_owned(), global_sidecar)]);
        fields.insert("component".to_owned(), open_object("What runs beside the controller.", &parts));
        json_schema!({
            "description": "What is to be installed.",
            "type": "object", "properties": fields, "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

impl JsonSchema for SlimeBootStatus {
    fn schema_name() -> Cow<'static, str> {
        "SlimeBootStatus".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What became of the installation.",
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

/// A field's name and what it means. Its type is left open: users write `163`, `true` or nothing where text is meant.
type KnownField = (&'static str, &'static str);

const SPEC: &[KnownField] = &[
    ("affinity", "Affinity of the controller's pods."),
    ("containerSecurityContext", "Security context of the controller's container, over the built-in one key by key."),
    ("env", "More environment variables of the controller."),
    ("imagePullSecrets", "For the controller's and the global-sidecar's pods."),
    ("istioNamespace", "Istio's root namespace; default istio-system."),
    ("namespace", "Where the controller and the global-sidecar run; default mesh-operator."),
    ("nodeSelector", "Node selector of the controller's pods."),
    ("podSecurityContext", "Security context of the controller's pods."),
    ("replicaCount", "Replicas of the controller; default 1."),
    ("resources", "Requests and limits of the controller."),
    ("serviceAccount", "create: false leaves the controller's ServiceAccount to the user."),
    ("tolerations", "Tolerations of the controller's pods."),
    ("volumeMounts", "More mounts of the controller."),
    ("volumes", "More volumes of the controller's pods."),
];

const IMAGE: &[KnownField] = &[
    ("pullPolicy", "Always, IfNotPresent or Never; default Always."),
    ("repository", "Name without tag."),
    ("tag", "Tag; none means that none is written."),
];

const SERVICE: &[KnownField] = &[
    ("auxiliaryPort", "Health and metrics; default 8081."),
    ("logSourcePort", "Access logs; default 8082."),
    ("port", "HTTP; default 80."),
    ("type", "Default ClusterIP."),
];

const MODULE: &[KnownField] = &[
    ("enable", "Only true installs anything."),
    ("fence", "Former name of general."),
    ("general", "Settings of lazyload, such as wormholePort, autoFence, defaultFence."),
    ("global", "Settings of every module, such as misc.metricSourceType."),
    ("kind", "lazyload; default: the name."),
    ("metric", "prometheus.address and prometheus.handlers."),
    ("name", "Name of the controller's objects."),
];

const GLOBAL_SIDECAR: &[KnownField] = &[
    ("accessLog", "One log line for each request; default false."),
    ("affinity", "Affinity of its pods."),
    ("enable", "Only true installs it."),
    ("image", "repository, tag and pullPolicy; default: the controller's."),
    ("port", "Listened on besides the wormhole ports and target of every fallback; default: 80, and each port's own."),
    ("probePort", "Health; default 18181."),
    ("replicas", "Default 1."),
    ("resources", "Requests and limits."),
    ("sidecarInject", "enable (must be true), mode (pod in cluster mode), labels and annotations of its pods."),
    ("tolerations", "Tolerations of its pods."),
    ("type", "cluster or namespace."),
];

fn known_fields(fields: &[KnownField]) -> Map<String, Value> {
    fields
        .iter()
        .map(|(name, description)| {
            let schema = serde_json::json!({
                "description": description, "nullable": true, "x-kubernetes-preserve-unknown-fields": true,
            });
            ((*name).to_owned(), schema)
        })
        .collect()
}

fn open_object(description: &str, properties: &Map<String, Value>) -> Value {
    serde_json::json!({
        "description": description, "properties": properties,
        "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_reading_and_writing() {
        let written = serde_json::json!({
            "apiVersion": "config.netease.com/v1alpha1", "kind": "SlimeBoot",
            "metadata": {"name": "lazyload", "namespace": "mesh-operator"},
            "spec": {"foo": "bar", "module": [{"name": 163, "fence": null}], "component": {"globalSidecar": null}},
        });
        let boot: SlimeBoot = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(boot.spec.fields["foo"], "bar");
        assert_eq!(serde_json::to_value(&boot).unwrap(), written);
    }
}
