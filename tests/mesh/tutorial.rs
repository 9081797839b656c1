//! The commands of the tutorial, run as they are printed.

use super::testbed::Testbed;
use crate::support::repository;

/// Runs the commands of a chapter of `docs/tutorial.md` at the repository's root, in their order. Those of the testbed itself, which the tests
/// have run, are left out. Where the page prints a status code, that must be what comes out.
pub fn run_chapter(testbed: &Testbed, chapter: &str) {
    let page = std::fs::read_to_string(repository().join("docs/tutorial.md")).unwrap();
    let (_, text) = page.split_once(&format!("\n## {chapter}\n")).unwrap_or_else(|| panic!("no chapter {chapter:?}"));
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut ran = 0;
    for block in blocks {
        let mut lines = block.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            if command.starts_with("testbed/") || command.starts_with('#') {
                continue;
            }
            let printed = testbed.shell(command).unwrap_or_else(|error| panic!("{chapter}: {command}: {error}"));
            let code = lines.peek().filter(|shown| shown.len() == 3 && shown.parse::<u16>().is_ok());
            if let Some(code) = code {
                assert_eq!(printed.trim(), *code, "{chapter}: {command}");
            }
            ran += 1;
        }
    }
    assert!(ran > 0, "{chapter} has no command");
}
