//! What a request carries to be let in. Files are read for each round, so that a token that is rotated is used at once.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use lazyload_logic::settings::Access;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A file is not what it should be. The message has its path and never its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    /// It cannot be read.
    #[error("failed to read {field} {path}: {source}")]
    Unreadable { field: &'static str, path: String, source: io::Error },
    /// It has no usable content.
    #[error("expected {expected} in {field} {path}")]
    Unusable { field: &'static str, path: String, expected: &'static str },
}

/// Reads a small file.
async fn read(field: &'static str, path: &str) -> Result<Vec<u8>, AccessError> {
    tokio::fs::read(path).await.map_err(|source| AccessError::Unreadable { field, path: path.to_owned(), source })
}

/// The headers of every request of a round.
///
/// # Errors
/// A file is missing, or has no printable text.
pub(super) async fn headers(access: &Access) -> Result<HeaderMap, AccessError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &access.headers.0 {
        let pair = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        if let (Ok(name), Ok(mut value)) = pair {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let authorization = if let Some(path) = &access.bearer_token_file {
        Some(format!("Bearer {}", secret("bearerTokenFile", path).await?))
    } else if let Some((username, path)) = &access.basic {
        let password = secret("basicAuth.passwordFile", path).await?;
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
    } else {
        None
    };
    if let Some(mut value) = authorization.and_then(|text| HeaderValue::try_from(text).ok()) {
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The text of a file without the line's end that editors leave.
async fn secret(field: &'static str, path: &str) -> Result<String, AccessError> {
    let unusable = || AccessError::Unusable { field, path: path.to_owned(), expected: "one line of text" };
    let text = String::from_utf8(read(field, path).await?).map_err(|_| unusable())?;
    let text = text.trim();
    let one_line = !text.is_empty() && !text.chars().any(char::is_control);
    if one_line { Ok(text.to_owned()) } else { Err(unusable()) }
}

/// The content of the file of trusted certificates, where there is one.
///
/// # Errors
/// It cannot be read.
pub(super) async fn authorities(access: &Access) -> Result<Option<Vec<u8>>, AccessError> {
    match &access.ca_file {
        Some(path) => read("caFile", path).await.map(Some),
        None => Ok(None),
    }
}

/// The certificates of such a file.
///
/// # Errors
/// There is none, or one is broken.
pub(super) fn roots(access: &Access, pem: &[u8]) -> Result<rustls::RootCertStore, AccessError> {
    let unusable = || AccessError::Unusable {
        field: "caFile",
        path: access.ca_file.clone().unwrap_or_default(),
        expected: "certificates in PEM",
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() { Err(unusable()) } else { Ok(roots) }
}
