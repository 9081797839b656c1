//! Asks the API server, at the start and now and then, for each right that the process needs, and names those that it has not. Nothing is stopped:
//! what works without them goes on.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use lazyload_logic::boot::Need;
use tokio::sync::mpsc;

use crate::process::readiness::Readiness;

/// Between two rounds while something is missing.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Between two rounds while nothing is: rights are taken away, too.
const ASK_STILL: Duration = Duration::from_secs(300);
/// Questions at once.
const AT_ONCE: usize = 4;
const TOPIC: &str = "rights";

/// Asks for ever, and says what is missing whenever that has changed: in the log and beside the readiness. `apply` is what the user
/// is to do; `tell` hears the same.
pub async fn check(
    client: Client,
    needs: Vec<Need>,
    apply: &'static str,
    readiness: Readiness,
    tell: Option<mpsc::Sender<Option<String>>>,
) {
    // Who does not listen any more is ending.
    let tell = async |text: Option<String>| {
        if let Some(tell) = &tell {
            drop(tell.send(text).await);
        }
    };
    let mut told: Option<String> = None;
    loop {
        let pause = match missing(&client, &needs).await {
            Ok(missing) if missing.is_empty() => {
                if told.take().is_some() {
                    tracing::info!("every right is there now");
                    readiness.note(TOPIC, None);
                    tell(None).await;
                }
                ASK_STILL
            }
            Ok(missing) => {
                let text = text(&missing, apply);
                if told.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                    readiness.note(TOPIC, Some(text.clone()));
                    tell(Some(text.clone())).await;
                    told = Some(text);
                }
                ASK_AGAIN
            }
            // The watches say it louder that the API server is away.
            Err(error) => {
                tracing::debug!(%error, "failed to ask for the own rights");
                ASK_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn missing(client: &Client, needs: &[Need]) -> kube::Result<Vec<Need>> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let questions: Vec<_> = needs.iter().cloned().map(|need| ask(api.clone(), need)).collect();
    let answers: Vec<Option<Need>> = stream::iter(questions).buffered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

/// The right, if it is missing.
async fn ask(api: Api<SelfSubjectAccessReview>, need: Need) -> kube::Result<Option<Need>> {
    let resource_attributes = ResourceAttributes {
        verb: Some(need.verb.clone()),
        group: Some(need.group.clone()),
        resource: Some(need.resource.clone()),
        subresource: Some(need.subresource.clone()).filter(|subresource| !subresource.is_empty()),
        namespace: need.namespace.clone(),
        name: need.name.clone(),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(resource_attributes), ..Default::default() };
    let question = SelfSubjectAccessReview { spec, ..Default::default() };
    let answer = api.create(&PostParams::default(), &question).await?;
    Ok((!answer.status.is_some_and(|status| status.allowed)).then_some(need))
}

fn text(missing: &[Need], apply: &str) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for need in missing {
        let without = need.without();
        match groups.iter_mut().find(|(other, _)| *other == without) {
            Some((_, needs)) => needs.push(need.described()),
            None => groups.push((without, vec![need.described()])),
        }
    }
    let groups: Vec<String> =
        groups.into_iter().map(|(without, needs)| format!("{} (without: {without})", needs.join(", "))).collect();
    format!("missing rights: {}; {apply}", groups.join("; "))
}
