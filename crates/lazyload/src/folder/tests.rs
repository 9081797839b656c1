//! The conversation with the two ends of a folder, and what is said about bad files.

use std::path::Path;
use std::time::Duration;

use lazyload_api::service_fence::{ServiceFenceSpec, ServiceFenceStatus};
use lazyload_logic::state::{Change, Event};
use lazyload_logic::types::Labels;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::watch::folder::watch_folder;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: 80\n  selector:\n    app: a\n";
const FENCE: &str = "# mine\napiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata:\n  name: a\nspec:\n  enable: true\n";

fn mk_folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(directory.path(), name, text);
    }
    let folder = Folder::new(directory.path(), Keeping::Files);
    (directory, folder)
}

fn write(directory: &Path, name: &str, text: &str) {
    layout::write_file(&directory.join(name), text).unwrap();
}

fn a() -> ObjectRef {
    ObjectRef::new("default", "a")
}

fn create_fence() -> Change {
    let spec = ServiceFenceSpec { enable: true, ..ServiceFenceSpec::default() };
    Change::CreateFence { id: a(), labels: Labels::new(), spec: Box::new(spec) }
}

fn write_status(host: &str) -> Change {
    let status: ServiceFenceStatus = serde_json::from_value(json!({"domains": {host: {"hosts": [host]}}})).unwrap();
    Change::WriteStatus { id: a(), status: Box::new(status) }
}

fn create_sidecar(folder: &Folder) -> Change {
    let fence = folder.manifest(Kind::Fence, &a()).unwrap();
    Change::ApplySidecar {
        id: a(),
        owner_uid: Some(fence["metadata"]["uid"].as_str().unwrap().to_owned()),
        labels: Labels::new(),
        spec: serde_json::from_value(json!({"egress": [{"hosts": ["istio-system/*"]}]})).unwrap(),
        uid: None,
        begins: true,
    }
}

fn problems(text: &str) -> Vec<String> {
    let (directory, folder) = mk_folder(&[("bad.yaml", text)]);
    let prefix = format!("{}/", directory.path().display());
    folder.rescan().iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

#[test]
fn a_wrong_field_is_named_by_file_line_and_path() {
    let labels = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    slime.io/serviceFenced: true\n";
    assert_eq!(
        problems(labels),
        ["bad.yaml:6:29: metadata.labels[\"slime.io/serviceFenced\"]: expected a string, got boolean `true`"]
    );
    assert_eq!(
        problems(&format!("{SERVICE}---\n{}", SERVICE.replace("port: 80", "port: http"))),
        ["bad.yaml:17:11: spec.ports[0].port: expected a whole number, got string \"http\""]
    );
    assert_eq!(
        problems(&FENCE.replace("true", "maybe")),
        ["bad.yaml:7:11: spec.enable: expected a boolean, got string \"maybe\""]
    );
}

#[test]
fn broken_yaml_is_named_by_line_and_does_not_hide_other_documents() {
    let text = format!("{SERVICE}---\na: [\n---\n{FENCE}");
    let (directory, folder) = mk_folder(&[("bad.yaml", &text)]);
    let problems = folder.rescan();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].line, problems[0].file.as_path()), (11, directory.path().join("bad.yaml").as_path()));
    assert!(folder.manifest(Kind::Service, &a()).is_some());
    assert!(folder.manifest(Kind::Fence, &a()).is_some());
}

#[test]
fn missing_and_impossible_names_are_problems() {
    assert_eq!(
        problems("apiVersion: v1\nkind: Service\n"),
        ["bad.yaml:1:1: metadata.name: expected a name, but missing"]
    );
    assert_eq!(problems("kind: Service\n"), ["bad.yaml:1:1: apiVersion: expected, but missing"]);
    assert_eq!(
        problems("apiVersion: v1\nkind: Service\nmetadata:\n  name: ../../etc\n"),
        ["bad.yaml:4:9: metadata.name: expected a Kubernetes name, got \"../../etc\""]
    );
}

#[test]
fn lists_and_several_documents_are_read_and_other_kinds_are_passed_over() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b", "namespace": "other"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b"}},
    ]});
    let (_directory, folder) =
        mk_folder(&[("deep/list.json", &list.to_string()), ("both.yml", &format!("{SERVICE}---\n{FENCE}"))]);
    assert_eq!(folder.rescan(), []);
    assert_eq!(folder.objects(Kind::Service).len(), 2);
    assert_eq!(folder.objects(Kind::Fence).len(), 1);
}

#[test]
fn an_object_that_is_there_twice_is_a_problem() {
    let (_directory, folder) = mk_folder(&[("one.yaml", SERVICE), ("two.yaml", SERVICE)]);
    let problems = folder.rescan();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].file.ends_with("two.yaml") && problems[0].message.contains("one.yaml:1"), "{}", problems[0]);
}

#[test]
fn a_file_that_turned_bad_keeps_its_objects_and_is_reported_once() {
    let (directory, folder) = mk_folder(&[("a.yaml", SERVICE)]);
    assert_eq!(folder.rescan(), []);
    write(directory.path(), "a.yaml", "kind: [");
    assert_eq!(folder.rescan().len(), 1);
    assert_eq!(folder.rescan(), []);
    assert!(folder.manifest(Kind::Service, &a()).is_some());
    write(directory.path(), "a.yaml", "# nothing\n");
    assert_eq!(folder.rescan(), []);
    assert!(folder.manifest(Kind::Service, &a()).is_none());
}

#[test]
fn what_was_written_is_there_after_a_restart_with_the_same_identity() {
    let (directory, folder) = mk_folder(&[("a.yaml", SERVICE)]);
    folder.rescan();
    folder.write(&create_fence()).unwrap();
    folder.write(&write_status("x.y")).unwrap();
    folder.write(&create_sidecar(&folder)).unwrap();
    let restarted = Folder::new(directory.path(), Keeping::Files);
    assert_eq!(restarted.rescan(), []);
    for kind in [Kind::Fence, Kind::Sidecar] {
        assert_eq!(restarted.manifest(kind, &a()), folder.manifest(kind, &a()));
    }
}

#[test]
fn a_users_fence_is_never_written_and_its_status_goes_to_a_file_beside() {
    let (directory, folder) = mk_folder(&[("mine.yaml", FENCE)]);
    folder.rescan();
    folder.write(&write_status("x.y")).unwrap();
    assert_eq!(std::fs::read_to_string(directory.path().join("mine.yaml")).unwrap(), FENCE);
    let status =
        std::fs::read_to_string(directory.path().join("generated/default/servicefence-a.status.yaml")).unwrap();
    assert!(status.contains("x.y") && !status.contains("spec"), "{status}");

    folder.take_events();
    assert_eq!(folder.rescan(), []);
    assert!(folder.take_events().is_empty(), "our own write is no news");
    let restarted = Folder::new(directory.path(), Keeping::Files);
    restarted.rescan();
    let fence = restarted.manifest(Kind::Fence, &a()).unwrap();
    assert_eq!(fence.pointer("/status/domains/x.y/hosts/0").unwrap(), "x.y");

    let uid = fence["metadata"]["uid"].as_str().unwrap().to_owned();
    assert!(matches!(restarted.write(&Change::DeleteFence { id: a(), uid }), Err(FolderError::Users { .. })));
}

#[test]
fn a_sidecar_of_the_users_is_not_overwritten() {
    let theirs = "apiVersion: networking.istio.io/v1beta1\nkind: Sidecar\nmetadata:\n  name: a\nspec: {}\n";
    let (_directory, folder) = mk_folder(&[("mine.yaml", &format!("{FENCE}---\n{theirs}"))]);
    folder.rescan();
    assert!(matches!(folder.write(&create_sidecar(&folder)), Err(FolderError::Exists { .. })));
    let Change::ApplySidecar { id, owner_uid, labels, spec, begins, .. } = create_sidecar(&folder) else { panic!() };
    let of_another = Change::ApplySidecar { id, owner_uid, labels, spec, uid: Some("another".to_owned()), begins };
    assert!(matches!(folder.write(&of_another), Err(FolderError::Exists { .. })));
}

#[test]
fn a_sidecar_goes_with_its_fence() {
    let (directory, folder) = mk_folder(&[("mine.yaml", FENCE)]);
    folder.rescan();
    folder.write(&create_sidecar(&folder)).unwrap();
    let file = directory.path().join("generated/default/sidecar-a.yaml");
    assert!(file.exists());
    std::fs::remove_file(directory.path().join("mine.yaml")).unwrap();
    folder.take_events();
    folder.rescan();
    assert!(!file.exists());
    let gone: Vec<_> = folder.take_events().into_iter().map(|event| format!("{event:?}")).collect();
    assert!(gone.iter().any(|event| event.starts_with("Deleted(Sidecar")), "{gone:?}");
}

#[test]
fn in_memory_nothing_is_written() {
    let (directory, _) = mk_folder(&[("mine.yaml", FENCE)]);
    let folder = Folder::new(directory.path(), Keeping::Memory);
    folder.rescan();
    folder.write(&create_sidecar(&folder)).unwrap();
    assert!(folder.manifest(Kind::Sidecar, &a()).is_some());
    assert!(!directory.path().join("generated").exists());
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_watch_delivers_the_folder_then_lists_then_edits_and_problems() {
    let (directory, folder) = mk_folder(&[("a.yaml", SERVICE)]);
    let (events_tx, mut events) = mpsc::channel(64);
    let (problems_tx, mut problems) = mpsc::unbounded_channel();
    let _watches = watch_folder(&folder, events_tx, problems_tx).unwrap();
    assert!(matches!(next(&mut events).await, Event::Applied(object) if object.kind() == Kind::Service));
    for kind in Kind::ALL {
        assert!(matches!(next(&mut events).await, Event::Listed(listed) if listed == kind));
    }
    write(directory.path(), "new/mine.yaml", FENCE);
    assert!(matches!(next(&mut events).await, Event::Applied(object) if object.kind() == Kind::Fence));
    write(directory.path(), "bad.yaml", "a: [");
    let found = tokio::time::timeout(Duration::from_secs(10), problems.recv()).await.unwrap().unwrap();
    assert!(found[0].file.ends_with("bad.yaml"));
    std::fs::remove_file(directory.path().join("a.yaml")).unwrap();
    assert!(matches!(next(&mut events).await, Event::Deleted(Kind::Service, _)));
}
