//! Finds the line of a field by its path, such as `spec.module[0].general.wormholePort[1]`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// What a document looks like; scalars are of no interest.
enum Shape {
    Scalar,
    List(Vec<Spanned<Shape>>),
    Map(Vec<(String, Spanned<Shape>)>),
}

/// One step of a field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a map.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// Line of the field, or of the nearest one above it that is there; nothing if the text cannot be read.
#[must_use]
pub fn line_of(text: &str, path: &str) -> Option<u64> {
    let step = |step: &str| match step.strip_suffix(']') {
        None => Some(Step::Key(step.to_owned())),
        Some(position) => position.parse().ok().map(Step::Index),
    };
    let steps: Vec<Step> = path.split(['.', '[']).map_while(step).collect();
    Positions::read(text).find(&steps).map(|(line, _)| line)
}

/// Where the fields of one document are.
pub struct Positions {
    root: Option<Spanned<Shape>>,
}

impl Positions {
    /// Of the first document of a text; of nothing if it cannot be read.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let documents: Vec<Spanned<Shape>> = serde_saphyr::from_multiple(text).unwrap_or_default();
        Self { root: documents.into_iter().next() }
    }

    /// Line and column of the field, or of the nearest one above it that is there.
    #[must_use]
    pub fn find<'a>(&self, steps: impl IntoIterator<Item = &'a Step>) -> Option<(u64, u64)> {
        let mut node = self.root.as_ref()?;
        for step in steps {
            let next = match (&node.value, step) {
                (Shape::Map(entries), Step::Key(key)) => {
                    entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
                }
                (Shape::List(items), Step::Index(position)) => items.get(*position),
                _ => None,
            };
            match next {
                Some(next) if next.referenced.line() > 0 => node = next,
                _ => break,
            }
        }
        Some((node.referenced.line(), node.referenced.column())).filter(|(line, _)| *line > 0)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(Shape::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Shape::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "kind: X\nspec:\n  module:\n  - name: 163\n    general:\n      wormholePort:\n      - \"9080\"\n      - http\n";

    #[test]
    fn a_field_is_found_by_its_path() {
        assert_eq!(line_of(TEXT, "spec.module[0].general.wormholePort[1]"), Some(8));
        assert_eq!(line_of(TEXT, "spec.module[0].name"), Some(4));
    }

    #[test]
    fn a_field_that_is_missing_is_looked_for_above() {
        assert_eq!(line_of(TEXT, "spec.module[0].general.namespace[3]"), Some(6));
        assert_eq!(line_of(TEXT, "spec.component.globalSidecar"), Some(3));
        assert_eq!(line_of("a: [", "a"), None);
    }
}
