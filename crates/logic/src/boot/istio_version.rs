//! What the Istio of a cluster, and the oldest proxies that it may have, understand of our EnvoyFilters. Only 1.31 was ever run; the rest is
//! from release notes: virtual hosts can be replaced since Istio 1.13 (istio/istio#36582), Envoy knows `%ENVIRONMENT%` since 1.22 (Istio
//! 1.14) and `append_action` since 1.24 (Istio 1.16, envoyproxy/envoy#22723).

use std::fmt;

use serde_json::Value;

use super::BootError;
use crate::settings::reader::Reader;

/// The oldest that can serve us.
const OLDEST: IstioVersion = IstioVersion { minor: 13 };
/// Labels of an istiod's Deployment that tell its version.
const VERSION_LABELS: [&str; 3] = ["app.kubernetes.io/version", "operator.istio.io/version", "helm.sh/chart"];
/// What Istio's charts say of themselves in its sources, and of builds that are no release.
const PLACEHOLDER: IstioVersion = IstioVersion { minor: 0 };
const WITH_ENVIRONMENT: IstioVersion = IstioVersion { minor: 14 };
const WITH_APPEND_ACTION: IstioVersion = IstioVersion { minor: 16 };

/// Istio 1.MINOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IstioVersion {
    minor: u32,
}

impl fmt::Display for IstioVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl IstioVersion {
    /// Reads `1.31`, `1.31.2-distroless`, `v1.31.0`, `istiod-1.31.0`; nothing if it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim_start_matches(|c: char| !c.is_ascii_digit()).strip_prefix("1.")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(Self { minor: digits.parse().ok()? })
    }

    /// The version of an istiod, by its Deployment: what its image is called, else what its labels say.
    #[must_use]
    pub fn of_istiod(deployment: &Value) -> Option<Self> {
        let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        let by_image = containers.into_iter().flatten().find_map(|container| {
            let image = container.get("image")?.as_str()?.split('@').next()?;
            Self::parse(image.rsplit('/').next()?.split_once(':')?.1)
        });
        let labels = deployment.pointer("/metadata/labels");
        let mut by_label = VERSION_LABELS.iter().filter_map(|label| Self::parse(labels?.get(label)?.as_str()?));
        by_image.or_else(|| by_label.find(|version| *version != PLACEHOLDER))
    }

    /// Why an installation cannot be served with it; nothing if it can.
    #[must_use]
    pub fn refusal(self) -> Option<String> {
        let why = "its EnvoyFilters cannot replace a virtual host";
        (self < OLDEST).then(|| format!("expected Istio {OLDEST} or later, because {why}, got {self}; upgrade Istio"))
    }

    /// Proxies may be one version behind.
    fn of_proxies(self) -> Self {
        Self { minor: self.minor.saturating_sub(1) }
    }
}

/// What every proxy of the mesh understands; everything if the version is not known.
pub(super) fn knows_environment(istio: Option<IstioVersion>) -> bool {
    istio.is_none_or(|istio| istio.of_proxies() >= WITH_ENVIRONMENT)
}

/// The same for `append_action`.
pub(super) fn knows_append_action(istio: Option<IstioVersion>) -> bool {
    istio.is_none_or(|istio| istio.of_proxies() >= WITH_APPEND_ACTION)
}

/// What the user says; it outranks what is found.
pub(super) fn read(reader: &Reader<'_>) -> Result<Option<IstioVersion>, BootError> {
    if reader.value().is_some_and(Value::is_number) {
        let why = "write it in quotes, because 1.20 without them is 1.2";
        return Err(BootError::new(reader.path(), format!("expected text such as \"1.31\", got a number; {why}")));
    }
    let Some(text) = reader.name().map_err(BootError::from_reader)? else { return Ok(None) };
    let version = IstioVersion::parse(&text).filter(|_| text.starts_with(|c: char| c.is_ascii_digit()));
    let version = version
        .ok_or_else(|| BootError::new(reader.path(), format!("expected a version such as \"1.31\", got {text:?}")))?;
    match version.refusal() {
        Some(refusal) => Err(BootError::new(reader.path(), refusal)),
        None => Ok(Some(version)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn istiod(image: &str, labels: &Value) -> Option<String> {
        let spec = json!({"template": {"spec": {"containers": [{"name": "discovery", "image": image}]}}});
        let version = IstioVersion::of_istiod(&json!({"metadata": {"labels": labels}, "spec": spec}));
        version.map(|version| version.to_string())
    }

    #[test]
    fn the_version_of_an_istiod_is_its_images_else_its_labels() {
        let version = json!({"operator.istio.io/version": "1.20.1"});
        for (image, labels, expected) in [
            ("docker.io/istio/pilot:1.31.2-distroless", json!({}), Some("1.31")),
            ("pilot:v1.9", json!({}), Some("1.9")),
            ("registry:5000/pilot:1.22.3@sha256:99", json!({}), Some("1.22")),
            ("registry:5000/pilot@sha256:1.30", version.clone(), Some("1.20")),
            ("istio/pilot:latest", version, Some("1.20")),
            ("istio/pilot", json!({"helm.sh/chart": "istiod-1.24.0"}), Some("1.24")),
            ("istio/pilot:latest", json!({"app.kubernetes.io/version": "2.0"}), None),
            ("own/pilot:1", json!({"app.kubernetes.io/version": "1.0.0", "helm.sh/chart": "istiod-1.0.0"}), None),
            ("istio/pilot:latest", json!({}), None),
        ] {
            assert_eq!(istiod(image, &labels).as_deref(), expected, "{image} {labels}");
        }
    }

    #[test]
    fn what_is_known_follows_the_oldest_proxies_and_an_unknown_version_is_a_new_one() {
        let of = |text: &str| IstioVersion::parse(text);
        for (version, environment, append_action) in [
            ("1.13", false, false),
            ("1.14", false, false),
            ("1.15", true, false),
            ("1.16", true, false),
            ("1.17", true, true),
        ] {
            assert_eq!(
                (knows_environment(of(version)), knows_append_action(of(version))),
                (environment, append_action),
                "{version}"
            );
        }
        assert!(knows_environment(None) && knows_append_action(None));
        assert_eq!(of("1.13").unwrap().refusal(), None);
        assert!(of("1.12.9").unwrap().refusal().unwrap().starts_with("expected Istio 1.13 or later"));
    }
}
