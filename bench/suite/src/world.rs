//! Services and their pods, as many as a benchmark wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub const PODS_EACH: usize = 5;
pub const PORT: u16 = 9080;
/// Requests to the API server at once.
const AT_ONCE: usize = 32;

/// What was made so far.
pub struct World {
    pods_each: usize,
    services: usize,
    next_pod: u32,
    /// The pods that there are, the oldest first.
    pods: VecDeque<Pod>,
    /// istiod wants to know them as endpoints.
    with_endpoints: bool,
}

/// A pod of a Service.
#[derive(Clone, Copy)]
pub struct Pod {
    pub service: usize,
    pub number: u32,
}

impl Default for World {
    fn default() -> Self {
        Self::with_pods(PODS_EACH)
    }
}

impl World {
    /// With so many pods of each Service.
    pub fn with_pods(pods_each: usize) -> Self {
        Self { pods_each, services: 0, next_pod: 0, pods: VecDeque::new(), with_endpoints: false }
    }

    /// With EndpointSlices.
    pub fn with_endpoints() -> Self {
        Self { with_endpoints: true, ..Self::default() }
    }

    /// Adds Services with their pods until there are so many.
    pub async fn grow(&mut self, cluster: &Cluster, services: usize) -> anyhow::Result<()> {
        if self.services == 0 {
            let api = Api::<Namespace>::all(cluster.client.clone());
            let control = ["istio-system", "mesh-operator"].map(str::to_owned);
            for name in (0..TEAMS).map(team_name).chain(control) {
                api.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": name}}))?)
                    .await?;
            }
            for control in control_services() {
                let namespace = control["metadata"]["namespace"].as_str().unwrap_or_default();
                let api = Api::<Service>::namespaced(cluster.client.clone(), namespace);
                api.create(&PostParams::default(), &serde_json::from_value(control.clone())?).await?;
            }
        }
        let new = self.services..services;
        stream::iter(new.clone().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, async |number| create(cluster, number).await)
            .await?;
        let new: Vec<usize> = new.flat_map(|service| std::iter::repeat_n(service, self.pods_each)).collect();
        self.services = services;
        self.replace(cluster, &[], &new).await
    }

    /// Pods that there are.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// One pod of each Service.
    pub fn callers(&self) -> Vec<Pod> {
        let by_service: BTreeMap<usize, Pod> = self.pods.iter().map(|pod| (pod.service, *pod)).collect();
        by_service.into_values().collect()
    }

    /// All pods of a Service.
    pub fn of(&self, service: usize) -> impl Iterator<Item = Pod> {
        self.pods.iter().copied().filter(move |pod| pod.service == service)
    }

    /// Replaces the oldest pods by new ones of the same Services.
    pub async fn restart(&mut self, cluster: &Cluster, pods: usize) -> anyhow::Result<()> {
        let old: Vec<Pod> = self.pods.drain(..pods.min(self.pods.len())).collect();
        let new: Vec<usize> = old.iter().map(|pod| pod.service).collect();
        self.replace(cluster, &old, &new).await
    }

    /// Changes what nobody here reads in one Service.
    pub async fn annotate(&self, cluster: &Cluster, number: usize, value: &str) -> anyhow::Result<()> {
        let api = Api::<Service>::namespaced(cluster.client.clone(), &namespace(number));
        let patch = json!({"metadata": {"annotations": {"bench/seen": value}}});
        api.patch(&name(number), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// One more Service, without pods; returns its number.
    pub async fn add(&mut self, cluster: &Cluster) -> anyhow::Result<usize> {
        let number = self.services;
        create(cluster, number).await?;
        self.services += 1;
        Ok(number)
    }

    async fn replace(&mut self, cluster: &Cluster, old: &[Pod], new: &[usize]) -> anyhow::Result<()> {
        let mut put = Vec::new();
        for service in new.iter().copied() {
            let pod = Pod { service, number: self.next_pod };
            self.next_pod += 1;
            put.push((pod.key(), pod.object()));
            self.pods.push_back(pod);
        }
        if self.with_endpoints {
            let changed: BTreeSet<usize> = new.iter().copied().collect();
            let mut pods: BTreeMap<usize, Vec<Pod>> = BTreeMap::new();
            for pod in self.pods.iter().filter(|pod| changed.contains(&pod.service)) {
                pods.entry(pod.service).or_default().push(*pod);
            }
            put.extend(pods.into_iter().map(|(service, pods)| endpoints(service, &pods)));
        }
        let gone: Vec<String> = old.iter().map(Pod::key).collect();
        cluster.etcd.change(&put, &gone).await
    }
}

/// Namespaces.
const TEAMS: usize = 50;
/// Ten teams have nineteen Services each, as in the mesh that lazyxds was measured on; then come the next ten, and again the first.
const TEN_TEAMS: usize = 190;

fn team_name(team: usize) -> String {
    format!("team-{team:02}")
}

/// Namespace of a Service.
pub fn namespace(number: usize) -> String {
    team_name((number % 10 + 10 * (number / TEN_TEAMS)) % TEAMS)
}

/// Name of a Service.
pub fn name(number: usize) -> String {
    format!("service-{number:05}")
}

/// A Service's host as a client elsewhere writes it.
pub fn host(number: usize) -> String {
    format!("{}.{}", name(number), namespace(number))
}

fn service(number: usize) -> Value {
    let name = name(number);
    json!({
        "metadata": {"name": name, "namespace": namespace(number), "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
    })
}

/// What every mesh has, and every Sidecar lets in; nothing of it is fenced.
fn control_services() -> [Value; 2] {
    let mk = |namespace: &str, name: &str, ports: &[(&str, u16)]| {
        let ports: Vec<_> = ports.iter().map(|(name, port)| json!({"name": name, "port": port})).collect();
        json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"slime.io/serviceFenced": "false"}},
            "spec": {"selector": {"app": name}, "ports": ports},
        })
    };
    [
        mk(
            "istio-system",
            "istiod",
            &[("grpc-xds", 15010), ("https-dns", 15012), ("https-webhook", 443), ("http-monitoring", 15014)],
        ),
        mk("mesh-operator", "global-sidecar", &[("http-9080", PORT)]),
    ]
}

async fn create(cluster: &Cluster, number: usize) -> anyhow::Result<()> {
    let api = Api::<Service>::namespaced(cluster.client.clone(), &namespace(number));
    api.create(&PostParams::default(), &serde_json::from_value(service(number))?).await?;
    Ok(())
}

impl Pod {
    /// On the loopback interface, where nobody answers and nobody else is asked.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 1)) + self.number)
    }

    pub fn name(&self) -> String {
        format!("{}-7d9c5b8f6d-{:06}", name(self.service), self.number)
    }

    fn key(&self) -> String {
        format!("/registry/pods/{}/{}", namespace(self.service), self.name())
    }

    /// As a kubelet keeps it, without what nobody here reads; about half as long as a real one.
    fn object(&self) -> Value {
        let (app, at) = (name(self.service), self.address().to_string());
        let container = |name, image, port| json!({"name": name, "image": image, "ports": [{"containerPort": port, "protocol": "TCP"}], "imagePullPolicy": "IfNotPresent"});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name(), "namespace": namespace(self.service), "uid": format!("00000000-0000-4000-8000-{:012}", self.number),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": app, "pod-template-hash": "7d9c5b8f6d", "security.istio.io/tlsMode": "istio", "version": "v1"},
            },
            "spec": {
                "serviceAccountName": app, "nodeName": "node", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "containers": [
                    container("app", "registry.example/app:1", PORT), container("istio-proxy", "registry.example/proxyv2:1", 15090),
                ],
            },
            "status": {
                "phase": "Running", "podIP": at, "podIPs": [{"ip": at}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        })
    }
}

fn endpoints(service: usize, pods: &[Pod]) -> (String, Value) {
    let (name, namespace) = (name(service), namespace(service));
    let endpoint = |pod: &Pod| {
        json!({
            "addresses": [pod.address().to_string()], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": "node",
            "targetRef": {"kind": "Pod", "name": pod.name(), "namespace": namespace},
        })
    };
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-1"), "namespace": namespace, "uid": format!("00000000-0000-4000-9000-{service:012}"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4", "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
    });
    (format!("/registry/endpointslices/{namespace}/{name}-1"), object)
}
