use super::*;
use crate::forward::Forwarder;
use crate::forward::loops::Loops;
use crate::forward::port_list::PortSet;
use crate::forward::ports::{PortRules, Ports};
use crate::process::readiness::Readiness;

/// Port 80 is left to the machine: the rules say that it is the probe's.
fn ports(clean_up: bool) -> (Ports, Readiness) {
    let readiness = Readiness::default();
    let forwarder =
        Forwarder::new(ServiceNames::Any, false, false, Guard::Off, limits(), Loops::default(), Arc::default());
    (Ports::new(forwarder, readiness.clone(), PortRules { clean_up, probe: Some(80) }), readiness)
}

fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn ports_are_opened_at_run_time_and_closed_if_that_is_wanted() {
    let (mut ports, readiness) = ports(true);
    let (first, second) = (free_port().await, free_port().await);
    ports.follow(&PortSet::from([first]));
    eventually("the first port", || readiness.awaited().is_empty()).await;
    assert!(is_open(first));
    ports.follow(&PortSet::from([second]));
    eventually("the second port", || is_open(second) && !is_open(first)).await;
    ports.follow(&PortSet::from([first, second]));
    eventually("the first port again", || is_open(first)).await;
}

#[tokio::test]
async fn a_port_that_is_not_listed_any_more_keeps_serving_unless_told_otherwise() {
    let (mut ports, readiness) = ports(false);
    let port = free_port().await;
    ports.follow(&PortSet::from([port]));
    eventually("the port", || readiness.awaited().is_empty()).await;
    ports.follow(&PortSet::new());
    assert!(is_open(port));
}

#[tokio::test]
async fn a_port_in_use_is_awaited_and_opened_when_it_is_free() {
    let (mut ports, readiness) = ports(false);
    let taken = TcpListener::bind("[::]:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    ports.follow(&PortSet::from([port]));
    let reason = format!("port {port} to be open: failed to listen on");
    eventually("the reason", || readiness.awaited().iter().any(|awaited| awaited.starts_with(&reason))).await;
    drop(taken);
    eventually("the port", || readiness.awaited().is_empty()).await;
    assert!(is_open(port));
}

#[tokio::test]
async fn a_port_that_never_opened_is_not_awaited_once_it_is_not_listed() {
    let (mut ports, readiness) = ports(false);
    let taken = TcpListener::bind("[::]:0").await.unwrap();
    ports.follow(&PortSet::from([taken.local_addr().unwrap().port()]));
    ports.follow(&PortSet::new());
    eventually("nothing awaited", || readiness.awaited().is_empty()).await;
}

#[tokio::test]
async fn the_probes_port_is_skipped() {
    let (mut ports, readiness) = ports(false);
    ports.follow(&PortSet::from([80]));
    assert!(readiness.awaited().is_empty());
}

#[tokio::test]
async fn probes_say_alive_ready_and_at_the_end_not_ready() {
    let port = free_port().await;
    let rig = Rig::with(Limits { drain_grace: GIVE_UP * 10, ..limits() }, Some(port)).await;
    let probe = async |path: &str| {
        let mut client = Conn::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        client.rest().await
    };
    for path in ["/healthz/live", "/healthz/ready"] {
        let answer = probe(path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nHealthy!"), "{answer}");
    }
    assert!(probe("/").await.starts_with("HTTP/1.1 404"));
    rig.shutdown.cancel();
    eventually("not ready", || !rig.readiness.awaited().is_empty()).await;
    let answer = probe("/healthz/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("shutting down"), "{answer}");
    assert!(probe("/healthz/live").await.starts_with("HTTP/1.1 200"));
    rig.ended.abort();
}
