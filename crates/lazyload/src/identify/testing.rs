//! An authority of a mesh for tests, and certificates of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};

use super::Identity;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with what follows it, and its key.
pub(crate) type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    /// One that nobody trusts yet.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Those who trust it alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        roots
    }

    /// A certificate of these URIs and no DNS name.
    pub(crate) fn certificate_of(&self, uris: &[&str], from: SystemTime, until: SystemTime) -> Certified {
        let uris = uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap()));
        self.certified(uris.collect(), from, until)
    }

    /// A certificate of a server that is known by its DNS name.
    pub(crate) fn certificate_of_host(&self, host: &str) -> Certified {
        let names = vec![SanType::DnsName(Ia5String::try_from(host).unwrap())];
        let now = SystemTime::now();
        self.certified(names, now - HOUR, now + HOUR)
    }

    /// A certificate for the key of a request in PEM, as istiod gives it: of this URI, whatever the request says.
    pub(crate) fn certificate_for_request(
        &self,
        pem: &str,
        uri: &str,
        from: SystemTime,
        until: SystemTime,
    ) -> CertificateDer<'static> {
        let request = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
        let uri = SanType::URI(Ia5String::try_from(uri).unwrap());
        self.signed(vec![uri], from, until, &RequestKey::of(&request))
    }

    fn certified(&self, names: Vec<SanType>, from: SystemTime, until: SystemTime) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = self.signed(names, from, until, &key);
        (vec![certificate, self.der()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn signed(
        &self,
        names: Vec<SanType>,
        from: SystemTime,
        until: SystemTime,
        key: &impl PublicKeyData,
    ) -> CertificateDer<'static> {
        let at = |time: SystemTime| date_time_ymd(1970, 1, 1) + time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        (params.not_before, params.not_after) = (at(from), at(until));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.0).unwrap().der().clone()
    }

    /// An identity of this URI in this authority's mesh.
    pub(crate) fn identity(&self, uri: &str) -> Arc<Identity> {
        let (chain, key) = mk_certificate(self, &[uri]);
        Arc::new(Identity::new(chain, &key, self.roots()).unwrap())
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate of these URIs that is valid now.
pub(crate) fn mk_certificate(authority: &Authority, uris: &[&str]) -> Certified {
    let now = SystemTime::now();
    authority.certificate_of(uris, now - HOUR, now + HOUR)
}

/// What a client shows that wants to talk to `to`, whatever it is itself; `None`: no certificate.
pub(crate) fn client(shown: Option<Certified>, roots: RootCertStore, to: &str) -> Arc<rustls::ClientConfig> {
    let (roots, to) = (Arc::new(roots), to.to_owned());
    Arc::new(match shown {
        Some((chain, key)) => super::tls::client(chain, key, roots, to).unwrap(),
        None => super::tls::client_without_certificate(roots, to),
    })
}

/// The public key of a request for a certificate (RFC 2986).
struct RequestKey(Vec<u8>);

impl RequestKey {
    fn of(request: &[u8]) -> Self {
        let key = yasna::parse_der(request, |reader| {
            reader.read_sequence(|request| {
                let key = request.next().read_sequence(|info| {
                    // Version, subject.
                    info.next().read_der()?;
                    info.next().read_der()?;
                    let key = info.next().read_sequence(|key| {
                        key.next().read_der()?;
                        Ok(key.next().read_bitvec_bytes()?.0)
                    });
                    // Attributes.
                    info.next().read_der()?;
                    key
                });
                // Algorithm, signature.
                request.next().read_der()?;
                request.next().read_der()?;
                key
            })
        });
        Self(key.unwrap())
    }
}

impl PublicKeyData for RequestKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
