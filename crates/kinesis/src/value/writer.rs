//! Answers written in order, without a tree, in either encoding.
//!
//! Invariant: who writes says how many members a map and how many items a list
//! will have, and writes as many: CBOR has the number in front. Data of records
//! is not copied here: it goes into the encoded bytes when they are sent, see
//! [`Encoded`].

use bytes::Bytes;
use millrace_types::Timestamp;

use super::encoded::Encoded;
use super::{Value, cbor, json};
use crate::model::Encoding;

/// Writes one value.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Encoded,
}

impl Writer {
    /// With room for so many bytes beside data, and so many pieces of data.
    pub(crate) fn with_capacity(encoding: Encoding, bytes: usize, data: usize) -> Self {
        Self { out: Encoded::with_capacity(encoding, bytes, data) }
    }

    /// A structure of so many members: all of the answer, or an item of a list.
    pub(crate) fn map(&mut self, members: usize, write: impl FnOnce(&mut Self)) {
        match self.encoding() {
            Encoding::Json => {
                self.separate();
                self.out.text.push(b'{');
                write(self);
                self.out.text.push(b'}');
            }
            Encoding::Cbor => {
                cbor::encode_map_len(members, &mut self.out.text);
                write(self);
            }
        }
    }

    /// A member that is a list of so many items.
    pub(crate) fn list(&mut self, name: &'static str, items: usize, write: impl FnOnce(&mut Self)) {
        self.name(name);
        match self.encoding() {
            Encoding::Json => {
                self.out.text.push(b'[');
                write(self);
                self.out.text.push(b']');
            }
            Encoding::Cbor => {
                cbor::encode_list_len(items, &mut self.out.text);
                write(self);
            }
        }
    }

    /// The name of a member, which is to be written next. It is the model's: no
    /// letter of it needs an escape.
    fn name(&mut self, name: &'static str) {
        match self.encoding() {
            Encoding::Json => {
                self.separate();
                let out = &mut self.out.text;
                out.push(b'"');
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
            }
            Encoding::Cbor => cbor::encode_text(name, &mut self.out.text),
        }
    }

    /// A member that is a text.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        match self.encoding() {
            Encoding::Json => json::encode_text(text, &mut self.out.text),
            Encoding::Cbor => cbor::encode_text(text, &mut self.out.text),
        }
    }

    /// A member that is a text of ASCII letters, digits and hyphens: nothing of it
    /// needs an escape.
    pub(crate) fn plain(&mut self, name: &'static str, text: &[u8]) {
        self.name(name);
        match self.encoding() {
            Encoding::Json => {
                let out = &mut self.out.text;
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
            Encoding::Cbor => cbor::encode_plain(text, &mut self.out.text),
        }
    }

    /// A member that is a number.
    pub(crate) fn int(&mut self, name: &'static str, number: i64) {
        self.value(name, &Value::Int(number));
    }

    /// A member that is a time.
    pub(crate) fn time(&mut self, name: &'static str, time: Timestamp) {
        self.value(name, &Value::Time(time));
    }

    /// A member that is a blob.
    pub(crate) fn blob(&mut self, name: &'static str, data: Bytes) {
        self.name(name);
        match self.encoding() {
            Encoding::Json => {
                self.out.text.push(b'"');
                self.out.data(data);
                self.out.text.push(b'"');
            }
            Encoding::Cbor => {
                cbor::encode_blob_len(data.len(), &mut self.out.text);
                self.out.data(data);
            }
        }
    }

    /// A member of any kind.
    pub(crate) fn value(&mut self, name: &'static str, value: &Value<'_>) {
        self.name(name);
        match self.encoding() {
            Encoding::Json => json::encode(value, &mut self.out.text),
            Encoding::Cbor => cbor::encode(value, &mut self.out.text),
        }
    }

    /// What was written.
    pub(crate) fn done(self) -> Encoded {
        self.out
    }

    fn encoding(&self) -> Encoding {
        self.out.encoding
    }

    /// Writes the comma between two members or items: no other follows the end
    /// of one.
    fn separate(&mut self) {
        if !matches!(self.out.text.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.text.push(b',');
        }
    }
}
