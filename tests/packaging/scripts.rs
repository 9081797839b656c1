//! The scripts of the documentation, as far as they go without a cluster.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::program::shellcheck;
use crate::support::process::run;
use crate::support::repository;

const INSTALL: &str = "install/samples/lazyload/easy_install_lazyload.sh";
const UNINSTALL: &str = "install/samples/lazyload/easy_uninstall_lazyload.sh";

#[test]
fn shellcheck_finds_nothing_in_what_users_run() {
    let Some(shellcheck) = shellcheck("shellcheck_finds_nothing_in_what_users_run") else { return };
    for script in [
        INSTALL,
        UNINSTALL,
        "image/build.sh",
        "image/reproduce.sh",
        "docs/site.sh",
        "test.sh",
        ".ci/run",
        "testbed/cluster.sh",
        "crates/lazyload/src/console/page/vendor/fetch.sh",
    ] {
        run(&shellcheck, &["-x".into(), repository().join(script)]).unwrap();
    }
}

/// A `curl` that answers the list of tags, tells what it was asked for, and has no file; a `kubectl` that must not be called.
fn programs(folder: &Path) {
    let program = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(
        "curl",
        r#"case "$*" in */tags) echo '[{"name": "v2.0.0", "commit": {"sha": "1"}},'; echo ' {"name": "v1.9.0"}]' | tr , '\n' ;; *) echo "asked: $*" >&2; exit 22 ;; esac"#,
    );
    program("kubectl", "echo 'kubectl was called' >&2; exit 1");
}

/// What the installation asks the network for, run as the documentation says: `bash -c "$(curl …)" ARGUMENTS`.
fn asked(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path());
    let text = std::fs::read_to_string(repository().join(INSTALL)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("/bin/bash")
        .arg("-c")
        .arg(text)
        .args(arguments)
        .env("PATH", path)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_latest_tag_is_asked_for_and_a_tag_or_commit_is_taken_where_the_documentation_puts_it() {
    for (arguments, version) in [(&[][..], "v2.0.0"), (&["abc123"], "abc123"), (&["bash", "abc123"], "abc123")] {
        let said = asked(arguments);
        let file = format!("/slime-io/lazyload/{version}/deploy/install.yaml");
        assert!(said.contains(&file), "{arguments:?}: {said}");
        assert!(!said.contains("kubectl was called"), "{said}");
    }
}

#[test]
fn every_file_that_the_documentation_names_is_where_it_says() {
    for path in [
        INSTALL,
        UNINSTALL,
        "install/config/bookinfo.yaml",
        "install/samples/lazyload/servicefence_productpage.yaml",
        "deploy/install.yaml",
    ] {
        assert!(repository().join(path).is_file(), "{path}");
    }
}
