//! The documentation as its readers find it: every page is in the site, every link leads somewhere, every test that it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::support::repository;

/// Every page, by its path from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = repository();
    let mut pages = BTreeMap::new();
    for page in ["README.md", "testbed/README.md"].map(PathBuf::from) {
        pages.insert(page.clone(), std::fs::read_to_string(root.join(page)).unwrap());
    }
    find(&root.join("docs"), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(path).unwrap();
            pages.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
        }
    });
    assert!(pages.len() > 40, "{:?}", pages.keys());
    pages
}

fn find(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else {
            found(&path);
        }
    }
}

/// The text without blocks of code, where brackets are brackets.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    assert!(!in_code, "a block of code does not end:\n{text}");
    prose
}

/// Where links and pictures lead.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    // A link in a span of code is none.
    let spoken: String =
        prose.lines().map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`") + "\n").collect();
    let targets = spoken.split("](").skip(1).filter_map(|rest| rest.split([')', '\n']).next());
    targets.map(str::to_owned).collect()
}

/// The names under which a page's chapters are found, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
        let anchor: String = kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect();
        let times = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

/// A path from the root, seen from the folder of a page.
fn resolved(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().unwrap().to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {target} is outside", page.display()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file_and_a_chapter_that_are_there() {
    let pages = pages();
    let (mut followed, mut broken) = (0, Vec::new());
    for (page, text) in &pages {
        for link in links(text) {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { resolved(page, file) };
            if !repository().join(&target).exists() {
                broken.push(format!("{}: {link}: there is no {}", page.display(), target.display()));
            } else if let (Some(anchor), Some(text)) = (anchor, pages.get(&target))
                && !anchors(text).contains(anchor)
            {
                broken.push(format!("{}: {link}: no such chapter", page.display()));
            }
        }
    }
    assert!(followed > 200, "{followed}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_site_once() {
    let pages = pages();
    let summary = Path::new("docs/SUMMARY.md");
    let mut listed: Vec<PathBuf> = links(&pages[summary]).iter().map(|link| resolved(summary, link)).collect();
    listed.sort();
    let of_the_site = pages.keys().filter(|page| page.starts_with("docs") && *page != summary);
    assert_eq!(listed, of_the_site.cloned().collect::<Vec<_>>(), "docs/SUMMARY.md lists other pages than there are");
}

/// Fields of Envoy's that look like a test's name.
const OF_ENVOY: [&str; 2] = ["match_typed_subject_alt_names", "flush_access_log_on_new_request"];

/// Every word in a span of code that is long enough to be a test's name, with the page that has it.
fn named_tests(pages: &BTreeMap<PathBuf, String>) -> Vec<(&Path, String)> {
    let mut named = Vec::new();
    for (page, text) in pages {
        for line in prose(text).lines() {
            for span in line.split('`').skip(1).step_by(2) {
                let name = span.rsplit("::").next().unwrap_or_default();
                let is_sentence = name.matches('_').count() >= 4
                    && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
                if is_sentence && !name.starts_with("lazyload_") && !OF_ENVOY.contains(&name) {
                    named.push((page.as_path(), name.to_owned()));
                }
            }
        }
    }
    named
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let root = repository();
    let mut known = BTreeSet::new();
    for folder in ["crates", "tests"] {
        find(&root.join(folder), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let code = std::fs::read_to_string(path).unwrap();
                let names = code.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                known.extend(names.map(str::to_owned));
            }
        });
    }
    // A golden case is a folder.
    for cases in ["crates/logic/tests/golden", "crates/logic/tests/boot/golden"] {
        let names = std::fs::read_dir(root.join(cases)).unwrap().map(|entry| entry.unwrap().file_name());
        known.extend(names.map(|name| name.to_string_lossy().into_owned()));
    }
    let pages = pages();
    let named = named_tests(&pages);
    assert!(named.len() > 200, "{}", named.len());
    let unknown: Vec<_> = named.iter().filter(|(_, name)| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Golden cases are named in italics.
#[test]
fn every_golden_case_that_the_documentation_names_exists() {
    let golden = repository().join("crates/logic/tests/golden");
    let pages = pages();
    let mut named = 0;
    for page in ["docs/claims.md", "docs/complaints.md", "docs/howto.md"] {
        for word in prose(&pages[Path::new(page)]).split('*').skip(1) {
            let is_name = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
            if word.matches('_').count() >= 4 && word.chars().all(is_name) {
                named += 1;
                assert!(golden.join(word).is_dir(), "{page}: there is no case {word}");
            }
        }
    }
    assert!(named > 40, "{named}");
}
