//! Whether an installation is as it must be to work, judged from what its parts say of themselves: each check with what it means and what to
//! do. What could not be asked is not known, and never taken for well.

use serde::Serialize;
use serde_json::Value;

use super::dns::{self, Dns};
use crate::boot;
use crate::boot::IstioVersion;

/// What was asked, or why there is no answer.
pub type Known<T> = Result<T, String>;

/// What a proxy is asked for on its port of statistics: which configuration it has refused.
pub const STATISTICS: &str = "/stats/prometheus?filter=update_rejected";
/// How such a statistic ends.
const REJECTED: &str = "_update_rejected";
/// How long a full round of Prometheus may be ago, in seconds.
const LATE: f64 = 600.0;

/// What the parts of an installation said.
#[derive(Debug)]
pub struct Asked {
    /// The API server's version.
    pub api_server: Known<String>,
    /// The Deployments of istiods.
    pub istiods: Known<Vec<Value>>,
    /// Of our CRDs those that are there.
    pub crds: Known<Vec<Value>>,
    /// Every SlimeBoot.
    pub slime_boots: Known<Vec<Value>>,
    /// Every controller that runs.
    pub controllers: Known<Vec<Controller>>,
    /// The Deployments of global-sidecars.
    pub fallbacks: Known<Vec<Value>>,
    /// The cluster's DNS.
    pub dns: Known<Dns>,
    /// Proxies of fenced workloads and of global-sidecars, or some of them.
    pub proxies: Known<Vec<Proxy>>,
    /// Now (Unix seconds).
    pub unix_seconds: i64,
}

impl Asked {
    /// Nothing could be asked.
    #[must_use]
    pub fn nothing(why: &str, unix_seconds: i64) -> Self {
        let why = || why.to_owned();
        Self {
            api_server: Err(why()),
            istiods: Err(why()),
            crds: Err(why()),
            slime_boots: Err(why()),
            controllers: Err(why()),
            fallbacks: Err(why()),
            dns: Err(why()),
            proxies: Err(why()),
            unix_seconds,
        }
    }
}

/// A controller.
#[derive(Debug)]
pub struct Controller {
    /// Its pod.
    pub name: String,
    /// Whether it is ready, and what it says besides.
    pub readiness: Known<(bool, String)>,
    /// What it counts.
    pub metrics: Known<String>,
}

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Its pod.
    pub name: String,
    /// Its statistics.
    pub statistics: Known<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is found.
    pub verdict: Verdict,
    /// What was looked at.
    pub about: &'static str,
    /// What was seen.
    pub what: String,
    /// What to do; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// Not as its user thinks, or not for long.
    Warning,
    /// Requests fail, or nothing is learned or written.
    Failed,
    /// It could not be asked.
    NotKnown,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotKnown => "not known",
        }
    }
}

/// Judges everything, in the order in which one depends on the other.
#[must_use]
pub fn checks(asked: &Asked) -> Vec<Check> {
    let mut checks = vec![match &asked.api_server {
        Ok(version) => ok("API server", format!("Kubernetes {version}")),
        Err(why) => failed("API server", why.clone(), "give access by KUBECONFIG"),
    }];
    of(&mut checks, "Istio", &asked.istiods, |istiods| istio(istiods));
    of(&mut checks, "CRDs", &asked.crds, |crds| self::crds(crds));
    of(&mut checks, "SlimeBoot", &asked.slime_boots, |boots| slime_boots(boots));
    of(&mut checks, "controller", &asked.controllers, |controllers| self::controllers(controllers));
    of(&mut checks, "learning", &asked.controllers, |controllers| learning(controllers, asked.unix_seconds));
    of(&mut checks, "global-sidecar", &asked.fallbacks, |fallbacks| self::fallbacks(fallbacks));
    of(&mut checks, "DNS", &asked.dns, dns::checks);
    of(&mut checks, "proxies", &asked.proxies, |proxies| self::proxies(proxies));
    checks
}

fn of<T>(checks: &mut Vec<Check>, about: &'static str, known: &Known<T>, judge: impl FnOnce(&T) -> Vec<Check>) {
    match known {
        Ok(known) => checks.extend(judge(known)),
        Err(why) => checks.push(not_known(about, why.clone(), "ask with the rights that docs/reference/cli.md lists")),
    }
}

fn check(verdict: Verdict, about: &'static str, what: String, remedy: &str) -> Check {
    Check { verdict, about, what, remedy: remedy.to_owned() }
}

pub(super) fn ok(about: &'static str, what: String) -> Check {
    check(Verdict::Ok, about, what, "")
}

pub(super) fn failed(about: &'static str, what: String, remedy: &str) -> Check {
    check(Verdict::Failed, about, what, remedy)
}

fn warning(about: &'static str, what: String, remedy: &str) -> Check {
    check(Verdict::Warning, about, what, remedy)
}

pub(super) fn not_known(about: &'static str, what: String, remedy: &str) -> Check {
    check(Verdict::NotKnown, about, what, remedy)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(value: &Value) -> String {
    format!("{}/{}", text(value, "/metadata/namespace"), text(value, "/metadata/name"))
}

fn istio(istiods: &[Value]) -> Vec<Check> {
    if istiods.is_empty() {
        let what = "no Deployment with the label app=istiod: Istio is not here, or runs elsewhere".to_owned();
        return vec![not_known("Istio", what, "install Istio; where it runs elsewhere, ask its version there")];
    }
    let judge = |istiod: &Value| match IstioVersion::of_istiod(istiod) {
        None => not_known("Istio", format!("{} does not tell its version", name(istiod)), "look at its image"),
        Some(version) => match version.refusal() {
            Some(why) => failed("Istio", format!("{}: {why}", name(istiod)), "upgrade Istio"),
            None => ok("Istio", format!("{version} ({})", name(istiod))),
        },
    };
    istiods.iter().map(judge).collect()
}

fn crds(there: &[Value]) -> Vec<Check> {
    const APPLY: &str = "lazyload crds --apply";
    let ours = match boot::crds() {
        Ok(ours) => ours,
        Err(error) => return vec![not_known("CRDs", error.to_string(), "report this")],
    };
    let judge = |crd: &Value| {
        let name = text(crd, "/metadata/name");
        match there.iter().find(|there| text(there, "/metadata/name") == name) {
            None => failed("CRDs", format!("{name} is missing"), APPLY),
            Some(there) if !is_part_of(crd.get("spec"), there.get("spec")) => {
                warning("CRDs", format!("{name} is not the one of this version"), APPLY)
            }
            Some(_) => ok("CRDs", format!("{name} is the one of this version")),
        }
    };
    ours.iter().map(judge).collect()
}

/// Whether everything of ours is there; the API server may have added to it.
fn is_part_of(ours: Option<&Value>, there: Option<&Value>) -> bool {
    match (ours, there) {
        (Some(Value::Object(ours)), Some(Value::Object(there))) => {
            ours.iter().all(|(key, value)| is_part_of(Some(value), there.get(key)))
        }
        (Some(Value::Array(ours)), Some(Value::Array(there))) => {
            ours.len() == there.len() && ours.iter().zip(there).all(|(ours, there)| is_part_of(Some(ours), Some(there)))
        }
        // The API server leaves out what is empty.
        (Some(ours), None) => ours.is_null() || ours == &Value::Array(Vec::new()),
        (ours, there) => ours == there,
    }
}

fn slime_boots(boots: &[Value]) -> Vec<Check> {
    if boots.is_empty() {
        let what = "there is none: what was installed without one is not judged by it".to_owned();
        return vec![warning("SlimeBoot", what, "install by a SlimeBoot, and it is kept as it should be")];
    }
    let judge = |boot: &Value| {
        let conditions = boot.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| text(condition, "/type") == "Ready");
        let name = name(boot);
        match ready.map(|ready| (text(ready, "/status"), text(ready, "/reason"), text(ready, "/message"))) {
            Some(("True", ..)) => ok("SlimeBoot", format!("{name} is Ready")),
            Some((_, reason, message)) => {
                failed("SlimeBoot", format!("{name} is not Ready: {reason}: {message}"), "do what its condition says")
            }
            None => {
                failed("SlimeBoot", format!("{name}: no operator has looked at it"), "look whether slime-boot runs")
            }
        }
    };
    boots.iter().map(judge).collect()
}

fn controllers(controllers: &[Controller]) -> Vec<Check> {
    const ABOUT: &str = "controller";
    if controllers.is_empty() {
        let what =
            "none runs: nothing is learned or written; what is fenced goes on through the global-sidecar".to_owned();
        return vec![failed(ABOUT, what, "look at the pods of the SlimeBoot's controller")];
    }
    let judge = |controller: &Controller| {
        let name = &controller.name;
        match &controller.readiness {
            Err(why) => not_known(
                ABOUT,
                why.clone(),
                "it needs the right to get pods/proxy, and the API server a way to the pod",
            ),
            Ok((false, said)) => failed(ABOUT, format!("{name} is not ready: {}", one_line(said)), "look at its log"),
            Ok((true, said)) if said.contains("missing rights") => {
                warning(ABOUT, format!("{name}: {}", one_line(said)), "apply the roles that `lazyload render` prints")
            }
            Ok((true, said)) => ok(ABOUT, format!("{name} is ready {}", one_line(said)).trim_end().to_owned()),
        }
    };
    let mut checks: Vec<Check> = controllers.iter().map(judge).collect();
    let glasses = controllers.iter().filter_map(|it| value(it.metrics.as_ref().ok()?, "lazyload_break_glass"));
    let glasses = glasses.fold(0.0, f64::max);
    if glasses > 0.0 {
        let what =
            format!("break-glass is on in {glasses} namespaces: fences there, or everywhere, have no Sidecar for now");
        checks.push(warning("break-glass", what, "lazyload analyze says where; lazyload break-glass off"));
    }
    let leaders = sum(controllers, "lazyload_leader");
    if controllers.len() > 1 && leaders.is_some_and(|leaders| leaders < 1.0) {
        checks.push(failed(
            ABOUT,
            "none of them leads: nothing is written".to_owned(),
            "look at the lease and their logs",
        ));
    }
    checks
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

fn learning(controllers: &[Controller], unix_seconds: i64) -> Vec<Check> {
    const ABOUT: &str = "learning";
    if controllers.is_empty() {
        return Vec::new();
    }
    let Some(streams) = sum(controllers, "lazyload_accesslog_streams_open") else {
        let why = controllers.iter().find_map(|controller| controller.metrics.as_ref().err());
        let what = why.map_or("the controllers do not say".to_owned(), Clone::clone);
        return vec![not_known(ABOUT, what, "it needs the right to get pods/proxy")];
    };
    let complete =
        controllers.iter().filter_map(|it| value(it.metrics.as_ref().ok()?, "lazyload_prometheus_complete_seconds"));
    let complete = complete.fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below what a number can tell apart")]
    let age = unix_seconds as f64 - complete;
    let entries = sum(controllers, "lazyload_accesslog_entries").unwrap_or_default();
    let mut checks = vec![if complete > 0.0 && age > LATE {
        failed(ABOUT, format!("Prometheus was last asked in full {age:.0} s ago"), "look at the controller's log")
    } else if complete > 0.0 {
        ok(ABOUT, format!("Prometheus was asked in full {age:.0} s ago"))
    } else if streams < 1.0 {
        // A proxy begins to send with its first entry: where nothing was called yet there is nothing wrong.
        let what = format!(
            "no global-sidecar sends its access log now, {entries} entries have come (with Prometheus: no round has been complete yet)"
        );
        let remedy = "call a host that is not in a Sidecar yet; if none comes then, look at the global-sidecar's bootstrap ConfigMap and the controller's Service";
        warning(ABOUT, what, remedy)
    } else {
        ok(ABOUT, format!("access-log streams open: {streams}, entries so far: {entries}"))
    }];
    if let Some(stuck) = sum(controllers, "lazyload_fallback_stuck").filter(|stuck| *stuck > 0.0) {
        let what = format!("hosts that are called through the global-sidecar although their routes are there: {stuck}");
        checks.push(warning("stuck hosts", what, "lazyload top names them, lazyload explain says more"));
    }
    checks
}

fn fallbacks(deployments: &[Value]) -> Vec<Check> {
    const ABOUT: &str = "global-sidecar";
    if deployments.is_empty() {
        let what = "there is none: first calls of hidden hosts fail, or pass the mesh by".to_owned();
        return vec![failed(ABOUT, what, "component.globalSidecar.enable of the SlimeBoot")];
    }
    let judge = |deployment: &Value| {
        let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64);
        let (wanted, ready) = (number("/spec/replicas").unwrap_or(1), number("/status/readyReplicas").unwrap_or(0));
        let what = format!("{}: {ready} of {wanted} pods are ready", name(deployment));
        match ready {
            0 => failed(ABOUT, what, "look at its pods: until one is ready, first calls fail"),
            _ if ready < wanted => warning(ABOUT, what, "look at its pods"),
            _ => ok(ABOUT, what),
        }
    };
    deployments.iter().map(judge).collect()
}

fn proxies(proxies: &[Proxy]) -> Vec<Check> {
    const ABOUT: &str = "proxies";
    let without = "it does not tell what it refused".to_owned();
    let mut checks = Vec::new();
    let mut took_all: Vec<&Proxy> = Vec::new();
    let mut silent: Vec<(&Proxy, &String)> = Vec::new();
    for proxy in proxies {
        match &proxy.statistics {
            Err(why) => silent.push((proxy, why)),
            Ok(statistics) if !statistics.contains(REJECTED) => silent.push((proxy, &without)),
            Ok(statistics) => {
                let rejected = rejected(statistics);
                if rejected.is_empty() {
                    took_all.push(proxy);
                } else {
                    let what =
                        format!("{} has refused configuration since it began: {}", proxy.name, rejected.join(", "));
                    checks.push(warning(
                        ABOUT,
                        what,
                        "its log says what (`rejected`); often an EnvoyFilter of another version",
                    ));
                }
            }
        }
    }
    if let Some((proxy, why)) = silent.first() {
        let what = format!("{} of {} do not answer, {} among them: {why}", silent.len(), proxies.len(), proxy.name);
        checks.push(not_known(ABOUT, what, "without statistics on port 15090 switches go by the estimate"));
    }
    match took_all.len() {
        0 if proxies.is_empty() => checks.push(not_known(ABOUT, "no pod is fenced yet".to_owned(), "")),
        0 => {}
        count => checks.push(ok(ABOUT, format!("asked: {count}, all have taken every configuration"))),
    }
    checks
}

/// Counters of refused configuration that are not zero.
fn rejected(statistics: &str) -> Vec<String> {
    let lines = statistics.lines().filter(|line| !line.starts_with('#'));
    let counters = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(series, value)| {
        let name = series.split('{').next().unwrap_or_default();
        name.ends_with(REJECTED) && value.parse::<f64>().is_ok_and(|value| value > 0.0)
    });
    counters.map(|(series, value)| format!("{series} {value}")).collect()
}

/// The sum of a metric over all controllers that tell it.
fn sum(controllers: &[Controller], name: &str) -> Option<f64> {
    let values = controllers.iter().filter_map(|controller| value(controller.metrics.as_ref().ok()?, name));
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// A metric without labels.
fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METRICS: &str = "# TYPE lazyload_leader gauge\nlazyload_leader 1\nlazyload_accesslog_streams_open 2\nlazyload_accesslog_entries 40\nlazyload_fallback_stuck 0\nlazyload_prometheus_complete_seconds 0\n";

    fn healthy() -> Asked {
        let deployment = json!({"metadata": {"namespace": "x", "name": "y"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "pilot:1.31.0"}]}}},
            "status": {"readyReplicas": 2}});
        let boot = json!({"metadata": {"namespace": "m", "name": "lazyload"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        Asked {
            api_server: Ok("v1.36.0".into()),
            istiods: Ok(vec![deployment.clone()]),
            crds: Ok(boot::crds().unwrap()),
            slime_boots: Ok(vec![boot]),
            controllers: Ok(vec![Controller {
                name: "pod m/lazyload-1".into(),
                readiness: Ok((true, String::new())),
                metrics: Ok(METRICS.into()),
            }]),
            fallbacks: Ok(vec![deployment]),
            dns: Ok(Dns { servers: vec![("kube-system/kube-dns".into(), 1)], looked_up: Vec::new() }),
            proxies: Ok(vec![proxy(
                "envoy_listener_manager_lds_update_rejected{} 0\nenvoy_cluster_manager_cds_update_success{} 3\n",
            )]),
            unix_seconds: 10_000,
        }
    }

    fn proxy(statistics: &str) -> Proxy {
        Proxy { name: "pod default/a-1".into(), statistics: Ok(statistics.into()) }
    }

    /// Everything that is not well.
    fn ills(asked: &Asked) -> Vec<(Verdict, &'static str)> {
        let checks = checks(asked);
        let ill = checks.iter().filter(|check| check.verdict != Verdict::Ok);
        ill.map(|check| (check.verdict, check.about)).collect()
    }

    #[test]
    fn where_all_is_well_each_part_is_told_and_nothing_is_to_be_done() {
        let checks = checks(&healthy());
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok && check.remedy.is_empty()), "{checks:?}");
        let parts: std::collections::BTreeSet<&str> = checks.iter().map(|check| check.about).collect();
        assert_eq!(parts.len(), 9, "{parts:?}");
    }

    #[test]
    fn what_could_not_be_asked_is_never_taken_for_well() {
        let no = || "forbidden".to_owned();
        let checks = checks(&Asked::nothing(&no(), 0));
        assert_eq!(checks.len(), 9);
        assert!(checks.iter().all(|check| check.verdict >= Verdict::Failed && !check.remedy.is_empty()), "{checks:?}");
        let mut silent = healthy();
        silent.controllers = Ok(vec![Controller { name: "c".into(), readiness: Err(no()), metrics: Err(no()) }]);
        silent.proxies = Ok(vec![Proxy { name: "p".into(), statistics: Err(no()) }]);
        let expected =
            [(Verdict::NotKnown, "controller"), (Verdict::NotKnown, "learning"), (Verdict::NotKnown, "proxies")];
        assert_eq!(ills(&silent), expected);
    }

    #[test]
    fn missing_and_outdated_crds_are_told_apart() {
        let mut asked = healthy();
        let mut crds = boot::crds().unwrap();
        crds[0]["spec"]["versions"][0]["served"] = json!(false);
        crds.truncate(1);
        asked.crds = Ok(crds);
        assert_eq!(ills(&asked), [(Verdict::Warning, "CRDs"), (Verdict::Failed, "CRDs")]);
    }

    #[test]
    fn each_part_that_does_not_work_is_named() {
        let mut asked = healthy();
        asked.istiods = Ok(vec![json!({"spec": {"template": {"spec": {"containers": [{"image": "pilot:1.12.0"}]}}}})]);
        asked.slime_boots = Ok(vec![
            json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "R", "message": "why"}]}}),
            json!({}),
        ]);
        asked.fallbacks = Ok(vec![json!({"spec": {"replicas": 2}, "status": {"readyReplicas": 1}}), json!({})]);
        asked.proxies = Ok(vec![proxy("envoy_listener_manager_lds_update_rejected{} 2\n")]);
        let controller = |readiness: (bool, &str), metrics: &str| Controller {
            name: "c".into(),
            readiness: Ok((readiness.0, readiness.1.to_owned())),
            metrics: Ok(metrics.to_owned()),
        };
        let metrics =
            "lazyload_leader 0\nlazyload_break_glass 1\nlazyload_accesslog_streams_open 0\nlazyload_fallback_stuck 1\n";
        asked.controllers = Ok(vec![
            controller((false, "waiting for the list of Pods\n"), metrics),
            controller((true, "missing rights: update leases\n"), metrics),
        ]);
        use Verdict::{Failed, Warning};
        let expected = [
            (Failed, "Istio"),
            (Failed, "SlimeBoot"),
            (Failed, "SlimeBoot"),
            (Failed, "controller"),
            (Warning, "controller"),
            (Warning, "break-glass"),
            (Failed, "controller"),
            (Warning, "learning"),
            (Warning, "stuck hosts"),
            (Warning, "global-sidecar"),
            (Failed, "global-sidecar"),
            (Warning, "proxies"),
        ];
        assert_eq!(ills(&asked), expected);
        (asked.controllers, asked.fallbacks, asked.slime_boots) = (Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new()));
        let parts: Vec<&str> = ills(&asked).into_iter().map(|(_, about)| about).collect();
        assert_eq!(parts, ["Istio", "SlimeBoot", "controller", "global-sidecar", "proxies"]);
    }

    #[test]
    fn with_prometheus_it_counts_when_it_was_asked_in_full() {
        let mut asked = healthy();
        let mut at = |seconds: i64| {
            let metrics =
                format!("lazyload_accesslog_streams_open 0\nlazyload_prometheus_complete_seconds {seconds}\n");
            asked.controllers =
                Ok(vec![Controller { name: "c".into(), readiness: Ok((true, String::new())), metrics: Ok(metrics) }]);
            ills(&asked)
        };
        assert_eq!(at(9_900), []);
        assert_eq!(at(9_000), [(Verdict::Failed, "learning")]);
    }
}
