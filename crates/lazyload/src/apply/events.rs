//! Kubernetes Events at fences. They never delay or fail anything else: one task sends them one after the other; what it cannot keep up
//! with, or the API server does not take, is dropped and counted.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use lazyload_api::names;
use lazyload_logic::state::Notice;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// Notices that wait to be sent at most.
const QUEUE: usize = 256;
/// Longest wait for one Event.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest note that the API server takes.
const MAX_NOTE: usize = 1024;

/// Hands notices to the task that sends them; the task ends with the last of its handles.
#[derive(Clone)]
pub struct EventSender {
    queue: mpsc::Sender<Notice>,
    dropped: Counter,
}

impl EventSender {
    /// Starts the task; what is dropped is counted.
    #[must_use]
    pub fn start(client: Client, dropped: Counter) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(client, notices, dropped.clone()));
        Self { queue, dropped }
    }

    /// Passes a notice on, if there is room.
    pub fn send(&self, notice: Notice) {
        if let Err(error) = self.queue.try_send(notice) {
            self.dropped.inc();
            tracing::debug!(error = %error, "Event dropped");
        }
    }
}

async fn send_all(client: Client, mut notices: mpsc::Receiver<Notice>, dropped: Counter) {
    // The recorder counts repeats of an Event within six minutes in the one that is there.
    let recorder = Recorder::new(client, Reporter::from(names::FIELD_MANAGER));
    while let Some(notice) = notices.recv().await {
        let fence = notice.fence.clone();
        let (reference, event) = event(notice);
        match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                dropped.inc();
                tracing::warn!(error = %error, fence = %fence, reason = event.reason, "Event not sent");
            }
            Err(_) => {
                dropped.inc();
                tracing::warn!(fence = %fence, reason = event.reason, "Event not sent: no answer within {} s", TIMEOUT.as_secs());
            }
        }
    }
}

fn event(notice: Notice) -> (ObjectReference, Event) {
    let Notice { fence, uid, reason, is_warning, mut message } = notice;
    message.truncate(message.floor_char_boundary(MAX_NOTE));
    let reference = ObjectReference {
        api_version: Some(names::FENCE_API_VERSION.to_owned()),
        kind: Some(names::FENCE_KIND.to_owned()),
        namespace: Some(fence.namespace.to_string()),
        name: Some(fence.name.to_string()),
        uid: Some(uid),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: if is_warning { EventType::Warning } else { EventType::Normal },
        reason: reason.to_owned(),
        note: Some(message),
        action: reason.to_owned(),
        secondary: None,
    };
    (reference, event)
}
