//! A place for log files where the user gives none: the rest of the container's files cannot be written.

use serde_json::{Value, json};

use super::Installation;

const NAME: &str = "log-volume";

/// The volume and its mount, where lines go to a file whose folder is in no volume of the user's. It ends with the pod.
pub(super) fn of(installation: &Installation) -> Option<(Value, Value)> {
    let folder = installation.settings.log_file.as_ref()?.folder();
    let holds = |mount: &Value| mount.get("mountPath").and_then(Value::as_str).is_some_and(|path| is_in(folder, path));
    // Nothing can be mounted over the root.
    if folder == "/" || installation.controller.volume_mounts.iter().any(holds) {
        return None;
    }
    Some((json!({"name": NAME, "emptyDir": {}}), json!({"name": NAME, "mountPath": folder})))
}

fn is_in(folder: &str, mount: &str) -> bool {
    let mount = mount.trim_end_matches('/');
    folder.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_in_a_mount_by_whole_names() {
        for mount in ["/tmp/log", "/tmp/log/", "/tmp", "/"] {
            assert!(is_in("/tmp/log", mount), "{mount}");
        }
        for mount in ["/tmp/lo", "/tmp/log/deeper", "/var"] {
            assert!(!is_in("/tmp/log", mount), "{mount}");
        }
    }
}
