//! `lazyload top`: what goes on through the global-sidecar.

use std::collections::BTreeMap;

use anyhow::Context as _;
use lazyload_logic::state::explain::Way;
use lazyload_logic::state::traffic::{self, Busy};

use crate::ask::{age, controllers, print, table};
use crate::cli::TopArgs;
use crate::process::clock::Clock;

const HEADER: [&str; 7] = ["NAMESPACE", "NAME", "HOST", "LATELY", "CALLS", "LAST", "WAY"];
/// Where a controller tells it.
const PATH: &str = "/fallback";

/// Prints it.
///
/// # Errors
/// There is no controller, or it cannot be asked.
pub async fn run(args: TopArgs) -> anyhow::Result<()> {
    let mut told_by_all = Vec::new();
    for controller in controllers(args.controller.as_deref()).await? {
        let text = controller.get(PATH).await?;
        let told: Vec<Busy> = serde_json::from_str(&text)
            .with_context(|| format!("{controller}: expected a list, is it a controller of this version?"))?;
        told_by_all.extend(told);
    }
    let mut busiest = together(told_by_all);
    if let Some(namespace) = &args.namespace {
        busiest.retain(|busy| busy.namespace == *namespace);
    }
    busiest.truncate(args.limit);
    let now = Clock::start().now().unix_seconds;
    print(&busiest, args.output, |busiest, _| told(busiest, now))
}

/// Each replica tells what it heard itself.
fn together(told: Vec<Busy>) -> Vec<Busy> {
    let mut by_pair: BTreeMap<(String, String, String), Busy> = BTreeMap::new();
    for busy in told {
        let key = (busy.namespace.clone(), busy.name.clone(), busy.host.clone());
        match by_pair.get_mut(&key) {
            None => {
                by_pair.insert(key, busy);
            }
            Some(sum) => {
                sum.calls += busy.calls;
                sum.lately += busy.lately;
                sum.stuck |= busy.stuck;
                sum.last = sum.last.max(busy.last);
            }
        }
    }
    let mut busiest: Vec<Busy> = by_pair.into_values().collect();
    traffic::sort(&mut busiest);
    busiest
}

fn told(busiest: &[Busy], now: i64) -> std::io::Result<String> {
    if busiest.is_empty() {
        return Ok(
            "Nothing was called through the global-sidecar since the controller began, as far as access logs tell.\n"
                .to_owned(),
        );
    }
    let rows: Vec<Vec<String>> = busiest
        .iter()
        .map(|busy| {
            vec![
                busy.namespace.clone(),
                busy.name.clone(),
                busy.host.clone(),
                busy.lately.to_string(),
                busy.calls.to_string(),
                age(busy.last, now),
                way(busy).to_owned(),
            ]
        })
        .collect();
    table(&HEADER, &rows)
}

fn way(busy: &Busy) -> &'static str {
    match busy.way {
        _ if busy.stuck => "stuck",
        Way::Direct => "direct",
        Way::Coming => "coming",
        Way::External => "external",
        Way::Fallback => "fallback",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(host: &str, calls: u64, stuck: bool) -> Busy {
        let (namespace, name) = ("default".to_owned(), "a".to_owned());
        Busy { namespace, name, host: host.to_owned(), way: Way::External, stuck, calls, lately: 1, last: 1_000 }
    }

    #[test]
    fn what_replicas_tell_is_added_up_and_what_is_stuck_is_first() {
        let all = together(vec![busy("x.example", 2, false), busy("b", 1, true), busy("x.example", 3, false)]);
        assert_eq!(
            told(&all, 1_005).unwrap(),
            "NAMESPACE   NAME   HOST        LATELY   CALLS   LAST   WAY\n\
             default     a      b           1        1       5s     stuck\n\
             default     a      x.example   2        5       5s     external\n"
        );
    }

    #[test]
    fn where_nothing_was_called_it_says_so() {
        assert!(told(&[], 0).unwrap().starts_with("Nothing was called"));
    }
}
