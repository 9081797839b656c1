//! Who calls whom: callers with a sidecar and a fence each, and one callee behind many names.

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};

use super::super::install::NAMESPACE;
use super::super::operated::Operated;
use super::super::pods::Pod;
use crate::support::waiting::eventually;

/// Namespace of callers and callee.
const HOME: &str = "switches";
const STARTED: Duration = Duration::from_secs(600);

/// What is called: `a` and `b` from the beginning, `c` once the fence is settled, `e` expires.
pub const HOSTS: [&str; 4] = ["a", "b", "c", "e"];

/// How a caller calls.
#[derive(Clone, Copy)]
pub enum Protocol {
    Http1,
    Http2,
    Grpc,
    /// HTTP/1.1, the host is behind a VirtualService that leads to a subset of another.
    Behind,
    /// HTTP/1.1, the host is of a headless Service.
    Headless,
    /// HTTP/1.1 in plaintext, the host is a ServiceEntry's outside the mesh, found by DNS.
    External,
}

impl Protocol {
    fn of(number: usize) -> Self {
        [Self::Http1, Self::Http2, Self::Grpc, Self::Behind, Self::Headless, Self::External][number % 6]
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Http1 | Self::Http2 | Self::Grpc => "sw",
            Self::Behind => "vs",
            Self::Headless => "hl",
            Self::External => "ex",
        }
    }

    /// The parameters of a load that calls one of the hosts.
    pub fn asks(self, host: &str) -> String {
        let name = format!("{}-{host}", self.prefix());
        match self {
            Self::Http1 | Self::Behind | Self::Headless => format!("url=http://{name}:9080/"),
            Self::Http2 => format!("url=http://{name}:9080/&h2=1"),
            Self::Grpc => format!("url=http://{name}:50051&grpc=1"),
            // No resolver knows the host: the address is any that leads to the proxy's listener of this port.
            Self::External => format!("url=http://callee:9080/&header=Host:{}", self.name(host)),
        }
    }

    /// Whether the callee sees, by the caller's certificate, which way a call came.
    pub fn tells_its_way(self) -> bool {
        !matches!(self, Self::External)
    }

    /// A host as a Sidecar has it.
    pub fn entry(self, host: &str) -> String {
        format!("*/{}", self.name(host))
    }

    /// A host's full name.
    pub fn name(self, host: &str) -> String {
        let prefix = self.prefix();
        match self {
            Self::External => format!("{prefix}-{host}.example"),
            _ => format!("{prefix}-{host}.{HOME}.svc.cluster.local"),
        }
    }
}

/// One of the callers.
pub struct Caller {
    pub name: String,
    pub pod: Pod,
    pub protocol: Protocol,
}

/// All of them; gone when this is dropped.
pub struct Callers<'a> {
    pub operated: &'a Operated<'a>,
    pub all: Vec<Caller>,
    /// Hosts that every fence has besides, and that nobody calls.
    pub uncalled: Vec<String>,
    pub fences: Api<DynamicObject>,
    sidecars: Api<DynamicObject>,
}

impl<'a> Callers<'a> {
    /// So many callers, ready, and so many hosts besides those that they call.
    ///
    /// # Panics
    /// They do not get ready.
    pub async fn new(operated: &'a Operated<'a>, count: usize, uncalled: usize) -> Self {
        let testbed = operated.testbed;
        let uncalled: Vec<String> = (0..uncalled).map(|number| format!("uncalled-{number}.example")).collect();
        testbed.apply(&(callee() + &service_entries(&uncalled)));
        testbed.apply(&(0..count).map(caller).collect::<String>());
        let client = testbed.client().await;
        let api = |group: &str, version: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            Api::namespaced_with(client.clone(), HOME, &resource)
        };
        let ready = ["wait", "--for=condition=Ready", "pods", "--all", "-n", HOME, "--timeout=60s"];
        eventually("callers and callee are ready", STARTED, || async { testbed.kubectl(&ready) }).await;
        let all = (0..count).map(|number| {
            let name = format!("caller-{number}");
            let pod = Pod::find_in(testbed, HOME, &format!("app={name}"), 9080);
            Caller { name, pod, protocol: Protocol::of(number) }
        });
        Self {
            operated,
            all: all.collect(),
            uncalled,
            fences: api("microservice.slime.io", "v1alpha1", "ServiceFence"),
            sidecars: api("networking.istio.io", "v1", "Sidecar"),
        }
    }

    /// Waits until every caller's Sidecar is settled and routes these hosts, and does not route those.
    ///
    /// # Panics
    /// They do not.
    pub async fn routed(&self, hosts: &[&str], deadline: Duration) {
        eventually("the hosts are routed, and no switch is under way", deadline, || async {
            let sidecars = self.sidecars.list(&ListParams::default()).await?;
            for caller in &self.all {
                let found = sidecars.items.iter().find(|sidecar| sidecar.metadata.name.as_ref() == Some(&caller.name));
                let Some(found) = found else { anyhow::bail!("{} has no Sidecar", caller.name) };
                let listeners = found.data["spec"]["egress"].as_array().cloned().unwrap_or_default();
                anyhow::ensure!(listeners.len() == 1, "{}: {listeners:?}", caller.name);
                let routed = listeners[0]["hosts"].to_string();
                let lacking = hosts.iter().find(|host| !routed.contains(&caller.protocol.entry(host)));
                anyhow::ensure!(lacking.is_none(), "{} lacks {lacking:?}: {routed}", caller.name);
            }
            Ok(())
        })
        .await;
    }

    /// Waits until no caller has a Sidecar.
    ///
    /// # Panics
    /// One stays.
    pub async fn without_sidecars(&self, deadline: Duration) {
        eventually("the Sidecars are gone", deadline, || async {
            let sidecars = self.sidecars.list(&ListParams::default()).await?;
            let left = sidecars.items.first();
            anyhow::ensure!(left.is_none(), "{} are left, {:?}", sidecars.items.len(), left);
            Ok(())
        })
        .await;
    }
}

impl Drop for Callers<'_> {
    fn drop(&mut self) {
        let testbed = self.operated.testbed;
        if std::thread::panicking() {
            let log = testbed.kubectl(&["logs", "-n", NAMESPACE, "deploy/lazyload", "--tail=40"]);
            eprintln!("{}", log.unwrap_or_default());
        }
        for failed in [
            testbed.kubectl(&["delete", "servicefences", "--all", "-n", HOME, "--ignore-not-found", "--timeout=60s"]),
            testbed.kubectl(&["delete", "namespace", HOME, "--ignore-not-found", "--timeout=300s"]),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            eprintln!("removing the callers: {failed}");
        }
    }
}

fn callee() -> String {
    let mut yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {HOME}, labels: {{istio-injection: enabled}}}}\n\
         ---\n{}\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: callee, namespace: {HOME}}}\n\
         spec: {{host: callee.{HOME}.svc.cluster.local, subsets: [{{name: v1, labels: {{app: callee}}}}]}}\n",
        pod("callee", "9080,50051")
    );
    let service = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {HOME}}}\n\
             spec: {{ports: [{{name: http, port: 9080}}, {{name: grpc, port: 50051}}], selector: {{app: callee}}}}\n"
        )
    };
    yaml += &service("callee");
    for host in HOSTS {
        yaml += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: hl-{host}, namespace: {HOME}}}\n\
             spec: {{clusterIP: None, ports: [{{name: http, port: 9080}}], selector: {{app: callee}}}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: ex-{host}, namespace: {HOME}}}\n\
             spec: {{hosts: [ex-{host}.example], location: MESH_EXTERNAL, resolution: DNS, ports: [{{name: http, number: 9080, protocol: HTTP}}], \
             endpoints: [{{address: callee.{HOME}.svc.cluster.local}}]}}\n"
        );
        yaml += &service(&format!("sw-{host}"));
        yaml += &service(&format!("vs-{host}"));
        yaml += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: vs-{host}, namespace: {HOME}}}\n\
             spec: {{hosts: [vs-{host}.{HOME}.svc.cluster.local], http: [{{route: [{{destination: {{host: callee.{HOME}.svc.cluster.local, subset: v1}}}}]}}]}}\n"
        );
    }
    yaml
}

/// Hosts outside the mesh, as many in an object as one well has.
fn service_entries(hosts: &[String]) -> String {
    let entries = hosts.chunks(500).enumerate().map(|(number, hosts)| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: uncalled-{number}, namespace: {HOME}}}\n\
             spec: {{hosts: [{}], location: MESH_EXTERNAL, resolution: STATIC, ports: [{{name: http, number: 9080, protocol: HTTP}}], \
             endpoints: [{{address: 192.0.2.1}}]}}\n",
            hosts.join(", ")
        )
    });
    entries.collect()
}

fn caller(number: usize) -> String {
    format!("---\n{}", pod(&format!("caller-{number}"), "9080"))
}

/// A pod of the testbed's app, small: there are many of them.
fn pod(name: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {HOME}\n  labels: {{app: {name}}}\n\
         \x20 annotations: {{sidecar.istio.io/proxyCPU: 1m, sidecar.istio.io/proxyMemory: 20Mi}}\n\
         spec:\n  terminationGracePeriodSeconds: 1\n  containers:\n    - name: app\n      image: docker.io/testbed/app:1\n      imagePullPolicy: Never\n\
         \x20     env: [{{name: NAME, value: {name}}}, {{name: PORTS, value: '{ports}'}}]\n\
         \x20     resources: {{requests: {{cpu: 1m, memory: 10Mi}}}}\n"
    )
}
