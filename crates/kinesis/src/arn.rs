//! Amazon resource names of streams and of their consumers.

/// What a name names: `stream/NAME`, or `stream/NAME/consumer/NAME:SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// The stream.
    pub(crate) stream: &'a str,
    /// The consumer, with the seconds of its registration behind a colon.
    pub(crate) consumer: Option<&'a str>,
}

impl<'a> Arn<'a> {
    /// Takes a name apart; `None` where it names no stream.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        if arn != "arn" || !partition.starts_with("aws") || service != "kinesis" {
            return None;
        }
        let (region, account) = (parts.next()?, parts.next()?);
        let resource = parts.next()?.strip_prefix("stream/")?;
        let (stream, consumer) = match resource.split_once('/') {
            Some((stream, rest)) => (stream, Some(rest.strip_prefix("consumer/")?)),
            None => (resource, None),
        };
        Some(Self { region, account, stream, consumer })
    }
}

/// The name of a stream.
pub(crate) fn of_stream(region: &str, account: &str, stream: &str) -> String {
    format!("arn:aws:kinesis:{region}:{account}:stream/{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let text = of_stream("eu-west-1", "123456789012", "orders");
        let arn = Arn::parse(&text).unwrap();
        assert_eq!((arn.region, arn.account), ("eu-west-1", "123456789012"));
        assert_eq!((arn.stream, arn.consumer), ("orders", None));
        let text = format!("{text}/consumer/c:1");
        assert_eq!(Arn::parse(&text).unwrap().consumer, Some("c:1"));
        for text in ["", "arn:aws:s3:::b", "arn:aws:kinesis:r:1:channel/x", "orders"] {
            assert_eq!(Arn::parse(text), None);
        }
    }
}
