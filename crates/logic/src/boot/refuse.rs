//! What would give wrong objects is refused with a way out, rather than installed.

use super::{BootError, dispatch, values};
use crate::settings::reader::Reader;
use crate::settings::{GlobalSidecarMode, Settings};

/// Ports that the proxy in the global-sidecar's pod holds for itself. Source: Istio "Ports used by Istio".
pub(super) const PROXY_PORTS: &[u16] = &[15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090];

/// Fields of the module entry that the settings do not know.
pub(super) fn module(module: &Reader<'_>) -> Result<(), BootError> {
    let mode = module.key("mode");
    if module.key("bundle").is_set() || mode.is_set() {
        return Err(BootError::unsupported(module.path(), "a bundle of modules", "remove bundle and mode"));
    }
    Ok(())
}

/// Fields of the spec beside the modules.
pub(super) fn spec(spec: &Reader<'_>) -> Result<(), BootError> {
    let args = spec.key("args");
    if !args.list().map_err(BootError::from_reader)?.is_empty() {
        return Err(BootError::new(
            args.path(),
            "expected nothing, because the controller takes no arguments; remove it",
        ));
    }
    Ok(())
}

/// How many controllers there are: several would all write, unless they agree on one.
pub(super) fn replicas(spec: &Reader<'_>, settings: &Settings) -> Result<u32, BootError> {
    let replicas = spec.key("replicaCount");
    let count = replicas.count().map_err(BootError::from_reader)?.unwrap_or(1);
    if count > 1 && settings.lease.is_none() {
        let message = format!(
            "expected 1, got {count}: several controllers need leader election, so set global.misc.enableLeaderElection of the module to \"on\""
        );
        return Err(BootError::new(replicas.path(), message));
    }
    Ok(count)
}

/// Settings that cannot be served as they are.
pub(super) fn settings(settings: &Settings, module_path: &str) -> Result<(), BootError> {
    let path = |field: &str| format!("{module_path}.general.{field}");
    if let Some(version) = &settings.proxy_version {
        dispatch::regular_expression(version, &path("proxyVersion"))?;
    }
    Ok(())
}

/// Lists of namespaces that cannot each have a global-sidecar of their own.
pub(super) fn namespaces(settings: &Settings, istio_namespace: &str, module_path: &str) -> Result<(), BootError> {
    if settings.mode != GlobalSidecarMode::Namespace {
        return Ok(());
    }
    let path = format!("{module_path}.general.namespace");
    if settings.namespaces.is_empty() {
        return Err(BootError::new(
            path,
            "expected the namespaces that get a global-sidecar, got none; list at least one",
        ));
    }
    for (position, name) in settings.namespaces.iter().enumerate() {
        let path = format!("{path}[{position}]");
        values::namespace(&path, name)?;
        if name == istio_namespace {
            let message = format!(
                "{name:?} is Istio's root namespace, whose EnvoyFilters reach every proxy; use cluster mode for that"
            );
            return Err(BootError::new(path, message));
        }
        if settings.namespaces.iter().take(position).any(|other| other == name) {
            return Err(BootError::new(path, format!("{name:?} occurs twice; remove one")));
        }
    }
    Ok(())
}

/// Ways of injection that would leave the global-sidecar without its proxy.
pub(super) fn component(component: &Reader<'_>, mode: GlobalSidecarMode) -> Result<(), BootError> {
    let enable = component.key("sidecarInject").key("enable");
    if !enable.flag().map_err(BootError::from_reader)? {
        let found = if enable.is_set() { "false" } else { "nothing" };
        let why = "the global-sidecar works only with an injected proxy, so set it to true";
        return Err(BootError::new(enable.path(), format!("expected true, got {found}; {why}")));
    }
    let inject = component.key("sidecarInject").key("mode");
    match inject.name().map_err(BootError::from_reader)?.as_deref() {
        None | Some("pod") => {}
        Some("namespace") if mode == GlobalSidecarMode::Namespace => {}
        Some("namespace") => {
            let why = "in cluster mode the namespace of the controller is not injected as a whole, so set it to pod";
            return Err(BootError::new(inject.path(), format!("expected pod, got \"namespace\"; {why}")));
        }
        Some(_) => return Err(BootError::from_reader(inject.error("pod or namespace"))),
    }
    Ok(())
}

/// Ports that two listeners of one pod would claim.
pub(super) fn ports(component: &Reader<'_>, ports: &[u16], probe_port: u16) -> Result<(), BootError> {
    if ports.contains(&probe_port) {
        let message = format!("{probe_port} is also a wormhole port; choose another port for probes, such as 20000");
        return Err(BootError::new(component.key("probePort").path(), message));
    }
    for port in ports.iter().chain([&probe_port]) {
        if PROXY_PORTS.contains(port) {
            let message = format!(
                "port {port} belongs to Istio's proxy in the same pod; leave it out of wormholePort, port and probePort"
            );
            return Err(BootError::new(component.path(), message));
        }
    }
    Ok(())
}
