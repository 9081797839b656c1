//! Whether the cluster's DNS can answer, and, from within the cluster, whether it does.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::names;
use lazyload_logic::fence::completion::service_host;
use lazyload_logic::report::dns::Dns;
use lazyload_logic::report::doctor::Known;
use lazyload_logic::types::ObjectRef;

use crate::process::exit::chain;

/// What most clusters call it, and its label where it is called otherwise.
const SERVER: (&str, &str) = ("kube-system", "kube-dns");
const LABEL: &str = "k8s-app=kube-dns";
/// Longest that an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Asks the API server who should answer, and them for the names of our Services where this is a pod.
pub(super) async fn dns(client: &Client) -> Known<Dns> {
    let servers = servers(client).await.map_err(|error| chain(&error))?;
    let mut looked_up = Vec::new();
    // Set in every pod; elsewhere the cluster's names mean nothing.
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        for host in names_of_ours(client).await.map_err(|error| chain(&error))? {
            let found = look_up(&host).await;
            looked_up.push((host, found));
        }
    }
    Ok(Dns { servers, looked_up })
}

async fn names_of_ours(client: &Client) -> kube::Result<Vec<String>> {
    let ours = ListParams::default().labels(&format!("{}={}", names::PART_OF_LABEL, names::PART_OF));
    let services = Api::<Service>::all(client.clone()).list(&ours).await?.items;
    let ids = services.iter().map(|it| ObjectRef::new(it.namespace().unwrap_or_default(), it.name_any()));
    Ok(ids.map(|id| service_host(&id)).collect())
}

async fn servers(client: &Client) -> kube::Result<Vec<(String, usize)>> {
    let labelled = Api::<Service>::all(client.clone()).list(&ListParams::default().labels(LABEL)).await?;
    let named = Api::<Service>::namespaced(client.clone(), SERVER.0).get_opt(SERVER.1).await?;
    let services = labelled.items.into_iter().chain(named);
    let ids: BTreeSet<(String, String)> =
        services.map(|service| (service.namespace().unwrap_or_default(), service.name_any())).collect();
    let mut servers = Vec::new();
    for (namespace, name) in ids {
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices = Api::<EndpointSlice>::namespaced(client.clone(), &namespace).list(&of).await?;
        let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
        // Not told means ready.
        let ready = endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
        servers.push((format!("{namespace}/{name}"), ready.map(|endpoint| endpoint.addresses.len()).sum()));
    }
    Ok(servers)
}

/// How many addresses a host has. The dot at its end leaves out the search list.
async fn look_up(host: &str) -> Known<usize> {
    match tokio::time::timeout(ANSWER, tokio::net::lookup_host(format!("{host}.:80"))).await {
        Ok(Ok(found)) => Ok(found.count()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}
