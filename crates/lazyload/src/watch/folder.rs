//! Watches a folder of YAML. The system tells of edits; each one is followed by a look at all files, of which only differences are news.

use std::path::Path;
use std::time::Duration;

use lazyload_logic::state::Event;
use lazyload_logic::types::Kind;
use notify::{RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::folder::{Folder, Problem};

/// An edit waits this long for the next one: editors write a file in several steps.
const GATHER: Duration = Duration::from_millis(10);
/// No edit waits longer than this for others.
const GATHER_AT_MOST: Duration = Duration::from_millis(100);

/// A folder that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("failed to watch {}", directory.display())]
pub struct WatchError {
    directory: std::path::PathBuf,
    source: notify::Error,
}

/// Delivers the folder as it is, then every change of it. What is wrong in files goes to `problems`, once for each change.
/// The tasks end when nobody receives the events any more.
///
/// # Errors
/// The system does not tell of edits.
pub fn watch_folder(
    folder: &Folder,
    events: mpsc::Sender<Event>,
    problems: mpsc::UnboundedSender<Vec<Problem>>,
) -> Result<JoinSet<()>, WatchError> {
    let directory = folder.directory();
    let (edits_tx, edits) = watch::channel(());
    let watcher = watcher(&directory, edits_tx).map_err(|source| WatchError { directory, source })?;
    // What was edited between the caller's look at the files and now.
    let found = folder.rescan();
    if !found.is_empty() && problems.send(found).is_err() {
        tracing::debug!("nobody wants to know what is wrong in files");
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(scan_after_edits(folder.clone(), watcher, edits, problems));
    tasks.spawn(deliver(folder.clone(), events));
    Ok(tasks)
}

fn watcher(directory: &Path, edits: watch::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too: not ours, or each look would cause the next one.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        edits.send_replace(());
    })?;
    watcher.watch(directory, RecursiveMode::Recursive)?;
    Ok(watcher)
}

async fn scan_after_edits(
    folder: Folder,
    watcher: notify::RecommendedWatcher,
    mut edits: watch::Receiver<()>,
    problems: mpsc::UnboundedSender<Vec<Problem>>,
) {
    while edits.changed().await.is_ok() {
        let since = tokio::time::Instant::now();
        while since.elapsed() < GATHER_AT_MOST && tokio::time::timeout(GATHER, edits.changed()).await.is_ok() {}
        let found = folder.rescan();
        if !found.is_empty() && problems.send(found).is_err() {
            break;
        }
    }
    drop(watcher);
}

async fn deliver(folder: Folder, events: mpsc::Sender<Event>) {
    let mut changes = folder.changes();
    if send(&folder, &events).await.is_err() {
        return;
    }
    for kind in Kind::ALL {
        if events.send(Event::Listed(kind)).await.is_err() {
            return;
        }
    }
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = events.closed() => return,
        }
        if send(&folder, &events).await.is_err() {
            return;
        }
    }
}

async fn send(folder: &Folder, events: &mpsc::Sender<Event>) -> Result<(), mpsc::error::SendError<Event>> {
    for event in folder.take_events() {
        events.send(event).await?;
    }
    Ok(())
}
