//! Programs that run beside a test and end with it, however it ends.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by a panic")]

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Runs a program and sends it the signals whose names are read; at the end of input, which comes when the test process dies for
/// whatever reason, it is killed. Ends as the program ends.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
(while read -r signal; do kill -s "$signal" $pid; done; kill -s KILL $pid) <&3 2>/dev/null &
reader=$!
exec 3<&-
wait $pid
status=$?
kill -s KILL $reader 2>/dev/null
exit $status
"#;

/// A running program. Dropping it kills it and waits for its end.
pub struct Running {
    guard: Child,
    signals: Option<ChildStdin>,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to the end of a log file.
    ///
    /// # Errors
    /// The log cannot be opened, or there is no shell.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let signals = guard.stdin.take();
        Ok(Self { guard, signals, log })
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Errors
    /// The program has ended.
    pub fn signal(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(signals) = &mut self.signals else { anyhow::bail!("ended") };
        Ok(writeln!(signals, "{name}")?)
    }

    /// Kills the program and waits for its end.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.signals = None;
        Ok(self.guard.wait()?)
    }

    /// How the program ended, if it did. A signal shows as 128 and its number.
    ///
    /// # Errors
    /// The system refuses.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.guard.try_wait()?)
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("not ended: {error}");
        }
    }
}

/// A loopback port that nobody listens on, given out once in this process, and out of the range from which systems take ports for
/// connections.
///
/// # Panics
/// If none is left.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or(0);
    for _ in 0..PORTS {
        let port = FIRST + (start + NEXT.fetch_add(1, Relaxed) % PORTS) % PORTS;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
