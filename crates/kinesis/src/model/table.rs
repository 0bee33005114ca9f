//! Reading the reduced table.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Deserialize;

use super::{Kind, Member, Model, Pattern, Shape, ShapeId};

const TABLE: &str = include_str!("../../model/kinesis-2013-12-02.json");

/// The table that is built in is broken.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is not of the form that is written.
    #[error("the built-in model of Kinesis is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It names a shape that it does not have.
    #[error("the built-in model of Kinesis lacks the shape {0}")]
    Missing(String),
    /// A type that this version does not know.
    #[error("the built-in model of Kinesis has a shape of the unknown type {0}")]
    Type(String),
    /// A pattern that is none.
    #[error("the built-in model of Kinesis has a malformed pattern: {0}")]
    Pattern(#[from] regex_lite::Error),
}

#[derive(Deserialize)]
struct Table<'t> {
    /// Borrowed from the table, which lasts: metrics have these names too.
    #[serde(borrow)]
    operations: BTreeMap<&'t str, Option<String>>,
    shapes: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "type")]
    kind: String,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: Vec<(String, String)>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

/// Reads the table into a model.
pub(super) fn load() -> Result<Model, ModelError> {
    let table: Table<'static> = serde_json::from_str(TABLE)?;
    let ids: BTreeMap<&str, ShapeId> =
        table.shapes.keys().enumerate().map(|(n, name)| (name.as_str(), ShapeId(n))).collect();
    let find =
        |name: &str| ids.get(name).copied().ok_or_else(|| ModelError::Missing(name.to_owned()));
    let shapes = table.shapes.iter().map(|(name, row)| shape(name, row, find));
    let shapes = shapes.collect::<Result<Vec<_>, _>>()?;
    let operations = table.operations.iter().map(|(name, input)| {
        let input = input.as_deref().ok_or_else(|| ModelError::Missing((*name).to_owned()))?;
        Ok((*name, find(input)?))
    });
    Ok(Model { operations: operations.collect::<Result<_, ModelError>>()?, shapes })
}

fn shape(
    name: &str,
    row: &Row,
    find: impl Fn(&str) -> Result<ShapeId, ModelError>,
) -> Result<Shape, ModelError> {
    let part = |part: &Option<String>| find(part.as_deref().unwrap_or_default());
    let kind = match row.kind.as_str() {
        "structure" => {
            let member = |(name, shape): &(String, String)| {
                let required = row.required.contains(name);
                Ok(Member { name: name.clone(), shape: find(shape)?, required })
            };
            Kind::Structure(row.members.iter().map(member).collect::<Result<_, ModelError>>()?)
        }
        "list" => Kind::List(part(&row.member)?),
        "map" => Kind::Map { key: part(&row.key)?, value: part(&row.value)? },
        "string" => Kind::Text,
        "blob" => Kind::Blob,
        "integer" => Kind::Integer,
        "long" => Kind::Long,
        "boolean" => Kind::Boolean,
        "timestamp" => Kind::Timestamp,
        other => return Err(ModelError::Type(other.to_owned())),
    };
    let pattern = row.pattern.as_ref().map(|source| {
        // Ids are told with another separator than AWS's: see `id_of`.
        let taken =
            if name == "StreamId" { source.replace("}-[", "}[-_][") } else { source.clone() };
        let regex = Regex::new(&format!("^(?:{taken})$"))?;
        Ok::<_, ModelError>(Pattern { source: source.clone(), regex })
    });
    Ok(Shape {
        name: name.to_owned(),
        kind,
        min: row.min,
        max: row.max,
        pattern: pattern.transpose()?,
        values: row.values.clone(),
    })
}
