//! A Service's address: each connection goes on to one of its pods, in turn. Stands for kube-proxy, and for the outbound side of the
//! global-sidecar's proxy, which knows every Service.

use std::net::SocketAddr;
use std::sync::Arc;

use lazyload_logic::types::ObjectRef;
use tokio::net::TcpStream;

use super::outbound::endpoint;
use super::{World, http};

/// Carries one connection to `service`, on this port.
pub async fn splice(world: Arc<World>, service: ObjectRef, port: u16, mut client: TcpStream, peer: SocketAddr) {
    let service = world.mesh.services().into_iter().find(|known| known.id == service);
    let Some(service) = service else { return };
    let target = match endpoint(&world, &service, port) {
        Ok(target) => target,
        Err(reason) => {
            tracing::warn!(reason, "a connection goes nowhere");
            return;
        }
    };
    // The pod sees the client's address, as it does in Kubernetes.
    let spliced = match http::connect(peer.ip(), target).await {
        Ok(mut pod) => tokio::io::copy_bidirectional(&mut client, &mut pod).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = spliced {
        tracing::debug!(%peer, %target, %error, "a simulated connection broke");
    }
}
