//! Which ports the mesh speaks HTTP on, by what Services and ServiceEntries declare. Source: contract 2.9, 4.7; B14, B40; Istio's protocol
//! selection (`pkg/config/kube/conversion.go`, `pkg/config/protocol`).

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::names;
use serde_json::Value;

use super::{GlobalSidecar, Installation, refuse};
use crate::types::ObjectRef;

/// Ports for which a missing declaration means TCP to Istio: SMTP, DNS, MySQL, MongoDB.
const TCP_UNLESS_DECLARED: &[u16] = &[25, 53, 3306, 27017];
/// Ports that the global-sidecar has at most; each costs every proxy a listener and a table of routes, and the EnvoyFilter about 3 KB, with
/// Lua 4.5, of the 1.5 MB that an object may have.
const MOST: usize = 320;
/// Ports that are named in the status at most.
const NAMED: usize = 50;

/// What a port carries, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 as declared.
    Http,
    /// HTTP/2, gRPC or gRPC-Web as declared.
    Http2,
    /// Not declared: a proxy looks at the first bytes, and takes HTTP for HTTP.
    Detected,
    /// Bytes of which the server may send the first.
    Bytes,
    /// Anything else that the client begins: TLS, Redis, Mongo.
    Other,
}

impl Protocol {
    /// Istio's choice for a port of a Kubernetes Service; nothing for other transports than TCP.
    #[must_use]
    pub fn of_service_port(port: u16, name: &str, app_protocol: Option<&str>, transport: &str) -> Option<Self> {
        if transport != "TCP" {
            return None;
        }
        let name = match app_protocol {
            Some("kubernetes.io/h2c") => return Some(Self::Http2),
            Some("kubernetes.io/ws") => return Some(Self::Http),
            Some("kubernetes.io/wss") => return Some(Self::Other),
            declared => declared.unwrap_or(name),
        };
        // The one name that contains the separator.
        if name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web")) {
            return Some(Self::Http2);
        }
        let declared = Self::named(name.split('-').next().unwrap_or_default());
        Some(match declared {
            Self::Detected if TCP_UNLESS_DECLARED.contains(&port) => Self::Bytes,
            declared => declared,
        })
    }

    /// Istio's protocol of this name, in any case.
    fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" | "http_proxy" => Self::Http,
            "http2" | "grpc" | "grpc-web" => Self::Http2,
            "tcp" | "mysql" => Self::Bytes,
            "https" | "tls" | "mongo" | "redis" | "udp" => Self::Other,
            _ => Self::Detected,
        }
    }

    /// Whether HTTP of any version is declared, so that nobody has to find it out.
    #[must_use]
    pub fn is_declared_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }

    /// Whether calls of such a port can be learned. What is detected counts: where its first bytes are HTTP, Istio treats it as HTTP, and
    /// else the listener that the global-sidecar's port brings passes it through.
    fn is_http(self, with_http2: bool) -> bool {
        match self {
            Self::Http | Self::Detected => true,
            Self::Http2 => with_http2,
            Self::Bytes | Self::Other => false,
        }
    }
}

/// What one Service or ServiceEntry declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared(BTreeSet<(u16, Protocol)>);

impl Declared {
    /// Reads an object as it is stored; what is malformed declares nothing.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let ports = object.pointer("/spec/ports").and_then(Value::as_array);
        let is_entry = object.get("kind").is_some_and(|kind| kind == "ServiceEntry");
        let declared = ports.into_iter().flatten().filter_map(|port| {
            let text = |field: &str| port.get(field).and_then(Value::as_str);
            let (number, name) = if is_entry { ("number", "protocol") } else { ("port", "name") };
            let number = u16::try_from(port.get(number)?.as_u64()?).ok().filter(|number| *number != 0)?;
            let name = text(name).unwrap_or_default();
            let protocol = if is_entry {
                Protocol::named(name)
            } else {
                let transport = text("protocol").unwrap_or("TCP");
                Protocol::of_service_port(number, name, text("appProtocol"), transport)?
            };
            Some((number, protocol))
        });
        Self(declared.collect())
    }

    /// The ports, each with what it carries.
    pub fn ports(&self) -> impl Iterator<Item = (u16, Protocol)> {
        self.0.iter().copied()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The ports of a global-sidecar beyond those that its user wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Each port with one that declares it, or nothing if it only stood before.
    pub ports: BTreeMap<u16, Option<ObjectRef>>,
    /// Ports that are left out, each with the reason.
    pub left_out: BTreeMap<u16, String>,
}

impl Installation {
    /// Whether ports are to be found.
    #[must_use]
    pub fn finds_ports(&self) -> bool {
        self.settings.auto_port && self.global_sidecar.is_some()
    }

    /// The ports that are found. Of what is `declared` one object is enough for each port and protocol, one that counts. `standing` are those that the global-sidecar has: they stay, unless what nobody declares is to go. As long
    /// as not everything that is `declared` is known, there is nothing, and nothing comes or goes.
    #[must_use]
    pub fn found_ports<'a>(
        &self,
        declared: Option<impl Iterator<Item = (u16, Protocol, &'a ObjectRef)>>,
        standing: &BTreeSet<u16>,
    ) -> Found {
        let mut found = Found::default();
        let Some(sidecar) = self.global_sidecar.as_ref().filter(|_| self.finds_ports()) else { return found };
        let cleans_up = self.settings.cleanup_wormhole_port && declared.is_some();
        let mut candidates: BTreeMap<u16, &ObjectRef> = BTreeMap::new();
        let mut bytes: BTreeMap<u16, &ObjectRef> = BTreeMap::new();
        for (port, protocol, object) in declared.into_iter().flatten() {
            let declared = match protocol {
                http if http.is_http(self.settings.support_h2) => &mut candidates,
                Protocol::Bytes => &mut bytes,
                _ => continue,
            };
            declared.entry(port).and_modify(|first| *first = object.min(*first)).or_insert(object);
        }
        let fits = |port: &u16| {
            !sidecar.written_ports.contains(port) && *port != sidecar.probe_port && !refuse::PROXY_PORTS.contains(port)
        };
        for port in standing.iter().filter(|port| fits(port)) {
            let who = candidates.remove(port);
            if who.is_some() || !cleans_up {
                found.ports.insert(*port, who.cloned());
            }
        }
        for (port, who) in candidates.into_iter().filter(|(port, _)| fits(port)) {
            if let Some(other) = bytes.get(&port) {
                let reason = format!(
                    "{who} speaks HTTP there, {other} plain TCP, which hangs at a proxy that does not know it; to have it all the same list it in wormholePort"
                );
                found.left_out.insert(port, reason);
            } else if found.ports.len() + sidecar.written_ports.len() >= MOST {
                let reason = format!(
                    "{who} speaks HTTP there, but {MOST} ports are the most; set cleanupWormholePort or list it in wormholePort"
                );
                found.left_out.insert(port, reason);
            } else {
                found.ports.insert(port, Some(who.clone()));
            }
        }
        found
    }

    /// Whether the ports of this object count: not where every Sidecar shows it, so that calls to it need no fallback, and not those of the
    /// global-sidecars, which are our own answer.
    #[must_use]
    pub fn counts(&self, object: &ObjectRef) -> bool {
        let namespace = object.namespace.as_ref();
        namespace != self.istio_namespace
            && namespace != self.settings.slime_namespace
            && object.name.as_ref() != names::GLOBAL_SIDECAR
    }

    /// The same, with a global-sidecar that also has what was found.
    #[must_use]
    pub fn with_ports(&self, found: &Found) -> Self {
        let mut grown = self.clone();
        if let Some(GlobalSidecar { ports, .. }) = &mut grown.global_sidecar {
            ports.extend(found.ports.keys());
        }
        grown
    }
}

impl Found {
    /// One line each for the status: which ports and why, and what was left out.
    #[must_use]
    pub fn lines(&self) -> (Vec<String>, Vec<String>) {
        let ports = self.ports.iter().map(|(port, who)| match who {
            Some(who) => format!("{port}: {who}"),
            None => format!("{port}: declared no more"),
        });
        let left_out = self.left_out.iter().map(|(port, reason)| format!("{port}: {reason}"));
        (bounded(ports), bounded(left_out))
    }
}

fn bounded(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    lines.take(NAMED).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use lazyload_api::slime_boot::SlimeBootSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn protocols_are_those_that_istio_selects() {
        use Protocol::{Bytes, Detected, Http, Http2, Other};
        for (port, name, app_protocol, expected) in [
            (80, "http", None, Http),
            (80, "HTTP-web", None, Http),
            (80, "http-", None, Http),
            (80, "httpx", None, Detected),
            (80, "web-http", None, Detected),
            (80, "", None, Detected),
            (80, "http2", None, Http2),
            (80, "http2-x", None, Http2),
            (80, "grpc", None, Http2),
            (80, "grpc-x", None, Http2),
            (80, "grpc-web", None, Http2),
            (80, "grpc-web-x", None, Http2),
            (80, "gRPC-Webby", None, Http2),
            (80, "grpcweb", None, Detected),
            (80, "tcp", None, Bytes),
            (80, "tcp-x", None, Bytes),
            (80, "mysql", None, Bytes),
            (80, "https", None, Other),
            (80, "tls-x", None, Other),
            (80, "redis", None, Other),
            (80, "mongo", None, Other),
            (80, "udp", None, Other),
            (3306, "", None, Bytes),
            (3306, "db", None, Bytes),
            (27017, "", None, Bytes),
            (53, "dns-tcp", None, Bytes),
            (3306, "http", None, Http),
            (80, "tcp", Some("http"), Http),
            (80, "http", Some("tcp"), Bytes),
            (80, "http", Some("HTTP-x"), Http),
            (80, "http", Some("example.com/own"), Detected),
            (80, "http", Some(""), Detected),
            (80, "", Some("kubernetes.io/h2c"), Http2),
            (80, "", Some("kubernetes.io/ws"), Http),
            (80, "http", Some("kubernetes.io/wss"), Other),
            (80, "kubernetes.io/h2c", None, Detected),
            (80, "é-grpc-web", None, Detected),
        ] {
            let got = Protocol::of_service_port(port, name, app_protocol, "TCP");
            assert_eq!(got, Some(expected), "{port} {name:?} {app_protocol:?}");
        }
        for transport in ["UDP", "SCTP"] {
            assert_eq!(Protocol::of_service_port(80, "http", Some("http"), transport), None);
        }
    }

    fn service(ports: &Value) -> Declared {
        Declared::of(&json!({"kind": "Service", "spec": {"ports": ports}}))
    }

    fn installation(general: &Value) -> Installation {
        let mut general = general.clone();
        general["autoPort"] = true.into();
        let spec: SlimeBootSpec = serde_json::from_value(json!({
            "image": {"repository": "example/lazyload"},
            "module": [{"name": "lazyload", "enable": true, "general": general}],
            "component": {"globalSidecar": {"enable": true, "sidecarInject": {"enable": true}}},
        }))
        .unwrap();
        crate::boot::read(&spec).unwrap().installation.unwrap()
    }

    fn found(installation: &Installation, services: &[(&str, Declared)], standing: &[u16]) -> Found {
        let named: Vec<(ObjectRef, &Declared)> = services
            .iter()
            .map(|(id, declared)| {
                let (namespace, name) = id.split_once('/').unwrap();
                (ObjectRef::new(namespace, name), declared)
            })
            .collect();
        let standing = standing.iter().copied().collect();
        let counting = named.iter().filter(|(id, _)| installation.counts(id));
        let declared = counting.flat_map(|(id, declared)| declared.ports().map(move |(port, how)| (port, how, id)));
        installation.found_ports(Some(declared), &standing)
    }

    fn ports(found: &Found) -> Vec<u16> {
        found.ports.keys().copied().collect()
    }

    #[test]
    fn http_ports_are_found_and_those_that_every_sidecar_shows_are_not() {
        let installation = installation(&json!({"wormholePort": [9080]}));
        let services = [
            (
                "default/details",
                service(&json!([{"name": "http", "port": 9080}, {"port": 9090}, {"name": "grpc", "port": 50051}])),
            ),
            (
                "default/db",
                service(&json!([{"name": "mysql", "port": 3306}, {"name": "dns", "port": 54, "protocol": "UDP"}])),
            ),
            ("istio-system/istiod", service(&json!([{"name": "http-monitoring", "port": 15014}]))),
            ("mesh-operator/lazyload", service(&json!([{"name": "http", "port": 8081}]))),
            ("shop/global-sidecar", service(&json!([{"name": "http-7777", "port": 7777}]))),
            (
                "default/clash",
                service(
                    &json!([{"name": "http", "port": 18181}, {"name": "http-x", "port": 15021}, {"port": 0}, {"port": 70000}, {}]),
                ),
            ),
        ];
        let found = found(&installation, &services, &[]);
        assert_eq!(ports(&found), [9090]);
        assert_eq!(found.lines(), (vec!["9090: default/details".to_owned()], Vec::new()));
        let grown = installation.with_ports(&found).global_sidecar.unwrap();
        assert_eq!((grown.ports, grown.written_ports), (vec![9080, 80, 9090], vec![9080, 80]));
    }

    #[test]
    fn with_http2_grpc_ports_are_found_too_and_service_entries_count() {
        let entry = Declared::of(&json!({"kind": "ServiceEntry", "spec": {"ports": [
            {"number": 8000, "name": "x", "protocol": "HTTP"}, {"number": 8001, "protocol": "GRPC-Web"}, {"number": 8002, "protocol": "TLS"},
        ]}}));
        let services = [("default/a", service(&json!([{"name": "grpc", "port": 50051}]))), ("default/out", entry)];
        assert_eq!(ports(&found(&installation(&json!({"supportH2": true})), &services, &[])), [8000, 8001, 50051]);
        assert_eq!(ports(&found(&installation(&json!({})), &services, &[])), [8000]);
    }

    #[test]
    fn what_stands_stays_unless_it_is_to_go_and_what_is_written_always_stays() {
        let services = [("default/a", service(&json!([{"name": "http", "port": 7000}])))];
        let standing = [80, 9080, 7000, 7001, 18181];
        let kept = installation(&json!({"wormholePort": [9080]}));
        let after = found(&kept, &services, &standing);
        assert_eq!(after.lines().0, ["7000: default/a", "7001: declared no more"]);
        let cleaned = installation(&json!({"wormholePort": [9080], "cleanupWormholePort": true}));
        let after = found(&cleaned, &services, &standing);
        assert_eq!(ports(&after), [7000]);
        assert_eq!(cleaned.with_ports(&after).global_sidecar.unwrap().ports, [9080, 80, 7000]);
        let after = found(&cleaned, &[], &standing);
        assert_eq!(cleaned.with_ports(&after).global_sidecar.unwrap().ports, [9080, 80]);
    }

    #[test]
    fn a_port_on_which_a_server_may_speak_first_is_left_out_until_its_user_writes_it() {
        let services = [
            ("default/db", service(&json!([{"name": "tcp", "port": 7000}]))),
            ("default/web", service(&json!([{"name": "http", "port": 7000}]))),
        ];
        let automatic = found(&installation(&json!({})), &services, &[]);
        assert_eq!(ports(&automatic), Vec::<u16>::new());
        assert!(automatic.lines().1[0].starts_with("7000: default/web speaks HTTP there, default/db plain TCP"));
        assert_eq!(ports(&found(&installation(&json!({})), &services, &[7000])), [7000]);
        assert_eq!(found(&installation(&json!({"wormholePort": [7000]})), &services, &[]), Found::default());
    }

    #[test]
    fn a_mesh_of_many_ports_is_bounded_and_says_so() {
        let many: Vec<Value> = (10_000..11_000).map(|port| json!({"name": "http", "port": port})).collect();
        let services = [("default/many", service(&many.into()))];
        let found = found(&installation(&json!({})), &services, &[20_000]);
        assert_eq!(found.ports.len() + 1, MOST);
        assert!(found.ports.contains_key(&20_000));
        assert_eq!((found.lines().0.len(), found.lines().1.len()), (NAMED + 1, NAMED + 1));
        assert_eq!(found.lines().1[NAMED], "and 632 more");
    }
}
