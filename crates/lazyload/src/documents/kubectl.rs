//! Quotes as kubectl sets them: text with a sign that YAML would take for its own in single quotes (`'*/a.b'`), text that would be another
//! type in double quotes (`"1"`).

use serde_json::Value;

use super::{read, write};

/// Signs that begin something else than plain text.
const INDICATORS: [char; 16] = ['*', '{', '}', '[', ']', '&', '!', '|', '>', '%', '@', '`', '#', ',', '?', ':'];

/// Writes objects as [`write`] does, with kubectl's quotes.
///
/// # Errors
/// A value that YAML cannot hold.
pub fn write_like_kubectl(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let text = write(objects)?;
    let mut quoted: String = text.lines().map(|line| requoted(line) + "\n").collect();
    if !text.ends_with('\n') {
        quoted.pop();
    }
    // A line of a longer text may look like a quoted value: then the text stays as it is.
    let same = read(&quoted).is_ok_and(|read| read.iter().eq(objects.iter().filter(|object| !object.is_null())));
    Ok(if same { quoted } else { text })
}

fn requoted(line: &str) -> String {
    let content = line.trim_start_matches([' ', '-']);
    let indent = line.strip_suffix(content).unwrap_or_default();
    let Some((key, rest)) = quoted_start(content) else {
        // `key: "value"`
        let value = content.split_once(": ").and_then(|(key, value)| Some((key, quoted_start(value)?)));
        return match value {
            Some((key, (value, ""))) => format!("{indent}{key}: {value}"),
            _ => line.to_owned(),
        };
    };
    let value = rest.strip_prefix(": ").and_then(quoted_start);
    match value {
        Some((value, "")) => format!("{indent}{key}: {value}"),
        _ => format!("{indent}{key}{rest}"),
    }
}

/// Splits off a text in double quotes, in the quotes that kubectl would use; nothing if there is none.
fn quoted_start(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.char_indices().find(|(_, sign)| {
        let ends = *sign == '"' && !escaped;
        escaped = *sign == '\\' && !escaped;
        ends
    });
    let (body, rest) = inner.split_at_checked(end?.0)?;
    let rest = rest.strip_prefix('"')?;
    let plain = body.replace("\\\"", "\"");
    let stays = plain.contains('\\') || !plain.starts_with(INDICATORS);
    let shown = if stays { format!("\"{body}\"") } else { format!("'{}'", plain.replace('\'', "''")) };
    Some((shown, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documentations_quotes_come_out() {
        let object = json!({
            "hosts": ["*/a.b", "c/*", "true"],
            "status": {"{destination_service=\"a.b\"}": "1", "plain": "it's", "*": "{x: 'y'}", "back": "*\\n"},
        });
        assert_eq!(
            write_like_kubectl(std::slice::from_ref(&object)).unwrap(),
            "hosts:\n- '*/a.b'\n- c/*\n- \"true\"\nstatus:\n  '*': '{x: ''y''}'\n  back: \"*\\\\n\"\n  plain: it's\n  \
             '{destination_service=\"a.b\"}': \"1\"\n"
        );
    }

    #[test]
    fn longer_texts_stay_as_they_are() {
        let object = json!({"text": "first\n\"*\": \"{\"\n- \"*x\"\n"});
        let written = write_like_kubectl(std::slice::from_ref(&object)).unwrap();
        assert_eq!(read(&written).unwrap(), [object]);
    }
}
