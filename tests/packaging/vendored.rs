//! The libraries of the console's page are what was fetched: nobody has edited them.

use crate::support::{process, repository};

#[test]
fn vendored_files_are_as_they_were_fetched() {
    let folder = repository().join("crates/lazyload/src/console/page/vendor");
    let check = format!("cd {} && sha256sum --strict --check SHA256SUMS", folder.display());
    let told = process::run("sh", &["-c", &check]).unwrap();
    assert_eq!(told.lines().count(), 3, "{told}");
    let sources = std::fs::read_to_string(folder.join("sources.txt")).unwrap();
    for file in sources.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next()) {
        assert!(told.contains(&format!("{file}: OK")), "{told}");
    }
}
