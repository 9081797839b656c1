//! Istio's names of Envoy clusters: `DIRECTION|PORT|SUBSET|HOST`, and a few fixed ones.

/// Where the requests of a cluster go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the proxy's own workload: `inbound|9080||`.
    Inbound,
    /// To another service: `outbound|9080||details.default.svc.cluster.local`.
    Outbound,
    /// To where the client wanted, unknown to the mesh, or to nowhere: `PassthroughCluster`, `BlackHoleCluster`.
    Unmatched,
}

/// Whether requests of this cluster go to the proxy's own workload: four parts, the first one `inbound`.
#[must_use]
pub fn is_inbound(cluster: &str) -> bool {
    direction(cluster) == Some(Direction::Inbound)
}

/// The subset that an inbound cluster names; `None` for none, and for every other cluster. Istio's have none, or a port's name.
#[must_use]
pub fn inbound_subset(cluster: &str) -> Option<&str> {
    let subset = is_inbound(cluster).then(|| cluster.split('|').nth(2)).flatten()?;
    (!subset.is_empty()).then_some(subset)
}

/// The host of a cluster that a proxy's own workload calls, empty where the mesh does not know it; `None` for every other cluster.
#[must_use]
pub fn called(cluster: &str) -> Option<&str> {
    match direction(cluster)? {
        Direction::Outbound => cluster.rsplit('|').next(),
        Direction::Unmatched if !cluster.starts_with("Inbound") => Some(""),
        Direction::Unmatched | Direction::Inbound => None,
    }
}

/// Where requests of this cluster go; nothing for Envoy's own clusters (`agent`, `prometheus_stats`, …) and for none (`-`).
#[must_use]
pub fn direction(cluster: &str) -> Option<Direction> {
    match cluster {
        "PassthroughCluster" | "BlackHoleCluster" => return Some(Direction::Unmatched),
        "InboundPassthroughCluster" | "InboundPassthroughClusterIpv4" | "InboundPassthroughClusterIpv6" => {
            return Some(Direction::Unmatched);
        }
        _ => {}
    }
    let (first, rest) = cluster.split_once('|')?;
    if rest.bytes().filter(|byte| *byte == b'|').count() != 2 {
        return None;
    }
    match first {
        "inbound" => Some(Direction::Inbound),
        "outbound" => Some(Direction::Outbound),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound_is_four_parts_with_inbound_first() {
        for cluster in ["inbound|9080||", "inbound|80|http|details.default.svc.cluster.local"] {
            assert!(is_inbound(cluster), "{cluster}");
        }
        for cluster in [
            "",
            "inbound",
            "inbound|9080|",
            "inbound|9080|||",
            "Inbound|9080||",
            "outbound|9080||a",
            "PassthroughCluster",
        ] {
            assert!(!is_inbound(cluster), "{cluster}");
        }
    }

    #[test]
    fn the_subset_is_the_third_part_of_an_inbound_cluster() {
        assert_eq!(inbound_subset("inbound|80|shop|"), Some("shop"));
        for cluster in ["inbound|80||", "inbound|80|shop", "outbound|80|shop|a", "PassthroughCluster", ""] {
            assert_eq!(inbound_subset(cluster), None, "{cluster}");
        }
    }

    #[test]
    fn envoys_own_clusters_have_no_direction() {
        for cluster in
            ["-", "agent", "prometheus_stats", "xds-grpc", "outbound_.9080_._.details.default.svc.cluster.local"]
        {
            assert_eq!(direction(cluster), None, "{cluster}");
        }
        assert_eq!(direction("outbound|9080||details.default.svc.cluster.local"), Some(Direction::Outbound));
        assert_eq!(direction("BlackHoleCluster"), Some(Direction::Unmatched));
    }
}
