//! Event loops, one for each core: a connection is dealt out to one and stays there. Each serves what is ready in the order in which it became
//! so. A runtime for all cores does not: beyond 256 ready tasks a core's newest go to a common queue, and either these or the oldest wait.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The caller's loop, and more.
#[derive(Debug, Default)]
pub struct Loops {
    others: Vec<Other>,
    turn: AtomicUsize,
}

/// A loop on a thread of its own, which ends with this value.
#[derive(Debug)]
struct Other {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Loops {
    /// As many as cores, of which the caller's is one.
    ///
    /// # Errors
    /// The system gives no thread, or no way to wait for sockets.
    pub fn of_cores(cores: usize) -> io::Result<Self> {
        let others = (1..cores).map(Other::start).collect::<io::Result<_>>()?;
        Ok(Self { others, turn: AtomicUsize::default() })
    }

    /// Whose turn it is to get a connection; nothing for the caller's.
    pub(super) fn next(&self) -> Option<&Handle> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        self.others.get(turn).map(|other| &other.handle)
    }
}

impl Other {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end_tx, end_rx) = oneshot::channel();
        let run = move || runtime.block_on(async { drop(end_rx.await) });
        thread::Builder::new().name(format!("loop-{number}")).spawn(run)?;
        Ok(Self { handle, _end: end_tx })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loops_take_turns_each_on_a_thread_of_its_own() {
        let loops = Loops::of_cores(3).unwrap();
        let mut names = Vec::new();
        for _ in 0..6 {
            let name = async { thread::current().name().map(str::to_owned) };
            names.push(match loops.next() {
                Some(other) => other.spawn(name).await.unwrap(),
                None => None,
            });
        }
        let round = [Some("loop-1".to_owned()), Some("loop-2".to_owned()), None];
        assert_eq!(names, [round.clone(), round].concat());
    }

    #[test]
    fn one_core_has_one_loop() {
        let loops = Loops::of_cores(1).unwrap();
        assert!(loops.next().is_none() && loops.next().is_none());
    }
}
