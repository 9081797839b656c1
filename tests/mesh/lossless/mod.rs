//! Every kind of switch under a load at which changing a Sidecar in one step loses requests: in stages none is lost. Many callers switch
//! side by side, each with hosts of its own kind (HTTP/1.1, HTTP/2, gRPC, behind VirtualServices with subsets,
//! headless, outside the mesh).
//! A short form by default; the long one, with other istiods, is `tests/switches.sh`, and its report is docs/switches.md.
//! Next: `callers` for who calls whom, `round` for the switches of a round, `istiod` for how slow it is made, `tally` for what was seen.

mod callers;
mod istiod;
mod round;
mod tally;

use std::env::var;
use std::str::FromStr;

use serde_json::{Value, json};

use self::callers::Callers;
use self::istiod::Istiod;
use self::tally::Tally;
use super::operated::{Operated, printed};
use super::testbed::Testbed;
use super::turn;
use crate::support::repository;

/// How much is tried: by variables of the environment, for the long form.
struct Plan {
    /// `SWITCHES_CALLERS`: they switch side by side.
    callers: usize,
    /// `SWITCHES_ROUNDS`: in stages. Each caller makes every kind of switch in each.
    rounds: usize,
    /// `SWITCHES_ONE_STEP_ROUNDS`: at most, in one step. One that loses is enough for the short form.
    one_step_rounds: usize,
    /// `SWITCHES_RATE`: requests each second of all callers together.
    rate: u32,
    /// `SWITCHES_UNCALLED`: hosts that each fence declares besides those that are called, as in a large mesh.
    uncalled: usize,
    /// `SWITCHES_ISTIOD`: see [`Istiod`].
    istiod: String,
}

impl Plan {
    fn of_the_environment() -> Self {
        Self {
            callers: number("SWITCHES_CALLERS", 6),
            rounds: number("SWITCHES_ROUNDS", 1),
            one_step_rounds: number("SWITCHES_ONE_STEP_ROUNDS", 5),
            rate: number("SWITCHES_RATE", 240),
            uncalled: number("SWITCHES_UNCALLED", 0),
            istiod: var("SWITCHES_ISTIOD").unwrap_or_default(),
        }
    }

    fn is_long(&self) -> bool {
        self.rounds > 1
    }
}

fn number<T: FromStr>(name: &str, otherwise: T) -> T {
    match var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => otherwise,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_by_any_switch_in_stages_while_one_step_loses_some() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("no_request_is_lost_by_any_switch_in_stages_while_one_step_loses_some") else {
        return;
    };
    let plan = Plan::of_the_environment();
    let istiod = Istiod::made(&testbed, &plan.istiod);
    let operated = Operated::install(&testbed);
    let callers = Callers::new(&operated, plan.callers, plan.uncalled).await;
    let mut report = Vec::new();
    for (switching, rounds) in [("fastest", plan.one_step_rounds), ("lossless", plan.rounds)] {
        if rounds == 0 {
            continue;
        }
        let boot = boot(switching);
        let mut tally = Tally::default();
        testbed.apply(&boot.to_string());
        operated.ready().await;
        for number in 0..rounds {
            callers.round(&boot, plan.rate, &istiod, &mut tally).await;
            println!("{switching}, round {number}: {}", tally.text());
            if switching == "fastest" && !plan.is_long() && tally.lost() > 0 {
                // The driver has proved that it sees losses.
                break;
            }
        }
        callers.uninstall(&boot).await;
        report.push((switching, tally));
        keep(&plan, &report);
    }
    for (switching, tally) in &report {
        match *switching {
            "lossless" => assert_eq!(tally.lost(), 0, "{}", tally.text()),
            _ => assert!(tally.lost() > 0, "a load that loses nothing in one step proves nothing: {}", tally.text()),
        }
    }
}

/// The seed's SlimeBoot of cluster mode, with a port of gRPC.
fn boot(switching: &str) -> Value {
    let mut boot = printed("cluster_accesslog");
    let general = &mut boot["spec"]["module"][0]["general"];
    general["wormholePort"] = json!(["9080", "50051"]);
    general["supportH2"] = json!(true);
    general["switching"] = json!(switching);
    boot["spec"]["component"]["globalSidecar"]["resources"] = json!({"requests": {"cpu": "10m", "memory": "20Mi"}});
    boot["spec"]["resources"] = json!({"requests": {"cpu": "10m", "memory": "20Mi"}});
    boot
}

/// Keeps what was seen so far in `target/mesh-report/`.
fn keep(plan: &Plan, report: &[(&str, Tally)]) {
    let ways: Vec<Value> = report.iter().map(|(switching, tally)| tally.json(switching)).collect();
    let istiod = if plan.istiod.is_empty() { "as it is" } else { &plan.istiod };
    let text = json!({"istiod": istiod, "callers": plan.callers, "uncalled_hosts_each": plan.uncalled, "requests_each_second": plan.rate, "ways": ways});
    let folder = repository().join("target/mesh-report");
    let name = match (plan.istiod.as_str(), plan.uncalled) {
        ("", 0) => "switches.json".to_owned(),
        (istiod, 0) => format!("switches-{istiod}.json"),
        (istiod, hosts) => format!("switches-{istiod}-{hosts}-hosts.json"),
    };
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), format!("{text:#}\n")));
    kept.expect("the report is kept");
}
