use millrace_types::{Timestamp, TopicName};

use super::*;
use crate::{
    catalog::conformance::{self, Place},
    env::testing::TestEnv,
};

/// A directory with a catalog in it, and the world that runs its jobs.
struct Fixture {
    env: TestEnv,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { env: TestEnv::new(1), directory: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Result<SqliteCatalog, CatalogError> {
        SqliteCatalog::open(self.directory.path(), Arc::new(self.env.clone()))
    }

    fn raw(&self) -> Connection {
        Connection::open(self.directory.path().join(FILE)).unwrap()
    }
}

fn topic(number: u8) -> CatalogTopic {
    CatalogTopic {
        id: TopicId([number; 16]),
        name: TopicName::new(&format!("topic-{number}")).unwrap(),
        partitions: 1,
        config: Config::new(),
        attributes: Config::new(),
        created: Timestamp(0),
    }
}

#[test]
fn conforms() {
    let env = TestEnv::new(1);
    env.block_on(conformance::run(|| -> Place {
        let directory = tempfile::tempdir().unwrap();
        let env = env.clone();
        Box::new(move || {
            Box::new(SqliteCatalog::open(directory.path(), Arc::new(env.clone())).unwrap())
        })
    }));
}

#[test]
fn the_catalog_of_another_version_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.open().unwrap());
    fixture.raw().pragma_update(None, "user_version", 3).unwrap();
    let error = fixture.open().err().unwrap();
    assert_eq!(error, CatalogError::UnknownFormat { found: 3, known: 2 });
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[test]
fn what_is_no_catalog_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join(FILE);
    std::fs::write(&path, "not a database, but long enough to look at. ".repeat(30)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(fixture.open(), Err(CatalogError::Corrupt(_))));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let fixture = Fixture::new();
    fixture.raw().execute_batch("CREATE TABLE recipes (cake TEXT)").unwrap();
    let error = fixture.open().err().unwrap().to_string();
    assert!(error.contains("something else"), "{error}");
}

#[test]
fn damage_is_found_at_the_start() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    for number in 0..100 {
        fixture.env.block_on(catalog.create_topic(topic(number))).unwrap();
    }
    drop(catalog);
    let path = fixture.directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which holds the header and the schema.
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(fixture.open(), Err(CatalogError::Corrupt(_))));
}

#[test]
fn a_file_cut_to_nothing_is_a_new_catalog() {
    let fixture = Fixture::new();
    std::fs::write(fixture.directory.path().join(FILE), b"").unwrap();
    let catalog = fixture.open().unwrap();
    assert!(fixture.env.block_on(catalog.load()).unwrap().is_new());
}

#[test]
fn a_full_disk_refuses_topics_but_not_incarnations() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    let limit = |pages: u32| {
        let mut file = catalog.file.try_lock().unwrap();
        let connection = file.connection().unwrap();
        // SQLite's way to say "disk full" at a size of one's choice.
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(1);
    let outcome = (0..=u8::MAX)
        .map(|number| fixture.env.block_on(catalog.create_topic(topic(number))))
        .find(Result::is_err);
    assert!(matches!(outcome, Some(Err(CatalogError::Full(_)))), "{outcome:?}");
    let before = fixture.env.block_on(catalog.load()).unwrap();
    assert_eq!(fixture.env.block_on(catalog.next_incarnation()), Ok(Incarnation(1)));
    fixture.env.block_on(catalog.delete_topic(topic(0).id)).unwrap();
    limit(1_000_000);
    let after = fixture.env.block_on(catalog.load()).unwrap();
    assert_eq!(after.topics.len(), before.topics.len() - 1);
    fixture.env.block_on(catalog.create_topic(topic(0))).unwrap();
}

#[test]
fn a_mutation_whose_caller_went_away_is_done_whole() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    let mut create = catalog.create_topic(topic(1));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(create.as_mut().poll(&mut context).is_pending());
    drop(create);
    assert_eq!(fixture.env.block_on(catalog.load()).unwrap().topics.len(), 1);
}

#[test]
fn a_backup_may_read_while_the_server_runs() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    fixture.env.block_on(catalog.create_topic(topic(1))).unwrap();
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM topics", [], |row| row.get::<_, u32>(0))
    };
    assert_eq!(count(&fixture.raw()), Ok(1));
    fixture.env.block_on(catalog.create_topic(topic(2))).unwrap();
    assert_eq!(count(&fixture.raw()), Ok(2));
}

#[test]
fn an_uncommitted_change_is_rolled_back_by_the_next_start() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    fixture.env.block_on(catalog.create_topic(topic(1))).unwrap();
    drop(catalog);
    // What a kill in the middle of a commit leaves: the file and a journal
    // that is not given up, copied while both are there.
    let crashed = tempfile::tempdir().unwrap();
    let writer = fixture.raw();
    writer.pragma_update(None, "cache_size", 1).unwrap();
    writer.execute_batch("BEGIN").unwrap();
    for number in 0..2000 {
        let insert = "INSERT INTO configs VALUES ('group', ?, 'key', 'value')";
        writer.execute(insert, params![number]).unwrap();
    }
    for name in [FILE.to_owned(), format!("{FILE}-journal")] {
        std::fs::copy(fixture.directory.path().join(&name), crashed.path().join(&name)).unwrap();
    }
    let catalog = SqliteCatalog::open(crashed.path(), Arc::new(fixture.env.clone())).unwrap();
    let state = fixture.env.block_on(catalog.load()).unwrap();
    assert_eq!((state.topics.len(), state.configs.len()), (1, 0));
}

#[test]
fn a_catalog_of_version_1_gets_what_it_lacks() {
    let fixture = Fixture::new();
    let catalog = fixture.open().unwrap();
    fixture.env.block_on(catalog.create_topic(topic(1))).unwrap();
    drop(catalog);
    let raw = fixture.raw();
    raw.execute_batch("DROP TABLE topic_attributes; PRAGMA user_version = 1").unwrap();
    drop(raw);
    let catalog = fixture.open().unwrap();
    let attributes = [("a".to_owned(), Some("1".to_owned()))].into();
    let change = TopicChange { partitions: None, attributes };
    fixture.env.block_on(catalog.change_topic(TopicId([1; 16]), change)).unwrap();
    let state = fixture.env.block_on(catalog.load()).unwrap();
    let row = state.topics.get(&TopicId([1; 16])).unwrap();
    assert_eq!(row.attributes.get("a").map(String::as_str), Some("1"));
}
