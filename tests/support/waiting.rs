//! Waiting for something to become true, with a deadline instead of a sleep.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is a result.
///
/// # Panics
/// After the deadline, with the last reason why not.
pub async fn eventually<T, E, F, L>(what: &str, deadline: Duration, mut look: L) -> T
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
    L: FnMut() -> F,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) if start.elapsed() > deadline => {
                panic!("not within {deadline:?}: {what}: {reason:?}");
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
