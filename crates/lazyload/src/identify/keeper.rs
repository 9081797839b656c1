//! The life of an identity: asked for as soon as there is a token, renewed at half of its life, or when the mesh's authorities change. Without one the
//! process goes on, and says so.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use lazyload_logic::boot::mesh_identity::{AUTHORITIES, FOLDER, TOKEN};
use lazyload_logic::settings::Settings;
use lazyload_logic::trust;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{self, AuthorityError};
use super::{Current, Identity, IdentityError, certificate};
use crate::process::exit::chain;
use crate::process::readiness::Readiness;

/// Shortest and longest pause after there was no certificate.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often the file of the authorities is looked at; looking is cheap, and a kubelet brings a changed one within a minute only.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What the readiness tells of.
const TOPIC: &str = "mesh identity";

/// Where what it takes comes from.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `HOST:PORT` of the authority.
    pub(crate) authority: String,
    /// The folder of the token and the authorities.
    pub(crate) folder: PathBuf,
}

impl Place {
    /// istiod of the settings, unless `CA_ADDR` names another authority, as it does for Istio's own proxies.
    pub(crate) fn of(settings: &Settings) -> Self {
        let named = env::var("CA_ADDR").ok().filter(|address| !address.is_empty());
        let istiod = || format!("istiod.{}.svc:15012", settings.istio_namespace);
        Self { authority: named.unwrap_or_else(istiod), folder: FOLDER.into() }
    }
}

/// What became of asking.
#[derive(Debug, Default)]
pub(crate) struct IdentityCounters {
    /// Certificates that were given.
    pub(crate) issued: AtomicU64,
    /// Attempts that gave none.
    pub(crate) failed: AtomicU64,
    /// Until when the one in use is valid, in seconds since 1970; 0: there is none.
    pub(crate) expires: AtomicU64,
}

/// There is no identity.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("failed to read {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("expected certificates in PEM in {0}")]
    Authorities(PathBuf),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// An identity, and what it depends on.
struct Kept {
    identity: Identity,
    expires: SystemTime,
    use_for: Duration,
    authorities: Vec<u8>,
}

/// Keeps an identity.
pub(crate) struct Keeper {
    place: Place,
    current: watch::Sender<Option<Arc<Identity>>>,
    counters: Arc<IdentityCounters>,
    readiness: Readiness,
    /// What it means that there is none, for whoever looks at the readiness.
    without: &'static str,
}

impl Keeper {
    /// A keeper that has not asked yet, and what it keeps.
    pub(crate) fn new(
        place: Place,
        counters: Arc<IdentityCounters>,
        readiness: Readiness,
        without: &'static str,
    ) -> (Self, Current) {
        let (current, identity) = watch::channel(None);
        (Self { place, current, counters, readiness, without }, identity)
    }

    /// Keeps it until the shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = RETRY.0;
        let mut told = false;
        loop {
            let (wait, authorities) = match self.ask().await {
                Ok(kept) => {
                    (pause, told) = (RETRY.0, false);
                    let wait = kept.use_for;
                    (wait, self.show(kept))
                }
                Err(error) => {
                    self.say(&error, &mut told);
                    let wait = pause;
                    pause = (pause * 2).min(RETRY.1);
                    (wait, None)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed(authorities) => tracing::info!("the mesh's authorities changed"),
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn ask(&self) -> Result<Kept, KeepError> {
        let (path, authorities) = self.read(AUTHORITIES).await?;
        let roots = roots(&path, &authorities)?;
        let (_, token) = self.read(TOKEN).await?;
        let token = String::from_utf8(token).map_err(|_| AuthorityError::Token)?;
        let (chain, key) = authority::ask(&self.place.authority, roots.clone(), token.trim()).await?;
        let times = chain.first().and_then(certificate::validity);
        let (from, expires) = times.ok_or(IdentityError::Certificate("times of its validity"))?;
        let now = SystemTime::now();
        let passed = now.duration_since(from).unwrap_or_default();
        let left = expires.duration_since(now).map_err(|_| IdentityError::Certificate("some of its life left"))?;
        let use_for = trust::use_for(passed, left);
        Ok(Kept { identity: Identity::new(chain, &key, roots)?, expires, use_for, authorities })
    }

    async fn read(&self, name: &str) -> Result<(PathBuf, Vec<u8>), KeepError> {
        let path = self.place.folder.join(name);
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok((path, bytes)),
            Err(source) => Err(KeepError::File { path, source }),
        }
    }

    /// From now on this is shown on new connections; those that are open go on. Gives the authorities that it was made with.
    fn show(&self, kept: Kept) -> Option<Vec<u8>> {
        let Kept { identity, expires, use_for, authorities } = kept;
        let unix = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.counters.issued.fetch_add(1, Relaxed);
        self.counters.expires.store(unix, Relaxed);
        self.readiness.note(TOPIC, None);
        tracing::info!(identity = identity.uri, renewed_in = ?use_for, "has a certificate of the mesh");
        self.current.send_replace(Some(Arc::new(identity)));
        Some(authorities)
    }

    /// Says once that there is none, or no new one; where it is asked, at any time.
    fn say(&self, error: &KeepError, told: &mut bool) {
        self.counters.failed.fetch_add(1, Relaxed);
        let means = if self.current.borrow().is_some() {
            "the one before is used as long as it is valid"
        } else {
            self.without
        };
        let error = chain(error);
        self.readiness.note(TOPIC, Some(format!("no certificate of the mesh: {error}; {means}")));
        if *told {
            tracing::debug!(error, "no certificate of the mesh");
        } else {
            tracing::warn!(error, means, "no certificate of the mesh; asking again");
            *told = true;
        }
    }

    /// Waits until the mesh has other authorities than these; for ever if there is nothing to compare with.
    async fn changed(&self, known: Option<Vec<u8>>) {
        let Some(known) = known else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // One that is gone, or being written, is no change.
            if let Ok((path, now)) = self.read(AUTHORITIES).await
                && now != known
                && roots(&path, &now).is_ok()
            {
                return;
            }
        }
    }
}

/// The certificates of a file.
fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, KeepError> {
    let unusable = || KeepError::Authorities(path.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() { Err(unusable()) } else { Ok(roots) }
}
