//! What a sample says about the time since the last one.

use rusty_promql_parser::Expr;

/// How a handler's samples are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A sum of counters, which only grow: a host was called when its number is new or another one than before.
    Counter,
    /// Anything else (`increase(…)`, `count(…)`, `… > 0`): a host is called as long as there is a sample above zero.
    Presence,
}

/// Suffixes of counters. Source: Prometheus' metric naming.
const COUNTERS: &[&str] = &["_total", "_count", "_sum", "_bucket"];

impl Reading {
    /// Only where every call must change the number it is read as a counter: a mistake would let a host go that is in use.
    pub(super) fn of(query: &Expr) -> Self {
        match query {
            Expr::Paren(inner) => Self::of(inner),
            Expr::Aggregation(aggregation) if matches!(aggregation.op.as_str(), "sum" | "avg") => {
                Self::of(&aggregation.expr)
            }
            Expr::VectorSelector(selector) => {
                let name = selector.name.as_deref().unwrap_or_default();
                let counter = COUNTERS.iter().any(|suffix| name.ends_with(suffix));
                if counter { Self::Counter } else { Self::Presence }
            }
            _ => Self::Presence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sums_of_counters_are_read_as_counters() {
        let of = |query: &str| Reading::of(&rusty_promql_parser::expr(query).unwrap().1);
        for query in [
            r#"sum(istio_requests_total{source_app="a"})by(destination_service)"#,
            "(avg by (x) (sum(istio_requests_total)))",
            "istio_requests_total",
        ] {
            assert_eq!(of(query), Reading::Counter, "{query}");
        }
        for query in [
            "group(istio_requests_total) by (destination_service)",
            "count(istio_requests_total)",
            "max(istio_requests_total)",
            "sum(increase(istio_requests_total[1h]))",
            "sum(istio_requests_total) > 0",
            "sum(up)",
        ] {
            assert_eq!(of(query), Reading::Presence, "{query}");
        }
    }
}
