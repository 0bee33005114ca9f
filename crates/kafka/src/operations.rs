//! The operations that a client may do, as the bit fields of responses: all
//! that Kafka knows for the resource, since nobody is refused here yet.

/// Read, write, create, delete, alter, describe, describe and alter configs.
pub(crate) const TOPIC: i32 = 0b1101_1111_1000;
/// Create, alter, describe, cluster action, describe and alter configs,
/// idempotent write.
pub(crate) const CLUSTER: i32 = 0b1_1111_1010_0000;
/// Read, delete, describe, describe and alter configs.
pub(crate) const GROUP: i32 = 0b1101_0100_1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's `AclOperation` codes.
    fn field(codes: &[u32]) -> i32 {
        codes.iter().map(|code| 1 << code).sum()
    }

    #[test]
    fn operations_are_those_of_kafkas_acl_entry() {
        assert_eq!(TOPIC, field(&[3, 4, 5, 6, 7, 8, 10, 11]));
        assert_eq!(CLUSTER, field(&[5, 7, 8, 9, 10, 11, 12]));
        assert_eq!(GROUP, field(&[3, 6, 8, 10, 11]));
    }
}
