//! What a certificate says, for what rustls does not tell.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag, parse_der};

/// The SPIFFE URI that a certificate names; `None` unless it names exactly one URI, as SPIFFE has it.
pub(crate) fn uri_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut uris = certificate.valid_uri_names();
    let uri = uris.next().filter(|uri| uri.starts_with("spiffe://"))?.to_owned();
    uris.next().is_none().then_some(uri)
}

/// From when and until when a certificate is valid (RFC 5280, 4.1); `None` if it cannot be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (from, until) = parse_der(certificate, |reader| {
        reader.read_sequence(|certificate| {
            let validity = certificate.next().read_sequence(|signed| {
                // Version, serial number, algorithm, issuer.
                signed.read_optional(version)?;
                for _ in 0..3 {
                    skip(signed.next())?;
                }
                let validity =
                    signed.next().read_sequence(|validity| Ok((time(validity.next())?, time(validity.next())?)));
                // Subject, public key, extensions.
                while signed.read_optional(skip)?.is_some() {}
                validity
            });
            // Algorithm, signature.
            skip(certificate.next())?;
            skip(certificate.next())?;
            validity
        })
    })
    .ok()?;
    Some((at(from)?, at(until)?))
}

fn version(reader: BERReader<'_, '_>) -> ASN1Result<()> {
    reader.read_tagged(Tag::context(0), skip)
}

fn skip(reader: BERReader<'_, '_>) -> ASN1Result<()> {
    reader.read_der().map(drop)
}

/// Seconds since 1970: `UTCTime` up to 2049, then `GeneralizedTime`.
fn time(reader: BERReader<'_, '_>) -> ASN1Result<i64> {
    match reader.lookahead_tag()? {
        yasna::tags::TAG_UTCTIME => Ok(reader.read_utctime()?.datetime().unix_timestamp()),
        yasna::tags::TAG_GENERALIZEDTIME => Ok(reader.read_generalized_time()?.datetime().unix_timestamp()),
        _ => Err(ASN1Error::new(ASN1ErrorKind::Invalid)),
    }
}

fn at(seconds: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identify::testing::{Authority, mk_certificate};

    const URI: &str = "spiffe://cluster.local/ns/mesh-operator/sa/lazyload";

    #[test]
    fn a_certificate_names_one_spiffe_uri_or_nobody() {
        let authority = Authority::new();
        let named = |uris: &[&str]| uri_of(&mk_certificate(&authority, uris).0[0]);
        assert_eq!(named(&[URI]).as_deref(), Some(URI));
        for uris in [&[][..], &["https://cluster.local/ns/a/sa/b"], &[URI, "spiffe://cluster.local/ns/a/sa/b"]] {
            assert_eq!(named(uris), None, "{uris:?}");
        }
        assert_eq!(uri_of(&CertificateDer::from(b"no certificate".to_vec())), None);
    }

    #[test]
    fn a_certificates_times_are_read_before_and_after_2050() {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::UNIX_EPOCH + day * 20_000;
        for (from, until) in [(now, now + day), (now, now + day * 36_500), (now + day * 36_500, now + day * 36_501)] {
            let certificate = Authority::new().certificate_of(&[URI], from, until).0;
            assert_eq!(validity(&certificate[0]), Some((from, until)));
        }
        assert_eq!(validity(&CertificateDer::from(b"no certificate".to_vec())), None);
    }

    proptest! {
        #[test]
        fn a_broken_certificate_is_nobodys_and_never_a_panic(at in 0_usize..400, byte: u8) {
            let mut bytes = mk_certificate(&Authority::new(), &[URI]).0[0].to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            let certificate = CertificateDer::from(bytes);
            prop_assert!(validity(&certificate).is_none_or(|(from, until)| from.max(until) >= SystemTime::UNIX_EPOCH));
            prop_assert!(uri_of(&certificate).is_none_or(|uri| uri.starts_with("spiffe://")));
        }
    }
}
