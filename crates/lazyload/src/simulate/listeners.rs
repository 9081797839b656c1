//! What listens where, as the folder's Services and Pods come and go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lazyload_api::names;
use lazyload_logic::types::ObjectRef;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::mesh::{Pod, Service};
use super::{OUTBOUND_PORT, World, global_sidecar, http, inbound, outbound, service};
use crate::process::listen::{ListenError, bind};

/// An address of the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to simulate {whose} at {address}; if another program (another demo?) has the address, end it or change the addresses in the folder"
)]
pub struct ListenersError {
    whose: String,
    address: SocketAddr,
    source: ListenError,
}

/// What is to listen at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// A Service's port.
    Service(ObjectRef),
    /// A port of a pod.
    Inbound(ObjectRef),
    /// The port for a pod's own requests.
    Outbound(ObjectRef),
    /// A port of the global-sidecar's pod.
    GlobalSidecar(ObjectRef),
}

type Listening = BTreeMap<SocketAddr, (Role, CancellationToken)>;

/// Opens all, then follows the folder.
///
/// # Errors
/// One of the first addresses cannot be used.
pub fn start(world: Arc<World>) -> Result<JoinHandle<()>, ListenersError> {
    let mut changes = world.mesh.folder().changes();
    let mut listening = Listening::new();
    if let Some(problem) = adjust(&world, &mut listening).into_iter().next() {
        return Err(problem);
    }
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = world.shutdown.cancelled() => return,
            }
            for problem in adjust(&world, &mut listening) {
                tracing::warn!(error = &problem as &dyn std::error::Error, "left out");
            }
        }
    }))
}

/// Opens what is missing, closes what is too much. Only loopback addresses: nothing here is for others.
fn adjust(world: &Arc<World>, listening: &mut Listening) -> Vec<ListenersError> {
    let wanted = wanted(world);
    listening.retain(|address, (role, end)| {
        let stays = wanted.get(address) == Some(role);
        if !stays {
            end.cancel();
        }
        stays
    });
    let mut problems = Vec::new();
    for (address, role) in wanted {
        if listening.contains_key(&address) {
            continue;
        }
        match bind(address) {
            Ok(listener) => {
                let end = world.shutdown.child_token();
                tokio::spawn(serve(world.clone(), role.clone(), address.port(), listener, end.clone()));
                listening.insert(address, (role, end));
            }
            Err(source) => problems.push(ListenersError { whose: role.describe(), address, source }),
        }
    }
    problems
}

fn wanted(world: &World) -> BTreeMap<SocketAddr, Role> {
    let mut wanted = BTreeMap::new();
    let services = world.mesh.services();
    for service in &services {
        for port in &service.ports {
            wanted.insert(SocketAddr::new(service.address, port.number), Role::Service(service.id.clone()));
        }
        for pod in world.mesh.endpoints(service) {
            let is_fallback = is_global_sidecar(world, service);
            let role = if is_fallback { Role::GlobalSidecar } else { Role::Inbound };
            for target in service.ports.iter().filter_map(|port| pod.target(port)) {
                wanted.insert(SocketAddr::new(pod.address, target), role(pod.id.clone()));
            }
        }
    }
    for pod in world.mesh.pods() {
        wanted.insert(SocketAddr::new(pod.address, OUTBOUND_PORT), Role::Outbound(pod.id.clone()));
    }
    wanted.retain(|address, _| address.ip().is_loopback());
    wanted
}

fn is_global_sidecar(world: &World, service: &Service) -> bool {
    *service.id.name == *names::GLOBAL_SIDECAR && *service.id.namespace == *world.settings.global_sidecar_namespace()
}

async fn serve(world: Arc<World>, role: Role, port: u16, listener: TcpListener, end: CancellationToken) {
    let id = match &role {
        Role::Service(id) => {
            let id = id.clone();
            return http::accept(listener, end, move |stream, peer| {
                service::splice(world.clone(), id.clone(), port, stream, peer)
            })
            .await;
        }
        Role::Inbound(id) | Role::Outbound(id) | Role::GlobalSidecar(id) => id,
    };
    let pod: Option<Pod> = world.mesh.pods().into_iter().find(|pod| pod.id == *id);
    let Some(pod) = pod.map(Arc::new) else { return };
    match role {
        Role::Inbound(_) => {
            http::serve(listener, end, move |peer, request| {
                inbound::answer(world.clone(), pod.clone(), port, peer, request)
            })
            .await;
        }
        Role::Outbound(_) => {
            http::serve(listener, end, move |peer, request| {
                outbound::answer(world.clone(), pod.clone(), peer, request)
            })
            .await;
        }
        Role::GlobalSidecar(_) => {
            http::serve(listener, end, move |peer, request| {
                global_sidecar::answer(world.clone(), pod.clone(), port, peer, request)
            })
            .await;
        }
        Role::Service(_) => {}
    }
}

impl Role {
    fn describe(&self) -> String {
        match self {
            Self::Service(id) => format!("Service {id}"),
            Self::Inbound(id) => format!("Pod {id}"),
            Self::Outbound(id) => format!("the sidecar proxy of Pod {id}"),
            Self::GlobalSidecar(id) => format!("the global-sidecar's Pod {id}"),
        }
    }
}
