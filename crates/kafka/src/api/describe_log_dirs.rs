//! DescribeLogDirs (35): the data directory, and what each partition has in
//! it. Sizes are those of the records that can be read; the log holds them
//! together with all others.

use std::collections::BTreeSet;

use super::{Refusal, log_dir};
use crate::codec::describe_log_dirs_request::DescribeLogDirsRequestData;
use crate::codec::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponseData, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::codec::{self};
use crate::context::Call;

/// Describes the partitions asked for, or all. Unknown ones are left out, as
/// in Kafka.
pub(super) async fn handle(
    call: &Call,
    request: DescribeLogDirsRequestData,
) -> Result<DescribeLogDirsResponseData, Refusal> {
    let topics = match request.topics {
        None => {
            let all = call.broker().topics();
            all.iter().filter_map(|topic| describe(call, topic.name().as_str(), None)).collect()
        }
        Some(wanted) => {
            let described = wanted.into_iter().filter_map(|topic| {
                let partitions = topic.partitions.into_iter().collect();
                describe(call, topic.topic.as_str(), Some(&partitions))
            });
            described.collect()
        }
    };
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(codec::wire_str(&log_dir(call)))
        .with_topics(topics);
    // -1, the default, means that it is unknown.
    if let Some(space) = call.broker().disk_space().await {
        result.total_bytes = i64::try_from(space.total).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.free).unwrap_or(i64::MAX);
    }
    Ok(DescribeLogDirsResponseData::default().with_results(vec![result]))
}

fn describe(
    call: &Call,
    name: &str,
    wanted: Option<&BTreeSet<i32>>,
) -> Option<DescribeLogDirsTopic> {
    let topic = call.broker().topic(name)?;
    let partitions = topic.partitions();
    let shown = partitions.iter().filter_map(|partition| {
        let index = partition.id().partition.get();
        wanted.is_none_or(|wanted| wanted.contains(&index)).then(|| {
            DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX))
        })
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        return None;
    }
    Some(DescribeLogDirsTopic::default().with_name(codec::wire_str(name)).with_partitions(shown))
}

#[cfg(test)]
mod tests;
