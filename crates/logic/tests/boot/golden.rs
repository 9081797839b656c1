use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::given::{objects, reading};

#[test]
fn every_slime_boot_gives_the_expected_objects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/golden");
    let mut claims: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    claims.sort();
    assert!(!claims.is_empty());
    let mut different = Vec::new();
    for claim in claims {
        let reading = reading(&text(&claim.join("given.yaml"))).unwrap();
        assert_eq!(reading.warnings, Vec::<String>::new(), "{}", claim.display());
        let got = serde_saphyr::to_string_multiple(&objects(&reading)).unwrap();
        let expect = claim.join("expect.yaml");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expect, &got).unwrap();
        } else if text(&expect) != got {
            different.push(claim.file_name().unwrap().to_owned());
        }
    }
    assert!(
        different.is_empty(),
        "differ from expect.yaml: {different:?}; UPDATE_GOLDEN=1 rewrites them, then review the change"
    );
}

fn text(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}
