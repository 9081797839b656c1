//! `lazyload boot`: the operator. One loop hears, decides and acts; one act at a time.

use std::time::Duration;

use anyhow::Context as _;
use lazyload_logic::boot::operator_needs;
use lazyload_logic::operator::{Event, Operator};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::self_check;
use crate::admin::server;
use crate::apply::boot::BootWriter;
use crate::cli::BootArgs;
use crate::process::api_server;
use crate::process::clock::Clock;
use crate::process::exit::BadInput;
use crate::process::listen::{check, listen};
use crate::process::readiness::{Awaited, Readiness};
use crate::process::{logging, signals};
use crate::watch::boot::{watch_declarations, watch_installations, watch_namespaces};

/// Events that wait for the loop at most; the watches wait then.
const EVENT_QUEUE: usize = 1024;

/// Runs the operator until a signal ends it.
///
/// # Errors
/// The arguments cannot be used, the address cannot be listened on, or the API server cannot be reached.
pub async fn run(args: BootArgs) -> anyhow::Result<()> {
    check(&args.listen).map_err(|error| BadInput(format!("--listen: {error}")))?;
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let level = logging::start(&level).map_err(|error| BadInput(error.to_string()))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "operator");
    let shutdown = signals::shutdown()?;
    let readiness = Readiness::default();
    let health = tokio::spawn(server::serve_health(listen(&args.listen)?, readiness.clone(), level, shutdown.clone()));

    let client = api_server::client().await?;
    let (lacks_tx, lacks) = mpsc::channel(1);
    let rights = self_check::check(
        client.clone(),
        operator_needs(),
        "apply what `lazyload install-yaml` prints",
        readiness.clone(),
        Some(lacks_tx),
    );
    let rights = tokio::spawn(rights);
    let (events_tx, events_rx) = mpsc::channel(EVENT_QUEUE);
    let watches = watch_installations(&client, &events_tx);
    let telling = events_tx.downgrade();
    drop(events_tx);
    operate(&readiness, &client, (telling, events_rx), lacks, &shutdown).await;
    shutdown.cancel();
    rights.abort();
    drop(watches);
    health.await.context("the health endpoint ended badly")??;
    Ok(())
}

async fn operate(
    readiness: &Readiness,
    client: &kube::Client,
    (telling, mut events): (mpsc::WeakSender<Event>, mpsc::Receiver<Event>),
    mut lacks: mpsc::Receiver<Option<String>>,
    shutdown: &CancellationToken,
) {
    let writer = BootWriter::new(client.clone());
    let (mut declarations, mut namespaces) = (Watches::default(), Watches::default());
    let clock = Clock::start();
    let mut operator = Operator::default();
    let mut awaited: Vec<(&str, Awaited)> =
        operator.unlisted().iter().map(|kind| (*kind, readiness.awaits(format!("the list of {kind}s")))).collect();
    loop {
        hear_all(&mut operator, &mut events, &clock);
        let Some(tx) = telling.upgrade() else { return };
        if declarations.follow(operator.finds_ports(), || watch_declarations(client, &tx)).await {
            hear_all(&mut operator, &mut events, &clock);
            operator.on(Event::NotDeclaring, clock.now());
        }
        if namespaces.follow(operator.watches_namespaces(), || watch_namespaces(client, &tx)).await {
            hear_all(&mut operator, &mut events, &clock);
            operator.on(Event::NotWatchingNamespaces, clock.now());
        }
        drop(tx);
        awaited.retain(|(kind, _)| operator.unlisted().contains(kind));
        if let Some(action) = operator.next(clock.now()) {
            let outcome = tokio::select! {
                // An act that has begun is finished, but for the longest that one may take.
                outcome = writer.carry_out(&action) => outcome,
                () = cancelled_for(shutdown, GRACE) => return,
            };
            operator.on(Event::Finished(Box::new(action), outcome), clock.now());
            if shutdown.is_cancelled() {
                return;
            }
            continue;
        }
        let now = clock.now();
        let wait = operator.next_alarm(now).map(|at| at.saturating_sub(now.monotonic));
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(rights) = lacks.recv() => operator.on(Event::Lacks(rights), clock.now()),
            event = events.recv() => match event {
                Some(event) => operator.on(event, clock.now()),
                None => return,
            },
            () = tokio::time::sleep(wait.unwrap_or(HEAL_EVERY).max(SHORTEST_WAIT)) => {}
        }
    }
}

/// How often everything is looked at again though nothing was heard.
const HEAL_EVERY: Duration = Duration::from_secs(600);
/// Between two looks, whatever the alarm says.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Longest that an act on its way holds up the end.
const GRACE: Duration = Duration::from_secs(5);

/// Watches that run while somebody wants to know.
#[derive(Default)]
struct Watches(Option<JoinSet<()>>);

impl Watches {
    /// Starts or ends them; returns whether they ended, so that what they told is worth nothing any more.
    async fn follow(&mut self, wanted: bool, start: impl FnOnce() -> JoinSet<()>) -> bool {
        match self.0.take() {
            Some(mut running) if !wanted => {
                running.shutdown().await;
                true
            }
            running => {
                self.0 = if wanted { Some(running.unwrap_or_else(start)) } else { None };
                false
            }
        }
    }
}

/// Takes in what waits.
fn hear_all(operator: &mut Operator, events: &mut mpsc::Receiver<Event>, clock: &Clock) {
    while let Ok(event) = events.try_recv() {
        operator.on(event, clock.now());
    }
}

async fn cancelled_for(shutdown: &CancellationToken, time: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(time).await;
}
