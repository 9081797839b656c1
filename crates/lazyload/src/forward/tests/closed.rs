//! Who is believed and what is dialled, with the guard that a mesh gets.

use super::*;
use crate::forward::Forwarder;
use crate::forward::exchange::Client;
use crate::forward::guard::Ends;
use crate::forward::loops::Loops;
use crate::forward::port_list::PortSet;
use crate::forward::ports::{PortRules, Ports};
use crate::process::readiness::Readiness;

#[tokio::test]
async fn a_forged_destination_reaches_nothing_that_only_the_pod_can_reach() {
    let secret = Upstream::answering(OK).await;
    let rig = Rig::guarded(Guard::Full, limits(), None).await;
    let [local, by_name] = [secret.address.to_string(), format!("localhost:{}", secret.address.port())];
    for (head, status) in [
        (format!("slime-orig-dest: {local}\r\nhost: a"), 421),
        (format!("slime-orig-dest: [::ffff:127.0.0.1]:{}\r\nhost: a", secret.address.port()), 421),
        ("slime-orig-dest: 169.254.169.254:80\r\nhost: a".to_owned(), 421),
        ("slime-orig-dest: [fd00:ec2::254]:80\r\nhost: a".to_owned(), 421),
        ("slime-orig-dest: 0.0.0.0:80\r\nhost: a".to_owned(), 421),
        (format!("host: {local}"), 421),
        (format!("host: {by_name}"), 421),
    ] {
        let mut client = rig.connect().await;
        client.send(&format!("GET / HTTP/1.1\r\n{head}\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("x-lazyload-failure: client; "), "{head}: {answer}");
    }
    assert_eq!(secret.connections(), 0);
}

/// Why a request to `destination` that came from `peer` is refused; nothing if it is not.
fn refusal(forwarder: &Forwarder, peer: &str, destination: &str) -> Option<&'static str> {
    let ends = Ends { peer: peer.parse().unwrap(), own: "10.1.1.1".parse().unwrap() };
    let request = http::Request::get("/").header("host", "a").header("slime-orig-dest", destination);
    let (parts, ()) = request.body(()).unwrap().into_parts();
    forwarder.shared.routed(&Client::new(9080, ends), &parts).err().map(|refusal| refusal.name())
}

#[tokio::test]
async fn a_destination_told_by_anybody_but_the_pods_proxy_is_refused() {
    let forwarder =
        Forwarder::new(ServiceNames::Any, false, false, Guard::Full, limits(), Loops::default(), Arc::default());
    let from = |peer| refusal(&forwarder, peer, "10.96.0.7:9080");
    assert_eq!([from("127.0.0.6"), from("10.1.1.9")], [None, Some("not_from_proxy")]);
}

#[tokio::test]
async fn the_open_ports_are_the_ports_that_are_dialled() {
    let forwarder =
        Forwarder::new(ServiceNames::Any, false, false, Guard::Full, limits(), Loops::default(), Arc::default());
    let rules = PortRules { clean_up: true, probe: Some(80) };
    let mut ports = Ports::new(forwarder.clone(), Readiness::default(), rules);
    ports.follow(&PortSet::from([free_port().await]));
    let second = free_port().await;
    let to = |port: u16| refusal(&forwarder, "127.0.0.6", &format!("10.96.0.1:{port}"));
    assert_eq!(to(second), Some("port_not_redirected"));
    ports.follow(&PortSet::from([second]));
    assert_eq!(to(second), None);
    assert_eq!(to(9080), None, "the port on which the call came");
}
