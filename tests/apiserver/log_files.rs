//! Log lines in files, by a real process.

use std::path::Path;

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use crate::support::waiting::eventually;

const MIB: usize = 1024 * 1024;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn log(file: &Path, config: &Value) -> Value {
    let mut config = config.clone();
    config["filePath"] = json!(file);
    json!({"log": {"logLevel": "debug", "logRotate": true, "logRotateConfig": config}})
}

#[tokio::test]
async fn lines_go_to_a_file_that_is_rotated_and_back_to_standard_output_without_a_restart() {
    let Some(cluster) = Cluster::start("log files").await else { return };
    let folder = cluster.folder().join("logs");
    let file = folder.join("slime.log");
    // What an earlier process left: the file is full, one backup is too old and one is too many.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, "x".repeat(MIB - 1) + "\n").unwrap();
    let (too_old, one_too_many) = ("slime-2020-01-01T00-00-00.000.log.gz", "slime-2099-01-01T00-00-00.000.log.gz");
    for name in [too_old, one_too_many, "slime-2099-01-02T00-00-00.000.log.gz", "notes.txt"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let mut controller = Controller::stopped(&cluster);
    controller.configure(&json!({}), &log(&file, &json!({"maxSizeMB": 1, "maxBackups": 1})));
    controller.start_again();
    controller.ready().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("effective settings"), "{text}");
    assert!(!text.contains('\u{1b}') && text.len() < MIB);
    assert_eq!(controller.log(), "", "nothing on standard output");
    eventually("the folder is swept", DEADLINE, || async {
        let there = names(&folder);
        let expected = ["notes.txt", "slime-2099-01-02T00-00-00.000.log.gz", "slime.log"];
        if there == expected { Ok(()) } else { Err(there) }
    })
    .await;

    // Other limits, while it runs: the next file is put aside whole and compressed.
    std::fs::remove_file(folder.join("slime-2099-01-02T00-00-00.000.log.gz")).unwrap();
    let other = folder.join("other.log");
    let full = "y".repeat(MIB);
    std::fs::write(&other, &full).unwrap();
    controller.configure(&json!({}), &log(&other, &json!({"maxSizeMB": 1})));
    let backup = eventually("the other file is put aside and compressed", DEADLINE, || async {
        let there = names(&folder);
        let mut backups = there.iter().filter(|name| name.starts_with("other-"));
        match (backups.next(), backups.next()) {
            (Some(name), None) if name.ends_with(".log.gz") => Ok(name.clone()),
            _ => Err(there),
        }
    })
    .await;
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(folder.join(backup)).output().unwrap();
    assert!(unpacked.status.success() && unpacked.stdout == full.as_bytes());
    assert!(std::fs::read_to_string(&other).unwrap().contains("settings changed"));
    assert_eq!(controller.log(), "", "nothing on standard output");

    controller.configure(&json!({}), &json!({"log": {"logLevel": "debug"}}));
    eventually("lines are on standard output", DEADLINE, || async {
        if controller.log().contains("settings changed") { Ok(()) } else { Err(controller.log()) }
    })
    .await;
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_nothing() {
    let Some(cluster) = Cluster::start("a log file that cannot be written").await else { return };
    let folder = cluster.folder().join("logs");
    std::fs::write(&folder, "a file where a folder should be: nobody can make it, not even root").unwrap();
    let mut controller = Controller::stopped(&cluster);
    controller.configure(&json!({}), &log(&folder.join("slime.log"), &json!({})));
    controller.start_again();
    controller.ready().await;
    let said = controller.log();
    assert!(said.contains("log file: failed to create the folder") && said.contains("spec.volumes"), "{said}");
    assert_eq!(said.matches("log lines go to standard error").count(), 1, "{said}");
    assert!(said.contains("effective settings"), "{said}");
    assert_eq!(controller.terminate().await, Some(0));
}
