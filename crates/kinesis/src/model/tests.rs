use super::conform::NotOfType;
use super::*;
use crate::value::{Value, json};

fn conformed<'a>(model: &Model, operation: &str, text: &'a str) -> Result<Value<'a>, NotOfType> {
    let (_, shape) = model.operation(operation).unwrap();
    conform(model, shape, json::decode(text.as_bytes()).unwrap(), Encoding::Json)
}

fn said(operation: &str, text: &str) -> String {
    let model = Model::load().unwrap();
    let (_, shape) = model.operation(operation).unwrap();
    match conformed(&model, operation, text) {
        Err(NotOfType(words)) => words,
        Ok(value) => validate(&model, shape, &value).err().unwrap_or_default(),
    }
}

#[test]
fn the_model_has_57_operations() {
    assert_eq!(Model::load().unwrap().names().count(), 57);
}

#[test]
fn every_failed_constraint_is_listed() {
    assert_eq!(said("CreateStream", r#"{"StreamName": "a", "ShardCount": 1}"#), "");
    assert_eq!(
        said("CreateStream", r#"{"StreamName": "", "ShardCount": 0}"#),
        "3 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; \
         Value '' at 'streamName' failed to satisfy constraint: \
         Member must have length greater than or equal to 1; \
         Value '0' at 'shardCount' failed to satisfy constraint: \
         Member must have value greater than or equal to 1"
    );
    assert_eq!(
        said("GetRecords", "{}"),
        "1 validation error detected: Value null at 'shardIterator' failed to satisfy \
         constraint: Member must not be null"
    );
    assert_eq!(
        said("GetShardIterator", r#"{"ShardId": "s", "ShardIteratorType": "NOW"}"#),
        "1 validation error detected: Value 'NOW' at 'shardIteratorType' failed to satisfy \
         constraint: Member must satisfy enum value set: [AT_SEQUENCE_NUMBER, \
         AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP]"
    );
}

#[test]
fn members_of_lists_and_maps_are_named() {
    assert_eq!(
        said(
            "PutRecords",
            r#"{"Records": [{"Data": "", "PartitionKey": "a"}, {"Data": "aGk=", "PartitionKey": ""}]}"#
        ),
        "1 validation error detected: Value '' at 'records.2.member.partitionKey' failed to \
         satisfy constraint: Member must have length greater than or equal to 1"
    );
    assert_eq!(
        said("PutRecords", r#"{"Records": []}"#),
        "1 validation error detected: Value at 'records' failed to satisfy constraint: \
         Member must have length greater than or equal to 1"
    );
    assert_eq!(
        said("AddTagsToStream", r#"{"Tags": {"": "b"}}"#),
        "1 validation error detected: Value '{=b}' at 'tags' failed to satisfy constraint: \
         Map keys must satisfy constraint: [Member must have length less than or equal to 128, \
         Member must have length greater than or equal to 1]"
    );
    assert_eq!(
        said("RemoveTagsFromStream", r#"{"TagKeys": ["a", ""]}"#),
        "1 validation error detected: Value '[a, ]' at 'tagKeys' failed to satisfy constraint: \
         Member must satisfy constraint: [Member must have length less than or equal to 128, \
         Member must have length greater than or equal to 1]"
    );
}

#[test]
fn hash_keys_are_decimal_numbers_without_leading_zeros() {
    let put =
        |key: &str| said("PutRecord", &format!(r#"{{"Data": "", "ExplicitHashKey": "{key}"}}"#));
    for good in ["0", "1", "340282366920938463463374607431768211455"] {
        assert_eq!(put(good), "");
    }
    for bad in ["", "01", "-1", "a", "1\\n"] {
        assert!(put(bad).contains("regular expression pattern"), "{bad}");
    }
}

#[test]
fn wrong_types_are_refused_in_awss_words() {
    let of = |member: &str, value: &str| said("PutRecord", &format!(r#"{{"{member}": {value}}}"#));
    assert_eq!(
        of("StreamName", "1"),
        "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an \
         String"
    );
    assert_eq!(
        of("StreamName", "true"),
        "class java.lang.Boolean can not be converted to an String"
    );
    assert_eq!(of("StreamName", "[]"), "Start of list found where not expected");
    assert_eq!(of("Data", "{}"), "Start of structure or map found where not expected.");
    assert_eq!(
        of("Data", "\"abc\""),
        "'abc' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 \
         bytes but found: 3"
    );
    assert_eq!(
        of("Data", "\"ab!=\""),
        "'ab!=' can not be converted to a Blob: Invalid Base64 character: '!'"
    );
    assert_eq!(said("PutRecords", r#"{"Records": "x"}"#), "Expected list or null");
    assert_eq!(said("AddTagsToStream", r#"{"Tags": "x"}"#), "Expected map or null");
    assert_eq!(
        said("ListStreams", r#"{"Limit": "x"}"#),
        "class java.lang.String can not be converted to an Integer"
    );
}

#[test]
fn unknown_members_and_nulls_are_gone() {
    let model = Model::load().unwrap();
    let value =
        conformed(&model, "ListStreams", r#"{"What": [1], "NextToken": null, "Limit": 2.9}"#);
    assert_eq!(value, Ok(Value::Map(vec![("Limit".into(), Value::Int(2))])));
}

#[test]
fn times_are_seconds_in_json() {
    let model = Model::load().unwrap();
    let value = conformed(&model, "ListShards", r#"{"StreamCreationTimestamp": 1.2345}"#).unwrap();
    let expected = Value::Time(millrace_types::Timestamp(1235));
    assert_eq!(value.get("StreamCreationTimestamp"), Some(&expected));
}
