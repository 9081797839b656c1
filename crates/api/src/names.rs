//! Every label, header, annotation and object name that the mesh, the user or the original project knows.
//! Source: seed (spelling as printed there), contract sections 1 to 4.

/// API group and version of `ServiceFence`.
pub const FENCE_API_VERSION: &str = "microservice.slime.io/v1alpha1";
/// Kind of the fence resource.
pub const FENCE_KIND: &str = "ServiceFence";
/// API group and version of `SlimeBoot`.
pub const SLIME_BOOT_API_VERSION: &str = "config.netease.com/v1alpha1";
/// API version in which Sidecars are written (the seed prints it; Istio serves others too).
pub const SIDECAR_API_VERSION: &str = "networking.istio.io/v1beta1";

/// Label on a Service or Namespace that turns automatic fencing on (`"true"`) or off (`"false"`).
pub const SERVICE_FENCED_LABEL: &str = "slime.io/serviceFenced";
/// Label that tells fences made by the controller from fences made by hand.
pub const CREATED_BY_LABEL: &str = "app.kubernetes.io/created-by";
/// Value of [`CREATED_BY_LABEL`] on fences that the controller made.
pub const FENCE_CONTROLLER: &str = "fence-controller";
/// Label of the pod of the controller that writes, where several run: `"true"`.
pub const LEADER_LABEL: &str = "slime.io/leader";
/// Annotation by which a user hands a Sidecar over to the fence of its name: `"true"`.
pub const ADOPT_ANNOTATION: &str = "lazyload.slime.io/adopt";
/// Annotation by which a user has a fence forget what it learned: `MARK *`, or `MARK HOST HOST …`; each mark is heeded once.
pub const FORGET_ANNOTATION: &str = "lazyload.slime.io/forget";
/// Label on a ServiceFence, its Service or a Namespace: how far fences go, `enforce`, `recommend` or `observe`; the narrowest one counts.
pub const MODE_LABEL: &str = "lazyload.slime.io/mode";
/// Label on a ServiceFence, its Service or a Namespace: a fence has its first Sidecar once nothing new was learned for so long (`72h`, `3d`); the
/// narrowest one counts.
pub const ENFORCE_AFTER_LABEL: &str = "lazyload.slime.io/enforce-after";
/// Label on a ServiceFence, its Service or a Namespace: learned hosts that are not called for this time leave the Sidecar, or `off`; the narrowest one
/// counts.
pub const EXPIRE_UNUSED_AFTER_LABEL: &str = "lazyload.slime.io/expire-unused-after";
/// Label on a Namespace, `"on"`: no fence in it has a Sidecar for now; on the namespace of the controller, no fence of the mesh.
pub const BREAK_GLASS_LABEL: &str = "lazyload.slime.io/break-glass";
/// Name of the EnvoyFilters, before a dot and the fence's name, by which the proxies of a fence's pods tell what they call; and of the cluster in it.
pub const CALLER_LOG: &str = "lazyload-caller-log";
/// Label of these EnvoyFilters.
pub const CALLER_LOG_LABEL: &str = "lazyload.slime.io/caller-log";
/// Name of the log that such a proxy sends: who sends it speaks for itself alone.
pub const CALLER_LOG_NAME: &str = "lazyload_caller";
/// API version in which EnvoyFilters are written.
pub const ENVOY_FILTER_API_VERSION: &str = "networking.istio.io/v1alpha3";
/// Istio's revision label.
pub const REVISION_LABEL: &str = "istio.io/rev";

/// Request header: original destination `ip:port` of the caller's connection.
pub const ORIG_DEST_HEADER: &str = "Slime-Orig-Dest";
/// Request header: namespace of the caller, for completing short host names.
pub const SOURCE_NS_HEADER: &str = "Slime-Source-Ns";
/// Request header between forwarders: the destination came from Host, so a second forwarder means a loop. Absent on ordinary traffic.
pub const DIALLED_BY_HOST_HEADER: &str = "x-lazyload-dialled-by-host";
/// Response header on answers that are the forwarder's own: `SIDE; REASON`.
pub const FAILURE_HEADER: &str = "x-lazyload-failure";

/// Name of the fallback: its Service, Deployment, ServiceAccount, ConfigMap.
pub const GLOBAL_SIDECAR: &str = "global-sidecar";
/// Label of the ConfigMap that tells the global-sidecar its ports.
pub const CONFIG_LABEL: &str = "lazyload.slime.io/config";
/// Name of the bootstrap ConfigMap and of the cluster that receives access logs.
pub const ACCESS_LOG_SOURCE: &str = "lazyload-accesslog-source";
/// EnvoyFilter that sends unmatched traffic to the global-sidecar.
pub const TO_GLOBAL_SIDECAR: &str = "to-global-sidecar";
/// EnvoyFilter that keeps the fallback away from the global-sidecar's own proxy.
pub const GLOBAL_SIDECAR_ROUTES: &str = "global-sidecar-routes";
/// EnvoyFilter that makes the global-sidecar's proxy log to the controller.
pub const GLOBAL_SIDECAR_ACCESS_LOG: &str = "global-sidecar-accesslog";
/// EnvoyFilter that leaves the caller's identity in requests that pass the global-sidecar.
pub const GLOBAL_SIDECAR_METADATA_EXCHANGE: &str = "global-sidecar-metadata-exchange-remove";
/// Proxy metadata key by which EnvoyFilters recognise a global-sidecar's proxy.
pub const SLIME_APP_METADATA: &str = "SLIME_APP";
/// Value of [`SLIME_APP_METADATA`].
pub const SLIME_APP_VALUE: &str = "LAZYLOAD_GLOBAL_SIDECAR";

/// Virtual host of the fallback: what the Service `global-sidecar` has in proxies, widened to all hosts.
pub const FALLBACK_VIRTUAL_HOST: &str = "allow_all";
/// Istio's catch-alls in each of its outbound modes.
pub const ISTIO_CATCH_ALLS: [&str; 3] = ["allow_any", "block_all", "allow_any_dynamic_dns"];
/// Dispatch target that stands for the global-sidecar.
pub const DISPATCH_TO_GLOBAL_SIDECAR: &str = "_GLOBAL_SIDECAR";
/// Istio's cluster for the original destination of a connection.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";

/// Annotation on pods: changes with the configuration that the pod reads only when it starts.
pub const CONFIG_CHECKSUM_ANNOTATION: &str = "lazyload.slime.io/config-checksum";
/// Label on a Sidecar that has outlived its fence for a moment, so that no request is lost: it has no owner, and is ours to remove.
pub const LEAVING_LABEL: &str = "lazyload.slime.io/leaving";
/// Name of the port of a Sidecar's listener that brings clusters and no routes.
pub const INERT_LISTENER: &str = "lazyload-clusters";
/// Its numbers, of which one is in use at a time; nothing listens there. Two, so that a proxy that got another form of it has a listener more
/// than before, and says so.
pub const INERT_LISTENER_PORTS: [u16; 2] = [15999, 15998];
/// Label and annotation by which Istio decides on injection.
pub const INJECT_LABEL: &str = "sidecar.istio.io/inject";
/// Label of a Namespace by which Istio decides on injection: `enabled` or `disabled`.
pub const NAMESPACE_INJECTION_LABEL: &str = "istio-injection";
/// Label of every object of the product.
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
/// Value of [`PART_OF_LABEL`].
pub const PART_OF: &str = "lazyload";

/// Name of the operator: its Deployment, ServiceAccount, ClusterRole.
pub const SLIME_BOOT_OPERATOR: &str = "slime-boot";
/// Label of every object that the operator made: the name of its SlimeBoot.
pub const SLIME_BOOT_LABEL: &str = "slime.io/slimeboot";
/// Label of every object that the operator made: the namespace of its SlimeBoot.
pub const SLIME_BOOT_NAMESPACE_LABEL: &str = "slime.io/slimeboot-namespace";
/// Finalizer of a SlimeBoot: what was made for it goes first.
pub const SLIME_BOOT_FINALIZER: &str = "lazyload.slime.io/slimeboot";
/// Field manager of everything that the operator writes.
pub const BOOT_FIELD_MANAGER: &str = "lazyload-boot";

/// Field manager of everything that the controller writes.
pub const FIELD_MANAGER: &str = "lazyload";

/// Istio's root namespace unless set otherwise.
pub const DEFAULT_ISTIO_NAMESPACE: &str = "istio-system";
/// Namespace of the controller unless set otherwise.
pub const DEFAULT_SLIME_NAMESPACE: &str = "mesh-operator";
/// DNS suffix of cluster-local services.
pub const SERVICE_DOMAIN_SUFFIX: &str = ".svc.cluster.local";

/// Where the controller finds its settings when `--config` is not given.
pub const DEFAULT_CONFIG_PATH: &str = "/etc/slime/config/cfg";
