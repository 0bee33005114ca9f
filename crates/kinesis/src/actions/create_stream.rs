//! CreateStream: a topic whose partitions can be split and merged. It takes
//! records, and is ACTIVE, once this has answered.

use millrace_broker::{CreateTopicError, NewTopic};
use millrace_types::TopicName;

use super::update_stream_record_distribution_strategy as distribution;
use super::{Answer, tags, update_stream_warm_throughput as warm_throughput};
use crate::call::Call;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::model::one_failure;
use crate::stream::{KEEPER, Mode, RETENTION_HOURS_MIN, StreamState, retention_ms};

/// Shards of an on-demand stream at first, as at AWS.
const ON_DEMAND_SHARDS: u32 = 4;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let name = input.required("StreamName");
    let count = input.int("ShardCount");
    let mode = input.member("StreamModeDetails").and_then(|mode| mode.text("StreamMode"));
    // Who says neither mode nor number of shards leaves both to the service.
    let unsaid = if count.is_some() { Mode::Provisioned } else { Mode::OnDemand };
    let mode = mode.map_or(unsaid, Mode::parse);
    let shards = match (count, mode) {
        (Some(count), _) => u32::try_from(count).unwrap_or(u32::MAX),
        (None, Mode::OnDemand) => ON_DEMAND_SHARDS,
        (None, Mode::Provisioned) => {
            let null = one_failure(Some("null"), "shardCount", "Member must not be null");
            return Err(Error::validation(null));
        }
    };
    let warm_throughput_mibps = warm_throughput::asked(input);
    if warm_throughput_mibps.is_some() {
        warm_throughput::check(call, name, mode)?;
    }
    let strategy = input.text("RecordDistributionStrategy");
    distribution::check(name, mode, strategy.unwrap_or_default())?;
    let record_kib = input.int("MaxRecordSizeInKiB");
    let mut state = StreamState {
        mode,
        warm_throughput_mibps,
        max_record_kib: record_kib.and_then(|kib| u32::try_from(kib).ok()),
        distribution: strategy.filter(|_| mode == Mode::OnDemand).map(str::to_owned),
        ..StreamState::default()
    };
    tags::add(&mut state.tags, &tags::given(input)?)?;
    let attribute = state.encode().map(|text| (KEEPER.to_owned(), text));
    let new = NewTopic {
        name: TopicName::new(name).map_err(|error| Error::invalid(format!("{name}: {error}.")))?,
        partitions: shards,
        config: [
            ("cleanup.policy".to_owned(), "delete".to_owned()),
            ("retention.ms".to_owned(), retention_ms(RETENTION_HOURS_MIN)),
        ]
        .into(),
        splittable: true,
        attributes: attribute.into_iter().collect(),
    };
    call.broker.create_topic(new, false).await.map_err(|error| refused(call, name, error))?;
    Ok(Answer::Empty)
}

fn refused(call: &Call<'_>, name: &str, error: CreateTopicError) -> Error {
    let account = &call.settings.account_id;
    match error {
        CreateTopicError::Exists(_) => Error::new(
            Code::ResourceInUse,
            format!("Stream {name} under account {account} already exists."),
        ),
        CreateTopicError::Collides { with } => Error::invalid(format!(
            "Stream {name} can't stand beside {with}: '.' and '_' are the same to Kafka's metrics."
        )),
        CreateTopicError::InvalidPartitions(room) => Error::new(
            Code::LimitExceeded,
            format!(
                "This request would exceed the shard limit for the account {account} in {}. \
                 Number of additional shards that can be made: {room}. Raise partitions_max to \
                 have more.",
                call.region
            ),
        ),
        CreateTopicError::InvalidConfig(error) => Error::internal(error.to_string()),
        error @ (CreateTopicError::Unavailable(_) | CreateTopicError::Ended) => {
            Error::internal(error.to_string())
        }
    }
}
