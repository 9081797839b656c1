//! The names of log files that were put aside, and which of them are kept. Source: contract 6.5; the names are those of the original.

use std::collections::BTreeSet;

/// How the moment is written in a name, for `strftime`; in UTC. Such texts sort as the moments do.
pub const MOMENT: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// Ending of a compressed file.
pub const COMPRESSED: &str = ".gz";
/// Ending of a compressed file that is being written.
pub const UNFINISHED: &str = ".gz.part";

/// The names of one log file's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    stem: String,
    extension: String,
}

/// What is to be done to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Names of files to be removed.
    pub remove: Vec<String>,
    /// Names of files to be compressed.
    pub compress: Vec<String>,
}

impl Backups {
    /// Those of a file of this name, without its folder.
    #[must_use]
    pub fn of(file: &str) -> Self {
        let dot = file.rfind('.').filter(|dot| *dot != 0).unwrap_or(file.len());
        let (stem, extension) = file.split_at(dot);
        Self { stem: stem.to_owned(), extension: extension.to_owned() }
    }

    /// Name of the backup of a moment in the form [`MOMENT`].
    #[must_use]
    pub fn name(&self, moment: &str) -> String {
        format!("{}-{moment}{}", self.stem, self.extension)
    }

    /// What is to be done, given every name in the folder, how many backups are kept, and the moment before which none is. Files of other
    /// names are left alone.
    #[must_use]
    pub fn sweep(&self, names: &[String], keep: usize, not_before: &str, compress: bool) -> Sweep {
        let mut sweep = Sweep::default();
        let moments: BTreeSet<&str> =
            names.iter().filter_map(|name| self.parts(name)).map(|(moment, _)| moment).collect();
        let kept: BTreeSet<&str> =
            moments.into_iter().rev().take(keep).filter(|moment| *moment >= not_before).collect();
        for name in names {
            let Some((moment, ending)) = self.parts(name) else { continue };
            // Nobody else compresses at the same time: what is unfinished was given up.
            if ending == UNFINISHED || !kept.contains(moment) {
                sweep.remove.push(name.clone());
            } else if compress && ending.is_empty() {
                sweep.compress.push(name.clone());
            }
        }
        sweep.remove.sort();
        sweep.compress.sort();
        sweep
    }

    /// Moment and ending of a backup's name.
    fn parts<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = name.strip_prefix(self.stem.as_str())?.strip_prefix('-')?;
        let (moment, rest) = rest.split_at_checked("2006-01-02T15-04-05.000".len())?;
        let ending = rest.strip_prefix(self.extension.as_str())?;
        let known = matches!(ending, "" | COMPRESSED | UNFINISHED);
        (known && is_moment(moment)).then_some((moment, ending))
    }
}

fn is_moment(text: &str) -> bool {
    let like = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.bytes().zip(*b"0000-00-00T00-00-00.000").all(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "slime-2026-11-01T00-00-00.000.log";
    const TWO: &str = "slime-2026-11-02T00-00-00.000.log";
    const THREE: &str = "slime-2026-11-03T00-00-00.000.log";

    fn swept(names: &[&str], keep: usize, not_before: &str, compress: bool) -> (Vec<String>, Vec<String>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Sweep { remove, compress } = Backups::of("slime.log").sweep(&names, keep, not_before, compress);
        (remove, compress)
    }

    fn none() -> Vec<String> {
        Vec::new()
    }

    #[test]
    fn names_are_the_originals() {
        let moment = "2026-11-24T04-20-00.123";
        assert_eq!(Backups::of("slime.log").name(moment), "slime-2026-11-24T04-20-00.123.log");
        assert_eq!(Backups::of("slime").name(moment), "slime-2026-11-24T04-20-00.123");
        assert_eq!(Backups::of(".slime").name(moment), ".slime-2026-11-24T04-20-00.123");
        assert_eq!(Backups::of("a.b.log").name(moment), "a.b-2026-11-24T04-20-00.123.log");
    }

    #[test]
    fn the_newest_are_kept_and_compressed() {
        assert_eq!(
            swept(&[ONE, THREE, TWO], 2, "", true),
            (vec![ONE.to_owned()], vec![TWO.to_owned(), THREE.to_owned()])
        );
        assert_eq!(swept(&[ONE, THREE, TWO], 2, "", false), (vec![ONE.to_owned()], none()));
    }

    #[test]
    fn both_forms_of_one_moment_count_once_and_go_together() {
        let (one_gz, two_gz) = (format!("{ONE}.gz"), format!("{TWO}.gz"));
        // Compressed again: the process ended between the two.
        assert_eq!(swept(&[TWO, &two_gz, &one_gz], 2, "", true), (none(), vec![TWO.to_owned()]));
        assert_eq!(swept(&[TWO, ONE, &one_gz], 1, "", false), (vec![ONE.to_owned(), one_gz], none()));
    }

    #[test]
    fn what_is_too_old_goes_however_few_there_are() {
        assert_eq!(swept(&[ONE, TWO], 10, "2026-11-02T00-00-00.000", false), (vec![ONE.to_owned()], none()));
    }

    #[test]
    fn what_was_left_unfinished_goes() {
        let part = format!("{ONE}.gz.part");
        assert_eq!(swept(&[ONE, &part], 10, "", true), (vec![part], vec![ONE.to_owned()]));
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let others = [
            "slime.log",
            "slime-notes.log",
            "slime-2026-11-01T00-00-00.000.txt",
            "slime-2026-11-01T00-00-00.000.log.xz",
            "slime-2026-11-01T00:00:00.000.log",
            "other-2026-11-01T00-00-00.000.log",
            "slime-2026-11-0é",
        ];
        assert_eq!(swept(&others, 0, "", true), (none(), none()));
    }
}
