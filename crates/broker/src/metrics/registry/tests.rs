use super::*;

const NAME: Desc = Desc { name: "millrace_test_total", help: "Says a \\ and\nmore." };

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pool(&'static str, u16);

impl Labels for Pool {
    const NAMES: &'static [&'static str] = &["pool", "n"];
    fn each(&self, put: &mut dyn FnMut(&'static str, &dyn std::fmt::Display)) {
        put("pool", &self.0);
        put("n", &self.1);
    }
}

#[test]
fn a_counter_renders_with_help_and_type() {
    let registry = Registry::default();
    registry.counter(NAME).add(3);
    let expected = "# HELP millrace_test_total Says a \\\\ and\\nmore.\n\
                    # TYPE millrace_test_total counter\nmillrace_test_total 3\n";
    assert_eq!(registry.render(), expected);
}

#[test]
fn labels_are_escaped_and_series_sorted() {
    let registry = Registry::default();
    let family = registry.gauges(NAME);
    family.with(&Pool("b\"", 1)).set(5);
    family.with(&Pool("a", 2)).set(7);
    family.with(&Pool("a", 2)).add(-8);
    let text = registry.render();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "# TYPE millrace_test_total gauge",
            "millrace_test_total{pool=\"a\",n=\"2\"} -1",
            "millrace_test_total{pool=\"b\\\"\",n=\"1\"} 5",
        ]
    );
}

#[test]
fn buckets_are_cumulative_and_in_seconds() {
    let registry = Registry::default();
    let histogram = registry.histogram(NAME);
    histogram.observe(Duration::from_micros(100));
    histogram.observe(Duration::from_millis(3));
    histogram.observe(Duration::from_secs(60));
    let text = registry.render();
    for expected in [
        "_bucket{le=\"0.0001\"} 1\n",
        "_bucket{le=\"0.0025\"} 1\n",
        "_bucket{le=\"0.005\"} 2\n",
        "_bucket{le=\"10\"} 2\n",
        "_bucket{le=\"+Inf\"} 3\n",
        "_sum 60.0031\n",
        "_count 3\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn a_family_is_bounded() {
    let registry = Registry::default();
    let family = registry.counters(NAME);
    for n in 0..u16::try_from(SERIES_MAX).unwrap() + 10 {
        family.with(&Pool("p", n)).increment();
    }
    assert_eq!(registry.render().lines().count(), SERIES_MAX + 2);
}

#[test]
#[should_panic(expected = "registered twice")]
fn a_name_is_registered_once() {
    let registry = Registry::default();
    registry.counter(NAME);
    registry.counter(NAME);
}
