//! How a record is printed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use krafka::ConsumerRecord;
use serde_json::{Value, json};

use crate::clients::escape::escape;
use crate::clients::time;

/// What `--format` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Template(Vec<Part>),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    KeyBytes,
    Value,
    ValueBytes,
    Timestamp,
    Time,
    Headers,
}

impl Format {
    /// # Errors
    /// An escape that means nothing, or a word that is no format: as a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => return Ok(Self::Template(vec![Part::Value, Part::Text(b"\n".to_vec())])),
            "json" => return Ok(Self::Json),
            _ if !text.contains('%') => {
                return Err(format!(
                    "{text:?} is none of text, json, or a format such as '%o %k %v\\n'"
                ));
            }
            _ => {}
        }
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => match characters.next() {
                    Some('%') => literal(&mut parts, b"%"),
                    Some(letter) => parts.push(part(letter)?),
                    None => return Err(format!("{text:?} ends in %: say %% for a percent sign")),
                },
                '\\' => literal(&mut parts, &[escape(&mut characters)?]),
                other => literal(&mut parts, other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(Self::Template(parts))
    }

    /// Appends the record's bytes.
    pub(crate) fn print(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        match self {
            Self::Json => json_line(record, out),
            Self::Template(parts) => parts.iter().for_each(|part| part.print(record, out)),
        }
    }
}

fn literal(parts: &mut Vec<Part>, bytes: &[u8]) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.extend_from_slice(bytes),
        _ => parts.push(Part::Text(bytes.to_vec())),
    }
}

fn part(letter: char) -> Result<Part, String> {
    Ok(match letter {
        't' => Part::Topic,
        'p' => Part::Partition,
        'o' => Part::Offset,
        'k' => Part::Key,
        'K' => Part::KeyBytes,
        'v' | 's' => Part::Value,
        'V' | 'S' => Part::ValueBytes,
        'T' => Part::Timestamp,
        'd' => Part::Time,
        'h' => Part::Headers,
        other => {
            return Err(format!(
                "%{other} means nothing: there are %t %p %o %k %K %v %V %T %d %h and %%"
            ));
        }
    })
}

impl Part {
    fn print(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        let mut text = |text: String| out.extend_from_slice(text.as_bytes());
        let bytes = |bytes: &Option<bytes::Bytes>| match bytes {
            Some(bytes) => bytes.len().to_string(),
            None => "-1".to_owned(),
        };
        match self {
            Self::Text(literal) => out.extend_from_slice(literal),
            Self::Topic => text(record.topic.to_string()),
            Self::Partition => text(record.partition.to_string()),
            Self::Offset => text(record.offset.to_string()),
            Self::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
            Self::KeyBytes => text(bytes(&record.key)),
            Self::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
            Self::ValueBytes => text(bytes(&record.value)),
            Self::Timestamp => text(record.timestamp.to_string()),
            Self::Time => text(time::format(record.timestamp)),
            Self::Headers => {
                for (index, (name, value)) in record.headers.iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b"," } else { b"" });
                    out.extend_from_slice(name.as_bytes());
                    out.push(b'=');
                    out.extend_from_slice(value.as_deref().unwrap_or_default());
                }
            }
        }
    }
}

fn json_line(record: &ConsumerRecord, out: &mut Vec<u8>) {
    let header = |(name, value): &(String, Option<bytes::Bytes>)| json!({"name": name, "value": text_or_base64(value.as_deref())});
    let headers: Vec<Value> = record.headers.iter().map(header).collect();
    let mut line = format!(
        "{{\"topic\":{},\"partition\":{},\"offset\":{},\"timestamp\":{},\"time\":\"{}\",\"key\":{},\"value\":",
        Value::from(&*record.topic),
        record.partition,
        record.offset,
        record.timestamp,
        time::format(record.timestamp),
        text_or_base64(record.key.as_deref()),
    );
    match record.value.as_deref().and_then(structure) {
        Some(json) => line.push_str(&json),
        None => line.push_str(&text_or_base64(record.value.as_deref()).to_string()),
    }
    line.push_str(&format!(",\"headers\":{}}}\n", Value::from(headers)));
    out.extend_from_slice(line.as_bytes());
}

/// A JSON object or array as it was written, on one line: its line ends are
/// between its tokens, since a text can't hold one.
fn structure(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(text.replace(['\n', '\r'], " "))
}

fn text_or_base64(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => json!({"base64": BASE64_STANDARD.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> ConsumerRecord {
        let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let mut record = ConsumerRecord::new("t", 2, 7, key.map(bytes), value.map(bytes));
        record.timestamp = 1_500;
        record.headers.push(("h".to_owned(), Some(Bytes::from_static(b"x"))));
        record.headers.push(("n".to_owned(), None));
        record
    }

    fn printed(format: &str, record: &ConsumerRecord) -> String {
        let mut out = Vec::new();
        Format::parse(format).unwrap().print(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_escape_has_its_part() {
        let record = record(Some(b"key"), Some(b"value"));
        assert_eq!(printed("text", &record), "value\n");
        let all = "%t %p %o %k %K %v %s %V %S %T %d %h %%\\t\\x41\\n";
        let said = "t 2 7 key 3 value value 5 5 1500 1970-01-01T00:00:01.500Z h=x,n= %\tA\n";
        assert_eq!(printed(all, &record), said);
        assert_eq!(printed("%k|%K|%v|%V", &super::tests::record(None, None)), "|-1||-1");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["jsn", "%x", "%", "%v\\q", "%v\\", "%v\\x4", "%v\\xzz", ""] {
            assert!(Format::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_holds_structures_as_they_are_and_the_rest_as_texts() {
        let line = |value: &[u8]| printed("json", &record(Some(b"k"), Some(value)));
        let expected = "{\"topic\":\"t\",\"partition\":2,\"offset\":7,\"timestamp\":1500,\
            \"time\":\"1970-01-01T00:00:01.500Z\",\"key\":\"k\",\"value\":{\"a\":1.10,  \"b\":[]},\
            \"headers\":[{\"name\":\"h\",\"value\":\"x\"},{\"name\":\"n\",\"value\":null}]}\n";
        assert_eq!(line(b"{\"a\":1.10,\n \"b\":[]}\n"), expected);
        for (value, shown) in [
            (&b"12"[..], json!("12")),
            (b"{broken", json!("{broken")),
            (b"\xff", json!({"base64": "/w=="})),
        ] {
            let line: Value = serde_json::from_str(&line(value)).unwrap();
            assert_eq!(line["value"], shown);
        }
    }

    proptest! {
        #[test]
        fn a_line_of_json_is_one_whatever_the_record_holds(key: Vec<u8>, value: Vec<u8>) {
            let line = printed("json", &record(Some(&key), Some(&value)));
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(serde_json::from_str::<Value>(&line).is_ok());
        }

        #[test]
        fn no_text_panics(text: String) {
            drop(Format::parse(&text));
        }
    }
}
