//! Owns where log lines go: standard output, or a file that is rotated, swept and compressed.
//! Never loses a line for want of a file: what cannot be written there goes to standard error. Never decides what is kept (`logic::backups`).
//! Next: `rotating` for the file, `sweeper` for what was put aside.

mod rotating;
mod sweeper;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use lazyload_logic::settings::LogFile;
use tracing_subscriber::fmt::MakeWriter;

use rotating::Rotating;

/// Where log lines go; it can change while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Standard output, if there is no file.
    file: Arc<Mutex<Option<Rotating>>>,
}

/// One log line on its way.
#[derive(Debug)]
pub struct Line<'a> {
    output: &'a Output,
}

impl Output {
    /// Sends the lines from now on to a file, or to standard output.
    pub fn set(&self, file: Option<&LogFile>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file.map(|file| Rotating::new(file.clone()));
    }
}

impl Write for Line<'_> {
    /// Takes the whole line: tracing hands it over in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.output.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(file) => file.write(line)?,
            None => io::stdout().lock().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { output: self }
    }
}
