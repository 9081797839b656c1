//! Who calls whom, and in which languages that can be drawn.

use std::collections::BTreeMap;

use lazyload_api::service_fence::DomainStatus;
use serde::Serialize;

use super::fence::{FenceReport, Reason};
use crate::types::ObjectRef;

/// One dependency, as an arrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The fence, `NAMESPACE/NAME`.
    pub from: String,
    /// A Service as `NAMESPACE/NAME`, a whole namespace as `NAMESPACE/*`, any other host as it is.
    pub to: String,
    /// Why it is there.
    pub reason: Reason,
    /// How it is taken: `direct`, `fallback` (unknown to the mesh), `leaving` or `expired`.
    pub way: &'static str,
}

/// A language for drawings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people in a terminal.
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid, as Markdown viewers draw it.
    Mermaid,
}

/// The arrows of all fences, in their order.
#[must_use]
pub fn edges(reports: &[FenceReport]) -> Vec<Edge> {
    let of_one = |report: &FenceReport| -> Vec<Edge> {
        let from = format!("{}/{}", report.namespace, report.name);
        let arrows = report.dependencies.iter().map(|dependency| Edge {
            from: from.clone(),
            to: node(&dependency.host),
            reason: dependency.reason,
            way: match (dependency.external, dependency.status) {
                (true, _) => "fallback",
                (_, DomainStatus::Active) => "direct",
                (_, DomainStatus::ExpireWait) => "leaving",
                (_, DomainStatus::Expire) => "expired",
            },
        });
        arrows.collect()
    };
    reports.iter().flat_map(of_one).collect()
}

/// A Service's host is its namespace and name; others stay as they are.
fn node(host: &str) -> String {
    let mut parts = host.strip_suffix(".svc.cluster.local").into_iter().flat_map(|service| service.split('.'));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(namespace), None) => ObjectRef::new(namespace, name).to_string(),
        _ => host.to_owned(),
    }
}

/// Draws.
#[must_use]
pub fn render(edges: &[Edge], format: Format) -> String {
    match format {
        Format::Text => text(edges),
        Format::Dot => dot(edges),
        Format::Mermaid => mermaid(edges),
    }
}

fn text(edges: &[Edge]) -> String {
    let mut lines = String::new();
    let mut caller = "";
    for edge in edges {
        if edge.from != caller {
            caller = &edge.from;
            lines += &format!("{caller}\n");
        }
        lines += &format!("  -> {} ({}, {})\n", edge.to, edge.reason.name(), edge.way);
    }
    lines
}

fn dot(edges: &[Edge]) -> String {
    let mut lines = String::from("digraph lazyload {\n  rankdir=LR;\n  node [shape=box];\n");
    for Edge { from, to, reason, way } in edges {
        let style = if *way == "direct" { "solid" } else { "dashed" };
        let label = if *way == "direct" { reason.name() } else { way };
        lines += &format!("  {} -> {} [label={}, style={style}];\n", quoted(from), quoted(to), quoted(label));
    }
    lines + "}\n"
}

fn mermaid(edges: &[Edge]) -> String {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = String::from("flowchart LR\n");
    for Edge { from, to, reason, way } in edges {
        let mut id = |node| {
            let next = ids.len();
            let known = ids.contains_key(node);
            let id = *ids.entry(node).or_insert(next);
            if known { format!("n{id}") } else { format!("n{id}[\"{node}\"]") }
        };
        let (from, to) = (id(from), id(to));
        lines += &match *way {
            "direct" => format!("  {from} -->|{}| {to}\n", reason.name()),
            way => format!("  {from} -.->|{way}| {to}\n"),
        };
    }
    lines
}

/// Host names and object names hold no quotes; what somebody wrote into a fence by hand may.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(to: &str, way: &'static str) -> Edge {
        Edge { from: "default/a".into(), to: to.into(), reason: Reason::Learned, way }
    }

    #[test]
    fn a_service_is_a_node_by_its_name_and_other_hosts_by_theirs() {
        assert_eq!(node("details.default.svc.cluster.local"), "default/details");
        for host in ["x.example", "test/*", "pod.sts.default.svc.cluster.local", "svc.cluster.local"] {
            assert_eq!(node(host), host);
        }
    }

    #[test]
    fn the_same_arrows_are_drawn_in_every_language() {
        let edges = [edge("default/b", "direct"), edge("x.example", "fallback"), edge("default/a", "leaving")];
        assert_eq!(
            render(&edges, Format::Text),
            "default/a\n  -> default/b (learned, direct)\n  -> x.example (learned, fallback)\n  -> default/a (learned, leaving)\n"
        );
        assert_eq!(
            render(&edges, Format::Mermaid),
            "flowchart LR\n  n0[\"default/a\"] -->|learned| n1[\"default/b\"]\n  n0 -.->|fallback| n2[\"x.example\"]\n  n0 -.->|leaving| n0\n"
        );
        let dot = render(&edges, Format::Dot);
        assert!(dot.starts_with("digraph lazyload {\n") && dot.ends_with("}\n"), "{dot}");
        assert!(dot.contains("  \"default/a\" -> \"x.example\" [label=\"fallback\", style=dashed];\n"), "{dot}");
    }

    #[test]
    fn what_is_written_by_hand_cannot_break_out_of_its_quotes() {
        assert_eq!(quoted(r#"a" -> "\b"#), r#""a\" -> \"\\b""#);
    }
}
