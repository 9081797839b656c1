//! A throw-away cluster: etcd and kube-apiserver on loopback ports, in a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::DEADLINE;
use super::objects::Objects;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;
use crate::support::{binary, can_run, process, repository};

/// Clusters at once: each keeps a core busy while it starts.
const AT_ONCE: usize = 2;
/// Group of the user that the controller is; it has the rights of the rendered ClusterRole, and no others.
pub const CONTROLLER_GROUP: &str = "lazyload-controllers";
/// Group of the user that the operator is; it has the rights of the printed ClusterRole, and no others.
pub const OPERATOR_GROUP: &str = "slime-boots";

/// Replicas of the controller, each a user of its own.
pub const REPLICAS: [u8; 3] = [2, 3, 4];

/// An API server for one test.
pub struct Cluster {
    /// Everything in it, with the rights of an administrator.
    pub objects: Objects,
    apiserver: Option<Running>,
    _etcd: Running,
    etcd_port: u16,
    port: u16,
    binaries: PathBuf,
    folder: TempDir,
    _slot: Slot,
}

impl Cluster {
    /// A cluster with the product's and Istio's CRDs; `None` if it cannot run here.
    pub async fn start(test: &str) -> Option<Self> {
        let cluster = Self::start_without_crds(test).await?;
        cluster.install_product_crds().await;
        cluster.install_istio_crds(&["Sidecar", "VirtualService"]).await;
        Some(cluster)
    }

    /// A cluster that knows nothing of the product and of Istio.
    pub async fn start_without_crds(test: &str) -> Option<Self> {
        let binaries = match binaries() {
            Ok(binaries) => binaries.clone(),
            Err(missing) => {
                assert!(!can_run(test, Some(missing)));
                return None;
            }
        };
        // Somebody else installs the same provider; which one of us is first does not matter.
        drop(rustls::crypto::ring::default_provider().install_default());
        let slot = Slot::take().await;
        let folder = TempDir::new().unwrap();
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let etcd = start_etcd(&binaries, folder.path(), etcd_port, peer_port);
        write_access(folder.path(), port);
        let apiserver = start_apiserver(&binaries, folder.path(), etcd_port, port);
        let mut cluster = Self {
            objects: Objects::new(unreachable_client()),
            apiserver: Some(apiserver),
            _etcd: etcd,
            etcd_port,
            port,
            binaries,
            folder,
            _slot: slot,
        };
        cluster.wait_until_ready().await;
        cluster.grant_the_controllers_rights().await;
        Some(cluster)
    }

    /// Where a controller finds this cluster, as the user with the controller's rights.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(self.folder.path(), "controller")
    }

    /// A folder that lives as long as the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the API server; the data stay.
    pub fn stop_apiserver(&mut self) {
        self.apiserver.take().expect("it runs").kill().unwrap();
    }

    /// Lets etcd forget every version but the present one of each object, as it does by itself after a while: who watches from an earlier one
    /// must list anew.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn compact_etcd(&self) -> anyhow::Result<()> {
        let revision =
            self.etcd("range", json!({"key": BASE64_STANDARD.encode("a")})).await?["header"]["revision"].clone();
        self.etcd("compaction", json!({"revision": revision, "physical": true})).await?;
        Ok(())
    }

    /// Puts a custom resource beside the API server into etcd, as it is: with its identity, its versions, and who owns which of its fields.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn put_as_it_is(&self, plural: &str, object: &Value) -> anyhow::Result<()> {
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
        let group = group.ok_or_else(|| anyhow::anyhow!("no group: {object}"))?;
        let key = format!("/registry/{group}/{plural}/{}", super::objects::name_of(object));
        let mut object = object.clone();
        // Versions are etcd's own.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(object.to_string()));
        self.etcd("put", json!({"key": key, "value": value})).await?;
        Ok(())
    }

    /// Keys and values are in Base64, as etcd's gateway for JSON wants them.
    async fn etcd(&self, what: &str, body: Value) -> anyhow::Result<Value> {
        let uri = format!("http://127.0.0.1:{}/v3/kv/{what}", self.etcd_port);
        let request = hyper::Request::post(uri).body(Full::<Bytes>::from(body.to_string()))?;
        let answer = HttpClient::builder(TokioExecutor::new()).build_http().request(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        anyhow::ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&text));
        Ok(serde_json::from_slice(&text)?)
    }

    /// Starts the API server again, with the same data at the same address.
    pub async fn start_apiserver_again(&mut self) {
        self.apiserver = Some(start_apiserver(&self.binaries, self.folder.path(), self.etcd_port, self.port));
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&mut self) {
        let ready = async |cluster: &mut Self| -> anyhow::Result<Client> {
            let apiserver = cluster.apiserver.as_mut().expect("it runs");
            if let Some(status) = apiserver.ended()? {
                panic!("kube-apiserver: {status}\n{}", apiserver.log());
            }
            let client = client(&kubeconfig(cluster.folder.path(), "admin")).await?;
            client.request_text(get("/readyz")).await?;
            // The namespace is made by the API server itself, a moment later.
            client.request_text(get("/api/v1/namespaces/default")).await?;
            Ok(client)
        };
        let start = std::time::Instant::now();
        let client = loop {
            match ready(self).await {
                Ok(client) => break client,
                Err(error) if start.elapsed() > DEADLINE => panic!("kube-apiserver is not ready: {error:#}"),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        };
        self.objects = Objects::new(client);
    }

    /// The ClusterRole that is rendered for the sample, bound to the user that the controller is.
    async fn grant_the_controllers_rights(&self) {
        let sample = repository().join("install/samples/lazyload/slimeboot_cluster_accesslog.yaml");
        let sample = sample.display().to_string();
        let rendered = process::run(binary::lazyload(), &["render", "-f", &sample]).unwrap();
        let mut roles: Vec<Value> = documents(&rendered)
            .into_iter()
            .filter(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "lazyload.mesh-operator")
            .collect();
        assert_eq!(roles.len(), 1, "{rendered}");
        // By another name: the operator makes one of the rendered name.
        roles[0]["metadata"]["name"] = CONTROLLER_GROUP.into();
        self.objects.apply(&roles[0]).await;
        self.objects
            .apply(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": CONTROLLER_GROUP},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CONTROLLER_GROUP,
                },
                "subjects": [controllers()],
            }))
            .await;
    }

    /// The rights of a controller that is told by callers' own proxies, as they are rendered, instead of the sample's.
    pub async fn grant_the_rights_for_caller_logs(&self) {
        let case = "a_controller_that_callers_tell_what_they_call_may_write_envoy_filters";
        let given = repository().join(format!("crates/logic/tests/boot/golden/{case}/given.yaml"));
        let rendered = process::run(binary::lazyload(), &["render", "-f", &given.display().to_string()]).unwrap();
        let is_role =
            |object: &Value| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "lazyload.mesh-operator";
        let mut role = documents(&rendered).into_iter().find(is_role).unwrap();
        role["metadata"]["name"] = CONTROLLER_GROUP.into();
        self.objects.apply(&role).await;
    }

    /// What several controllers have besides, as it is rendered, in their namespace.
    pub async fn grant_the_rights_of_replicas(&self, namespace: &str) {
        let given = repository()
            .join("crates/logic/tests/boot/golden/several_controllers_agree_on_one_that_writes/given.yaml")
            .display()
            .to_string();
        let rendered = process::run(binary::lazyload(), &["render", "-f", &given]).unwrap();
        self.objects.namespace(namespace).await;
        let mut granted = 0;
        for mut object in documents(&rendered) {
            if object["metadata"]["name"] != "lazyload" {
                continue;
            }
            object["metadata"]["namespace"] = namespace.into();
            if object["kind"] == "RoleBinding" {
                object["subjects"] = json!([controllers()]);
            }
            if object["kind"] == "Role" || object["kind"] == "RoleBinding" {
                self.objects.apply(&object).await;
                granted += 1;
            }
        }
        assert_eq!(granted, 2, "{rendered}");
    }

    /// The pod of one replica of several, as a kubelet would report it.
    pub async fn pod_of_replica(&self, namespace: &str, number: u8) {
        let (name, address) = (format!("lazyload-{number}"), format!("127.0.0.{number}"));
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": "lazyload"}},
            "spec": {"containers": [{"name": "slime", "image": "lazyload"}]},
        });
        self.objects.apply(&pod).await;
        let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
        self.objects.merge_status("Pod", namespace, &name, status).await;
    }

    /// Where one replica of several finds this cluster, as a user of its own with the controller's rights; at another port if there is
    /// something in between.
    pub fn replicas_kubeconfig(&self, number: u8, port: u16) -> PathBuf {
        let user = replica(number);
        write_kubeconfig(self.folder.path(), &user, port);
        kubeconfig(self.folder.path(), &user)
    }

    /// The API server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every successful write of fences and Sidecars so far, in order: who made it, and what it was.
    pub fn audited_writes(&self) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        let mut writes: Vec<(String, String, String)> = Vec::new();
        // The last line may be on its way.
        for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Value = serde_json::from_str(line).unwrap();
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            if event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300) {
                let what = format!("{} {} {}", text("/verb"), text("/objectRef/resource"), text("/objectRef/name"));
                writes.push((text("/requestReceivedTimestamp"), text("/user/username"), what));
            }
        }
        writes.sort();
        writes.into_iter().map(|(_, user, what)| (user, what)).collect()
    }

    /// The ClusterRole of the operator as `install-yaml` prints it, bound to the user that the operator is.
    pub async fn grant_the_operators_rights(&self) {
        let printed = process::run(binary::lazyload(), &["install-yaml"]).unwrap();
        for mut object in documents(&printed) {
            if object["kind"] == "ClusterRoleBinding" {
                object["subjects"] =
                    json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": OPERATOR_GROUP}]);
            }
            if object["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole")) {
                self.objects.apply(&object).await;
            }
        }
    }

    /// Where the operator finds this cluster, with its own rights.
    pub fn operators_kubeconfig(&self) -> PathBuf {
        kubeconfig(self.folder.path(), "operator")
    }

    /// What `lazyload crds` prints.
    pub async fn install_product_crds(&self) {
        let printed = process::run(binary::lazyload(), &["crds"]).unwrap();
        for crd in documents(&printed) {
            self.install_crd(&crd).await;
        }
    }

    /// The product's CRDs without rules on a fence's spec, as the original's are.
    pub async fn install_originals_crds(&self) {
        let printed = process::run(binary::lazyload(), &["crds"]).unwrap();
        for mut crd in documents(&printed) {
            let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            schema["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            self.install_crd(&crd).await;
        }
    }

    /// Istio's CRDs of these kinds: its own where the testbed's charts are there, small ones of the same form otherwise.
    pub async fn install_istio_crds(&self, kinds: &[&str]) {
        self.install_crds("charts/base/files/crd-all.gen.yaml", include_str!("istio_crds.yaml"), kinds).await;
    }

    /// Gateway API's CRDs of these kinds, likewise.
    pub async fn install_gateway_api_crds(&self, kinds: &[&str]) {
        self.install_crds("gateway-api.yaml", include_str!("gateway_api_crds.yaml"), kinds).await;
    }

    async fn install_crds(&self, cached: &str, small: &str, kinds: &[&str]) {
        let text = std::fs::read_to_string(cache().join(cached)).unwrap_or_else(|_| small.to_owned());
        let crds = documents(&text);
        for kind in kinds {
            let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == *kind);
            self.install_crd(crd.unwrap_or_else(|| panic!("no CRD of {kind}"))).await;
        }
    }

    async fn install_crd(&self, crd: &Value) {
        self.objects.apply(crd).await;
        let name = crd["metadata"]["name"].as_str().unwrap();
        eventually("the CRD is served", DEADLINE, || async {
            let crd = self.objects.find("CustomResourceDefinition", "", name).await.ok_or("gone")?;
            let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let served = conditions.iter().any(|it| it["type"] == "Established" && it["status"] == "True");
            if served { Ok(()) } else { Err("not established") }
        })
        .await;
    }

    /// Does what Kubernetes' garbage collector would: deletes the Sidecars whose fence is gone.
    pub async fn collect_garbage(&self) {
        let fences = self.objects.list("ServiceFence").await;
        for sidecar in self.objects.list("Sidecar").await {
            let metadata = &sidecar["metadata"];
            let owner = &metadata["ownerReferences"][0]["uid"];
            if owner.is_string() && fences.iter().all(|fence| fence["metadata"]["uid"] != *owner) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                self.objects.delete("Sidecar", &text(&metadata["namespace"]), &text(&metadata["name"])).await;
            }
        }
    }
}

/// Everybody who has the controller's rights.
fn controllers() -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": CONTROLLER_GROUP})
}

/// The user that one replica of several is.
pub fn replica(number: u8) -> String {
    format!("replica-{number}")
}

fn get(path: &str) -> hyper::Request<Vec<u8>> {
    hyper::Request::get(path).body(Vec::new()).unwrap()
}

/// All documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn start_etcd(binaries: &Path, folder: &Path, port: u16, peer_port: u16) -> Running {
    let here = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let arguments = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={here}"),
        format!("--advertise-client-urls={here}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=error".to_owned(),
    ];
    Running::start(&binaries.join("etcd"), &arguments, &[], folder.join("etcd.log")).unwrap()
}

fn start_apiserver(binaries: &Path, folder: &Path, etcd_port: u16, port: u16) -> Running {
    let pki = folder.join("pki");
    // The key that the API server makes for itself signs tokens too; nobody asks for one.
    let key = pki.join("apiserver.key").display().to_string();
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--cert-dir={}", pki.display()),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        "--authorization-mode=RBAC".to_owned(),
        format!("--audit-policy-file={}", folder.join("audit-policy.json").display()),
        format!("--audit-log-path={}", folder.join("audit.log").display()),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        // There is no controller that would make the accounts which this plugin asks for.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    Running::start(&binaries.join("kube-apiserver"), &arguments, &[], folder.join("kube-apiserver.log")).unwrap()
}

/// Tokens, and a kubeconfig for each user.
fn write_access(folder: &Path, port: u16) {
    let tokens = format!(
        "admin-token,admin,admin,\"system:masters\"\ncontroller-token,lazyload,lazyload,\"{CONTROLLER_GROUP}\"\n\
         operator-token,slime-boot,slime-boot,\"{OPERATOR_GROUP}\"\n"
    );
    let replicas = REPLICAS.map(|number| {
        let user = replica(number);
        format!("{user}-token,{user},{user},\"{CONTROLLER_GROUP}\"\n")
    });
    let tokens = tokens + &replicas.concat();
    std::fs::write(folder.join("tokens.csv"), tokens).unwrap();
    for user in ["admin", "controller", "operator"] {
        write_kubeconfig(folder, user, port);
    }
    // Who writes what a controller writes, and nothing else: no reads, no bodies.
    let group = |group: &str, resources: &[&str]| json!({"group": group, "resources": resources});
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "Metadata", "verbs": ["create", "update", "patch", "delete"],
                "resources": [
                    group("networking.istio.io", &["sidecars"]),
                    group("microservice.slime.io", &["servicefences", "servicefences/status"]),
                ],
            },
            {"level": "None"},
        ],
    });
    std::fs::write(folder.join("audit-policy.json"), policy.to_string()).unwrap();
}

fn write_kubeconfig(folder: &Path, user: &str, port: u16) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": user,
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": folder.join("pki/apiserver.crt"),
        }}],
        "users": [{"name": user, "user": {"token": format!("{user}-token")}}],
        "contexts": [{"name": user, "context": {"cluster": "test", "user": user}}],
    });
    std::fs::write(kubeconfig(folder, user), config.to_string()).unwrap();
}

fn kubeconfig(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.kubeconfig"))
}

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    Ok(Client::try_from(config)?)
}

fn unreachable_client() -> Client {
    Client::try_from(Config::new(hyper::Uri::from_static("http://127.0.0.1:1"))).unwrap()
}

/// What the testbed builds and keeps.
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TESTBED_CACHE").or_else(|| set("TESTBED")).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        home.join(".cache/lazyload-testbed")
    })
}

/// The folder of `etcd` and `kube-apiserver`, which are built where they are missing.
fn binaries() -> &'static Result<PathBuf, String> {
    static BINARIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let folder = cache().join("bin");
        let there = || ["etcd", "kube-apiserver"].iter().all(|name| folder.join(name).exists());
        if !there() {
            let script = repository().join("testbed/cluster.sh");
            process::run(script, &["build", "--only", "apiserver"]).map_err(|error| error.to_string())?;
        }
        if there() { Ok(folder) } else { Err(format!("no etcd and kube-apiserver in {}", folder.display())) }
    })
}

/// The right to run one cluster.
struct Slot;

static SLOTS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slot {
    async fn take() -> Self {
        let taken = tokio::task::spawn_blocking(|| {
            let (taken, freed) = (&SLOTS.0, &SLOTS.1);
            let guard = taken.lock().unwrap_or_else(PoisonError::into_inner);
            let mut guard = freed.wait_while(guard, |taken| *taken >= AT_ONCE).unwrap_or_else(PoisonError::into_inner);
            *guard += 1;
        });
        taken.await.unwrap();
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SLOTS.1.notify_one();
    }
}
