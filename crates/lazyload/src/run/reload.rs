//! Settings that change while the controller runs.

use std::sync::Arc;
use std::time::Duration;

use lazyload_logic::settings::{Resolved, Settings};
use lazyload_logic::state::{Event, State};
use lazyload_logic::trust::Believed;
use tokio::sync::{mpsc, watch};

use crate::admin::metrics::Metrics;
use crate::process::log_file::Output;
use crate::process::logging::LevelHandle;
use crate::watch::settings::SettingsFile;

/// How often the file is looked at. Looking is cheap, works on every file system, and a kubelet brings a changed ConfigMap within a
/// minute only.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is told of changed settings, and who is told.
pub struct Reload {
    /// The file, which has been read once.
    pub file: SettingsFile,
    /// What is in force.
    pub running: Settings,
    /// Where the log level changes; `None` if it is not the file's to say.
    pub level: Option<LevelHandle>,
    /// Where log lines go.
    pub output: Output,
    /// Whose access logs are believed.
    pub believed: watch::Sender<Believed>,
    /// The engine, which ends with its watches.
    pub events: mpsc::WeakSender<Event>,
    /// Counts what was read.
    pub metrics: Arc<Metrics>,
}

impl Reload {
    /// Looks at the file until nobody receives the events any more.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // The file can be on a file system that hangs.
            let looked = tokio::task::spawn_blocking(move || {
                let read = self.file.read();
                (self, read)
            });
            let Ok((back, read)) = looked.await else { return };
            self = back;
            match read {
                None => {}
                Some(Ok(resolved)) => self.apply(resolved).await,
                Some(Err(error)) => {
                    self.metrics.config_reload_failed();
                    tracing::error!(%error, "changed settings cannot be used; going on with the ones before");
                }
            }
            if self.events.upgrade().is_none() {
                return;
            }
        }
    }

    async fn apply(&mut self, resolved: Resolved) {
        warn(&resolved.warnings);
        let (settings, kept) = resolved.settings.at_run_time(&self.running);
        for setting in kept {
            tracing::warn!(setting, "takes a restart of the controller; it keeps its old value until then");
        }
        if settings == self.running {
            return;
        }
        warn(&State::problems_of(&settings));
        if let Some(level) = self.level.as_ref().filter(|_| settings.log_level != self.running.log_level)
            && let Err(error) = level.set(&settings.log_level)
        {
            tracing::warn!(error = format!("{error:#}"), "log level not changed");
        }
        if settings.log_file != self.running.log_file {
            tracing::info!(
                file = settings.log_file.as_ref().map(|file| &file.path),
                "log lines go elsewhere from now on"
            );
            self.output.set(settings.log_file.as_ref());
        }
        let Some(events) = self.events.upgrade() else { return };
        if events.send(Event::Settings(Box::new(settings.clone()))).await.is_ok() {
            tracing::info!(settings = settings.effective(), "settings changed");
            self.believed.send_replace(Believed::of(&settings));
            self.metrics.config_reloaded();
            self.running = settings;
        }
    }
}

/// Says what is odd about settings.
pub fn warn(oddities: &[String]) {
    for oddity in oddities {
        tracing::warn!(warning = oddity, "settings");
    }
}
