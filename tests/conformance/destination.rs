//! A destination that plays a script on each connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::conn::Conn;

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

pub struct Destination {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

/// Where a script notes what it has seen.
#[derive(Clone)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }
}

impl Destination {
    /// `script(connection, its number from 1, notes)`. A script that fails closes its connection, and notes why.
    pub async fn playing<F, Played>(script: F) -> anyhow::Result<Self>
    where
        F: Fn(Conn, usize, Notes) -> Played + Send + Sync + 'static,
        Played: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self::playing_at("127.0.0.1:0", script).await
    }

    pub async fn playing_at<F, Played>(address: &str, script: F) -> anyhow::Result<Self>
    where
        F: Fn(Conn, usize, Notes) -> Played + Send + Sync + 'static,
        Played: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (seen, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<usize>>::default());
        let (notes, count) = (Notes(Arc::clone(&seen)), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count
                };
                let (played, notes) = (script(Conn::new(stream), number, notes.clone()), notes.clone());
                tokio::spawn(async move {
                    if let Err(error) = played.await {
                        notes.add(format!("script: {error:#}"));
                    }
                });
            }
        });
        Ok(Self { address, seen, connections, task })
    }

    /// Answers each request without a body with the same bytes, and notes the heads.
    pub async fn answering(answer: impl Into<String>) -> anyhow::Result<Self> {
        let answer = answer.into();
        Self::playing(move |mut conn, _, notes| {
            let answer = answer.clone();
            async move {
                while let Ok(head) = conn.head().await {
                    notes.add(head);
                    conn.send(&answer).await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// What was noted.
    pub fn notes(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// What was noted, once there is as much.
    pub async fn noted(&self, count: usize) -> anyhow::Result<Vec<String>> {
        for _ in 0..500 {
            let notes = self.notes();
            if notes.len() >= count {
                return Ok(notes);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::bail!("the destination noted only {:?}", self.notes())
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.task.abort();
    }
}
