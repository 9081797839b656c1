//! The queries of one handler: the user's text with `$source_app` and `$namespace`. Source: contract 3.3.

use std::collections::{BTreeMap, BTreeSet};

use rusty_promql_parser::expr;

use super::Reading;
use super::batch::Batch;
use crate::types::ObjectRef;

/// What a query's text may say of the fence that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variable {
    /// `$namespace`: the fence's namespace.
    Namespace,
    /// `$source_app`: the fence's name.
    SourceApp,
}

impl Variable {
    /// In the order in which the original replaces them.
    pub(super) const ALL: [Self; 2] = [Self::Namespace, Self::SourceApp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "$namespace",
            Self::SourceApp => "$source_app",
        }
    }

    /// The variable that a text is, as a whole.
    pub(super) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.name() == text)
    }

    pub(super) fn value(self, fence: &ObjectRef) -> &str {
        match self {
            Self::Namespace => &fence.namespace,
            Self::SourceApp => &fence.name,
        }
    }
}

/// A handler's query, understood as far as it can be.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    batch: Option<Batch>,
    reading: Reading,
}

/// One query to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// PromQL.
    pub text: String,
    /// The fences that its answer is about.
    pub fences: BTreeSet<ObjectRef>,
    /// By which labels the answer is divided, and which of them are not the user's; empty: every fence gets all of it.
    pub(super) labels: BTreeMap<String, Variable>,
    pub(super) added: BTreeSet<String>,
}

impl Template {
    /// Reads a handler's query. What cannot be read is asked for each fence as it is: Prometheus says what is wrong with it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim().to_owned();
        let read = match expr(&text) {
            Ok((rest, read)) if rest.trim().is_empty() => Some(read),
            _ => None,
        };
        let batch = read.as_ref().and_then(Batch::of);
        Self { text, batch, reading: read.as_ref().map_or(Reading::Presence, Reading::of) }
    }

    /// What a sample means.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// The fewest queries that tell of all these fences, each about at most `limit` of them where one query can be about several.
    /// Fences whose queries have the same text share one in any case.
    #[must_use]
    pub fn queries(&self, fences: &BTreeSet<ObjectRef>, limit: usize) -> Vec<Query> {
        let mut by_text: BTreeMap<String, BTreeSet<ObjectRef>> = BTreeMap::new();
        for fence in fences {
            by_text.entry(self.text_for(fence)).or_default().insert(fence.clone());
        }
        let single = |(text, fences): (String, BTreeSet<ObjectRef>)| Query {
            text,
            fences,
            labels: BTreeMap::new(),
            added: BTreeSet::new(),
        };
        let Some(batch) = self.batch.as_ref().filter(|_| by_text.len() > 1) else {
            return by_text.into_iter().map(single).collect();
        };
        let together: Vec<BTreeSet<ObjectRef>> = by_text.into_values().collect();
        together.chunks(limit.max(1)).map(|chunk| batched(batch, chunk.iter().flatten().cloned().collect())).collect()
    }

    /// The query about one fence. Names of Kubernetes objects need no escape; what is not such a name must not end the quotes.
    fn text_for(&self, fence: &ObjectRef) -> String {
        Variable::ALL
            .into_iter()
            .fold(self.text.clone(), |text, variable| text.replace(variable.name(), &escaped(variable.value(fence))))
    }
}

fn batched(batch: &Batch, fences: BTreeSet<ObjectRef>) -> Query {
    let values = Variable::ALL
        .into_iter()
        .map(|variable| (variable, fences.iter().map(|fence| variable.value(fence)).collect()));
    let text = batch.text(&values.collect());
    Query { text, fences, labels: batch.labels.clone(), added: batch.added.clone() }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '"' | '\'' => escaped.extend(['\\', letter]),
            '\n' => escaped.push_str("\\n"),
            '`' => {}
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the seed prints it, in a YAML block that ends with a newline.
    const SEED: &str =
        "sum(istio_requests_total{source_app=\"$source_app\",reporter=\"destination\"})by(destination_service)\n";

    fn fences(names: &[(&str, &str)]) -> BTreeSet<ObjectRef> {
        names.iter().map(|(namespace, name)| ObjectRef::new(*namespace, *name)).collect()
    }

    fn texts(template: &str, names: &[(&str, &str)], limit: usize) -> Vec<String> {
        Template::new(template).queries(&fences(names), limit).into_iter().map(|query| query.text).collect()
    }

    #[test]
    fn one_fence_is_asked_for_in_the_users_words() {
        assert_eq!(
            texts(SEED, &[("default", "productpage")], 10),
            [r#"sum(istio_requests_total{source_app="productpage",reporter="destination"})by(destination_service)"#]
        );
    }

    #[test]
    fn the_seeds_query_is_asked_once_for_all_fences() {
        assert_eq!(
            texts(SEED, &[("default", "productpage"), ("default", "v1.reviews"), ("test", "a-b")], 10),
            [
                r#"sum by (destination_service, source_app) (istio_requests_total{source_app=~"a-b|productpage|v1\\.reviews", reporter="destination"})"#
            ]
        );
        assert_eq!(Template::new(SEED).reading(), Reading::Counter);
    }

    #[test]
    fn namesakes_share_a_query_that_does_not_tell_them_apart() {
        let two = [("default", "a"), ("test", "a")];
        let queries = Template::new(SEED).queries(&fences(&two), 10);
        assert_eq!(queries.len(), 1);
        assert_eq!(queries[0].fences, fences(&two));
        let apart = r#"sum(x_total{app="$source_app", ns="$namespace"}) by (destination_service)"#;
        assert_eq!(
            texts(apart, &two, 10),
            [r#"sum by (destination_service, app, ns) (x_total{app=~"a", ns=~"default|test"})"#]
        );
    }

    #[test]
    fn no_query_is_about_more_fences_than_it_may() {
        let names: Vec<String> = (0..25).map(|number| format!("f{number:02}")).collect();
        let named: Vec<_> = names.iter().map(|name| ("default", name.as_str())).collect();
        let queries = Template::new(SEED).queries(&fences(&named), 10);
        assert_eq!(queries.iter().map(|query| query.fences.len()).collect::<Vec<_>>(), [10, 10, 5]);
    }

    #[test]
    fn every_known_shape_keeps_the_label() {
        let two = [("default", "a"), ("default", "b")];
        for (template, expected) in [
            (
                r#"sum(rate(x_total{app="$source_app"}[5m])) by (h) > 0"#,
                r#"sum by (h, app) (rate(x_total{app=~"a|b"}[5m])) > 0"#,
            ),
            (r#"group(x_total{app="$source_app"})"#, r#"group by (app) (x_total{app=~"a|b"})"#),
            (
                r#"sum(max(x_total{app="$source_app"}) by (h, pod)) by (h)"#,
                r#"sum by (h, app) (max by (h, pod, app) (x_total{app=~"a|b"}))"#,
            ),
            (
                r#"round((sum by (h, app) (x_total{app="$source_app"} offset 5m)))"#,
                r#"round((sum by (h, app) (x_total{app=~"a|b"} offset 5m)))"#,
            ),
        ] {
            assert_eq!(texts(template, &two, 10), [expected]);
        }
    }

    #[test]
    fn every_other_shape_is_asked_once_for_each_fence() {
        let two = [("default", "a"), ("default", "b")];
        for template in [
            r#"sum without (pod) (x_total{app="$source_app"})"#,
            r#"topk(3, x_total{app="$source_app"})"#,
            r#"sum(x_total{app=~"$source_app"}) by (h)"#,
            r#"sum(x_total{app="$source_app-v1"}) by (h)"#,
            r#"sum(x_total{app="$source_app"}) by (h) / sum(y_total{app="$source_app"}) by (h)"#,
            r#"sum(x_total{app="$source_app", m="it's"}) by (h)"#,
            r#"sum(x_total{app="$source_app", m="é"}) by (h)"#,
            r#"label_replace(x_total{app="$source_app"}, "h", "$1", "app", "(.*)")"#,
            r#"sum(x_total{app="$source_app"} by (h)"#,
        ] {
            let expected = ["a", "b"].map(|name| template.replace("$source_app", name));
            assert_eq!(texts(template, &two, 10), expected, "{template}");
        }
        // Without a variable there is one answer for all.
        assert_eq!(texts("sum(x_total) by (h)", &two, 10).len(), 1);
    }

    #[test]
    fn a_name_does_not_break_out_of_its_quotes() {
        let text = texts(r#"sum(x{app="$source_app"})"#, &[("default", "a\"}) or vector(1) #\\")], 10);
        assert_eq!(text, [r#"sum(x{app="a\"}) or vector(1) #\\"})"#]);
    }
}
