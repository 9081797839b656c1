//! Every object of an installation, in an order in which it is safe to apply them.

use serde_json::Value;

use super::{Installation, access_log, controller, fallback, global_sidecar};

/// The objects: what only exists before what runs, what runs before what sends traffic to it, and the mesh-wide redirection last.
#[must_use]
pub fn desired_objects(installation: &Installation) -> Vec<Value> {
    let mut objects = controller::base(installation);
    let Some(sidecar) = &installation.global_sidecar else {
        objects.extend([controller::service(installation), controller::deployment(installation)]);
        return objects;
    };
    objects.extend(global_sidecar::base(installation, sidecar));
    objects.push(access_log::bootstrap_config_map(installation));
    objects.push(controller::service(installation));
    objects.push(global_sidecar::service(installation, sidecar));
    objects.push(global_sidecar::scope(installation));
    objects.push(controller::deployment(installation));
    objects.push(global_sidecar::deployment(installation, sidecar));
    objects.push(access_log::envoy_filter(installation));
    objects.push(fallback::own_routes(installation, sidecar));
    objects.push(fallback::envoy_filter(installation, sidecar));
    objects
}
