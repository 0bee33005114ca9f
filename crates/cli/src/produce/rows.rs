//! Rows of CSV as JSON objects.

use serde_json::{Number, Value};

/// The object of a row, its fields in the order of the header. Fields beyond
/// the header can't be: the reader refuses rows of another length.
pub(super) fn object<'a>(header: &[String], row: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from("{");
    for (index, (name, field)) in header.iter().zip(row).enumerate() {
        let comma = if index > 0 { "," } else { "" };
        text.push_str(&format!("{comma}{}:{}", Value::from(name.as_str()), value(field)));
    }
    text.push('}');
    text
}

/// A field as JSON: what JSON writes the same way, or else a text.
fn value(field: &str) -> Value {
    match field {
        "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number(field).map_or_else(|| Value::String(field.to_owned()), Value::Number),
    }
}

/// Only a number that comes out as it came in: neither 007 nor 1e400, and no
/// more digits than a double keeps.
fn number(field: &str) -> Option<Number> {
    let first = field.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'-') || !field.bytes().last()?.is_ascii_digit() {
        return None;
    }
    let number: Number = serde_json::from_str(field).ok()?;
    let digits = field.bytes().filter(u8::is_ascii_digit).count();
    (number.is_i64() || number.is_u64() || digits <= 15).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_writes_the_same_way_is_no_text() {
        for (field, expected) in [
            ("", json!(null)),
            ("true", json!(true)),
            ("12", json!(12)),
            ("-3.25", json!(-3.25)),
            ("9223372036854775807", json!(i64::MAX)),
            ("007", json!("007")),
            ("1.", json!("1.")),
            (".5", json!(".5")),
            ("+1", json!("+1")),
            ("1e400", json!("1e400")),
            ("0.12345678901234567890", json!("0.12345678901234567890")),
            ("123456789012345678901234567890", json!("123456789012345678901234567890")),
            ("AA", json!("AA")),
            ("TRUE", json!("TRUE")),
            (" 1", json!(" 1")),
            ("NaN", json!("NaN")),
        ] {
            assert_eq!(value(field), expected, "{field}");
        }
        let header = ["b".to_owned(), "a".to_owned()];
        assert_eq!(object(&header, ["1", "x"]), r#"{"b":1,"a":"x"}"#);
    }

    proptest! {
        #[test]
        fn integers_stay_what_they_are(number: i64) {
            prop_assert_eq!(value(&number.to_string()).to_string(), number.to_string());
        }

        #[test]
        fn no_text_is_lost(field in "[^0-9-].*") {
            prop_assume!(!["true", "false"].contains(&field.as_str()));
            prop_assert_eq!(value(&field), Value::String(field));
        }
    }
}
