//! AWS's model of the service, reduced to what constrains a request: written
//! from botocore's by `model/reduce.py`, which also tells when the two differ.
//!
//! A request passes through in two steps, as at AWS: [`conform`] gives each
//! value the type that the model says (or a SerializationException), and
//! [`validate`] checks the constraints and lists all that fail.
//!
//! Invariant: what an action sees has passed both. Members that the model does
//! not have are gone, and so are nulls.

mod conform;
mod table;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use regex_lite::Regex;

pub(crate) use conform::{Encoding, conform};
pub(crate) use table::ModelError;
pub(crate) use validate::{missing, one_failure, validate};

/// The operations and the shapes of their inputs.
#[derive(Debug)]
pub(crate) struct Model {
    operations: BTreeMap<&'static str, ShapeId>,
    shapes: Vec<Shape>,
}

/// Names a shape of a [`Model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShapeId(usize);

/// A type with its constraints.
#[derive(Debug)]
pub(crate) struct Shape {
    name: String,
    kind: Kind,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<Pattern>,
    /// The texts that are allowed; empty where any is.
    values: Vec<String>,
}

/// What kind of value a shape is.
#[derive(Debug)]
enum Kind {
    Structure(Vec<Member>),
    List(ShapeId),
    Map { key: ShapeId, value: ShapeId },
    Text,
    Blob,
    Integer,
    Long,
    Boolean,
    Timestamp,
}

#[derive(Debug)]
struct Member {
    name: String,
    shape: ShapeId,
    required: bool,
}

#[derive(Debug)]
struct Pattern {
    /// As messages show it.
    source: String,
    /// Of the whole text.
    regex: Regex,
}

impl Model {
    /// Reads the table that is built in.
    ///
    /// # Errors
    /// None but in a build whose table is broken.
    pub(crate) fn load() -> Result<Self, ModelError> {
        table::load()
    }

    /// The name of the operation, as the model keeps it, and the shape of its
    /// input.
    pub(crate) fn operation(&self, name: &str) -> Option<(&'static str, ShapeId)> {
        self.operations.get_key_value(name).map(|(name, shape)| (*name, *shape))
    }

    /// The names of all operations.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.operations.keys().copied()
    }

    /// The shape of a structure's member.
    pub(crate) fn member(&self, of: ShapeId, name: &str) -> Option<ShapeId> {
        let Kind::Structure(members) = &self.shape(of)?.kind else { return None };
        members.iter().find(|member| member.name == name).map(|member| member.shape)
    }

    /// The shape of a list's items.
    pub(crate) fn item(&self, of: ShapeId) -> Option<ShapeId> {
        match self.shape(of)?.kind {
            Kind::List(item) => Some(item),
            _ => None,
        }
    }

    fn shape(&self, id: ShapeId) -> Option<&Shape> {
        self.shapes.get(id.0)
    }
}
