//! How an answer is printed: columns as kubectl prints them, or the whole of it for programs.

use std::io::Write;

use serde::Serialize;

use crate::cli::Output;
use crate::documents;

/// Prints an answer on standard output, for people in the words of `told`, which may be wide.
///
/// # Errors
/// Nobody reads any more; none besides that memory cannot have.
pub fn print<T: Serialize>(
    answer: &T,
    output: Output,
    told: impl FnOnce(&T, bool) -> std::io::Result<String>,
) -> anyhow::Result<()> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(answer)? + "\n",
        Output::Yaml => documents::write(&[serde_json::to_value(answer)?])?,
        Output::Table | Output::Wide => told(answer, output == Output::Wide)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Lines in columns that are as wide as they need to be, three spaces apart; the last one has no padding.
///
/// # Errors
/// None that memory cannot have.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> std::io::Result<String> {
    let mut writer = tabwriter::TabWriter::new(Vec::new()).minwidth(0).padding(3);
    writeln!(writer, "{}", header.join("\t"))?;
    for row in rows {
        writeln!(writer, "{}", row.join("\t"))?;
    }
    let bytes = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

/// Since when, in Unix seconds, as kubectl shortens it; a dash if that is not known.
#[must_use]
pub fn age(created: i64, now: i64) -> String {
    let seconds = now.saturating_sub(created);
    match seconds {
        _ if created == 0 => "-".to_owned(),
        ..120 => format!("{}s", seconds.max(0)),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [(-5, "0s"), (119, "119s"), (600, "10m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(age(1, 1 + seconds), expected);
        }
        assert_eq!(age(0, 9), "-");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let rows = [vec!["default".into(), "a".into()], vec!["b".into(), "longer".into()]];
        assert_eq!(
            table(&["NAMESPACE", "NAME"], &rows).unwrap(),
            "NAMESPACE   NAME\ndefault     a\nb           longer\n"
        );
    }
}
