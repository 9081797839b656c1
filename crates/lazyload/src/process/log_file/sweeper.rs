//! Removes and compresses files that were put aside, in a thread of its own: the log does not wait for it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::jiff::Timestamp;
use lazyload_logic::backups::{Backups, COMPRESSED, MOMENT, UNFINISHED};
use lazyload_logic::settings::LogFile;

/// Files grow old without a rotation, too.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks the thread, which ends with this.
#[derive(Debug)]
pub(super) struct Sweeper {
    asked: SyncSender<()>,
}

impl Sweeper {
    pub(super) fn new(settings: LogFile, backups: Backups) -> Self {
        let (asked, asks) = sync_channel(1);
        std::thread::spawn(move || sweep_when_asked(&asks, &settings, &backups));
        Self { asked }
    }

    /// Sweeps soon.
    pub(super) fn sweep(&self) {
        match self.asked.try_send(()) {
            // Full: it will be done anyway. Without the thread nothing is swept, which is no reason to stop.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

fn sweep_when_asked(asks: &Receiver<()>, settings: &LogFile, backups: &Backups) {
    loop {
        match asks.recv_timeout(AT_LEAST_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Err(error) = sweep(settings, backups, Timestamp::now()) {
            let folder = settings.folder();
            tracing::warn!(folder, %error, "failed to tidy up old log files; tried again after the next rotation");
        }
    }
}

fn sweep(settings: &LogFile, backups: &Backups, now: Timestamp) -> io::Result<()> {
    let folder = PathBuf::from(settings.folder());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        // A name that is not text is none of ours.
        names.extend(entry?.file_name().into_string());
    }
    let not_before = now.saturating_sub(DAY.saturating_mul(settings.max_age_days)).map_err(io::Error::other)?;
    let keep = usize::try_from(settings.max_backups).unwrap_or(usize::MAX);
    let not_before = not_before.strftime(MOMENT).to_string();
    let todo = backups.sweep(&names, keep, &not_before, settings.compress);
    for name in todo.remove {
        std::fs::remove_file(folder.join(name))?;
    }
    for name in todo.compress {
        compress(&folder, &name)?;
    }
    Ok(())
}

/// The compressed file has its name only when it is whole.
fn compress(folder: &Path, name: &str) -> io::Result<()> {
    let plain = folder.join(name);
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(&plain)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(unfinished, folder.join(format!("{name}{COMPRESSED}")))?;
    std::fs::remove_file(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_kept_is_compressed_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let names = [
            "slime-2026-11-01T00-00-00.000.log",
            "slime-2026-11-22T00-00-00.000.log",
            "slime-2026-11-23T00-00-00.000.log",
        ];
        for name in names {
            std::fs::write(at(name), format!("lines of {name}\n")).unwrap();
        }
        std::fs::write(at("slime.log"), "now\n").unwrap();
        let settings = LogFile { path: at("slime.log").display().to_string(), max_backups: 2, ..LogFile::default() };
        let backups = Backups::of("slime.log");
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        sweep(&settings, &backups, now).unwrap();
        for (name, kept) in names.iter().zip([false, true, true]) {
            assert!(!at(name).exists(), "{name}");
            assert_eq!(at(&format!("{name}.gz")).exists(), kept, "{name}");
        }
        let mut text = String::new();
        GzDecoder::new(File::open(at(&format!("{}.gz", names[2]))).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("lines of {}\n", names[2]));
        // Ten days and a moment later the second is too old, the third is not yet.
        sweep(&settings, &backups, "2026-12-02T00:00:01Z".parse().unwrap()).unwrap();
        assert!(!at(&format!("{}.gz", names[1])).exists());
        assert!(at(&format!("{}.gz", names[2])).exists());
        assert_eq!(std::fs::read_to_string(at("slime.log")).unwrap(), "now\n");
    }
}
