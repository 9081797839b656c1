//! What a proxy says of itself, and when a new form of a Sidecar has reached it. Every form that announces something else has its inert listener
//! on the other port: a proxy that has it has one listener more than before, with the clusters that istiod sends before listeners. Where a
//! proxy can be asked, nobody needs to guess how long istiod takes. Reasons: docs/adr/0028.

/// Where Istio's proxy tells its statistics to everybody.
pub const PORT: u16 = 15090;
/// What is asked there: the few statistics of a [`Reading`]. Istio keeps them whatever `statsMatcher` a proxy has.
pub const PATH: &str = "/stats/prometheus?filter=listener_manager.listener_added%7Cmanager.*warming";

/// Listeners that came, since the proxy started.
const ADDED: &str = "envoy_listener_manager_listener_added";
/// What is known and not ready yet.
const WARMING: [&str; 2] = ["envoy_cluster_manager_warming_clusters", "envoy_listener_manager_total_listeners_warming"];

/// What a proxy said at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    added: u64,
    is_warming: bool,
}

impl Reading {
    /// Reads statistics in Prometheus' format; `None` if these are not a proxy's.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut added = None;
        let mut is_warming = false;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, _) = series.split_once('{').unwrap_or((series, ""));
            if name == ADDED {
                added = value.parse().ok();
            } else if WARMING.contains(&name) {
                is_warming |= value != "0";
            }
        }
        added.map(|added| Self { added, is_warming })
    }

    /// Whether a new listener is there since an earlier reading, and everything is ready. A proxy that has begun anew since then has had
    /// nothing to switch.
    #[must_use]
    pub fn is_after(&self, earlier: &Self) -> bool {
        self.added != earlier.added && !self.is_warming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy 1.40 writes them.
    fn text(added: u64, warming: u64) -> String {
        format!(
            "# TYPE envoy_listener_manager_listener_added counter\nenvoy_listener_manager_listener_added{{}} {added}\n\
             # TYPE envoy_cluster_manager_warming_clusters gauge\nenvoy_cluster_manager_warming_clusters{{}} {warming}\n\
             envoy_listener_manager_total_listeners_warming{{}} 0\n"
        )
    }

    fn is_after(earlier: (u64, u64), later: (u64, u64)) -> bool {
        let read = |(added, warming)| Reading::of(&text(added, warming)).unwrap();
        read(later).is_after(&read(earlier))
    }

    #[test]
    fn a_form_has_arrived_with_its_listener_and_once_nothing_warms() {
        assert!(!is_after((11, 0), (11, 0)));
        assert!(!is_after((11, 0), (12, 1)), "the clusters are known and not ready");
        assert!(is_after((11, 0), (12, 0)));
        assert!(is_after((11, 3), (12, 0)));
        assert!(is_after((11, 0), (2, 0)), "it began anew");
    }

    #[test]
    fn what_is_not_a_proxys_says_nothing() {
        for other in ["", "<html>\n", "envoy_listener_manager_listener_added{} many\n", "go_goroutines 7\n"] {
            assert_eq!(Reading::of(other), None, "{other}");
        }
    }
}
