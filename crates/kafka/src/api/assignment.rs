//! Replica assignments in requests: of all brokers there is one.

use crate::codec::ErrorCode;
use crate::failure::Failure;

/// Whether `replicas` can be the replicas of a partition: this broker alone.
pub(super) fn check(replicas: &[i32], node_id: i32) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::because(ErrorCode::InvalidReplicaAssignment, text));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    let mut others: Vec<i32> = replicas.iter().copied().filter(|id| *id != node_id).collect();
    others.sort_unstable();
    if let Some(other) = others.first() {
        return refuse(format!(
            "The manual partition assignment includes broker {other}, but no such broker is \
             registered."
        ));
    }
    if replicas.len() > 1 {
        return refuse(format!(
            "The manual partition assignment includes the broker {node_id} more than once."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_broker_can_be_named_and_once() {
        assert_eq!(check(&[1], 1), Ok(()));
        let refusal = |replicas: &[i32]| check(replicas, 1).unwrap_err().message.unwrap();
        assert!(refusal(&[]).ends_with("includes an empty replica list."));
        assert!(
            refusal(&[3, 1, 2]).ends_with("includes broker 2, but no such broker is registered.")
        );
        assert!(refusal(&[1, 1]).ends_with("includes the broker 1 more than once."));
    }
}
