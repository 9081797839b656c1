//! Owns this process's identity in the mesh: the key, the certificate that the mesh's authority gives for it, and whom a certificate names.
//! Never decides who is believed, or for how long a certificate is used: `lazyload_logic::trust` does.
//! Next: `keeper` for the life of an identity, `authority` for the conversation with istiod, `tls` for what both ends of a connection check.

mod authority;
mod certificate;
mod connector;
#[cfg(test)]
mod conversation;
mod keeper;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;

pub(crate) use certificate::uri_of;
pub(crate) use connector::Connector;
pub(crate) use keeper::{IdentityCounters, Keeper, Place};

/// The identity that is shown now, as soon as there is one.
pub(crate) type Current = watch::Receiver<Option<Arc<Identity>>>;

/// What is shown, and what is checked.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Our own SPIFFE URI.
    pub(crate) uri: String,
    /// For connections that others make: their certificate must be of the mesh.
    pub(crate) server: Arc<ServerConfig>,
    /// For connections to a process of the same identity: its certificate must be of the mesh, and name it.
    pub(crate) client: Arc<ClientConfig>,
}

/// An identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The certificate has another content than expected.
    #[error("expected a certificate with {0}")]
    Certificate(&'static str),
    /// It does not fit the key, or the authorities are none.
    #[error("failed to use the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// Nobody's certificate could be checked.
    #[error("failed to use the mesh's authorities: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

impl Identity {
    /// An identity of this certificate, with what follows it up to the authority, among those whom these authorities vouch for.
    ///
    /// # Errors
    /// The certificate names no SPIFFE identity, or does not fit the key.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        roots: RootCertStore,
    ) -> Result<Self, IdentityError> {
        let own = chain.first().ok_or(IdentityError::Certificate("at least itself"))?;
        let uri = uri_of(own).ok_or(IdentityError::Certificate("one SPIFFE URI"))?;
        let roots = Arc::new(roots);
        let server = tls::server(chain.clone(), key.clone_key(), roots.clone())?;
        let client = tls::client(chain, key.clone_key(), roots, uri.clone())?;
        Ok(Self { uri, server: Arc::new(server), client: Arc::new(client) })
    }
}
