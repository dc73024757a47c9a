//! Record data as JSON members, driven by the table: numbers as numbers, lists as arrays, everything else as text.

use serde_json::{Map, Value};

use super::atoms::push_escaped;
use super::rdata::key_tag;
use super::table::{self, RdataField, TypeRow};
use super::text::{self, Style};
use super::{Rtype, special, svcb};
use crate::dns::wire::{Cursor, Malformed};

/// The members of the data; `None` if the type has no row or the data does not fit it.
pub fn members(rtype: Rtype, wire: &[u8]) -> Option<Map<String, Value>> {
    let row = table::row(rtype).filter(|row| !row.fields.is_empty())?;
    let mut cursor = Cursor::new(wire);
    let mut map = Map::new();
    for (name, kind) in row.fields {
        field(name, *kind, &mut cursor, &mut map).ok()?;
    }
    cursor.finish().ok()?;
    // The data does not contain it, but all other records identify the key by it.
    if row.fields == table::KEY {
        map.insert("key_tag".to_owned(), key_tag(wire).into());
    }
    Some(map)
}

/// The JSON type of a member, named as in JSON Schema; a list holds strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberType {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Text.
    String,
    /// A list of strings.
    Strings,
    /// Service parameters by their names (RFC 9460, section 14.3.2).
    Object,
}

/// The members of a type's data with their JSON types, as [`members`] returns them; empty for a row without fields. The
/// schema of dnsq is generated from it.
pub fn member_types(row: &TypeRow) -> Vec<(&'static str, MemberType)> {
    let mut types = Vec::new();
    for (name, kind) in row.fields {
        let member = match kind {
            RdataField::U8 | RdataField::Algorithm | RdataField::AlgorithmName | RdataField::SyncScheme => {
                MemberType::Integer
            }
            RdataField::U16 | RdataField::CertType | RdataField::U32 | RdataField::Ttl => MemberType::Integer,
            RdataField::Texts | RdataField::Types | RdataField::OldTypes | RdataField::Apl => MemberType::Strings,
            RdataField::SvcParams => MemberType::Object,
            RdataField::Loc => {
                types.extend(special::LOC_MEMBERS.map(|name| (name, MemberType::Number)));
                continue;
            }
            _ => MemberType::String,
        };
        types.push((*name, member));
    }
    if row.fields == table::KEY {
        types.push(("key_tag", MemberType::Integer));
    }
    types
}

fn field(name: &str, kind: RdataField, cursor: &mut Cursor<'_>, map: &mut Map<String, Value>) -> Result<(), Malformed> {
    let value = match kind {
        RdataField::U8 | RdataField::Algorithm | RdataField::AlgorithmName | RdataField::SyncScheme => {
            cursor.u8()?.into()
        }
        RdataField::U16 | RdataField::CertType => cursor.u16()?.into(),
        RdataField::U32 | RdataField::Ttl => cursor.u32()?.into(),
        RdataField::Text | RdataField::Tag => unquoted(cursor.string()?),
        RdataField::LongText => unquoted(cursor.rest()),
        RdataField::Texts => {
            let mut texts = Vec::new();
            while !cursor.is_empty() {
                texts.push(unquoted(cursor.string()?));
            }
            Value::Array(texts)
        }
        RdataField::Time => special::json_time(cursor.u32()?),
        RdataField::SvcParams => svcb::json(cursor.rest())?,
        RdataField::Types | RdataField::OldTypes | RdataField::Apl => {
            let text = as_text(kind, cursor)?;
            Value::Array(text.split_whitespace().map(Value::from).collect())
        }
        RdataField::Loc => return special::json_loc(cursor, map),
        _ => as_text(kind, cursor)?.into(),
    };
    map.insert(name.to_owned(), value);
    Ok(())
}

fn as_text(kind: RdataField, cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let mut out = String::new();
    text::field(kind, cursor, Style::PLAIN, &mut out)?;
    Ok(out)
}

/// A string with DNS escapes for bytes that are not printable ASCII, so that every byte can be recovered.
fn unquoted(bytes: &[u8]) -> Value {
    let mut out = String::new();
    push_escaped(bytes, &mut out);
    out.replace("\\\"", "\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_members() {
        let json = |rtype, wire: &[u8]| Value::Object(members(rtype, wire).unwrap()).to_string();
        assert_eq!(json(Rtype::MX, b"\x00\x0a\x02mx\x00"), r#"{"exchange":"mx.","preference":10}"#);
        assert_eq!(json(Rtype::TXT, b"\x01a\x02\"\xff"), r#"{"text":["a","\"\\255"]}"#);
        assert_eq!(json(Rtype::NSEC, b"\x01a\x00\x00\x01\x40"), r#"{"next":"a.","types":["A"]}"#);
        let key = r#"{"algorithm":13,"flags":257,"key_tag":1294,"protocol":3,"public_key":"AQ=="}"#;
        assert_eq!(json(Rtype::DNSKEY, &[1, 1, 3, 13, 1]), key);
        assert!(members(Rtype::A, b"\x01").is_none());
        assert!(members(Rtype(65280), b"\x01").is_none());
    }
}
