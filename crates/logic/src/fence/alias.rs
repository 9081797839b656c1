//! Extra hosts for hosts that match a pattern. Source: seed "Support for custom service dependency aliases", contract 2.6.5.

use regex::Regex;

use crate::settings::DomainAlias;

/// Compiled rules, in the user's order.
#[derive(Debug, Default)]
pub struct Aliases {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    templates: Vec<String>,
}

impl Aliases {
    /// Compiles the rules. A bad one is left out and reported; it never disables the others.
    #[must_use]
    pub fn compile(rules: &[DomainAlias]) -> (Self, Vec<String>) {
        let mut compiled = Vec::new();
        let mut problems = Vec::new();
        for (position, rule) in rules.iter().enumerate() {
            if rule.pattern.is_empty() || rule.templates.is_empty() {
                problems
                    .push(format!("general.domainAliases[{position}]: expected a pattern and at least one template"));
                continue;
            }
            match Regex::new(&rule.pattern) {
                Ok(pattern) => compiled.push(Rule { pattern, templates: rule.templates.clone() }),
                Err(error) => problems.push(format!(
                    "general.domainAliases[{position}].pattern: expected a regular expression, got {:?}: {}",
                    rule.pattern,
                    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
                )),
            }
        }
        (Self { rules: compiled }, problems)
    }

    /// The host itself, then what the rules make of it, in rule and template order, each once. A rule applies if its pattern matches
    /// exactly once; results are not expanded again.
    #[must_use]
    pub fn expand(&self, host: &str) -> Vec<String> {
        let mut hosts = vec![host.to_owned()];
        for rule in &self.rules {
            let mut matches = rule.pattern.captures_iter(host);
            let (Some(captures), None) = (matches.next(), matches.next()) else { continue };
            for template in &rule.templates {
                let mut alias = String::new();
                captures.expand(template, &mut alias);
                if !alias.is_empty() && !hosts.contains(&alias) {
                    hosts.push(alias);
                }
            }
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, templates: &[&str]) -> DomainAlias {
        DomainAlias { pattern: pattern.into(), templates: templates.iter().map(|text| (*text).to_owned()).collect() }
    }

    #[test]
    fn the_seeds_rule_adds_namespace_service_mailsaas() {
        let pattern = r"(?P<service>[^\.]+)\.(?P<namespace>[^\.]+)\.svc\.cluster\.local$";
        let (aliases, problems) = Aliases::compile(&[rule(pattern, &["$namespace.$service.mailsaas"])]);
        assert!(problems.is_empty());
        let hosts = aliases.expand("details.default.svc.cluster.local");
        assert_eq!(hosts, ["details.default.svc.cluster.local", "default.details.mailsaas"]);
        assert_eq!(aliases.expand("www.163.com"), ["www.163.com"]);
    }

    #[test]
    fn one_bad_rule_never_disables_the_others() {
        let (aliases, problems) = Aliases::compile(&[rule("(", &["x"]), rule("a", &[]), rule("^a$", &["${0}b", ""])]);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("general.domainAliases[0].pattern: expected a regular expression"));
        assert_eq!(aliases.expand("a"), ["a", "ab"]);
    }

    #[test]
    fn a_pattern_that_matches_twice_is_skipped() {
        let (aliases, _) = Aliases::compile(&[rule("a", &["x"])]);
        assert_eq!(aliases.expand("aa"), ["aa"]);
    }
}
