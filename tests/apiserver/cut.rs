//! A connection to the API server that can be cut without a word, as a network does it: nothing arrives any more, and nobody is told.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to a loopback port until it is cut. What is on its way then is lost, as are new connections.
pub struct Cut {
    pub port: u16,
    cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cut {
    pub async fn before(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, is_cut) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, to, is_cut.clone()));
            }
        });
        Self { port, cut, task }
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(from: TcpStream, to: u16, mut is_cut: watch::Receiver<bool>) {
    let Ok(to) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_read, mut from_write) = from.into_split();
    let (mut to_read, mut to_write) = to.into_split();
    let mut both = [vec![0; 64 * 1024], vec![0; 64 * 1024]];
    let [out, back] = &mut both;
    loop {
        let passed = tokio::select! {
            biased;
            () = until_cut(&mut is_cut) => break,
            read = from_read.read(out) => match read {
                Ok(length) if length > 0 => to_write.write_all(&out[..length]).await,
                _ => return,
            },
            read = to_read.read(back) => match read {
                Ok(length) if length > 0 => from_write.write_all(&back[..length]).await,
                _ => return,
            },
        };
        if passed.is_err() {
            return;
        }
    }
    // Open at both ends, and deaf, for as long as the test lasts.
    std::future::pending::<()>().await;
}

async fn until_cut(is_cut: &mut watch::Receiver<bool>) {
    if is_cut.wait_for(|cut| *cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}
