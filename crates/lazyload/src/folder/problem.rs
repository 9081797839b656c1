//! What is wrong in a file, in the form that editors and compilers use: `FILE:LINE:COLUMN: FIELD: what was expected`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::process::exit::BadInput;

/// Something in a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line and column from 1; 0 where unknown.
    pub line: u64,
    /// See `line`.
    pub column: u64,
    /// Path of the field, such as `spec.ports[0].port`; empty for the whole document.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
            if self.column > 0 {
                write!(f, "{}:", self.column)?;
            }
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Every problem on a line of its own, as an error of the user's to mend; nothing if there is none.
///
/// # Errors
/// There is a problem.
pub fn refuse(directory: &Path, problems: &[Problem]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    let count = if problems.len() == 1 { "a problem".to_owned() } else { format!("{} problems", problems.len()) };
    Err(BadInput(format!("{count} in {}:{}", directory.display(), lines.concat())).into())
}
