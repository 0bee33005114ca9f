//! Whether what is decoded without a tree is what the tree says: asked by tests
//! and by the fuzzer.

use super::{PutRecordsInput, decode};
use crate::input::Input;
use crate::model::{Encoding, Model, ModelError, ShapeId, conform, validate};
use crate::value::{Value, cbor, json};

/// The two ways to PutRecords' input.
pub(crate) struct Agreement {
    model: Model,
    shape: ShapeId,
}

/// How a body came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Both ways.
    Plain,
    /// By its tree alone.
    ByTree,
    /// Neither way.
    No,
}

impl Agreement {
    pub(crate) fn load() -> Result<Self, ModelError> {
        let model = Model::load()?;
        let (_, shape) = model
            .operation("PutRecords")
            .ok_or_else(|| ModelError::Missing("PutRecords".to_owned()))?;
        Ok(Self { model, shape })
    }

    /// How a body passes.
    ///
    /// # Panics
    /// Where the two ways do not agree.
    pub(crate) fn check(&self, body: &[u8], encoding: Encoding) -> Passed {
        let plain = decode(&self.model, self.shape, body, encoding);
        let value = self.tree(body, encoding);
        let tree = value.as_ref().map(|value| PutRecordsInput::of(Input(value)));
        match (plain, tree) {
            (None, None) => Passed::No,
            (None, Some(_)) => Passed::ByTree,
            (plain, tree) => {
                assert_eq!(plain, tree, "{encoding:?} {}", String::from_utf8_lossy(body));
                Passed::Plain
            }
        }
    }

    /// The tree of a body that the model lets pass.
    fn tree<'b>(&self, body: &'b [u8], encoding: Encoding) -> Option<Value<'b>> {
        let decoded = match encoding {
            Encoding::Json => json::decode(body),
            Encoding::Cbor => cbor::decode(body),
        };
        let value = decoded.ok().filter(|value| matches!(value, Value::Map(_)))?;
        let value = conform(&self.model, self.shape, value, encoding).ok()?;
        validate(&self.model, self.shape, &value).is_ok().then_some(value)
    }
}
