//! What was seen of the switches.

use serde_json::{Value, json};

/// For each kind of switch how many there were, how many of them lost requests, and how many requests; and the time to direct of those that
/// were probed.
#[derive(Default)]
pub struct Tally {
    kinds: Vec<Kind>,
    sent: u64,
    late_ms: f64,
    /// Reasons of the first losses.
    losses: Vec<String>,
    /// Milliseconds, of `learn`.
    to_direct: Vec<f64>,
}

struct Kind {
    name: &'static str,
    switches: usize,
    with_loss: usize,
    lost: usize,
    requests: usize,
}

const LOSSES_TOLD: usize = 50;

impl Tally {
    /// A switch, with what was sent while it was under way and why some of it was lost.
    pub fn add(&mut self, name: &'static str, requests: usize, lost: &[String]) {
        let at = self.kinds.iter().position(|kind| kind.name == name).unwrap_or(self.kinds.len());
        if at == self.kinds.len() {
            self.kinds.push(Kind { name, switches: 0, with_loss: 0, lost: 0, requests: 0 });
        }
        let kind = &mut self.kinds[at];
        kind.switches += 1;
        kind.with_loss += usize::from(!lost.is_empty());
        kind.lost += lost.len();
        kind.requests += requests;
        let room = LOSSES_TOLD.saturating_sub(self.losses.len());
        self.losses.extend(lost.iter().take(room).map(|reason| format!("{name}: {reason}")));
    }

    /// What a load says of itself.
    pub fn load(&mut self, result: &Value) {
        self.sent += result["sent"].as_u64().unwrap_or_default();
        self.late_ms = self.late_ms.max(result["max_late_ms"].as_f64().unwrap_or_default());
    }

    /// From the first request for a new host to the first direct one.
    pub fn was_direct_after(&mut self, milliseconds: f64) {
        self.to_direct.push(milliseconds);
    }

    /// Requests lost, of all kinds.
    pub fn lost(&self) -> usize {
        self.kinds.iter().map(|kind| kind.lost).sum()
    }

    pub fn text(&self) -> String {
        let kinds: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| {
                format!("{} {}/{} ({} of {})", kind.name, kind.with_loss, kind.switches, kind.lost, kind.requests)
            })
            .collect();
        let (p50, p99) = self.quantiles();
        format!(
            "switches with loss/all (requests lost of): {}; {} requests sent, time to direct p50 {p50:.0} p99 {p99:.0} ms of {}; {:?}",
            kinds.join(", "),
            self.sent,
            self.to_direct.len(),
            self.losses.iter().take(3).collect::<Vec<_>>()
        )
    }

    pub fn json(&self, switching: &str) -> Value {
        let kind = |kind: &Kind| json!({"kind": kind.name, "switches": kind.switches, "switches_with_a_loss": kind.with_loss, "requests": kind.requests, "requests_lost": kind.lost});
        let (p50, p99) = self.quantiles();
        json!({
            "switching": switching, "kinds": self.kinds.iter().map(kind).collect::<Vec<_>>(), "requests_sent": self.sent,
            "sender_late_ms": self.late_ms, "losses": self.losses,
            "time_to_direct_ms": {"p50": p50, "p99": p99, "probed": self.to_direct.len()},
        })
    }

    fn quantiles(&self) -> (f64, f64) {
        let mut sorted = self.to_direct.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
        (at(50), at(99))
    }
}
