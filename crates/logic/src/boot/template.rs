//! The part of Go's templates that a dispatch may use: text with `{{ … }}` around strings, numbers, `.Values.KEY.KEY`, `print`, `default`,
//! parentheses and pipes. What Go would print as `<no value>` is an error here: a request must not go to a cluster of that name.
//!
//! Own code: the kept crates for Go's templates know no missing keys, and their language is larger than can be explained to users.

use serde_json::Value;

/// A template that gives no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("{{{{ without }}}}")]
    NotClosed,
    #[error("expected a string, a number, .Values.KEY, print, default or parentheses, got {0}")]
    Unexpected(String),
    #[error(".{0} is not known here; begin with .Values")]
    Root(String),
    #[error(".{0} is not set in the SlimeBoot's spec")]
    NotSet(String),
    #[error(".{0} is not text, a number or true or false")]
    NotText(String),
}

/// What an operand gives.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    String(String),
    /// A number, true or false: Go's `print` puts a space between two of them.
    Scalar(String),
    /// A key that is not there, which only `default` may see.
    Unset(String),
}

impl Operand {
    fn text(self) -> Result<String, TemplateError> {
        match self {
            Self::String(text) | Self::Scalar(text) => Ok(text),
            Self::Unset(path) => Err(TemplateError::NotSet(path)),
        }
    }
}

/// Parentheses within parentheses at most.
const DEEPEST: usize = 16;

/// Fills in a template; `values` is what `.Values` stands for.
pub(super) fn fill(template: &str, values: &Value) -> Result<String, TemplateError> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = split_action(action)?;
        filled.push_str(before);
        let tokens = tokens(action)?;
        let mut parser = Parser { tokens: &tokens, values, depth: 0 };
        let result = parser.pipeline()?;
        if let Some(token) = parser.next() {
            return Err(unexpected(Some(token)));
        }
        filled.push_str(&result.text()?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The text up to `}}`, which may also occur in a string.
fn split_action(text: &str) -> Result<(&str, &str), TemplateError> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (position, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None => {
                let rest = text.get(position..).unwrap_or_default();
                if let Some(after) = rest.strip_prefix("}}") {
                    return Ok((text.get(..position).unwrap_or_default(), after));
                }
            }
        }
    }
    Err(TemplateError::NotClosed)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Pipe,
    Text(String),
    Word(String),
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, rest.get(1..)),
            ')' => (Token::Close, rest.get(1..)),
            '|' => (Token::Pipe, rest.get(1..)),
            '"' => {
                let end = closing_quote(rest).ok_or_else(|| TemplateError::Unexpected(rest.to_owned()))?;
                // Go's strings and JSON's have the same simple escapes.
                let text = rest.get(..=end).and_then(|text| serde_json::from_str(text).ok());
                (Token::Text(text.ok_or_else(|| TemplateError::Unexpected(rest.to_owned()))?), rest.get(end + 1..))
            }
            '`' => {
                let (text, after) = rest
                    .get(1..)
                    .and_then(|text| text.split_once('`'))
                    .ok_or_else(|| TemplateError::Unexpected(rest.to_owned()))?;
                (Token::Text(text.to_owned()), Some(after))
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()|\"`".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest.get(..end).unwrap_or_default().to_owned()), rest.get(end..))
            }
        };
        tokens.push(token);
        rest = after.unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(position, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(position)
    })
}

struct Parser<'a> {
    tokens: &'a [Token],
    values: &'a Value,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Commands with pipes between; the result of each is the last argument of the next.
    fn pipeline(&mut self) -> Result<Operand, TemplateError> {
        let mut result = self.command(None)?;
        while self.tokens.first() == Some(&Token::Pipe) {
            self.next();
            result = self.command(Some(result))?;
        }
        Ok(result)
    }

    fn command(&mut self, piped: Option<Operand>) -> Result<Operand, TemplateError> {
        let function = match self.tokens.first() {
            Some(Token::Word(word)) if word == "print" || word == "default" => word.as_str(),
            token if piped.is_some() => return Err(unexpected(token)),
            _ => return self.operand(),
        };
        self.next();
        let mut arguments = self.arguments()?;
        arguments.extend(piped);
        if function == "print" {
            return print(arguments);
        }
        let [fallback, given] = <[Operand; 2]>::try_from(arguments)
            .map_err(|_| TemplateError::Unexpected("default without two arguments".to_owned()))?;
        let says_nothing =
            matches!(&given, Operand::Unset(_)) || matches!(&given, Operand::String(text) if text.is_empty());
        Ok(if says_nothing { fallback } else { given })
    }

    fn arguments(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut arguments = Vec::new();
        while !matches!(self.tokens.first(), None | Some(Token::Close | Token::Pipe)) {
            arguments.push(self.operand()?);
        }
        Ok(arguments)
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Operand::String(text.clone())),
            Some(Token::Word(word)) => self.word(word),
            Some(Token::Open) if self.depth < DEEPEST => {
                self.depth += 1;
                let inner = self.pipeline()?;
                self.depth -= 1;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    other => Err(unexpected(other)),
                }
            }
            other => Err(unexpected(other)),
        }
    }

    fn word(&self, word: &str) -> Result<Operand, TemplateError> {
        let Some(path) = word.strip_prefix('.') else {
            let is_scalar = word == "true" || word == "false" || word.parse::<f64>().is_ok_and(f64::is_finite);
            return if is_scalar {
                Ok(Operand::Scalar(word.to_owned()))
            } else {
                Err(TemplateError::Unexpected(word.to_owned()))
            };
        };
        let Some(("Values", keys)) = path.split_once('.') else { return Err(TemplateError::Root(path.to_owned())) };
        let value = keys.split('.').try_fold(self.values, |value, key| value.get(key));
        match value {
            None | Some(Value::Null) => Ok(Operand::Unset(path.to_owned())),
            Some(Value::String(text)) => Ok(Operand::String(text.clone())),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(Operand::Scalar(scalar.to_string())),
            Some(_) => Err(TemplateError::NotText(path.to_owned())),
        }
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }
}

fn print(arguments: Vec<Operand>) -> Result<Operand, TemplateError> {
    let mut printed = String::new();
    let mut after_scalar = false;
    for argument in arguments {
        let is_scalar = matches!(argument, Operand::Scalar(_));
        if after_scalar && is_scalar {
            printed.push(' ');
        }
        printed.push_str(&argument.text()?);
        after_scalar = is_scalar;
    }
    Ok(Operand::String(printed))
}

fn unexpected(token: Option<&Token>) -> TemplateError {
    TemplateError::Unexpected(match token {
        None => "nothing".to_owned(),
        Some(Token::Open) => "(".to_owned(),
        Some(Token::Close) => ")".to_owned(),
        Some(Token::Pipe) => "|".to_owned(),
        Some(Token::Text(text)) => format!("{text:?}"),
        Some(Token::Word(word)) => word.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let values = json!({"foo": "egress", "namespace": "mesh-operator", "port": 80, "list": [], "empty": "", "a": {"b": {"c": "deep"}}});
        fill(template, &values).map_err(|error| error.to_string())
    }

    #[test]
    fn the_seeds_template_joins_a_value_and_the_namespace() {
        assert_eq!(filled(r#"{{ (print .Values.foo "." .Values.namespace ) }}"#).unwrap(), "egress.mesh-operator");
    }

    #[test]
    fn text_values_pipes_and_parentheses_work_as_in_go() {
        for (template, expected) in [
            ("plain", "plain"),
            (
                "outbound|{{ .Values.port }}||{{.Values.foo}}.x.svc.cluster.local",
                "outbound|80||egress.x.svc.cluster.local",
            ),
            ("{{ .Values.a.b.c }}", "deep"),
            ("{{ `raw }}` }}", "raw }}"),
            (r#"{{ "a\"}}b" }}"#, "a\"}}b"),
            ("{{ print 1 2 \"x\" 3 true }}", "1 2x3 true"),
            ("{{ .Values.foo | print \"to-\" }}", "to-egress"),
            ("{{ .Values.bar | default \"none\" }}", "none"),
            ("{{ default \"none\" .Values.empty }}", "none"),
            ("{{ print (default .Values.foo .Values.bar) }}", "egress"),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_gives_no_text_says_why() {
        for (template, expected) in [
            ("{{ .Values.bar }}", ".Values.bar is not set in the SlimeBoot's spec"),
            ("{{ print .Values.a.x }}", ".Values.a.x is not set in the SlimeBoot's spec"),
            ("{{ .Values.list }}", ".Values.list is not text, a number or true or false"),
            ("{{ .Release.Name }}", ".Release.Name is not known here; begin with .Values"),
            ("{{ .Values }}", ".Values is not known here; begin with .Values"),
            ("{{ .Values.foo ", "{{ without }}"),
            ("{{ }}", "expected a string, a number, .Values.KEY, print, default or parentheses, got nothing"),
            (
                "{{ upper .Values.foo }}",
                "expected a string, a number, .Values.KEY, print, default or parentheses, got upper",
            ),
            ("{{ (print 1 }}", "expected a string, a number, .Values.KEY, print, default or parentheses, got nothing"),
            ("{{ 1 2 }}", "expected a string, a number, .Values.KEY, print, default or parentheses, got 2"),
            ("{{ 1 | 2 }}", "expected a string, a number, .Values.KEY, print, default or parentheses, got 2"),
        ] {
            assert_eq!(filled(template), Err(expected.to_owned()), "{template}");
        }
        assert!(filled(&format!("{{{{ {}1 }}}}", "(".repeat(100_000))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(template in r#"(\{\{|\}\}|[ "`\\()|.a1]|Values|print|default|\PC){0,24}"#) {
            drop(filled(&template));
        }
    }
}
