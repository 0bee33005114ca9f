use super::*;

fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// Rules that `--key` and `--key-separator` make.
fn rules(key: Option<&str>, separator: Option<&'static str>) -> Rules {
    Rules {
        key: key.and_then(FieldPath::parse),
        separator: separator.map(|text| Bytes::from_static(text.as_bytes())),
        ..Rules::default()
    }
}

/// The records of a file, and how its reading ended.
fn items(name: &str, text: &str, rules: Rules) -> (Vec<Item>, String) {
    let (_dir, path) = written(name, text);
    let source = Source::open(std::slice::from_ref(&path), rules).unwrap();
    assert_eq!(source.total_bytes(), Some(text.len() as u64));
    let mut items = source.start().unwrap();
    let mut read = Vec::new();
    while let Some(item) = items.blocking_recv() {
        match item {
            Ok(item) => read.push(item),
            Err(failure) => {
                let dir = format!("{}/", path.parent().unwrap().display());
                return (read, failure.to_string().replace(&dir, ""));
            }
        }
    }
    (read, String::new())
}

/// Keys and values of a file, and how its reading ended.
fn read(
    name: &str,
    text: &str,
    key: Option<&str>,
    separator: Option<&'static str>,
) -> (Vec<(String, String)>, String) {
    let (items, ended) = items(name, text, rules(key, separator));
    let utf8 = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap_or_default().into()).unwrap();
    (items.into_iter().map(|item| (utf8(item.key), utf8(item.value))).collect(), ended)
}

fn records(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn lines_are_records_without_their_ends() {
    let (read, ended) = read("a.txt", "one\r\n\ntwo\nlast", None, None);
    assert_eq!(read, records(&[("", "one"), ("", ""), ("", "two"), ("", "last")]));
    assert_eq!(ended, "");
}

#[test]
fn a_separator_divides_key_and_value_once() {
    let (read, ended) = read("a.txt", "k\tv\tw\n", None, Some("\t"));
    assert_eq!(read, records(&[("k", "v\tw")]));
    assert_eq!(ended, "");
}

#[test]
fn a_line_without_the_separator_is_named() {
    let (read, ended) = read("a.txt", "k:v\nkv\n", None, Some(":"));
    assert_eq!(read.len(), 1);
    assert_eq!(ended, "a.txt:2: the key separator is not in this line");
}

#[test]
fn json_is_sent_as_it_stands_with_a_key_out_of_it() {
    let text = "{\"user\": {\"id\": 7},  \"n\": 1.10}\n\n  {\"user\":{\"id\":\"x\"}}\n";
    let (read, ended) = read("a.jsonl", text, Some("user.id"), None);
    assert_eq!(ended, "");
    assert_eq!(
        read,
        records(&[
            ("7", "{\"user\": {\"id\": 7},  \"n\": 1.10}"),
            ("x", "{\"user\":{\"id\":\"x\"}}")
        ])
    );
}

#[test]
fn a_line_that_is_no_json_is_named_with_its_column() {
    let (read, ended) = read("a.json", "{\"a\":1}\n{\"a\":}\n", None, None);
    assert_eq!(read.len(), 1);
    assert_eq!(ended, "a.json:2:6: no JSON value: expected value");
}

#[test]
fn a_value_without_the_key_is_named() {
    let (_, ended) = read("a.json", "{\"a\":1}\n", Some("b.c"), None);
    assert_eq!(ended, "a.json:1: there is no b.c to be the key");
}

#[test]
fn rows_are_objects_under_the_header() {
    let text = "\u{feff}note,delay,carrier\n\"a, \"\"b\"\"\nc\",12,AA\n,,UA\n";
    let (read, ended) = read("a.csv", text, Some("carrier"), None);
    assert_eq!(ended, "");
    assert_eq!(
        read,
        records(&[
            ("AA", r#"{"note":"a, \"b\"\nc","delay":12,"carrier":"AA"}"#),
            ("UA", r#"{"note":null,"delay":null,"carrier":"UA"}"#),
        ])
    );
}

#[test]
fn a_row_of_another_length_is_named() {
    let (read, ended) = read("a.csv", "a,b\n1,2\n1\n", None, None);
    assert_eq!(read.len(), 1);
    assert_eq!(ended, "a.csv:3: 1 fields where the header has 2");
}

#[test]
fn nothing_behind_the_separator_is_a_tombstone_where_that_is_said() {
    for tombstones in [false, true] {
        let rules = Rules { tombstones, ..rules(None, Some(":")) };
        let (items, ended) = items("a.txt", "k:\nk:v\n", rules);
        assert_eq!(ended, "");
        let none = (!tombstones).then(Bytes::new);
        assert_eq!(items[0].value, none);
        assert_eq!(items[1].value.as_deref(), Some(&b"v"[..]));
    }
}

#[test]
fn a_field_can_be_the_time() {
    let rules = || Rules { timestamp: FieldPath::parse("at"), ..Rules::default() };
    let times = |name, text| {
        let (items, ended) = items(name, text, rules());
        (items.iter().map(|item| item.timestamp.unwrap()).collect::<Vec<_>>(), ended)
    };
    let json = "{\"at\":1500}\n{\"at\":\"1970-01-02T00:00Z\"}\n{\"at\":\"soon\"}\n";
    let (read, ended) = times("a.json", json);
    assert_eq!(read, [1_500, 86_400_000]);
    assert!(ended.starts_with("a.json:3: \"soon\" is no time"), "{ended}");
    assert_eq!(times("a.csv", "at,b\n1970-01-02,1\n7,2\n").0, [86_400_000, 7]);
    assert!(times("a.json", "{}\n").1.ends_with("there is no at to be the time"));
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_read() {
    let (_dir, path) = written("a.txt", "x");
    let open =
        |path: &Path, rules| Source::open(&[path.to_path_buf()], rules).err().unwrap().to_string();
    assert!(open(&path, rules(Some("a"), None)).contains("say --format json or csv, or"));
    let timed = Rules { timestamp: FieldPath::parse("at"), ..Rules::default() };
    assert!(open(&path, timed).ends_with("say --format json or csv"));
    assert!(open(Path::new("/nowhere"), Rules::default()).contains("can't read /nowhere"));
}
