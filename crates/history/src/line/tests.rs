use super::*;

const EXAMPLES: &str = include_str!("../../../../docs/history.md");

/// The lines of the page's JSON blocks.
fn example_lines() -> Vec<&'static str> {
    let blocks = EXAMPLES.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_line_of_the_page_is_read_and_written_as_it_stands() {
    let lines = example_lines();
    assert!(lines.len() >= 29, "the page shows every kind of event");
    for line in lines {
        let event = read_line(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut written = Vec::new();
        write_line(&event, &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap().trim_end(), line);
    }
}

#[test]
fn the_page_shows_every_kind_of_event() {
    let shown: std::collections::BTreeSet<&str> = example_lines()
        .iter()
        .filter_map(|line| line.split("\"event\":\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(shown.len(), 29, "{shown:?}");
}

#[test]
fn a_line_that_lacks_something_says_what() {
    let error = |line: &str| read_line(line.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"time":1,"process":"p","event":"send","op":1,"topic":"t","idempotent":true}"#),
        "this kind of event needs \"value\""
    );
    assert!(error(r#"{"time":1,"process":"p","event":"sends"}"#).contains("unknown variant"));
    assert!(error(r#"{"time":1,"process":"p","event":"note","txt":"x"}"#).contains("txt"));
    assert!(error(r#"{"time":1,"process":"p","#).contains("not an event"));
}

#[test]
fn strings_are_borrowed_from_the_line() {
    let line = br#"{"time":1,"process":"p","event":"polled","records":[["t",0,1,"a"]]}"#;
    let event = read_line(line).unwrap();
    let What::Polled { records, .. } = event.what else { panic!("{event:?}") };
    assert!(matches!(event.process, Cow::Borrowed(_)));
    assert!(matches!(records[0].value, Cow::Borrowed(_)));
    assert!(matches!(records[0].at.topic, Cow::Borrowed(_)));
}
