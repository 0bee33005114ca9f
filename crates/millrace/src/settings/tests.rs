mod page;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use super::layers::environment_name;
use super::listen::KafkaListen;
use super::*;

fn from_file(text: &str) -> Result<Settings, Mistakes> {
    let mut layers = Layers::default();
    layers.toml(text, Path::new("millrace.toml"))?;
    Ok(Settings::new(&layers)?)
}

fn from_flags(pairs: &[&str]) -> Result<Settings, Mistakes> {
    let mut layers = Layers::default();
    for pair in pairs {
        layers.set(pair)?;
    }
    Ok(Settings::new(&layers)?)
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn refused(result: Result<Settings, Mistakes>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn every_default_is_a_value_of_its_setting() {
    for setting in TABLE {
        (setting.check)(setting.default).unwrap();
        assert!(setting.doc.ends_with('.') && setting.when.ends_with('.'), "{setting:?}");
        assert!(!setting.unit.is_empty(), "{setting:?}");
    }
    assert!(TABLE.len() <= OWN_MAX);
    let settings = from_flags(&[]).unwrap();
    assert_eq!(settings.own.flush, Flush::Fsync);
    assert_eq!(settings.own.on_corruption, OnCorruption::Stop);
    assert_eq!(settings.own.producers_max, 100_000);
    assert_eq!(settings.own.data_dir, Path::new("./millrace-data"));
    assert!(settings.kafka.is_empty());
}

#[test]
fn no_two_settings_share_a_variable() {
    let mut variables = BTreeSet::from(["MILLRACE_CONFIG".to_owned()]);
    for key in layers::all_keys() {
        let variable = environment_name(&key);
        assert!(variables.insert(variable.clone()), "{variable} is shared");
    }
}

#[test]
fn a_file_holds_ours_at_the_top_and_kafkas_by_their_names() {
    let settings = from_file(
        "flush = \"os\"\nproducers_max = 5\nkafka_listen = [\"127.0.0.1:1\", \"b=[::1]:2\"]\n\
         [kafka]\n\"num.partitions\" = 4\nauto.create.topics.enable = false\n",
    )
    .unwrap();
    assert_eq!(settings.own.flush, Flush::Os);
    assert_eq!(settings.own.producers_max, 5);
    assert_eq!(settings.own.kafka_listen.0.len(), 2);
    assert_eq!(settings.kafka["num.partitions"], "4");
    assert_eq!(settings.kafka["auto.create.topics.enable"], "false");
}

#[test]
fn settings_of_kinesis_stand_in_a_table_of_theirs() {
    let own = from_file("[kinesis]\naccount_id = \"000000000001\"\nregion = \"eu-west-1\"\n")
        .unwrap()
        .own;
    assert_eq!(
        (own.kinesis_account_id.0.as_str(), own.kinesis_region.0.as_str()),
        ("000000000001", "eu-west-1")
    );
    let mut layers = Layers::default();
    layers.environment(variables(&[("MILLRACE_KINESIS_REGION", "eu-west-2")])).unwrap();
    assert_eq!(Settings::new(&layers).unwrap().own.kinesis_region.0, "eu-west-2");
    assert_eq!(from_flags(&["kinesis.region=a-1"]).unwrap().own.kinesis_region.0, "a-1");
    assert_eq!(
        refused(from_file("[kinesis]\nregoin = \"eu-west-1\"")),
        "the file millrace.toml: there is no setting \"kinesis.regoin\"; did you mean \"kinesis.region\"?"
    );
    assert_eq!(
        refused(from_flags(&["kinesis_region=a"])),
        "the command line: there is no setting \"kinesis_region\"; did you mean \"kinesis.region\"?"
    );
    assert_eq!(
        refused(from_file("kinesis.account_id = 12")),
        "setting kinesis.account_id from the file millrace.toml: \"12\" is not an account's number of twelve digits"
    );
    let keys = from_file(
        "[[kinesis.credentials]]\naccess_key_id = \"A\"\nsecret_file = \"/run/a, b\"\n\
         [[kinesis.credentials]]\naccess_key_id = \"B\"\nsecret_env = \"B_SECRET\"\n",
    );
    let ids: Vec<_> =
        keys.unwrap().own.kinesis_credentials.0.into_iter().map(|key| key.id).collect();
    assert_eq!(ids, ["A", "B"]);
    assert_eq!(
        refused(from_file("[[kinesis.credentials]]\nacces_key_id = \"A\"")),
        "setting kinesis.credentials from the file millrace.toml: a credential has no \
         \"acces_key_id\"; did you mean \"access_key_id\"?"
    );
    let read =
        KeyRefs::parse("[{access_key_id = \"A\", secret_file = \"/nowhere\"}]").unwrap().load();
    let message = read.unwrap_err().to_string();
    assert!(
        message.starts_with("setting kinesis.credentials: can't read the secret of access key A: ")
    );
    assert!(refused(from_flags(&["kinesis.region=EU WEST"])).contains("such as eu-west-1"));
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let mut layers = Layers::default();
    layers.toml("producers_max = 1\nflush = \"os\"\nlog_level = \"warn\"", Path::new("f")).unwrap();
    layers
        .environment(variables(&[
            ("MILLRACE_PRODUCERS_MAX", "2"),
            ("MILLRACE_FLUSH", "fsync"),
            ("MILLRACE_KAFKA_NUM_PARTITIONS", "7"),
            ("HOME", "/"),
        ]))
        .unwrap();
    layers.set("producers_max=3").unwrap();
    let settings = Settings::new(&layers).unwrap();
    assert_eq!(settings.own.producers_max, 3);
    assert_eq!(settings.own.flush, Flush::Fsync);
    assert_eq!(settings.own.log_level, "warn");
    assert_eq!(settings.kafka["num.partitions"], "7");
}

#[test]
fn unknown_keys_are_refused_with_a_guess() {
    assert_eq!(
        refused(from_flags(&["prodcers_max=1"])),
        "the command line: there is no setting \"prodcers_max\"; did you mean \"producers_max\"?"
    );
    assert_eq!(
        refused(from_flags(&["num.partitions=1"])),
        "the command line: there is no setting \"num.partitions\"; did you mean \"kafka.num.partitions\"?"
    );
    assert_eq!(
        refused(from_file("[kafka]\n\"num.partitons\" = 1")),
        "the file millrace.toml: there is no setting \"kafka.num.partitons\"; did you mean \"kafka.num.partitions\"?"
    );
    assert_eq!(refused(from_flags(&["zzz=1"])), "the command line: there is no setting \"zzz\"");
    let mut layers = Layers::default();
    let error = layers.environment(variables(&[("MILLRACE_FLUSHH", "os")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the variable MILLRACE_FLUSHH: there is no setting \"MILLRACE_FLUSHH\"; did you mean \"MILLRACE_FLUSH\"?"
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let told = from_file("flsh = \"os\"\ncache_bytes = 1\n[kafka]\n\"num.partitions\" = \"x\"");
    let told = told.unwrap_err();
    assert_eq!(told.each().count(), 3, "{told}");
    assert_eq!(told.to_string().lines().count(), 4, "{told}");
}

#[test]
fn variables_that_kubernetes_sets_are_let_be() {
    let mut layers = Layers::default();
    let set = [
        ("MILLRACE_SERVICE_HOST", "10.0.0.1"),
        ("MILLRACE_SERVICE_PORT", "9092"),
        ("MILLRACE_SERVICE_PORT_KAFKA", "9092"),
        ("MILLRACE_PORT", "tcp://10.0.0.1:9092"),
        ("MILLRACE_PORT_9092_TCP_ADDR", "10.0.0.1"),
    ];
    layers.environment(variables(&set)).unwrap();
}

#[test]
fn values_of_the_wrong_form_are_refused_with_what_is_allowed() {
    assert_eq!(
        refused(from_flags(&["flush=never"])),
        "setting flush from the command line: \"never\" is none of fsync, os"
    );
    assert_eq!(
        refused(from_file("producers_max = 0")),
        "setting producers_max from the file millrace.toml: 0 is not between 1 and 100000000"
    );
    assert_eq!(refused(from_flags(&["flush"])), "--set \"flush\" is not KEY=VALUE");
    assert_eq!(
        refused(from_flags(&["flush=os", "flush=os"])),
        "setting flush is given twice on the command line"
    );
    assert_eq!(
        refused(from_flags(&["kafka.log.dirs=/d"])),
        "the command line: kafka.log.dirs is not set by its Kafka name here; use data_dir (--data-dir)"
    );
    let message = refused(from_file("flush = \"os\"\nflush"));
    assert!(message.starts_with("millrace.toml, line 2: "), "{message}");
}

fn listens(text: &str) -> Result<Vec<KafkaListen>, String> {
    KafkaListens::parse(text).map(|all| all.0)
}

#[test]
fn clients_are_told_the_bound_address_or_the_advertised_one() {
    let told = |text: &str| {
        let bound = listens(text).unwrap()[0].bound("127.0.0.1:41234".parse().unwrap());
        format!("{} {}", bound.name, bound.advertised)
    };
    assert_eq!(told("127.0.0.1:0"), "default 127.0.0.1:41234");
    assert_eq!(told("localhost:0"), "default localhost:41234");
    assert_eq!(told("[::1]:0"), "default [::1]:41234");
    assert_eq!(told("in=0.0.0.0:0@localhost:99"), "in localhost:99");
    assert_eq!(told("in=0.0.0.0:0@localhost"), "in localhost:41234");
    assert_eq!(told("in=0.0.0.0:0@[::1]"), "in [::1]:41234");
}

#[test]
fn malformed_listeners_are_refused() {
    for (text, part) in [
        ("9092", "has no port"),
        ("localhost", "has no port"),
        (":9092", "has no host"),
        ("::1:9092", "in brackets"),
        ("[::x]:9092", "not an IPv6 address"),
        ("127.0.0.1:99999", "not a port"),
        ("a b:1", "neither a host name"),
        ("=127.0.0.1:1", "is named with"),
        ("127.0.0.1:1,127.0.0.1:2", "two listeners are named \"default\""),
        ("0.0.0.0:9092", "write --kafka-listen 0.0.0.0:9092@HOST:9092"),
        ("[::]:9092", "write --kafka-listen [::]:9092@HOST:9092"),
        ("127.0.0.1:1@0.0.0.0:1", "can't be advertised"),
    ] {
        let why = listens(text).unwrap_err();
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn http_is_served_at_several_addresses_plain_or_by_tls() {
    let listens = |text: &str| {
        HttpListens::parse(text).map(|all| {
            all.0.iter().map(|one| format!("{} {}", one.tls, one.bind)).collect::<Vec<_>>()
        })
    };
    assert_eq!(
        listens("127.0.0.1:1,http://[::1]:2, https://localhost:3/").unwrap(),
        ["false 127.0.0.1:1", "false [::1]:2", "true localhost:3"]
    );
    assert!(listens("ftp://127.0.0.1:1").unwrap_err().contains("neither http nor https"));
    assert!(listens("https://127.0.0.1").unwrap_err().contains("has no port"));
    let https = "http_listen=https://127.0.0.1:8443";
    let needs = |lacks: &str| {
        format!("setting http_listen: https://127.0.0.1:8443 needs {lacks}, a PEM file")
    };
    assert_eq!(refused(from_flags(&[https])), needs("tls_cert"));
    assert_eq!(refused(from_flags(&[https, "tls_cert=c"])), needs("tls_key"));
    assert!(from_flags(&[https, "tls_cert=c", "tls_key=k"]).is_ok());
    let message = refused(from_flags(&[
        "http_listen=127.0.0.1:1,https://0.0.0.0:2",
        "tls_cert=c",
        "tls_key=k",
    ]));
    assert!(message.contains("0.0.0.0:2 can be reached"), "{message}");
}

#[test]
fn what_others_can_reach_needs_a_word() {
    for open in [
        "kafka_listen=192.168.1.5:9092",
        "kafka_listen=0.0.0.0:9092@localhost:9092",
        "kafka_listen=127.0.0.1:9092@broker.example.com:9092",
        "kafka_listen=a=127.0.0.1:1,b=[fe80::1]:9092",
        "http_listen=0.0.0.0:8080",
    ] {
        let message = refused(from_flags(&[open]));
        assert!(message.contains("--insecure-no-auth"), "{open}: {message}");
        let settings = from_flags(&[open, "insecure_no_auth=true"]).unwrap();
        assert!(settings.own.open_to_others());
    }
    let key = "kinesis.credentials=[{access_key_id = \"A\", secret_env = \"S\"}]";
    let message = refused(from_flags(&["http_listen=0.0.0.0:8080"]));
    assert!(message.contains("set kinesis.credentials"), "{message}");
    assert!(!from_flags(&["http_listen=0.0.0.0:8080", key]).unwrap().own.open_to_others());
    let message = refused(from_flags(&["kafka_listen=192.168.1.5:9092", key]));
    assert!(message.contains("of Kafka's clients yet; keep to 127.0.0.1, or allow"), "{message}");
    for closed in ["kafka_listen=127.9.9.9:1@localhost:2", "kafka_listen=[::1]:9092"] {
        assert!(!from_flags(&[closed]).unwrap().own.open_to_others(), "{closed}");
    }
}
