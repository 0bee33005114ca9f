//! Dotted paths into JSON values: `user.id`, `legs.0.to`.

use std::fmt;

use serde_json::Value;

/// Names of fields from the outside in; a number is an index where there is
/// an array. `\.` is a dot in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    text: String,
    names: Vec<String>,
}

impl FieldPath {
    /// `None` where a name is missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut names = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let name = names.last_mut()?;
            match character {
                '\\' => name.push(characters.next()?),
                '.' => names.push(String::new()),
                other => name.push(other),
            }
        }
        names.iter().all(|name| !name.is_empty()).then(|| Self { text: text.to_owned(), names })
    }

    /// Whether it is this name: of a column, which may have dots of its own.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        self.text == name || matches!(self.names.as_slice(), [only] if only == name)
    }

    /// What stands there.
    pub(crate) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.names.iter().try_fold(value, |value, name| match value {
            Value::Object(fields) => fields.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_goes_through_objects_and_arrays() {
        let value = json!({"a": {"b": [10, {"c.d": "x"}]}, "0": 1});
        let at = |path: &str| FieldPath::parse(path).and_then(|path| path.of(&value).cloned());
        assert_eq!(at("a.b.0"), Some(json!(10)));
        assert_eq!(at("a.b.1.c\\.d"), Some(json!("x")));
        assert_eq!(at("0"), Some(json!(1)));
        assert_eq!(at("a.x"), None);
        assert_eq!(at("a.b.-1"), None);
        let is = |path: &str, name| FieldPath::parse(path).unwrap().is_name(name);
        assert!(is("a.b", "a.b") && is("a\\.b\\.", "a.b.") && !is("a.b", "a"));
        for wrong in ["", ".", "a.", "a..b", "a\\"] {
            assert_eq!(FieldPath::parse(wrong), None, "{wrong}");
        }
    }
}
