//! Whether this process may write, and until when.

use std::time::Instant;

use tokio::sync::watch;

/// The right to write, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Another replica writes, or nobody.
    Never,
    /// This process writes until then, unless the time is moved.
    At(Instant),
    /// There are no other replicas.
    Always,
}

/// A look at the right to write.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    until: watch::Receiver<Until>,
    // Kept where nobody else grants anything.
    _always: Option<std::sync::Arc<watch::Sender<Until>>>,
}

impl Lead {
    /// The only replica: it always may.
    #[must_use]
    pub(crate) fn alone() -> Self {
        let (always, until) = watch::channel(Until::Always);
        Self { until, _always: Some(always.into()) }
    }

    /// A replica that may as soon as, and as long as, the sender says so.
    pub(super) fn granted() -> (watch::Sender<Until>, Self) {
        let (sender, until) = watch::channel(Until::Never);
        (sender, Self { until, _always: None })
    }

    /// Whether this process may write at this moment.
    #[must_use]
    pub(crate) fn holds(&self) -> bool {
        match *self.until.borrow() {
            Until::Never => false,
            Until::At(until) => Instant::now() < until,
            Until::Always => true,
        }
    }

    /// Waits until this process may write; for ever if it never will.
    pub(crate) async fn begins(&mut self) {
        if self.until.wait_for(|until| *until != Until::Never).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_right_ends_by_itself_when_it_is_not_renewed() {
        let (grant, lead) = Lead::granted();
        assert!(!lead.holds());
        grant.send_replace(Until::At(Instant::now() + Duration::from_secs(3600)));
        assert!(lead.holds());
        grant.send_replace(Until::At(Instant::now()));
        assert!(!lead.holds(), "nobody had to notice");
        assert!(Lead::alone().holds());
    }
}
