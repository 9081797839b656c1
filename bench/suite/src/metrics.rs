//! Prometheus' text format, as far as sums need it.

/// Sum of a metric over all labels; `None` if it is not there.
pub fn sum(text: &str, name: &str) -> Option<f64> {
    let of_line = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        (series == name || series.strip_prefix(name)?.starts_with('{')).then(|| value.parse::<f64>().ok())?
    };
    let mut values = text.lines().filter_map(of_line).peekable();
    values.peek()?;
    Some(values.sum())
}
