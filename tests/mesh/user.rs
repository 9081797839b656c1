//! A user at a terminal: types commands, and what they print is kept for people to look at.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::pods;
use super::testbed::{Testbed, lazyload_binary};
use crate::support::repository;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(90);

/// The user. `kubectl lazyload` is the product, as it is where its binary is installed under that name.
pub struct User<'a> {
    testbed: &'a Testbed,
    folder: PathBuf,
    began: Instant,
}

impl<'a> User<'a> {
    /// Begins a transcript, `target/mesh-report/NAME.txt`, with a folder of that name for the user's files.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn begin(testbed: &'a Testbed, name: &str) -> Self {
        let folder = repository().join("target/mesh-report").join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the user's files");
        let plugin = folder.join("kubectl-lazyload");
        if plugin.symlink_metadata().is_ok() {
            std::fs::remove_file(&plugin).expect("the plugin of an earlier run goes");
        }
        std::os::unix::fs::symlink(lazyload_binary(), &plugin).expect("the plugin");
        std::fs::write(folder.with_extension("txt"), "").expect("a transcript");
        Self { testbed, folder, began: Instant::now() }
    }

    /// Writes a file, and returns its path from the root of the repository.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a file of the user's");
        path.strip_prefix(repository()).unwrap_or(&path).display().to_string()
    }

    /// Begins a chapter of the transcript.
    pub fn chapter(&self, title: &str) {
        let at = format!("## {title} ({} s)", self.began.elapsed().as_secs());
        println!("{at}");
        self.keep(&format!("\n{at}\n\n"));
    }

    /// Runs a command, and returns all that it prints, with its exit code at the end if that is not 0.
    pub fn run(&self, command: &str) -> String {
        let said = self.try_run(command);
        self.keep(&format!("$ {command}\n{said}\n"));
        said
    }

    /// Runs a command again and again until what it prints has all these words, and returns that.
    ///
    /// # Panics
    /// It never does.
    pub async fn until(&self, command: &str, words: &[&str]) -> String {
        self.until_it(command, &format!("prints {words:?}"), |said| words.iter().all(|word| said.contains(word))).await
    }

    /// The same, until what it prints is as it should be.
    ///
    /// # Panics
    /// It never is.
    pub async fn until_it(&self, command: &str, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let holds = &holds;
        let look = || async move {
            let said = self.try_run(command);
            if holds(&said) { Ok(said) } else { Err(said) }
        };
        let said = eventually(&format!("{command}: {what}"), SOON, look).await;
        self.keep(&format!("$ {command}\n{said}\n"));
        said
    }

    /// Keeps `kubectl port-forward` to a Deployment's port running.
    pub async fn forward(&self, namespace: &str, deployment: &str, port: u16) -> Forward<'_> {
        let local = free_port();
        let command = format!("kubectl port-forward -n {namespace} deployment/{deployment} {local}:{port}");
        let arguments: Vec<String> = command.split(' ').skip(1).map(str::to_owned).collect();
        let log = self.folder.join("port-forward.log");
        let running = self.testbed.start(&arguments, log).expect("kubectl port-forward");
        self.keep(&format!("$ {command} &\n"));
        let forward = Forward { user: self, at: SocketAddr::from(([127, 0, 0, 1], local)), running };
        eventually("the port is forwarded", SOON, || async {
            tokio::net::TcpStream::connect(forward.at).await.map(drop).map_err(|error| (error, forward.running.log()))
        })
        .await;
        forward
    }

    fn try_run(&self, command: &str) -> String {
        let folder = self.folder.display();
        let line = format!("PATH=\"{folder}:$PATH\"; {{ {command}\n}} 2>&1 || echo \"exit code $?\"");
        self.testbed.shell(&line).expect("a shell")
    }

    fn keep(&self, text: &str) {
        let transcript = std::fs::File::options().append(true).open(self.folder.with_extension("txt"));
        transcript.and_then(|mut transcript| transcript.write_all(text.as_bytes())).expect("the transcript is kept");
    }
}

/// A port of a pod that is here.
pub struct Forward<'a> {
    user: &'a User<'a>,
    at: SocketAddr,
    running: Running,
}

impl Forward<'_> {
    /// What is answered.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        pods::get(self.at, path).await
    }

    /// The same as JSON, once it is as it should be; kept in the transcript, shortened.
    ///
    /// # Panics
    /// It never is.
    pub async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let holds = &holds;
        let look = || async move {
            let answer: Value = serde_json::from_str(&self.get(path).await?)?;
            anyhow::ensure!(holds(&answer), "{answer:#}");
            Ok(answer)
        };
        let answer = eventually(&format!("{path}: {what}"), SOON, look).await;
        let shown: String = answer.to_string().chars().take(600).collect();
        self.user.keep(&format!("GET http://localhost:{}{path}\n{shown}\n", self.at.port()));
        answer
    }
}
