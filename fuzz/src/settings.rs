//! What a user wrote.

use lazyload_logic::fence::alias::Aliases;
use lazyload_logic::settings::{Context, DomainAlias, resolve};

use crate::text;

/// First line the pattern, second the template, third the host: a bad rule is reported, a good one keeps the host and adds each once.
pub fn alias(data: &[u8]) {
    let mut lines = text(data).splitn(3, '\n');
    let (Some(pattern), Some(template), Some(host)) = (lines.next(), lines.next(), lines.next()) else { return };
    let rule = DomainAlias { pattern: pattern.to_owned(), templates: vec![template.to_owned()] };
    let good = DomainAlias { pattern: "^details$".to_owned(), templates: vec!["details.internal".to_owned()] };
    let (aliases, problems) = Aliases::compile(&[rule, good]);
    assert!(problems.len() <= 1);
    let hosts = aliases.expand(host);
    assert_eq!(hosts.first().map(String::as_str), Some(host));
    let mut once = hosts.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), hosts.len(), "{hosts:?}");
    if host == "details" {
        assert!(hosts.iter().any(|host| host == "details.internal"), "a bad rule disables no other");
    }
}

/// Any JSON resolves or is refused with a path; what resolves once resolves again to the same.
pub fn settings(data: &[u8]) {
    let Ok(entry) = serde_json::from_slice(data) else { return };
    match resolve(&entry, &Context::default()) {
        Ok(resolved) => {
            let again = resolve(&entry, &Context::default()).expect("the same entry");
            assert_eq!(resolved.settings, again.settings);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
