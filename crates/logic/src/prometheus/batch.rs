//! One query for many fences. Where a variable stands alone as the value of `label="$variable"`, the matcher becomes
//! `label=~"a|b|c"` and the label goes through every aggregation, so that the answer can be divided again.
//! Shapes that are not known to keep the label are not touched: they are asked once for each fence.

use std::collections::{BTreeMap, BTreeSet};

use rusty_promql_parser::parser::aggregation::{Grouping, GroupingAction};
use rusty_promql_parser::parser::selector::{LabelMatchOp, VectorSelector};
use rusty_promql_parser::{Expr, expr};

use super::template::Variable;

/// Aggregations over each group alone.
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
/// Functions of each series alone, which keep its labels.
const FUNCTIONS: &[&str] = &[
    "abs",
    "avg_over_time",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "count_over_time",
    "delta",
    "deriv",
    "floor",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "round",
    "sum_over_time",
];

/// A query that can be asked for many fences at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    /// With the variables still in their matchers.
    query: Expr,
    /// The labels by which the answer is divided.
    pub(super) labels: BTreeMap<String, Variable>,
    /// Those of them that the user's query would not have shown.
    pub(super) added: BTreeSet<String>,
}

impl Batch {
    /// Reads a template; nothing where its shape is not known to allow it.
    pub(super) fn of(template: &Expr) -> Option<Self> {
        let mut labels = BTreeMap::new();
        collect(template, &mut labels)?;
        if labels.is_empty() {
            return None;
        }
        let mut batch = Self { query: template.clone(), added: labels.keys().cloned().collect(), labels };
        keep_labels(&mut batch.query, &batch.labels, &mut batch.added)?;
        // What is printed must read as what is meant: some texts are quoted differently by the parser's Display.
        let printed = batch.query.to_string();
        let (rest, read) = expr(&printed).ok()?;
        (rest.trim().is_empty() && read == batch.query).then_some(batch)
    }

    /// The query about these values of each variable.
    pub(super) fn text(&self, values: &BTreeMap<Variable, BTreeSet<&str>>) -> String {
        let mut query = self.query.clone();
        fill(&mut query, values);
        query.to_string()
    }
}

/// Finds the labels that carry variables; `None` where a variable stands elsewhere or the shape is not known.
fn collect(query: &Expr, labels: &mut BTreeMap<String, Variable>) -> Option<()> {
    match query {
        Expr::Number(_) => Some(()),
        Expr::Paren(inner) => collect(inner, labels),
        Expr::VectorSelector(selector) => collect_matchers(selector, labels),
        Expr::MatrixSelector(matrix) => collect_matchers(&matrix.selector, labels),
        Expr::Call(call) if FUNCTIONS.contains(&call.name.as_str()) => {
            one_vector(call.args.iter())?;
            call.args.iter().try_for_each(|argument| collect(argument, labels))
        }
        Expr::Aggregation(aggregation) if AGGREGATIONS.contains(&aggregation.op.as_str()) => {
            let by = |grouping: &Grouping| grouping.action == GroupingAction::By;
            if aggregation.param.is_some() || !aggregation.grouping.as_ref().is_none_or(by) {
                return None;
            }
            collect(&aggregation.expr, labels)
        }
        Expr::Binary(binary) => {
            one_vector([&binary.lhs, &binary.rhs].into_iter())?;
            collect(&binary.lhs, labels)?;
            collect(&binary.rhs, labels)
        }
        _ => None,
    }
}

/// Two vectors would have to be matched with each other: only one may be there.
fn one_vector<'a>(expressions: impl Iterator<Item = &'a Expr>) -> Option<()> {
    (expressions.filter(|expression| !matches!(expression, Expr::Number(_))).count() == 1).then_some(())
}

fn collect_matchers(selector: &VectorSelector, labels: &mut BTreeMap<String, Variable>) -> Option<()> {
    for matcher in &selector.matchers {
        let plain = matcher.value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\'');
        if !plain {
            return None;
        }
        if let Some(variable) = Variable::of(&matcher.value) {
            let new = labels.insert(matcher.name.clone(), variable).is_none();
            if !new || matcher.op != LabelMatchOp::Equal || matcher.name == "__name__" {
                return None;
            }
        } else if Variable::ALL.iter().any(|variable| matcher.value.contains(variable.name())) {
            return None;
        }
    }
    Some(())
}

/// Lets the labels through every aggregation; what the user groups by already is not ours to take away again.
fn keep_labels(query: &mut Expr, labels: &BTreeMap<String, Variable>, added: &mut BTreeSet<String>) -> Option<()> {
    match query {
        Expr::Paren(inner) => keep_labels(inner, labels, added),
        Expr::Binary(binary) => {
            keep_labels(&mut binary.lhs, labels, added)?;
            keep_labels(&mut binary.rhs, labels, added)
        }
        Expr::Call(call) => call.args.iter_mut().try_for_each(|argument| keep_labels(argument, labels, added)),
        Expr::Aggregation(aggregation) => {
            let by =
                aggregation.grouping.get_or_insert_with(|| Grouping { action: GroupingAction::By, labels: Vec::new() });
            added.retain(|label| !by.labels.contains(label));
            by.labels.extend(added.iter().cloned());
            keep_within(&mut aggregation.expr, labels)
        }
        // Without an aggregation every label is in the answer, these too.
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => {
            added.clear();
            Some(())
        }
        _ => Some(()),
    }
}

/// Below the outermost aggregation: only that the labels arrive there.
fn keep_within(query: &mut Expr, labels: &BTreeMap<String, Variable>) -> Option<()> {
    match query {
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => Some(()),
        _ => keep_labels(query, labels, &mut labels.keys().cloned().collect()),
    }
}

fn fill(query: &mut Expr, values: &BTreeMap<Variable, BTreeSet<&str>>) {
    match query {
        Expr::Paren(inner) => fill(inner, values),
        Expr::Binary(binary) => {
            fill(&mut binary.lhs, values);
            fill(&mut binary.rhs, values);
        }
        Expr::Call(call) => call.args.iter_mut().for_each(|argument| fill(argument, values)),
        Expr::Aggregation(aggregation) => fill(&mut aggregation.expr, values),
        Expr::VectorSelector(selector) => fill_matchers(selector, values),
        Expr::MatrixSelector(matrix) => fill_matchers(&mut matrix.selector, values),
        _ => {}
    }
}

fn fill_matchers(selector: &mut VectorSelector, values: &BTreeMap<Variable, BTreeSet<&str>>) {
    for matcher in &mut selector.matchers {
        let Some(of_variable) = Variable::of(&matcher.value).and_then(|variable| values.get(&variable)) else {
            continue;
        };
        // A hyphen needs no escape outside of a class, and Prometheus is faster on plain alternatives.
        let names = of_variable.iter().map(|value| regex::escape(value).replace("\\-", "-"));
        matcher.value = names.collect::<Vec<_>>().join("|");
        matcher.op = LabelMatchOp::RegexMatch;
    }
}
