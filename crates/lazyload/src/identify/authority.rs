//! The conversation with the mesh's authority: `istio.v1.auth.IstioCertificateService`, which istiod serves, and what stands in for it (`CA_ADDR`).

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use super::{Connector, IdentityError, tls};
use crate::observe::codec::RawCodec;

const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// How long a certificate should be valid, in seconds; the authority may give less. As Istio's own proxies ask.
const VALIDITY: i64 = 24 * 3600;
/// Longest that an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// There is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    /// A key or a request cannot be made.
    #[error("failed to make a request for a certificate: {0}")]
    Request(#[from] rcgen::Error),
    /// Its own certificate cannot be checked.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It cannot be reached.
    #[error("failed to connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It refuses.
    #[error("{address} gives no certificate: {}", status.message())]
    Refused {
        /// Where.
        address: String,
        /// With these words.
        status: Box<Status>,
    },
    /// The token is no token.
    #[error("expected a token of printable letters")]
    Token,
    /// The answer is no certificates.
    #[error("expected certificates from {0}, got something else")]
    Answer(String),
}

/// `IstioCertificateRequest`
#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateRequest {
    #[prost(string, tag = "1")]
    pub(super) csr: String,
    #[prost(int64, tag = "3")]
    pub(super) validity_duration: i64,
}

/// `IstioCertificateResponse`: the certificate, those between, the root.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateResponse {
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}

/// A certificate with what follows it, and its key.
pub(super) type Issued = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Asks for a certificate of the identity that the token is of. The key never leaves this process.
///
/// # Errors
/// There is none.
pub(super) async fn ask(address: &str, roots: RootCertStore, token: &str) -> Result<Issued, AuthorityError> {
    let key = KeyPair::generate()?;
    let request = CertificateRequest { csr: request(&key)?, validity_duration: VALIDITY };
    let failed = |source| AuthorityError::Connect { address: address.to_owned(), source };
    let refused = |status| AuthorityError::Refused { address: address.to_owned(), status: Box::new(status) };

    let connector = Connector::new(Arc::new(tls::client_of_authority(roots)?));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(failed)?.timeout(ANSWER);
    let mut client = Grpc::new(endpoint.connect_with_connector(connector).await.map_err(failed)?);
    client.ready().await.map_err(failed)?;
    let mut request = Request::new(request.encode_to_vec().into());
    let mut token = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| AuthorityError::Token)?;
    token.set_sensitive(true);
    request.metadata_mut().insert("authorization", token);
    let answer = client.unary(request, PathAndQuery::from_static(METHOD), RawCodec).await.map_err(refused)?;

    let answer = CertificateResponse::decode(answer.into_inner());
    let answer = answer.map_err(|_| AuthorityError::Answer(address.to_owned()))?;
    // One entry may hold several.
    let pem = answer.cert_chain.join("\n");
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|_| AuthorityError::Answer(address.to_owned()))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| IdentityError::Certificate("a key"))?;
    Ok((chain, key))
}

/// A request in PEM. It names nobody: the authority goes by the token.
fn request(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut asked = CertificateParams::default();
    asked.distinguished_name = DistinguishedName::new();
    asked.serialize_request(key)?.pem()
}
