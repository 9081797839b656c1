//! Objects as `kubectl` shows them: JSON in, JSON out.

use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::DEADLINE;
use crate::support::waiting::eventually;

/// Everything in a cluster. Kinds are named as in a manifest.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// All objects of a kind in all namespaces.
    pub fn all(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        if namespace.is_empty() {
            return self.all(kind);
        }
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    /// Creates or changes an object by server-side apply, as a user would. Only the fields given are the user's.
    pub async fn apply(&self, object: &Value) -> Value {
        let (api, name) = self.place(object);
        let params = PatchParams::apply("user").force();
        let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
        value(&applied.unwrap_or_else(|error| panic!("{error}: {object}")))
    }

    /// Creates an object, unless there is one of its name.
    pub async fn create(&self, object: &Value) -> kube::Result<Value> {
        let (api, _) = self.place(object);
        let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        Ok(value(&api.create(&PostParams::default(), &typed).await?))
    }

    /// Creates an object, and writes its status, as somebody who knows no server-side apply.
    pub async fn create_as(&self, manager: &str, object: &Value) -> Value {
        let (api, name) = self.place(object);
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let created = api.create(&params, &typed).await.unwrap_or_else(|error| panic!("{error}: {object}"));
        if object["status"].is_null() {
            return value(&created);
        }
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let status = Patch::Merge(json!({"status": object["status"]}));
        value(&api.patch_status(&name, &params, &status).await.unwrap_or_else(|error| panic!("{error}: {object}")))
    }

    fn place(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let metadata = &object["metadata"];
        let kind = object["kind"].as_str().unwrap();
        let api = self.api(kind, metadata["namespace"].as_str().unwrap_or_default());
        (api, metadata["name"].as_str().unwrap().to_owned())
    }

    /// Merges a patch into an object; `null` removes a field.
    pub async fn merge(&self, kind: &str, namespace: &str, name: &str, patch: Value) -> Value {
        let merged = self.api(kind, namespace).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        value(&merged.unwrap_or_else(|error| panic!("{kind} {namespace}/{name}: {error}: {patch}")))
    }

    /// Merges a patch into an object's status.
    pub async fn merge_status(&self, kind: &str, namespace: &str, name: &str, status: Value) {
        self.report(kind, namespace, name, json!({"status": status})).await;
    }

    /// Merges a patch into an object as those do who write its status.
    pub async fn report(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let merged = self.try_report(kind, namespace, name, &patch).await;
        merged.unwrap_or_else(|error| panic!("{kind} {namespace}/{name}: {error}: {patch}"));
    }

    /// The same of an object that may be gone by now.
    pub async fn report_if_there(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        match self.try_report(kind, namespace, name, &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            merged => drop(merged.unwrap_or_else(|error| panic!("{kind} {namespace}/{name}: {error}: {patch}"))),
        }
    }

    async fn try_report(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> kube::Result<DynamicObject> {
        self.api(kind, namespace).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Sets or removes one label.
    pub async fn label(&self, kind: &str, namespace: &str, name: &str, label: &str, text: Option<&str>) {
        self.merge(kind, namespace, name, json!({"metadata": {"labels": {label: text}}})).await;
    }

    pub async fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.api(kind, namespace).get_opt(name).await.unwrap().map(|object| value(&object))
    }

    /// Waits until there is no such object; if it stays, `log` tells what somebody did about it.
    pub async fn gone(&self, kind: &str, namespace: &str, name: &str, log: impl Fn() -> String) {
        eventually(&format!("{kind} {namespace}/{name} is gone"), DEADLINE, || async {
            match self.find(kind, namespace, name).await {
                None => Ok(()),
                Some(found) => Err((found, log())),
            }
        })
        .await;
    }

    /// All objects of a kind. The API server leaves their types out of a list; here they are told.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let listed = self.all(kind).list(&ListParams::default()).await.unwrap();
        let resource = resource(kind);
        let types = TypeMeta { api_version: resource.api_version, kind: resource.kind };
        let typed = |mut object: DynamicObject| {
            object.types = Some(types.clone());
            value(&object)
        };
        listed.items.into_iter().map(typed).collect()
    }

    /// `NAMESPACE/NAME` of all objects of a kind, in order.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let mut names: Vec<String> = self.list(kind).await.iter().map(name_of).collect();
        names.sort();
        names
    }

    /// `NAMESPACE/NAME` and resource version of all objects of a kind, in order.
    pub async fn versions(&self, kind: &str) -> Vec<(String, String)> {
        let version = |object: &Value| (name_of(object), object["metadata"]["resourceVersion"].to_string());
        let mut versions: Vec<_> = self.list(kind).await.iter().map(version).collect();
        versions.sort();
        versions
    }

    /// Deletes an object; one that is gone is fine.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        match self.api(kind, namespace).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{kind} {namespace}/{name}: {error}"),
        }
    }

    pub async fn namespace(&self, name: &str) {
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    }

    /// A Service with the port of the seed's example, selecting `app: NAME`.
    pub async fn service(&self, namespace: &str, name: &str, labels: Value) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]},
        }))
        .await;
    }

    /// A running pod labelled `app: APP`, with an address that is only written down.
    pub async fn pod(&self, namespace: &str, app: &str, address: &str) {
        let name = format!("{app}-v1");
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": app, "version": "v1"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }))
        .await;
        let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
        self.merge_status("Pod", namespace, &name, status).await;
    }

    /// A fence made by hand.
    pub async fn fence(&self, namespace: &str, name: &str, spec: Value) -> Value {
        self.apply(&json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        }))
        .await
    }

    /// The hosts of a Sidecar with exactly one listener.
    pub async fn hosts(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        hosts_of(&self.find("Sidecar", namespace, name).await?)
    }
}

/// The hosts of a Sidecar with exactly one listener.
pub fn hosts_of(sidecar: &Value) -> Option<Vec<String>> {
    let [listener] = sidecar["spec"]["egress"].as_array()?.as_slice() else { return None };
    serde_json::from_value(listener["hosts"].clone()).ok()
}

/// `NAMESPACE/NAME`.
pub fn name_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// A fence's status as the original prints it: without how the fence is doing.
pub fn printed_status(fence: &Value) -> Value {
    let mut status = fence["status"].clone();
    status.as_object_mut().unwrap().retain(|field, _| field != "conditions" && field != "observedGeneration");
    status
}

/// The condition of a type, as `STATUS REASON`; empty if there is none.
pub fn condition(fence: &Value, kind: &str) -> String {
    let conditions = fence["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.map(|found| format!("{} {}", text(found, "status"), text(found, "reason"))).unwrap_or_default()
}

/// An object without what the API server adds to every one; what is left can be compared as a whole.
pub fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["creationTimestamp", "managedFields", "resourceVersion", "uid"] {
        assert!(metadata.remove(field).is_some(), "no metadata.{field}");
    }
    if object["status"].is_object() {
        object["status"] = printed_status(&object);
    }
    object
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Namespace" | "Pod" | "Service" | "ConfigMap" | "ServiceAccount" => ("", "v1"),
        "Deployment" => ("apps", "v1"),
        "NetworkPolicy" => ("networking.k8s.io", "v1"),
        "Lease" => ("coordination.k8s.io", "v1"),
        "Event" => ("events.k8s.io", "v1"),
        "EnvoyFilter" => ("networking.istio.io", "v1alpha3"),
        "SlimeBoot" => ("config.netease.com", "v1alpha1"),
        "EndpointSlice" => ("discovery.k8s.io", "v1"),
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => ("rbac.authorization.k8s.io", "v1"),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
        "ServiceFence" => ("microservice.slime.io", "v1alpha1"),
        "DestinationRule" | "ServiceEntry" | "Sidecar" | "VirtualService" => ("networking.istio.io", "v1beta1"),
        "AuthorizationPolicy" => ("security.istio.io", "v1beta1"),
        "GRPCRoute" | "HTTPRoute" => ("gateway.networking.k8s.io", "v1"),
        _ => panic!("unknown kind {kind}"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
