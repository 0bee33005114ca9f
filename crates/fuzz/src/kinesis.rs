//! What Kinesis' clients send.

/// A body of PutRecords, which is decoded in two ways that must agree.
pub fn put_records(bytes: &[u8]) {
    millrace_kinesis::fuzzing::put_records(bytes);
}

/// Bodies as clients write them.
pub fn put_records_seeds() -> Vec<Vec<u8>> {
    let json: &[&str] = &[
        r#"{"StreamName": "s", "Records": [{"Data": "YQ==", "PartitionKey": "k"}]}"#,
        r#"{"Records":[{"PartitionKey":"a\"\u00e9","Data":"YWJj"},{"Data":""}],"StreamName":"s"}"#,
        r#"{"Records":[{"Data":"YQ==","ExplicitHashKey":"7"}],
            "StreamARN":"arn:aws:kinesis:us-east-1:123456789012:stream/s"}"#,
        r#"{"Records":[{"Data":null}],"DryRun":true,"Unknown":[1.5,{}]}"#,
    ];
    let cbor: &[&[u8]] = &[
        b"\xa2\x67Records\x81\xa2\x64Data\x42\xff\x00\x6cPartitionKey\x61k\x6aStreamName\x61s",
        b"\xbf\x67Records\x9f\xbf\x64Data\x41\x00\x6fExplicitHashKey\x617\xff\xff\xff",
        b"\xa1\x67Records\x81\xa1\x64Data\x5f\x41a\x41b\xff",
    ];
    let json = json.iter().map(|body| [b"\0", body.as_bytes()].concat());
    json.chain(cbor.iter().map(|body| [b"\x01", *body].concat())).collect()
}
