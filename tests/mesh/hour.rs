//! A new user's hour, command by command, while 50 requests/s go on of which none may fail: install, observe, recommend, enforce, watch it learn, break
//! it in four ways of which each is named by a command whose advice mends it, take everything away in a hurry and bring it back, let go what nobody calls any
//! more, uninstall. What the user saw is kept in `target/mesh-report/hour.txt`.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::{NAMESPACE, remove, slime_boot};
use super::pods::{Pod, access_log, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use super::user::{Forward, User};
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const PAGE: &str = "http://productpage:9080/productpage";
const FILTER: &str = "lazyload-caller-log.productpage";
const HOSTS: [&str; 2] = ["details.default.svc.cluster.local", "reviews.default.svc.cluster.local"];
const SCRIPTS: &str = "install/samples/lazyload";
const STATUS: &str = "kubectl lazyload status productpage";
const ANALYZE: &str = "kubectl lazyload analyze -o wide";
/// A Sidecar of the user's own, of the name that the fence's would have. It shows everything.
const OWN: &str = "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: productpage, namespace: default}, \
    spec: {workloadSelector: {labels: {app: productpage}}, egress: [{hosts: ['*/*']}]}}\n";
/// Another Service of ratings, on a port that nobody has thought of.
const LEDGER: &str = "{apiVersion: v1, kind: Service, metadata: {name: ledger, namespace: default}, \
    spec: {selector: {app: ratings}, ports: [{name: http, port: 8000, targetPort: 9080}]}}\n";
const STRICT: &str = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: strict, namespace: default}, \
    spec: {selector: {matchLabels: {app: ratings}}, mtls: {mode: STRICT}}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_users_hour_from_the_first_look_to_the_last_trace() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("a_new_users_hour_from_the_first_look_to_the_last_trace") else { return };
    remove(&testbed);
    // New pods: their access logs begin with this story.
    script(&["bookinfo", "down"]);
    let _afterwards = Afterwards(&testbed);
    let user = User::begin(&testbed, "hour");
    Hour { testbed: &testbed, user: &user }.spend().await;
}

struct Hour<'a> {
    testbed: &'a Testbed,
    user: &'a User<'a>,
}

impl Hour<'_> {
    async fn spend(&self) {
        self.install();
        let productpage = Pod::find(self.testbed, "app=productpage");
        let visitor = Pod::find(self.testbed, "app=reviews,version=v1");
        let load = visitor.start_load(PAGE, 50).await;
        self.observe().await;
        assert_eq!(self.rerouted(&productpage), 0, "observed, and nothing of it takes another way");
        let console = self.user.forward(NAMESPACE, "lazyload", 8083).await;
        self.console(&console).await;
        self.enforce().await;
        let page = visitor.ask(&format!("/fetch?url={PAGE}")).await.unwrap();
        assert_eq!(page["status"], 200, "{page:#}");
        assert_eq!(self.rerouted(&productpage), 0, "what it calls was known before");
        self.learn(&console).await;
        drop(console);
        self.wrong_port().await;
        self.missing_right().await;
        self.break_glass().await;
        assert_eq!(self.rerouted(&productpage), 0);
        self.unused().await;
        self.uninstall();
        let result = visitor.stop_load(&load).await;
        println!("load: {} requests, p50 {} ms, p99 {} ms", result["sent"], result["p50_ms"], result["p99_ms"]);
        assert_eq!(result["failed"], json!([]), "no request fails");
    }

    fn install(&self) {
        let user = self.user;
        user.chapter("Before");
        let nothing = user.run("kubectl lazyload doctor");
        assert!(nothing.contains("is missing") && nothing.contains("lazyload crds --apply"), "{nothing}");
        assert!(nothing.contains("exit code 1"), "{nothing}");
        let nothing = user.run("kubectl lazyload status");
        assert!(nothing.contains("is its CRD installed") && nothing.contains("exit code 1"), "{nothing}");

        user.chapter("Install");
        let boot = user.file("slimeboot.yaml", &slime_boot(&[("callerLogs", "\"on\""), ("fenceMode", "observe")]));
        let image = "LAZYLOAD_IMAGE=docker.io/testbed/lazyload:1";
        let said = user.run(&format!("{image} LAZYLOAD_SLIMEBOOT={boot} {SCRIPTS}/easy_install_lazyload.sh"));
        assert!(said.contains("lazyload: installed"), "{said}");
        user.run("testbed/cluster.sh bookinfo up");
        user.run("kubectl get pods -A");
        let well = user.run("kubectl lazyload doctor");
        assert!(!well.contains("failed") && !well.contains("exit code"), "{well}");
        assert!(well.contains("Service kube-system/kube-dns: ready addresses: 1"), "{well}");
        let within = user.run("kubectl -n mesh-operator exec deploy/lazyload -- /lazyload doctor");
        for ours in ["lazyload", "global-sidecar"] {
            assert!(within.contains(&format!("{ours}.mesh-operator.svc.cluster.local is found here")), "{within}");
        }
        assert!(user.run("kubectl lazyload status").contains("No ServiceFences"));
        assert!(user.run(ANALYZE).contains("Nothing is wrong."));
    }

    /// Its own proxy tells what it calls, and there is no Sidecar.
    async fn observe(&self) {
        let (user, testbed) = (self.user, self.testbed);
        user.chapter("Observe");
        user.run("kubectl label service productpage -n default slime.io/serviceFenced=true");
        user.until(STATUS, &["observe", HOSTS[0], HOSTS[1]]).await;
        let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).unwrap();
        assert_eq!((&fence["status"]["mode"], &fence["status"]["callerLog"]), (&json!("observe"), &json!(FILTER)));
        assert!(fence["status"]["coverage"]["pods"].as_u64() >= Some(1), "{:#}", fence["status"]);
        let sidecars = testbed.get(&["sidecar", "-n", "default"]).unwrap();
        assert_eq!(sidecars["items"], json!([]));
        assert!(clusters(testbed, "productpage-v1").unwrap().contains(FILTER));
        // Without a controller its log goes nowhere, and nobody notices.
        testbed.kubectl(&["delete", "pod", "-n", NAMESPACE, "-l", "app=lazyload", "--wait=false"]).unwrap();
        user.run("kubectl -n mesh-operator rollout status deployment/lazyload --timeout=120s");

        user.chapter("Recommend");
        let recommended = user.run("kubectl lazyload recommend productpage");
        assert!(HOSTS.iter().all(|host| recommended.contains(&format!("*/{host}"))), "{recommended}");
        user.run("kubectl lazyload savings");
        assert!(user.run(ANALYZE).contains("LZ111"));
    }

    async fn console(&self, console: &Forward<'_>) {
        self.user.chapter("The console, by port-forward");
        let page = console.get("/").await.unwrap();
        assert!(page.contains("<title>") && page.contains("app.js"), "{page}");
        let script = console.get("/app.js").await.unwrap();
        assert!(script.contains("import"), "{script}");
        let about = console.until("/api/about", "it tells of itself", |about| about["fences"] == 1).await;
        assert_eq!(about["awaited"], json!([]), "{about:#}");
        console.until("/api/fences/default/productpage", "the fence", |fence| names_hosts(fence, &HOSTS)).await;
        // On loopback alone: the API server's proxy dials the pod's address, and nobody listens there.
        let pod = "$(kubectl -n mesh-operator get pods -l app=lazyload -o jsonpath='{.items[0].metadata.name}')";
        let path = format!("/api/v1/namespaces/mesh-operator/pods/{pod}:8083/proxy/api/about");
        let refused = self.user.run(&format!("kubectl get --raw \"{path}\""));
        assert!(refused.contains("exit code 1") && !refused.contains("\"fences\""), "{refused}");
    }

    /// The user's own Sidecar is in the way, and is handed over.
    async fn enforce(&self) {
        let (user, testbed) = (self.user, self.testbed);
        user.chapter("Enforce, with a Sidecar of somebody else's in the way");
        let own = user.file("sidecar.yaml", OWN);
        user.run(&format!("kubectl apply -f {own}"));
        user.run("kubectl label service productpage -n default lazyload.slime.io/mode=enforce");
        let found = user.until(ANALYZE, &["LZ101", "exit code 1"]).await;
        assert!(found.contains("annotate sidecar productpage lazyload.slime.io/adopt=true"), "{found}");
        user.until(STATUS, &["ForeignSidecar"]).await;
        user.run("kubectl -n default annotate sidecar productpage lazyload.slime.io/adopt=true");
        self.sidecar_has(&HOSTS).await;
        user.until(STATUS, &["Sidecar: settled"]).await;
        user.until(ANALYZE, &["Nothing is wrong."]).await;
        eventually("nobody's proxy tells what it calls any more", SOON, || async {
            let left = testbed.kubectl(&["get", "envoyfilter", FILTER, "-n", "default", "--ignore-not-found"])?;
            let clusters = clusters(testbed, "productpage-v1")?;
            anyhow::ensure!(left.is_empty() && !clusters.contains(FILTER), "{left}");
            anyhow::ensure!(!clusters.contains("outbound|9080||ratings.default"), "the Sidecar is not in force");
            Ok(())
        })
        .await;
    }

    /// What nobody has called before is served at once, learned, and shown.
    async fn learn(&self, console: &Forward<'_>) {
        let user = self.user;
        user.chapter("It learns");
        let unknown = user.run("kubectl lazyload explain productpage ratings");
        assert!(unknown.contains("through the global-sidecar") && unknown.contains("exit code 1"), "{unknown}");
        assert_eq!(user.run(&call("ratings:9080")).trim(), "200");
        let ratings = "ratings.default.svc.cluster.local";
        user.until(
            "kubectl lazyload explain productpage ratings",
            &["direct, the workload's proxy has the route", "learned"],
        )
        .await;
        console.until("/api/fences/default/productpage", "ratings", |fence| names_hosts(fence, &[ratings])).await;
        user.until("kubectl lazyload top", &[ratings]).await;
        user.run("kubectl lazyload graph");
        user.run("kubectl lazyload status");
    }

    /// A call on a port that the global-sidecar does not have passes the mesh by, and does not reach who takes mutual TLS alone. These calls are
    /// the only ones of the hour that fail, and the break is why.
    async fn wrong_port(&self) {
        let user = self.user;
        user.chapter("Break: a port that is not in wormholePort");
        let ledger = user.file("ledger.yaml", LEDGER);
        user.run(&format!("kubectl apply -f {ledger}"));
        user.until_it(&call("ledger:8000"), "passed through", |said| said.trim() == "200").await;
        let found = user.until(ANALYZE, &["LZ005", "port 8000 of default/ledger"]).await;
        assert!(found.contains("add 8000 to general.wormholePort"), "{found}");
        let why = user.run("kubectl lazyload explain productpage ledger");
        assert!(why.contains("a call on port 8000 passes the mesh by") && why.contains("exit code 1"), "{why}");

        user.chapter("Break: STRICT mutual TLS");
        let strict = user.file("strict.yaml", STRICT);
        user.run(&format!("kubectl apply -f {strict}"));
        user.until_it(&call("ledger:8000"), "fails", |said| !said.contains("200")).await;
        let found = user.run(ANALYZE);
        assert!(
            found.contains("LZ006") && found.contains("PeerAuthentication, STRICT") && found.contains("exit code 1"),
            "{found}"
        );

        user.chapter("Mended: the port is added");
        let port = "[{\"op\": \"add\", \"path\": \"/spec/module/0/general/wormholePort/-\", \"value\": \"8000\"}]";
        user.run(&format!("kubectl -n mesh-operator patch slimeboot lazyload --type=json -p '{port}'"));
        user.until_it(&call("ledger:8000"), "is served", |said| said.trim() == "200").await;
        user.until("kubectl lazyload explain productpage ledger", &["direct, the workload's proxy has the route"])
            .await;
        user.until_it(&call("ledger:8000"), "is served directly", |said| said.trim() == "200").await;
        user.until(ANALYZE, &["Nothing is wrong."]).await;
    }

    /// Somebody takes a right away while the operator, which would give it back at once, is away.
    async fn missing_right(&self) {
        let user = self.user;
        user.chapter("Break: a right is missing");
        user.run("kubectl -n mesh-operator scale deployment slime-boot --replicas=0");
        user.run("kubectl -n mesh-operator wait --for=delete pod -l name=slime-boot --timeout=60s");
        user.run(
            "kubectl get clusterrole lazyload.mesh-operator -o json | sed 's|\"servicefences/status\"|\"servicefences/nothing\"|' | kubectl replace -f -",
        );
        user.run("kubectl -n mesh-operator delete pod -l app=lazyload");
        user.run("kubectl -n mesh-operator rollout status deployment/lazyload --timeout=120s");
        let told = user
            .until("kubectl lazyload doctor", &["missing rights", "servicefences.microservice.slime.io/status"])
            .await;
        assert!(told.contains("nothing that is learned is kept") && told.contains("lazyload render"), "{told}");

        user.chapter("Mended: the operator is back");
        user.run("kubectl -n mesh-operator scale deployment slime-boot --replicas=1");
        let well =
            |said: &str| said.contains("is ready") && !said.contains("missing rights") && !said.contains("failed");
        user.until_it("kubectl lazyload doctor", "nothing is missing", well).await;
    }

    async fn break_glass(&self) {
        let user = self.user;
        user.chapter("Everything away in a hurry, and back");
        user.run("kubectl lazyload break-glass on");
        assert!(self.testbed.get(&["sidecar", "productpage", "-n", "default"]).is_err(), "it has no Sidecar");
        assert!(user.run(ANALYZE).contains("LZ004"));
        user.run("kubectl lazyload break-glass off");
        self.sidecar_has(&HOSTS).await;
    }

    /// What was called once leaves the Sidecar after a while and comes back with its next call; what goes on being called stays.
    async fn unused(&self) {
        let (user, ratings) = (self.user, "ratings.default.svc.cluster.local");
        user.chapter("What nobody calls any more");
        user.run("kubectl label service productpage -n default lazyload.slime.io/expire-unused-after=10s");
        let stands = |is_out: bool| async move {
            let fence = self.testbed.get(&["servicefence", "productpage", "-n", "default"])?;
            let sidecar = self.testbed.get(&["sidecar", "productpage", "-n", "default"])?.to_string();
            let status = &fence["status"];
            let is_told = status["unused"][ratings]["quarantinedSince"].is_string();
            let is_known = status["metricStatus"].to_string().contains(ratings);
            anyhow::ensure!(is_told == is_out && sidecar.contains(ratings) != is_out, "{status:#} {sidecar}");
            anyhow::ensure!(is_known && HOSTS.iter().all(|host| sidecar.contains(host)), "{status:#} {sidecar}");
            Ok(())
        };
        eventually("nobody calls it, and it leaves", 4 * SOON, || stands(true)).await;
        user.run(STATUS);
        user.run("kubectl lazyload explain productpage ratings");
        assert_eq!(user.run(&call("ratings:9080")).trim(), "200", "its first call is served");
        eventually("it is back", SOON, || stands(false)).await;
    }

    fn uninstall(&self) {
        let user = self.user;
        user.chapter("Uninstall");
        let said = user.run(&format!("{SCRIPTS}/easy_uninstall_lazyload.sh"));
        assert!(said.contains("lazyload: uninstalled"), "{said}");
        let left = user.run("kubectl get sidecar,envoyfilter -A");
        assert!(left.contains("No resources found"), "{left}");
        assert!(user.run("kubectl get namespace mesh-operator").contains("NotFound"));
        assert!(user.run("kubectl lazyload status").contains("is its CRD installed"));
    }

    async fn sidecar_has(&self, hosts: &[&str]) {
        eventually("the Sidecar has the hosts, and nothing is under way", SOON, || async {
            let sidecar = self.testbed.get(&["sidecar", "productpage", "-n", "default"])?;
            let egress = &sidecar["spec"]["egress"];
            let has = |host: &&str| {
                egress[0]["hosts"].as_array().is_some_and(|all| all.contains(&Value::from(format!("*/{host}"))))
            };
            anyhow::ensure!(egress.as_array().map(Vec::len) == Some(1) && hosts.iter().all(has), "{sidecar:#}");
            Ok(())
        })
        .await;
    }

    /// Calls of details that took the way through the global-sidecar, by the log that the mesh has of the caller's proxy.
    fn rerouted(&self, caller: &Pod) -> usize {
        let lines = access_log(self.testbed, &caller.name, "\"GET /details/0");
        assert!(!lines.is_empty(), "the mesh's own log goes on");
        lines.iter().filter(|line| line.contains("global-sidecar")).count()
    }
}

/// A call from productpage.
fn call(authority: &str) -> String {
    format!(
        "kubectl exec -n default deploy/productpage-v1 -- curl -s -m 5 -o /dev/null -w '%{{http_code}}' {authority}/"
    )
}

/// Whether a fence's page in the console has these dependencies.
fn names_hosts(fence: &Value, hosts: &[&str]) -> bool {
    let document = fence["documents"]["fence"].as_str().unwrap_or_default();
    hosts.iter().all(|host| document.contains(host))
}

/// Leaves the mesh as it was, however the hour ends.
struct Afterwards<'a>(&'a Testbed);

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        let of_the_user =
            "kubectl -n default delete --ignore-not-found peerauthentication/strict service/ledger sidecar/productpage";
        if let Err(failed) = self.0.shell(of_the_user) {
            eprintln!("removing what the hour has made: {failed}");
        }
        remove(self.0);
        script(&["bookinfo", "down"]);
    }
}
