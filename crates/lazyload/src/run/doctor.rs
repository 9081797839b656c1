//! `lazyload doctor`: whether an installation is as it must be to work.

use std::collections::BTreeSet;

use anyhow::bail;
use lazyload_logic::report::doctor::{Check, Verdict, checks};

use crate::ask::{installation, print, table};
use crate::cli::DoctorArgs;

/// Prints what is found.
///
/// # Errors
/// Something does not work.
pub async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let checks = checks(&installation().await);
    print(&checks, args.output, |checks, wide| told(checks, wide))?;
    match checks.iter().filter(|check| check.verdict == Verdict::Failed).count() {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        several => bail!("{several} checks failed"),
    }
}

/// What is to be done is told where something is, or of everything.
fn told(checks: &[Check], wide: bool) -> std::io::Result<String> {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| vec![check.verdict.name().to_owned(), check.about.to_owned(), check.what.clone()])
        .collect();
    let mut text = table(&["VERDICT", "ABOUT", "WHAT"], &rows)?;
    let ill: Vec<&Check> = checks
        .iter()
        .filter(|check| !check.remedy.is_empty() && (wide || check.verdict != Verdict::NotKnown))
        .collect();
    if !ill.is_empty() {
        text += "\nWhat to do:\n";
    }
    let mut told = BTreeSet::new();
    for check in ill.into_iter().filter(|check| told.insert((check.about, &check.remedy))) {
        text += &format!("  {}: {}\n", check.about, check.remedy);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict, remedy: &str) -> Check {
        Check { verdict, about: "CRDs", what: "what".into(), remedy: remedy.into() }
    }

    #[test]
    fn what_is_to_be_done_comes_below_what_was_found() {
        let checks = [check(Verdict::Ok, ""), check(Verdict::Failed, "do it"), check(Verdict::NotKnown, "ask")];
        let rows =
            "VERDICT     ABOUT   WHAT\nok          CRDs    what\nfailed      CRDs    what\nnot known   CRDs    what\n";
        assert_eq!(told(&checks, false).unwrap(), format!("{rows}\nWhat to do:\n  CRDs: do it\n"));
        assert_eq!(told(&checks, true).unwrap(), format!("{rows}\nWhat to do:\n  CRDs: do it\n  CRDs: ask\n"));
        let twice = told(&[checks[1].clone(), checks[1].clone()], false).unwrap();
        assert_eq!(twice.matches("do it").count(), 1, "{twice}");
        assert_eq!(told(&checks[..1], true).unwrap(), "VERDICT   ABOUT   WHAT\nok        CRDs    what\n");
    }
}
