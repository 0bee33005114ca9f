//! PutRecords' input, straight from the body.
//!
//! A tree of values takes several allocations and a copy of each record. Nearly
//! all bodies are plain: maps and lists of known members, in which no text has an
//! escape. Those are read here in one pass, and what is read points into the
//! body.
//!
//! Invariant: [`decode`] yields an input only where [`crate::model`] lets the
//! same body pass, and then the same as [`PutRecordsInput::of`] makes of the
//! tree. Whatever is wrong, or only unusual, yields nothing: the body is decoded
//! again as all others are, which says what is wrong with it. The constraints are
//! the model's, in both ways.

use base64_simd::STANDARD;
use minicbor::Decoder;

use crate::input::{Input, StreamNames};
use crate::model::{Encoding, Model, ShapeId};
use crate::value::cbor;

/// What PutRecords is asked to put.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PutRecordsInput<'b> {
    pub(crate) names: StreamNames<'b>,
    pub(crate) records: Vec<PutRecordsEntry<'b>>,
    pub(crate) dry_run: bool,
}

/// One record of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PutRecordsEntry<'b> {
    pub(crate) data: Data<'b>,
    pub(crate) key: Option<&'b str>,
    pub(crate) explicit: Option<&'b str>,
}

/// The data of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data<'b> {
    Plain(&'b [u8]),
    /// Well-formed base64, decoded where it goes.
    Base64(&'b [u8]),
}

impl Data<'_> {
    /// Bytes of it, decoded.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Base64(text) => {
                let padded = text.iter().rev().take_while(|byte| **byte == b'=').count();
                (text.len() / 4 * 3).saturating_sub(padded)
            }
        }
    }

    /// Appends it, decoded.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(bytes) => out.extend_from_slice(bytes),
            Self::Base64(text) => {
                let decoded = STANDARD.decode_append(text, out);
                debug_assert!(decoded.is_ok(), "it was checked");
            }
        }
    }
}

impl Default for Data<'_> {
    fn default() -> Self {
        Self::Plain(&[])
    }
}

impl PartialEq for Data<'_> {
    fn eq(&self, other: &Self) -> bool {
        let decoded = |data: &Self| {
            let mut bytes = Vec::new();
            data.append_to(&mut bytes);
            bytes
        };
        decoded(self) == decoded(other)
    }
}

impl Eq for Data<'_> {}

impl<'v> PutRecordsInput<'v> {
    /// That of a tree that has passed the model.
    pub(crate) fn of(input: Input<'v>) -> Self {
        Self {
            names: input.stream_names(),
            records: input.list("Records").map(PutRecordsEntry::of).collect(),
            dry_run: input.flag("DryRun"),
        }
    }
}

impl<'v> PutRecordsEntry<'v> {
    /// That of a tree that has passed the model: PutRecord's input has the same
    /// members.
    pub(crate) fn of(input: Input<'v>) -> Self {
        Self {
            data: Data::Plain(input.blob("Data").unwrap_or_default()),
            key: input.text("PartitionKey"),
            explicit: input.text("ExplicitHashKey"),
        }
    }
}

/// The input that a plain body has; `shape` is that of PutRecords' input.
pub(crate) fn decode<'b>(
    model: &Model,
    shape: ShapeId,
    body: &'b [u8],
    encoding: Encoding,
) -> Option<PutRecordsInput<'b>> {
    let shapes = Shapes::of(model, shape)?;
    match encoding {
        Encoding::Json => shapes.input(Json { rest: body }),
        Encoding::Cbor => shapes.input(Cbor(Decoder::new(body))),
    }
}

/// The shapes of what is read here.
struct Shapes<'m> {
    model: &'m Model,
    name: ShapeId,
    arn: ShapeId,
    records: ShapeId,
    data: ShapeId,
    key: ShapeId,
    explicit: ShapeId,
}

impl<'m> Shapes<'m> {
    fn of(model: &'m Model, input: ShapeId) -> Option<Self> {
        let records = model.member(input, "Records")?;
        let entry = model.item(records)?;
        Some(Self {
            model,
            name: model.member(input, "StreamName")?,
            arn: model.member(input, "StreamARN")?,
            records,
            data: model.member(entry, "Data")?,
            key: model.member(entry, "PartitionKey")?,
            explicit: model.member(entry, "ExplicitHashKey")?,
        })
    }

    fn input<'b>(&self, mut from: impl Source<'b>) -> Option<PutRecordsInput<'b>> {
        let mut names = StreamNames::default();
        let mut records = None;
        from.map(|from, member| match member {
            b"StreamName" => once(&mut names.name, self.text(self.name, from)?),
            b"StreamARN" => once(&mut names.arn, self.text(self.arn, from)?),
            b"Records" => once(&mut records, self.records(from)?),
            _ => None,
        })?;
        from.end()?;
        Some(PutRecordsInput { names, records: records?, dry_run: false })
    }

    fn records<'b>(&self, from: &mut impl Source<'b>) -> Option<Vec<PutRecordsEntry<'b>>> {
        let mut records = Vec::new();
        from.list(|from| {
            records.push(self.entry(from)?);
            // No more than may be: they are larger than what they are read from.
            self.model.allows_size(self.records, records.len()).then_some(())
        })?;
        self.model.allows_size(self.records, records.len()).then_some(records)
    }

    fn entry<'b>(&self, from: &mut impl Source<'b>) -> Option<PutRecordsEntry<'b>> {
        let (mut data, mut key, mut explicit) = (None, None, None);
        from.map(|from, member| match member {
            b"Data" => {
                let read = from.data()?;
                once(&mut data, self.model.allows_size(self.data, read.len()).then_some(read)?)
            }
            b"PartitionKey" => once(&mut key, self.text(self.key, from)?),
            b"ExplicitHashKey" => once(&mut explicit, self.text(self.explicit, from)?),
            _ => None,
        })?;
        Some(PutRecordsEntry { data: data?, key, explicit })
    }

    /// A text that its shape allows.
    fn text<'b>(&self, shape: ShapeId, from: &mut impl Source<'b>) -> Option<&'b str> {
        let text = from.text()?;
        self.model.allows_text(shape, text).then_some(text)
    }
}

/// Sets what may be set once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// What reads one encoding. Each yields nothing where what comes is another, or
/// not plain.
trait Source<'b>: Sized {
    /// A map: `member` reads the value of each name.
    fn map(&mut self, member: impl FnMut(&mut Self, &'b [u8]) -> Option<()>) -> Option<()>;

    /// A list: `item` reads each.
    fn list(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()>;

    /// A text.
    fn text(&mut self) -> Option<&'b str>;

    /// A blob.
    fn data(&mut self) -> Option<Data<'b>>;

    /// Nothing is left.
    fn end(self) -> Option<()>;
}

struct Json<'b> {
    rest: &'b [u8],
}

impl<'b> Json<'b> {
    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            if !matches!(first, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*first);
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// What stands between the next quote and the one after it.
    fn quoted(&mut self) -> Option<&'b [u8]> {
        self.expect(b'"')?;
        let (text, rest) = self.rest.split_at_checked(memchr::memchr(b'"', self.rest)?)?;
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// Items between two brackets, with commas between them.
    fn items(
        &mut self,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.expect(open)?;
        let mut behind = Self { rest: self.rest };
        if behind.next()? == close {
            *self = behind;
            return Some(());
        }
        loop {
            item(self)?;
            match self.next()? {
                b',' => {}
                byte => return (byte == close).then_some(()),
            }
        }
    }
}

impl<'b> Source<'b> for Json<'b> {
    fn map(&mut self, mut member: impl FnMut(&mut Self, &'b [u8]) -> Option<()>) -> Option<()> {
        self.items(*b"{}", |from| {
            // An escape is in no name that is known.
            let name = from.quoted()?;
            from.expect(b':')?;
            member(from, name)
        })
    }

    fn list(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.items(*b"[]", item)
    }

    fn text(&mut self) -> Option<&'b str> {
        let text = self.quoted()?;
        // A quote that is escaped leaves its backslash behind.
        let plain = text.iter().all(|byte| *byte >= b' ' && *byte != b'\\');
        std::str::from_utf8(text).ok().filter(|_| plain)
    }

    fn data(&mut self) -> Option<Data<'b>> {
        let text = self.quoted()?;
        STANDARD.check(text).ok()?;
        Some(Data::Base64(text))
    }

    fn end(mut self) -> Option<()> {
        self.next().is_none().then_some(())
    }
}

struct Cbor<'b>(Decoder<'b>);

impl<'b> Source<'b> for Cbor<'b> {
    fn map(&mut self, mut member: impl FnMut(&mut Self, &'b [u8]) -> Option<()>) -> Option<()> {
        let len = self.0.map().ok()?;
        let mut read = 0;
        // Java's SDK does not say how many there are.
        while cbor::goes_on(&mut self.0, len, read).ok()? {
            let name = self.text()?;
            member(self, name.as_bytes())?;
            read += 1;
        }
        Some(())
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let len = self.0.array().ok()?;
        let mut read = 0;
        while cbor::goes_on(&mut self.0, len, read).ok()? {
            item(self)?;
            read += 1;
        }
        Some(())
    }

    fn text(&mut self) -> Option<&'b str> {
        self.0.str().ok()
    }

    fn data(&mut self) -> Option<Data<'b>> {
        self.0.bytes().ok().map(Data::Plain)
    }

    fn end(self) -> Option<()> {
        (self.0.position() == self.0.input().len()).then_some(())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod agreement;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub(crate) use agreement::Agreement;
