//! One round: every handler asked about some fences. What fails, fails alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use futures::StreamExt;
use lazyload_logic::prometheus::{Query, Template, Told};
use lazyload_logic::types::ObjectRef;

use super::Failure;
use super::client::Session;
use super::counters::{Handler, PrometheusCounters};

/// Queries on their way at the same time.
const AT_ONCE: usize = 8;
/// Fences of one query: at most, and at least where Prometheus cannot cope with more.
const BATCH: (usize, usize) = (2000, 16);
/// Rounds without a failure after which a smaller batch is doubled again.
const GOOD_ROUNDS: u32 = 60;
/// After so many queries in a row without anybody there, the rest of the round is not sent.
const GIVE_UP: u32 = 8;

/// A handler, and how it fares.
pub(super) struct Asked {
    name: Arc<str>,
    template: Template,
    batch: usize,
    good_rounds: u32,
    /// What was said last about its failing, so that it is said once.
    complaint: Option<usize>,
    warned: bool,
}

impl Asked {
    pub(super) fn new(name: &str, query: &str) -> Self {
        let template = Template::new(query);
        Self { name: Arc::from(name), template, batch: BATCH.0, good_rounds: 0, complaint: None, warned: false }
    }

    /// Asks about these fences; fences whose query failed are missing in the answer. Says whether anybody was there.
    pub(super) async fn ask(
        &mut self,
        session: &Session,
        fences: &BTreeSet<ObjectRef>,
        full: bool,
        counters: &PrometheusCounters,
    ) -> (Told, bool) {
        let queries = self.template.queries(fences, self.batch);
        let sent = u64::try_from(queries.len()).unwrap_or(u64::MAX);
        let absent = AtomicU32::new(0);
        let ask = |query: Query| {
            let absent = &absent;
            async move {
                if absent.load(Relaxed) >= GIVE_UP {
                    return (query, None);
                }
                let answer = session.ask(&query).await;
                match &answer {
                    Err(failure) if failure.is_absence() => absent.fetch_add(1, Relaxed),
                    _ => absent.swap(0, Relaxed),
                };
                (query, Some(answer))
            }
        };
        let mut answers = futures::stream::iter(queries.into_iter().map(ask)).buffer_unordered(AT_ONCE);
        let mut told = Told { handler: self.name.clone(), reading: self.template.reading(), fences: BTreeMap::new() };
        let (mut failed, mut first, mut too_large, mut answered) = (0, None::<Failure>, false, false);
        while let Some((query, answer)) = answers.next().await {
            match answer {
                Some(Ok(found)) => {
                    answered = true;
                    counters.answered(&found);
                    self.warn(&found.warnings);
                    told.fences.extend(found.fences);
                }
                Some(Err(failure)) => {
                    failed += 1;
                    counters.failed(&failure);
                    too_large |= failure.is_about_size() && query.fences.len() > 1;
                    // Of several reasons always the same one, so that the log does not go back and forth.
                    if first.as_ref().is_none_or(|first| failure.index() < first.index()) {
                        first = Some(failure);
                    }
                }
                None => failed += 1,
            }
        }
        drop(answers);
        self.adapt(too_large, failed);
        self.complain(first.as_ref(), failed, sent);
        if full {
            let hosts = told.fences.values().map(BTreeMap::len).sum::<usize>();
            let hosts = u64::try_from(hosts).unwrap_or(u64::MAX);
            counters.handler(&self.name, Handler { queries: sent, failed, hosts });
        }
        (told, answered || first.is_none_or(|failure| !failure.is_absence()))
    }

    /// Fewer fences at once where Prometheus cannot cope, more again when it has for a while.
    fn adapt(&mut self, too_large: bool, failed: u64) {
        if too_large {
            self.batch = (self.batch / 2).max(BATCH.1);
        }
        self.good_rounds = if failed > 0 { 0 } else { self.good_rounds + 1 };
        if self.good_rounds >= GOOD_ROUNDS {
            self.good_rounds = 0;
            self.batch = (self.batch * 2).min(BATCH.0);
        }
    }

    /// Says once that it fails, why, and that it works again.
    pub(super) fn complain(&mut self, failure: Option<&Failure>, failed: u64, sent: u64) {
        let complaint = failure.map(Failure::index);
        if complaint == self.complaint {
            return;
        }
        self.complaint = complaint;
        match failure {
            Some(failure) => tracing::warn!(
                handler = %self.name, error = %failure, failed, queries = sent,
                "Prometheus does not answer; nothing learned is lost, nothing new is learned"
            ),
            None => tracing::info!(handler = %self.name, "Prometheus answers again"),
        }
    }

    fn warn(&mut self, warnings: &[String]) {
        if warnings.is_empty() == self.warned {
            self.warned = !warnings.is_empty();
            if let Some(first) = warnings.first() {
                tracing::warn!(handler = %self.name, warning = first, "Prometheus remarks; the answer counts");
            }
        }
    }
}
