//! The image: the same input gives the same bytes, and it is what a registry expects.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::process::run;
use crate::support::{binary, repository};

/// Makes the image in a folder, and unpacks it there.
fn make(folder: &Path) -> String {
    let script = repository().join("image/build.sh");
    let binary = binary::lazyload().display().to_string();
    let out = folder.display().to_string();
    let said = run(script, &["--fast", "--name", "example/lazyload:1", "--binary", &binary, "--out", &out]).unwrap();
    run("tar", &["-xf", &format!("{out}/lazyload.tar"), "-C", &out]).unwrap();
    said
}

#[test]
fn the_image_is_reproducible_from_scratch_and_for_a_user_that_is_not_root() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(make(first.path()), make(second.path()));
    let archive = |folder: &Path| std::fs::read(folder.join("lazyload.tar")).unwrap();
    assert!(archive(first.path()) == archive(second.path()), "the same binary gives other bytes");

    let read =
        |path: &str| -> Value { serde_json::from_slice(&std::fs::read(first.path().join(path)).unwrap()).unwrap() };
    let blob = |at: &Value| format!("blobs/sha256/{}", at["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = read("index.json");
    let manifest = read(&blob(&index["manifests"][0]));
    let config = read(&blob(&manifest["config"]));
    assert_eq!(
        (&config["config"]["User"], &config["config"]["Entrypoint"][0]),
        (&"65532:65532".into(), &"/lazyload".into())
    );
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let layer = first.path().join(blob(&manifest["layers"][0]));
    let listed = run("tar", &["-tf", &layer.display().to_string()]).unwrap();
    let files: BTreeSet<&str> = listed.lines().filter(|name| !name.ends_with('/')).collect();
    // A static binary is alone; that of the tests brings the libraries that it needs.
    let others: Vec<&str> = files.iter().copied().filter(|name| !name.contains(".so")).collect();
    assert_eq!(others, ["lazyload"]);
    for (name, size) in [("config", &manifest["config"]), ("layer", &manifest["layers"][0])] {
        let stored = std::fs::metadata(first.path().join(blob(size))).unwrap().len();
        assert_eq!(size["size"].as_u64(), Some(stored), "{name}");
    }
}
