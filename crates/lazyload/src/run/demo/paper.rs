//! What the story is written on: standard output, with colours only on a terminal whose user did not refuse them (NO_COLOR).

use std::io::{IsTerminal, Write};

/// An output with a few styles.
pub struct Paper {
    output: Box<dyn Write + Send>,
    colours: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const YELLOW: &str = "33";

type Written = std::io::Result<()>;

impl Paper {
    /// Standard output.
    #[must_use]
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = std::io::stdout().is_terminal() && !refused;
        Self { output: Box::new(std::io::stdout()), colours }
    }

    /// Any output, without colours.
    #[cfg(test)]
    pub fn plain(output: impl Write + Send + 'static) -> Self {
        Self { output: Box::new(output), colours: false }
    }

    /// The beginning of a chapter.
    pub fn title(&mut self, title: &str) -> Written {
        let rule = "─".repeat(78_usize.saturating_sub(title.chars().count() + 4));
        let title = self.styled(BOLD, title);
        let rule = self.styled(DIM, &rule);
        writeln!(self.output, "\n── {title} {rule}")
    }

    /// A sentence.
    pub fn say(&mut self, text: &str) -> Written {
        writeln!(self.output, "{text}")
    }

    /// What a user would have typed.
    pub fn command(&mut self, command: &str) -> Written {
        let command = self.styled(BOLD, &format!("$ {command}"));
        writeln!(self.output, "\n{command}")
    }

    /// What that would have printed.
    pub fn output(&mut self, text: &str) -> Written {
        for line in text.lines() {
            writeln!(self.output, "  {line}")?;
        }
        Ok(())
    }

    /// A line of an access log; the cluster that answered stands out.
    pub fn log_line(&mut self, text: &str, cluster: &str, is_fallback: bool) -> Written {
        let shown = self.styled(if is_fallback { YELLOW } else { GREEN }, cluster);
        writeln!(self.output, "  {}", text.replace(cluster, &shown))
    }

    /// Something that was expected and was seen.
    pub fn check(&mut self, text: &str) -> Written {
        let mark = self.styled(GREEN, "✓");
        writeln!(self.output, "  {mark} {text}")
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
