//! Names to addresses, as the system knows them, without those that are never dialled.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use lazyload_logic::route::never_dialled;
use tower_service::Service;

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(in crate::forward) enum ResolveError {
    /// There is no such name.
    #[error("host {name} has no address")]
    NoSuchHost { name: String, source: Option<io::Error> },
    /// The system's resolver did not tell.
    #[error("failed to look up host {name}")]
    Failed { name: String, source: io::Error },
    /// Its addresses are none to dial.
    #[error("host {name} is {what}, which is never dialled from here")]
    Forbidden { name: String, what: &'static str },
}

/// Looks names up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver {
    /// Leave out what is never dialled.
    pub(super) checks: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let checks = self.checks;
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
            let found = match found {
                Ok(found) => found,
                Err(source) if may_pass(&source) => return Err(ResolveError::Failed { name, source }),
                Err(source) => return Err(ResolveError::NoSuchHost { name, source: Some(source) }),
            };
            admitted(name, found, checks).map(Vec::into_iter)
        })
    }
}

fn admitted(name: String, mut found: Vec<SocketAddr>, checks: bool) -> Result<Vec<SocketAddr>, ResolveError> {
    let Some(first) = found.first().map(SocketAddr::ip) else {
        return Err(ResolveError::NoSuchHost { name, source: None });
    };
    if checks {
        found.retain(|address| never_dialled(address.ip()).is_none());
    }
    match never_dialled(first) {
        Some(what) if found.is_empty() => Err(ResolveError::Forbidden { name, what }),
        _ => Ok(found),
    }
}

/// The C library tells "no such name" and "try again" apart by text alone.
fn may_pass(error: &io::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("temporary failure") || text.contains("try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_never_dialled_are_left_out_and_named_if_no_other_is_left() {
        let found: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "10.0.0.1:0".parse().unwrap()];
        assert_eq!(admitted("a".into(), found.clone(), true).unwrap(), ["10.0.0.1:0".parse().unwrap()]);
        assert_eq!(admitted("a".into(), found.clone(), false).unwrap().len(), 2);
        let error = admitted("a".into(), vec!["169.254.169.254:0".parse().unwrap()], true).unwrap_err();
        assert!(matches!(error, ResolveError::Forbidden { .. }), "{error}");
        assert!(matches!(admitted("a".into(), vec![], true), Err(ResolveError::NoSuchHost { .. })));
    }
}
