//! The whole demo in one process, against what the documentation prints; and an access log against what it should give.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::preview::preview;
use super::*;
use crate::process::exit::BadInput;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What the documentation prints, without what differs in each cluster.
const FIRST_SIDECAR: &str = "  spec:
    egress:
    - hosts:
      - istio-system/*
      - mesh-operator/*
    workloadSelector:
      labels:
        app: productpage
";
const LEARNED_STATUS: &str = r#"  status:
    domains:
      details.default.svc.cluster.local:
        hosts:
        - details.default.svc.cluster.local
      reviews.default.svc.cluster.local:
        hosts:
        - reviews.default.svc.cluster.local
    metricStatus:
      '{destination_service="details.default.svc.cluster.local"}': "1"
      '{destination_service="reviews.default.svc.cluster.local"}': "1"
"#;
const LEARNED_SIDECAR: &str = "  spec:
    egress:
    - hosts:
      - '*/details.default.svc.cluster.local'
      - '*/reviews.default.svc.cluster.local'
      - istio-system/*
      - mesh-operator/*
    workloadSelector:
      labels:
        app: productpage
";
const METADATA: &str = "    ownerReferences:
    - apiVersion: microservice.slime.io/v1alpha1
      blockOwnerDeletion: true
      controller: true
      kind: ServiceFence
      name: productpage
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_prints_the_objects_and_log_lines_of_the_documentation_in_their_order() {
    let example = example::Example::write().unwrap();
    let buffer = Buffer::default();
    let mut paper = Paper::plain(buffer.clone());
    let told = tell(&mut paper, &example, false, CancellationToken::new()).await;
    let directory = example.directory().to_owned();
    example.remove().unwrap();
    let text = buffer.text();
    told.unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    let mut rest = text.as_str();
    for expected in [
        "    labels:\n      app.kubernetes.io/created-by: fence-controller\n    name: productpage\n    namespace: default\n",
        "    enable: true\n",
        "  status: {}\n",
        METADATA,
        FIRST_SIDECAR,
        "\"GET /details/0 HTTP/1.1\" 200 - via_upstream",
        "outbound|9080||global-sidecar.mesh-operator.svc.cluster.local",
        "\"GET /reviews/0 HTTP/1.1\" 200 - via_upstream",
        "outbound|9080||global-sidecar.mesh-operator.svc.cluster.local",
        "\"GET /productpage HTTP/1.1\" 200 - via_upstream",
        "outbound_.9080_._.productpage.default.svc.cluster.local default\n",
        LEARNED_STATUS,
        METADATA,
        LEARNED_SIDECAR,
        "\"details:9080\" ",
        "outbound|9080||details.default.svc.cluster.local",
        "\"reviews:9080\" ",
        "outbound|9080||reviews.default.svc.cluster.local",
        "ratings is not in the Sidecar",
    ] {
        let Some((_, after)) = rest.split_once(expected) else { panic!("expected next:\n{expected}\nin:\n{rest}") };
        rest = after;
    }
    assert!(!text.contains('\u{1b}'), "no colours where nobody asked for them");
    assert!(!directory.exists());
}

const MESH: &str = include_str!("samples/mesh.yaml");
const LOG: &str = include_str!("samples/access.log");

#[test]
fn a_replayed_access_log_gives_the_sidecars_and_says_what_was_left_out() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mesh.yaml"), MESH).unwrap();
    let (objects, summary) = preview(directory.path(), Some((Path::new("access.log"), LOG))).unwrap();
    let summary = summary.replace(&directory.path().display().to_string(), "DIR");
    insta::assert_snapshot!("replayed_objects", objects);
    insta::assert_snapshot!("replayed_summary", summary);
    assert!(!directory.path().join("generated").exists());
}

#[test]
fn every_problem_of_a_folder_is_listed_before_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), "kind: [").unwrap();
    std::fs::write(directory.path().join("b.yaml"), "apiVersion: v1\nkind: Service\nmetadata:\n  name: 7\n").unwrap();
    let error = preview(directory.path(), None).unwrap_err();
    assert!(error.is::<BadInput>());
    let text = error.to_string();
    assert!(text.contains("a.yaml:1:") && text.contains("b.yaml:4:9: metadata.name: expected a string"), "{text}");
}
