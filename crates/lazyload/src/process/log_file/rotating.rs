//! The file that is written, and the moment when it is put aside.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use lazyload_logic::backups::{Backups, MOMENT};
use lazyload_logic::settings::LogFile;

use super::sweeper::Sweeper;

/// How long a file that could not be written is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

/// Why lines are not in the file.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what} {}: {error}", path.display())]
struct FileError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// A log file that does not grow beyond its size.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    max_size: u64,
    backups: Backups,
    sweeper: Sweeper,
    open: Option<Open>,
    /// When it is tried again, after a failure.
    failed_until: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl Rotating {
    /// Opened with the first line.
    pub(super) fn new(settings: LogFile) -> Self {
        let path = PathBuf::from(&settings.path);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let backups = Backups::of(&name);
        let max_size = u64::from(settings.max_size_mb) * MIB;
        let sweeper = Sweeper::new(settings, backups.clone());
        Self { path, max_size, backups, sweeper, open: None, failed_until: None }
    }

    /// Writes a line to the file, or to standard error where the file cannot be written.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        if self.failed_until.is_none_or(|until| now >= until) {
            match self.write_to_file(line) {
                Ok(()) => {
                    if self.failed_until.take().is_some() {
                        writeln!(io::stderr(), "log file: {}: lines are written to it again", self.path.display())?;
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.open = None;
                    if self.failed_until.replace(now + TRY_AGAIN).is_none() {
                        self.complain(&error)?;
                    }
                }
            }
        }
        io::stderr().lock().write_all(line)
    }

    /// Not by tracing, in whose middle this is.
    fn complain(&self, error: &FileError) -> io::Result<()> {
        let way_out = "mount a volume there that this process's user can write (spec.volumes, spec.containers.slime.volumeMounts, \
                       podSecurityContext.fsGroup), or set global.log.logRotateConfig.filePath";
        writeln!(
            io::stderr(),
            "log file: {error}; log lines go to standard error, {} is tried again every {} s; {way_out}",
            self.path.display(),
            TRY_AGAIN.as_secs()
        )
    }

    fn write_to_file(&mut self, line: &[u8]) -> Result<(), FileError> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.size > 0 && open.size.saturating_add(length) > self.max_size {
            drop(open);
            self.put_aside()?;
            open = self.open()?;
        }
        let Open { file, size } = self.open.insert(open);
        file.write_all(line).map_err(at("write", &self.path))?;
        *size += length;
        Ok(())
    }

    fn open(&self) -> Result<Open, FileError> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(at("create the folder", folder))?;
        }
        let file = File::options().create(true).append(true).open(&self.path).map_err(at("open", &self.path))?;
        let size = file.metadata().map_err(at("read the size of", &self.path))?.len();
        self.sweeper.sweep();
        Ok(Open { file, size })
    }

    fn put_aside(&self) -> Result<(), FileError> {
        let mut moment = Timestamp::now();
        // Two within a millisecond must not become one.
        let free = loop {
            let name = self.backups.name(&moment.strftime(MOMENT).to_string());
            let compressed = self.path.with_file_name(format!("{name}.gz"));
            let backup = self.path.with_file_name(name);
            if !backup.exists() && !compressed.exists() {
                break backup;
            }
            moment += Duration::from_millis(1);
        };
        std::fs::rename(&self.path, free).map_err(at("rename", &self.path))
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError { what, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn rotating(folder: &Path, max_size: u64) -> Rotating {
        let path = folder.join("logs/slime.log").display().to_string();
        let mut rotating = Rotating::new(LogFile { path, compress: false, ..LogFile::default() });
        rotating.max_size = max_size;
        rotating
    }

    #[test]
    fn a_file_that_would_grow_too_large_is_put_aside_with_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut rotating = rotating(folder.path(), 10);
        for line in ["one\n", "two\n", "three\n", "a line that is longer than a file may be\n", "five\n"] {
            rotating.write(line.as_bytes()).unwrap();
        }
        let texts: Vec<String> = lines(&folder.path().join("logs")).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one\ntwo\n", "three\n", "a line that is longer than a file may be\n", "five\n"]);
    }

    #[test]
    fn a_file_of_an_earlier_process_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        rotating(folder.path(), 10).write(b"one\n").unwrap();
        rotating(folder.path(), 10).write(b"two\n").unwrap();
        rotating(folder.path(), 10).write(b"three\n").unwrap();
        let texts: Vec<String> = lines(&folder.path().join("logs")).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one\ntwo\n", "three\n"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_tried_again_later() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("logs"), "a file, and no folder").unwrap();
        let mut rotating = rotating(folder.path(), 10);
        rotating.write(b"this line goes to standard error\n").unwrap();
        let error = rotating.write_to_file(b"x").unwrap_err().to_string();
        assert!(error.starts_with("failed to create the folder ") && error.contains("logs"), "{error}");
        std::fs::remove_file(folder.path().join("logs")).unwrap();
        rotating.write(b"so does this, for some time\n").unwrap();
        rotating.failed_until = Some(Instant::now());
        rotating.write(b"in file\n").unwrap();
        assert_eq!(lines(&folder.path().join("logs")), [("slime.log".to_owned(), "in file\n".to_owned())]);
        assert!(rotating.failed_until.is_none());
    }
}
