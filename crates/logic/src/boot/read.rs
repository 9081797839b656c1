//! From a SlimeBoot as it is written to an installation. Source: contract 1.2–1.4, 0.3.

use k8s_openapi::api::core::v1 as core;
use lazyload_api::names;
use lazyload_api::slime_boot::SlimeBootSpec;
use serde_json::{Value, json};

use super::meta::merged;
use super::{
    BootError, Controller, FilterNames, GlobalSidecar, Image, Installation, dispatch, effective, istio_version, refuse,
    values,
};
use crate::settings::keys;
use crate::settings::reader::Reader;
use crate::settings::{Context, DEFAULT_LOG_PORT, Settings, SettingsError, resolve};

/// Where the global-sidecar listens besides the wormhole ports.
const DEFAULT_GLOBAL_SIDECAR_PORT: u16 = 80;
/// Where the global-sidecar answers probes.
const DEFAULT_PROBE_PORT: u16 = 18181;

const COMPONENTS: &[&str] = &["globalSidecar"];
const GLOBAL_SIDECAR_KEYS: &[&str] = &[
    "accessLog",
    "affinity",
    "enable",
    "image",
    "legacyFilterName",
    "port",
    "probePort",
    "replicas",
    "resources",
    "sidecarInject",
    "tolerations",
    "type",
];
const INJECT_KEYS: &[&str] = &["annotations", "enable", "labels", "mode"];

/// What a SlimeBoot says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is to be installed; nothing if no module is enabled.
    pub installation: Option<Installation>,
    /// One line for each oddity that stops nothing.
    pub warnings: Vec<String>,
}

/// Reads the `spec` of a SlimeBoot.
///
/// # Errors
/// The first field that has the wrong form, contradicts another one or asks for what is not supported.
pub fn read(spec: &SlimeBootSpec) -> Result<Reading, BootError> {
    let value = Value::Object(spec.fields.clone());
    let spec = Reader::new("spec", Some(&value));
    let Some(module) = enabled_module(&spec)? else {
        let warnings = vec!["no entry of spec.module has enable: true, so there is nothing to install".to_owned()];
        return Ok(Reading { installation: None, warnings });
    };
    let component = spec.key("component").key("globalSidecar");
    let namespace = text_or(&spec.key("namespace"), names::DEFAULT_SLIME_NAMESPACE)?;
    let istio_namespace = match spec.key("istioNamespace").name().map_err(BootError::from_reader)? {
        Some(name) => name,
        None => text_or(&module.key("global").key("istioNamespace"), names::DEFAULT_ISTIO_NAMESPACE)?,
    };
    refuse::module(&module)?;
    refuse::spec(&spec)?;

    let context = Context {
        component_type: component.key("type").name().map_err(BootError::from_reader)?,
        namespace: Some(namespace.clone()),
    };
    let entry = module.value().cloned().unwrap_or_default();
    let settings_error = |error: SettingsError| BootError::from_settings(error, module.path());
    let written = resolve(&entry, &context).map_err(settings_error)?;
    refuse::settings(&written.settings, module.path())?;
    refuse::namespaces(&written.settings, &istio_namespace, module.path())?;
    for (field, name) in [("namespace", &namespace), ("istioNamespace", &istio_namespace)] {
        values::namespace(&format!("spec.{field}"), name)?;
    }
    let seen_by_templates = merged(&json!({"namespace": namespace, "istioNamespace": istio_namespace}), value.clone());
    let (dispatches, odd_dispatches) = dispatch::dispatches(&written.settings, &seen_by_templates, module.path())?;
    let log_port = log_source_port(&spec)?;
    let config = effective::module_entry(entry, &written.settings, &istio_namespace, &dispatches, log_port);
    let settings = resolve(&config, &context).map_err(settings_error)?.settings;
    values::dns_label(&format!("{}.name", module.path()), &settings.module_name)?;
    if [names::GLOBAL_SIDECAR, names::ACCESS_LOG_SOURCE].contains(&settings.module_name.as_str()) {
        let message =
            format!("{} is the name of another component; choose another, such as lazyload", settings.module_name);
        return Err(BootError::new(format!("{}.name", module.path()), message));
    }

    let mut warnings = written.warnings;
    for (map, known) in [
        (&spec.key("component"), COMPONENTS),
        (&component, GLOBAL_SIDECAR_KEYS),
        (&component.key("sidecarInject"), INJECT_KEYS),
    ] {
        warnings.extend(keys::warnings_of(map, known).map_err(BootError::from_reader)?);
    }
    let image = values::image(&spec.key("image"), None)?;
    let global_sidecar = global_sidecar(&component, &settings, &image)?;
    warnings.extend(odd_dispatches);
    let installation = Installation {
        network_policies: spec.key("networkPolicy").flag().map_err(BootError::from_reader)?,
        namespace,
        istio: istio_version::read(&spec.key("istioVersion"))?,
        istio_namespace,
        image_pull_secrets: values::items::<core::LocalObjectReference>(
            &spec.key("imagePullSecrets"),
            "a list of Secret references, each with a name",
        )?
        .into(),
        global_sidecar,
        dispatches,
        controller: controller(&spec, refuse::replicas(&spec, &settings)?, image)?,
        settings,
        config,
    };
    Ok(Reading { installation: Some(installation), warnings })
}

fn text_or(reader: &Reader<'_>, default: &str) -> Result<String, BootError> {
    Ok(reader.name().map_err(BootError::from_reader)?.unwrap_or_else(|| default.to_owned()))
}

fn port_or(reader: &Reader<'_>, default: u16) -> Result<u16, BootError> {
    if reader.is_set() { reader.port().map_err(BootError::from_reader) } else { Ok(default) }
}

fn log_source_port(spec: &Reader<'_>) -> Result<u16, BootError> {
    port_or(&spec.key("service").key("logSourcePort"), DEFAULT_LOG_PORT)
}

/// The one entry that is enabled; other kinds belong to other products.
fn enabled_module<'a>(spec: &Reader<'a>) -> Result<Option<Reader<'a>>, BootError> {
    let mut found: Option<Reader<'a>> = None;
    for module in spec.key("module").list().map_err(BootError::from_reader)? {
        module.map().map_err(BootError::from_reader)?;
        if !module.key("enable").flag().map_err(BootError::from_reader)? {
            continue;
        }
        let name = module.key("name").name().map_err(BootError::from_reader)?;
        let kind = module.key("kind").name().map_err(BootError::from_reader)?.or(name);
        if kind.as_deref() != Some("lazyload") {
            let message = format!(
                "expected lazyload, got {}",
                kind.map_or_else(|| "nothing".to_owned(), |kind| format!("{kind:?}"))
            );
            return Err(BootError::new(
                module.key("kind").path(),
                format!("{message}; disable modules of other kinds"),
            ));
        }
        if let Some(first) = &found {
            let what = format!("a second module of kind lazyload besides {}", first.path());
            return Err(BootError::unsupported(module.path(), &what, "disable one of them"));
        }
        found = Some(module);
    }
    Ok(found)
}

fn controller(spec: &Reader<'_>, replicas: u32, image: Image) -> Result<Controller, BootError> {
    let mounts = |reader: &Reader<'_>| {
        values::items::<core::VolumeMount>(reader, "a list of volume mounts, each with name and mountPath")
    };
    let mut volume_mounts = mounts(&spec.key("volumeMounts"))?;
    volume_mounts.extend(mounts(&spec.key("containers").key("slime").key("volumeMounts"))?);
    let create = spec.key("serviceAccount").key("create");
    let service = spec.key("service");
    Ok(Controller {
        image,
        replicas,
        create_service_account: !create.is_set() || create.flag().map_err(BootError::from_reader)?,
        env: values::items::<core::EnvVar>(
            &spec.key("env"),
            "a list of environment variables, each with name and value",
        )?,
        resources: values::object::<core::ResourceRequirements>(&spec.key("resources"), "requests and limits")?,
        node_selector: values::texts_by_key(&spec.key("nodeSelector"))?,
        tolerations: values::items::<core::Toleration>(&spec.key("tolerations"), "a list of tolerations")?.into(),
        affinity: values::object::<core::Affinity>(&spec.key("affinity"), "an affinity")?,
        pod_security_context: values::object::<core::PodSecurityContext>(
            &spec.key("podSecurityContext"),
            "a pod's security context",
        )?,
        container_security_context: values::object::<core::SecurityContext>(
            &spec.key("containerSecurityContext"),
            "a container's security context",
        )?,
        volumes: values::items::<core::Volume>(&spec.key("volumes"), "a list of volumes, each with a name")?,
        volume_mounts,
        service_type: text_or(&service.key("type"), "ClusterIP")?,
        http_port: port_or(&service.key("port"), 80)?,
        auxiliary_port: port_or(&service.key("auxiliaryPort"), 8081)?,
        log_source_port: log_source_port(spec)?,
    })
}

fn global_sidecar(
    component: &Reader<'_>,
    settings: &Settings,
    image: &Image,
) -> Result<Option<GlobalSidecar>, BootError> {
    if !component.key("enable").flag().map_err(BootError::from_reader)? {
        return Ok(None);
    }
    refuse::component(component, settings.mode)?;
    let fallback_port = match component.key("port") {
        port if port.is_set() => Some(port.port().map_err(BootError::from_reader)?),
        _ => None,
    };
    let mut ports = settings.wormhole_ports.clone();
    let last = fallback_port.unwrap_or(DEFAULT_GLOBAL_SIDECAR_PORT);
    if !ports.contains(&last) {
        ports.push(last);
    }
    let probe_port = port_or(&component.key("probePort"), DEFAULT_PROBE_PORT)?;
    refuse::ports(component, &ports, probe_port)?;
    let inject = component.key("sidecarInject");
    Ok(Some(GlobalSidecar {
        image: values::image(&component.key("image"), Some(image))?,
        written_ports: ports.clone(),
        ports,
        fallback_port,
        filters: filter_names(component)?,
        probe_port,
        logs_access: component.key("accessLog").flag().map_err(BootError::from_reader)?,
        replicas: replicas(&component.key("replicas"))?,
        injected_by_namespace: by_namespace(&inject)?,
        labels: inject_labels(&inject)?,
        annotations: values::texts_by_key(&inject.key("annotations"))?,
        resources: values::object::<core::ResourceRequirements>(&component.key("resources"), "requests and limits")?,
        affinity: values::object::<core::Affinity>(&component.key("affinity"), "an affinity")?,
        tolerations: values::items::<core::Toleration>(&component.key("tolerations"), "a list of tolerations")?.into(),
    }))
}

/// None would leave every unknown host without an answer.
fn replicas(reader: &Reader<'_>) -> Result<u32, BootError> {
    match reader.count().map_err(BootError::from_reader)? {
        Some(0) => Err(BootError::new(
            reader.path(),
            "expected at least 1, got 0; to remove it set globalSidecar.enable to false",
        )),
        count => Ok(count.unwrap_or(1)),
    }
}

const FILTERS: &[FilterNames] = &[
    FilterNames { manager: "envoy.filters.network.http_connection_manager", router: "envoy.filters.http.router" },
    OLD_FILTER,
];
const OLD_FILTER: FilterNames = FilterNames { manager: "envoy.http_connection_manager", router: "envoy.router" };

/// The old names besides the present ones: Istio takes a filter of a name that it does not know for one that matches nothing, and says
/// nothing. In a mesh without them the setting would end all learning.
fn filter_names(component: &Reader<'_>) -> Result<&'static [FilterNames], BootError> {
    let old_too = component.key("legacyFilterName").flag().map_err(BootError::from_reader)?;
    Ok(if old_too { FILTERS } else { FILTERS.get(..1).unwrap_or_default() })
}

/// Without any label the pod would start without a proxy, and nothing would be served: ask for Istio's default injection, unless the user
/// says that the namespace's own label asks for it.
fn inject_labels(inject: &Reader<'_>) -> Result<Value, BootError> {
    if by_namespace(inject)? {
        return Ok(json!({}));
    }
    let labels = values::texts_by_key(&inject.key("labels"))?;
    let empty = labels.as_object().is_none_or(serde_json::Map::is_empty);
    Ok(if empty { json!({ names::INJECT_LABEL: "true" }) } else { labels })
}

fn by_namespace(inject: &Reader<'_>) -> Result<bool, BootError> {
    Ok(inject.key("mode").name().map_err(BootError::from_reader)?.as_deref() == Some("namespace"))
}
