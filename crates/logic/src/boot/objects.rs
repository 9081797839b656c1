//! Every object of an installation, in an order in which it is safe to apply them.

use serde_json::Value;

use super::place::{Place, places};
use super::{
    GlobalSidecar, Installation, access_log, controller, election, fallback, global_sidecar, metadata_exchange,
    network_policy,
};
use crate::settings::MetricSource;

/// The objects: what only exists before what runs, what runs before what sends traffic to it, and the redirection last.
#[must_use]
pub fn desired_objects(installation: &Installation) -> Vec<Value> {
    let mut objects = controller::base(installation);
    objects.extend(election::role(installation));
    objects.extend(network_policy::all(installation));
    let Some(sidecar) = &installation.global_sidecar else {
        objects.extend(controller::services(installation));
        objects.push(controller::deployment(installation));
        return objects;
    };
    let places = places(installation);
    objects.extend(places.iter().flat_map(|place| global_sidecar::base(sidecar, place)));
    if installation.settings.source == MetricSource::AccessLog {
        objects.extend(places.iter().map(|place| access_log::bootstrap_config_map(installation, place)));
    }
    objects.extend(controller::services(installation));
    objects.extend(places.iter().map(|place| global_sidecar::service(sidecar, place)));
    objects.extend(places.iter().map(global_sidecar::scope));
    objects.push(controller::deployment(installation));
    objects.extend(places.iter().map(|place| global_sidecar::deployment(installation, sidecar, place)));
    objects.extend(places.iter().flat_map(|place| own_filters(installation, sidecar, place)));
    objects.extend(places.iter().map(|place| fallback::envoy_filter(installation, sidecar, place)));
    objects
}

/// The EnvoyFilters for a global-sidecar's own proxy.
fn own_filters(installation: &Installation, sidecar: &GlobalSidecar, place: &Place) -> [Value; 2] {
    let source = match installation.settings.source {
        MetricSource::AccessLog => access_log::envoy_filter(place, sidecar.filters.manager),
        MetricSource::Prometheus => metadata_exchange::removal(place, sidecar.filters.manager),
    };
    [source, fallback::own_routes(installation, sidecar, place)]
}
