//! A table of rows: each a claim, and whether it holds for ours and for Envoy.

use std::fmt::Write as _;
use std::time::Duration;

use futures::future::BoxFuture;

use super::proxy::{Kind, Proxy};
use crate::support::repository;

/// A row that takes longer has failed.
const ROW_LIMIT: Duration = Duration::from_secs(60);

type Check = Box<dyn for<'a> Fn(&'a Proxy) -> BoxFuture<'a, anyhow::Result<()>> + Send + Sync>;

/// One claim about a proxy.
pub struct Row {
    /// The claim.
    pub what: String,
    /// Why it does not hold for ours, where that is known and accepted.
    pub known: Option<&'static str>,
    /// An error says what was seen instead.
    pub check: Check,
}

/// `rows!["claim" => function, "claim" => function; "why it does not hold", …]`: functions of a [`Proxy`].
macro_rules! rows {
    (@known) => { None };
    (@known $known:literal) => { Some($known) };
    ($($what:literal => $check:path $(; $known:literal)?),* $(,)?) => {
        vec![$($crate::conformance::table::Row {
            what: $what.to_owned(),
            known: $crate::conformance::table::rows!(@known $($known)?),
            check: Box::new(|proxy| Box::pin($check(proxy))),
        }),*]
    };
}
pub(super) use rows;

/// Asks each row of both proxies, prints and keeps the table, and fails where ours is wrong.
pub async fn compare(title: &str, rows: Vec<Row>) {
    let Some((ours, envoy)) = Proxy::both(title).await else { return };
    let mut wrong = Vec::new();
    let mut told = Vec::new();
    for row in &rows {
        let mut cells = Vec::new();
        for proxy in [&ours, &envoy] {
            let checked = tokio::time::timeout(ROW_LIMIT, (row.check)(proxy)).await;
            let checked = checked.unwrap_or_else(|_| Err(anyhow::anyhow!("nothing within {ROW_LIMIT:?}")));
            let cell = checked.map_or_else(|error| shortened(&format!("{error:#}")), |()| "yes".to_owned());
            cells.push(match (proxy.kind, row.known) {
                (Kind::Ours, Some(_)) if cell == "yes" => {
                    wrong.push(format!("{}: holds, but is listed as known not to", row.what));
                    cell
                }
                (Kind::Ours, Some(reason)) => format!("no: {reason}"),
                (Kind::Ours, None) if cell != "yes" => {
                    wrong.push(format!("{}: {cell}", row.what));
                    cell
                }
                _ => cell,
            });
        }
        told.push((row.what.clone(), cells));
    }
    publish(title, &told);
    assert!(
        wrong.is_empty(),
        "{title}: {} of {} rows are wrong:\n{}\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n"),
        ours.log()
    );
}

/// Prints a table and writes it to `target/conformance-report/TITLE.md`.
pub fn publish(title: &str, rows: &[(String, Vec<String>)]) {
    let mut table = format!("| {title} | ours | Envoy |\n|---|---|---|\n");
    for (what, cells) in rows {
        let _ = writeln!(table, "| {what} | {} |", cells.join(" | "));
    }
    println!("\n{table}");
    let folder = repository().join("target/conformance-report");
    std::fs::create_dir_all(&folder).expect("the folder of the report");
    let name = title.to_lowercase().replace([' ', '/'], "-");
    std::fs::write(folder.join(format!("{name}.md")), table).expect("the report");
}

/// One line that fits a cell.
fn shortened(text: &str) -> String {
    let line = text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 160 { line } else { line.chars().take(159).chain(['…']).collect() }
}
