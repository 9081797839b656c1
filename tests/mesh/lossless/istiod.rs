//! How slow istiod is made: by its debounce, by its share of the processor, by being stopped again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::testbed::{Testbed, script};

const ISTIOD: [&str; 4] = ["-n", "istio-system", "deployment/istiod", "--timeout=180s"];
/// Its container in the Deployment.
const CONTAINER: &str = "/spec/template/spec/containers/0";
/// Where it is stopped, how long it hangs and how long it then runs.
const HANGS: Duration = Duration::from_secs(2);
const RUNS: Duration = Duration::from_millis(1500);

/// istiod as it was made; as it was when this is dropped.
pub struct Istiod<'a> {
    testbed: &'a Testbed,
    /// Its variables and resources as they were, if they were changed.
    before: Option<Value>,
    /// How long the last change of a switch may be on its way.
    pub pushes_within: Duration,
    stopping: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl<'a> Istiod<'a> {
    /// `how` is empty, `debounce-1ms` (any duration), `cpu-100m` (any share, and one push at a time) or `stopped`.
    ///
    /// # Panics
    /// It does not run like that, or `how` is something else.
    pub fn made(testbed: &'a Testbed, how: &str) -> Self {
        let mut made = Self { testbed, before: None, pushes_within: Duration::from_millis(500), stopping: None };
        match how.split_once('-').unwrap_or((how, "")) {
            ("", "") => {}
            ("debounce", after) => {
                made.set(&format!("PILOT_DEBOUNCE_AFTER={after}"), None);
                if after.ends_with('s') && !after.ends_with("ms") {
                    made.pushes_within = Duration::from_millis(2500);
                }
            }
            ("cpu", share) => {
                made.set("PILOT_PUSH_THROTTLE=1", Some(share));
                made.pushes_within = Duration::from_secs(3);
            }
            ("stopped", "") => {
                made.pushes_within = Duration::from_secs(4);
                made.stop_again_and_again();
            }
            _ => panic!("SWITCHES_ISTIOD: debounce-1ms, cpu-100m or stopped, not {how}"),
        }
        made
    }

    fn set(&mut self, variable: &str, share: Option<&str>) {
        let deployment = self.testbed.get(&["deployment", "istiod", ISTIOD[0], ISTIOD[1]]).expect("istiod");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let keep = |key: &str| json!({"op": "replace", "path": format!("{CONTAINER}/{key}"), "value": container[key]});
        self.before = Some(json!([keep("env"), keep("resources")]));
        let deployment = ISTIOD[2];
        self.testbed.kubectl(&["set", "env", ISTIOD[0], ISTIOD[1], deployment, variable]).expect("istiod's variables");
        if let Some(share) = share {
            let limits = format!("--limits=cpu={share}");
            self.testbed
                .kubectl(&["set", "resources", ISTIOD[0], ISTIOD[1], deployment, &limits])
                .expect("istiod's limits");
        }
        self.rolled();
    }

    fn rolled(&self) {
        self.testbed.kubectl(&[&["rollout", "status"][..], &ISTIOD].concat()).expect("istiod runs");
    }

    fn stop_again_and_again(&mut self) {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            let signal = |signal| script(&["kill-container", "istio-system", "istiod-", "discovery", signal]);
            while !told.load(Ordering::Relaxed) {
                signal("SIGSTOP");
                std::thread::sleep(HANGS);
                signal("SIGCONT");
                std::thread::sleep(RUNS);
            }
        });
        self.stopping = Some((over, thread));
    }
}

impl Drop for Istiod<'_> {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.stopping.take() {
            over.store(true, Ordering::Relaxed);
            if thread.join().is_err() {
                eprintln!("istiod may still be stopped");
            }
        }
        let Some(before) = self.before.take() else { return };
        let patch = ["patch", ISTIOD[0], ISTIOD[1], ISTIOD[2], "--type=json", "-p", &before.to_string()];
        if let Err(failed) = self.testbed.kubectl(&patch) {
            eprintln!("making istiod as it was: {failed}");
        }
        self.rolled();
    }
}
