//! What the controller proves its identity in the mesh with: a token for Istio's authority, and the authorities that the mesh trusts. No
//! Secret, and no right: the kubelet brings both.

use serde_json::{Value, json};

use super::Installation;
use crate::settings::{LogSecurity, MetricSource};

/// Where the controller finds [`TOKEN`] and [`AUTHORITIES`].
pub const FOLDER: &str = "/var/run/secrets/lazyload";
/// A token of the controller's ServiceAccount.
pub const TOKEN: &str = "istio-token";
/// Certificates in PEM.
pub const AUTHORITIES: &str = "root-cert.pem";

const NAME: &str = "mesh-identity";
/// Whom the token is for; istiod takes no other.
const AUDIENCE: &str = "istio-ca";
/// The same as of Istio's own proxies; the kubelet renews it in time.
const TOKEN_SECONDS: u32 = 43200;
/// istiod puts it into every namespace.
const CONFIG_MAP: &str = "istio-ca-root-cert";

/// The volume and its mount, where access logs are secured.
pub(super) fn of(installation: &Installation) -> Option<(Value, Value)> {
    let settings = &installation.settings;
    if settings.log_security == LogSecurity::Off || settings.source != MetricSource::AccessLog {
        return None;
    }
    let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN});
    // Optional: without istiod the controller does all but this.
    let authorities =
        json!({"name": CONFIG_MAP, "optional": true, "items": [{"key": AUTHORITIES, "path": AUTHORITIES}]});
    let sources = json!([{"serviceAccountToken": token}, {"configMap": authorities}]);
    Some((
        json!({"name": NAME, "projected": {"defaultMode": 420, "sources": sources}}),
        json!({"name": NAME, "mountPath": FOLDER, "readOnly": true}),
    ))
}
