//! Filters: one comparison each, of what stands at a path in a JSON value.

use std::cmp::Ordering;

use regex_lite::Regex;
use serde_json::{Number, Value};

use crate::clients::path::FieldPath;

/// `a.b>=3`.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    path: FieldPath,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// Passes the values whose order against the operand is one of these.
    Compare {
        pass: &'static [Ordering],
        operand: Operand,
    },
    /// Not equal: what is not there is not equal either.
    Differs(Operand),
    Matches(Regex),
}

/// The right side: as it was written, and the number that it is.
#[derive(Clone, Debug)]
struct Operand {
    text: String,
    number: Option<Number>,
}

impl Filter {
    /// # Errors
    /// No operator, no path, no regular expression: as a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let example =
            "say PATH OPERATOR VALUE such as 'customer.age>=18', with one of = != < <= > >= ~";
        let at = operator_at(text).ok_or_else(|| format!("{text:?}: {example}"))?;
        let (path, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let operators = ["!=", "<=", ">=", "==", "=", "<", ">", "~"];
        let operator = operators.iter().find(|operator| rest.starts_with(**operator));
        let operator = operator.ok_or_else(|| format!("{text:?}: {example}"))?;
        let path = FieldPath::parse(path.trim()).ok_or_else(|| format!("{text:?}: {example}"))?;
        let written = rest.get(operator.len()..).unwrap_or_default().trim();
        let compare = |pass| Test::Compare { pass, operand: Operand::of(written) };
        let test = match *operator {
            "!=" => Test::Differs(Operand::of(written)),
            "<" => compare(&[Ordering::Less]),
            "<=" => compare(&[Ordering::Less, Ordering::Equal]),
            ">" => compare(&[Ordering::Greater]),
            ">=" => compare(&[Ordering::Greater, Ordering::Equal]),
            "~" => {
                Test::Matches(Regex::new(written).map_err(|error| format!("{text:?}: {error}"))?)
            }
            _ => compare(&[Ordering::Equal]),
        };
        Ok(Self { path, test })
    }

    /// Whether a value passes; `None` is one that is no JSON.
    pub(crate) fn passes(&self, value: Option<&Value>) -> bool {
        let found = value.and_then(|value| self.path.of(value));
        match &self.test {
            Test::Compare { pass, operand } => found
                .and_then(|found| operand.order_of(found))
                .is_some_and(|order| pass.contains(&order)),
            Test::Differs(operand) => {
                found.and_then(|found| operand.order_of(found)) != Some(Ordering::Equal)
            }
            Test::Matches(regex) => match found {
                Some(Value::String(text)) => regex.is_match(text),
                Some(Value::Null) | None => false,
                Some(other) => regex.is_match(&other.to_string()),
            },
        }
    }
}

/// Where the operator begins: in a path each of its characters needs a `\`.
fn operator_at(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '=' | '!' | '<' | '>' | '~' => return Some(at),
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    None
}

impl Operand {
    fn of(written: &str) -> Self {
        let quoted = written.len() >= 2 && written.starts_with('"') && written.ends_with('"');
        let text = match serde_json::from_str::<String>(written) {
            Ok(text) if quoted => text,
            _ => written.to_owned(),
        };
        let number = if quoted { None } else { serde_json::from_str(written).ok() };
        Self { text, number }
    }

    /// How a found value compares with it; `None` where the two are of kinds
    /// that don't compare.
    fn order_of(&self, found: &Value) -> Option<Ordering> {
        match found {
            Value::Number(number) => order(number, self.number.as_ref()?),
            Value::String(text) => Some(text.as_str().cmp(&self.text)),
            Value::Bool(found) => {
                let word = if *found { "true" } else { "false" };
                (self.text == word).then_some(Ordering::Equal)
            }
            Value::Null => (self.text == "null").then_some(Ordering::Equal),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Whole numbers exactly, others as doubles.
fn order(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn passes(filter: &str, value: &Value) -> bool {
        Filter::parse(filter).unwrap().passes(Some(value))
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_texts_as_texts() {
        let value = json!({"a": {"b": 10, "s": "9", "t": true, "n": null, "f": 2.5}, "l": [1, 2]});
        for filter in [
            "a.b>=10",
            "a.b > 9",
            "a.b<11",
            "a.b=10",
            "a.b==10.0",
            "a.b!=9",
            "a.s=9",
            "a.s=\"9\"",
            "a.s>10",
            "a.t=true",
            "a.t!=false",
            "a.n=null",
            "a.f<=2.5",
            "l.1=2",
            "a.s~^9$",
            "a.b~1",
            "a.x!=1",
            "a.b!=text",
        ] {
            assert!(passes(filter, &value), "{filter}");
        }
        for filter in [
            "a.b<10",
            "a.b>10",
            "a.b=1",
            "a.b!=10",
            "a.b=\"10\"",
            "a.s<10",
            "a.x=1",
            "a.x<1",
            "a.x~.",
            "a.n~.",
            "a.t=1",
            "a.t>a",
            "a=1",
            "a.b>text",
        ] {
            assert!(!passes(filter, &value), "{filter}");
        }
    }

    #[test]
    fn a_backslash_takes_the_meaning_from_what_follows() {
        let value = json!({"a=b": {"c.d": "~"}});
        assert!(passes(r"a\=b.c\.d=~", &value));
        assert!(!passes(r"a\=b.c\.d!=~", &value));
    }

    #[test]
    fn large_whole_numbers_are_exact() {
        let value = json!({"id": 9_007_199_254_740_993_i64});
        assert!(passes("id>9007199254740992", &value));
        assert!(!passes("id=9007199254740992", &value));
    }

    #[test]
    fn what_is_no_json_passes_only_what_differs() {
        assert!(!Filter::parse("a=1").unwrap().passes(None));
        assert!(Filter::parse("a!=1").unwrap().passes(None));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "a", "a.b", "=3", "a..b=3", "a!3", "a~("] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            drop(Filter::parse(&text));
        }

        #[test]
        fn whole_numbers_order_as_they_do(a: i64, b: i64) {
            let value = json!({"a": a});
            prop_assert_eq!(passes(&format!("a<{b}"), &value), a < b);
            prop_assert_eq!(passes(&format!("a>={b}"), &value), a >= b);
            prop_assert_eq!(passes(&format!("a={b}"), &value), a == b);
        }
    }
}
