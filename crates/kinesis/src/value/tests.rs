use proptest::prelude::*;

use super::*;

fn json(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    json::encode(value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_base64_and_seconds() {
    let value = Members::new()
        .with("Data", Value::Blob(Cow::Borrowed(b"\x00\xff")))
        .with("At", Value::Time(Timestamp(1_700_000_000_005)))
        .with("Before", Value::Time(Timestamp(-1)))
        .text("Text", "a\"\u{1f980}\n")
        .with("List", Value::List(vec![Value::Int(-1), Value::Bool(true), Value::Null]))
        .done();
    let expected = "{\"Data\":\"AP8=\",\"At\":1700000000.005,\"Before\":-1.999,\
                    \"Text\":\"a\\\"\u{1f980}\\n\",\"List\":[-1,true,null]}";
    assert_eq!(json(&value), expected);
}

#[test]
fn texts_are_borrowed_where_they_have_no_escapes() {
    let value = json::decode(br#"{"a": "plain", "b": "\u0041"}"#).unwrap();
    assert!(matches!(value.get("a"), Some(Value::Text(Cow::Borrowed("plain")))));
    assert_eq!(value.get("b"), Some(&Value::text("A")));
    assert_eq!(value.get("c"), None);
}

#[test]
fn what_is_malformed_or_deep_or_endless_is_refused() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let long = format!("[{}0]", "0,".repeat(NODES_MAX));
    for text in ["", "{", "{} x", "{\"a\"}", "nul", &deep, &long] {
        assert_eq!(json::decode(text.as_bytes()), Err(Malformed), "{:.20}", text);
    }
    let deep = [0x81; 100];
    let endless = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    for bytes in [&b""[..], b"\xff", b"\x61", b"\xa1\x01\x01", b"\x00\x00", &deep, &endless] {
        assert_eq!(cbor::decode(bytes), Err(Malformed), "{bytes:x?}");
    }
}

#[test]
fn cbor_without_lengths_is_read() {
    // {_ "a": [_ (_ h'01', h'02')], "b": (_ "x", "y"), "c": 1(1700000000005)}
    let bytes = b"\xbf\x61a\x9f\x5f\x41\x01\x41\x02\xff\xff\x61b\x7f\x61x\x61y\xff\
                  \x61c\xc1\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x05\xff";
    let value = cbor::decode(bytes).unwrap();
    assert_eq!(value.get("a"), Some(&Value::List(vec![Value::Blob(Cow::Borrowed(&[1, 2]))])));
    assert_eq!(value.get("b"), Some(&Value::text("xy")));
    assert_eq!(value.get("c"), Some(&Value::Int(1_700_000_000_005)));
}

#[test]
fn heads_of_any_length_read_back() {
    for len in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
        let (mut out, text) = (Vec::new(), "x".repeat(len));
        cbor::encode_text(&text, &mut out);
        assert_eq!(minicbor::to_vec(text.as_str()).unwrap(), out, "{len}");
        let mut of_list = Vec::new();
        cbor::encode_list_len(len, &mut of_list);
        cbor::encode_blob_len(len, &mut of_list);
        cbor::encode_map_len(len, &mut of_list);
        let mut expected = minicbor::Encoder::new(Vec::new());
        let len = u64::try_from(len).unwrap();
        expected.array(len).unwrap().bytes_len(len).unwrap().map(len).unwrap();
        assert_eq!(of_list, expected.into_writer());
    }
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<String>().prop_map(Value::text),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::vec((any::<String>().prop_map(Cow::Owned), inner), 0..8)
                .prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn both_encodings_read_back(value in any_value(), blob: Vec<u8>) {
        let text = json(&value);
        prop_assert_eq!(json::decode(text.as_bytes()), Ok(value.clone()));
        let value = Value::List(vec![value, Value::Blob(Cow::Owned(blob))]);
        let mut out = Vec::new();
        cbor::encode(&value, &mut out);
        prop_assert_eq!(cbor::decode(&out), Ok(value));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        drop(json::decode(&bytes));
        drop(cbor::decode(&bytes));
    }
}
