//! The parts of `schemas/*.json` that the code has in a table: the kinds of errors, and the members of DNS records' data. Each
//! stands in an object with a `$comment` that ends in `(generated)`; `UPDATE_DOCS=1` rewrites it.

use std::path::{Path, PathBuf};

use applayer::dns::record::json::{MemberType, member_types};
use applayer::dns::record::table::TABLE;
use applayer::fault::Kind;
use applayer::tool::ALL;
use serde_json::{Map, Value, json};

use crate::docs::committed;

/// The text of a schema with the object of this `$comment` replaced.
fn with_generated(text: &str, comment: &str, object: &str) -> Option<String> {
    let comment = format!("\"$comment\": \"{comment} (generated)\"");
    let at = text.find(&comment)?;
    let start = text[..at].rfind('{')?;
    let mut depth = 0;
    let length = text[start..].find(|letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        depth == 0
    })?;
    let column = text[..start].lines().last()?.find(|letter| letter != ' ')?;
    let object = object.replacen("{\n", &format!("{{\n  {comment},\n"), 1);
    let object = object.lines().collect::<Vec<_>>().join(&format!("\n{}", " ".repeat(column)));
    Some(format!("{}{object}{}", &text[..start], &text[start + length + 1..]))
}

fn schema(tool: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{tool}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

/// Words of a list, several per line.
fn list(words: &[String]) -> String {
    let mut lines = vec![String::from("   ")];
    for word in words {
        if lines.last().unwrap().len() + word.len() > 110 {
            lines.push(String::from("   "));
        }
        lines.last_mut().unwrap().push_str(&format!(" {word},"));
    }
    lines.join("\n").trim_end_matches(',').to_owned()
}

#[test]
fn every_schema_knows_the_kinds() {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| format!("\"{kind}\"")).collect();
    let object = format!("{{\n  \"enum\": [\n{}\n  ]\n}}", list(&kinds));
    for (tool, _) in ALL {
        let (path, text) = schema(tool);
        let wanted = with_generated(&text, "kinds", &object);
        committed(&path, &wanted.unwrap_or_else(|| panic!("{}: no kinds", path.display())));
    }
}

/// One member as its schema.
fn member(kind: MemberType) -> Value {
    match kind {
        MemberType::Integer => json!({ "type": "integer", "minimum": 0 }),
        MemberType::Number => json!({ "type": "number" }),
        MemberType::String => json!({ "type": "string" }),
        MemberType::Strings => json!({ "type": "array", "items": { "type": "string" } }),
        MemberType::Object => json!({ "type": "object" }),
    }
}

#[test]
fn the_schema_of_dnsq_knows_the_data_of_every_type() {
    let mut groups: Vec<(Vec<(&str, MemberType)>, Vec<&str>)> = Vec::new();
    for row in TABLE.iter().filter(|row| !row.fields.is_empty()) {
        let members = member_types(row);
        match groups.iter_mut().find(|(known, _)| *known == members) {
            Some((_, types)) => types.push(row.name),
            None => groups.push((members, vec![row.name])),
        }
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(members, types)| {
            let properties: Map<String, Value> =
                members.iter().map(|(name, kind)| ((*name).to_owned(), member(*kind))).collect();
            let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
            format!(
                "    {{\n      \"title\": \"{}\",\n      \"properties\": {},\n      \"required\": {}\n    }}",
                types.join(", "),
                Value::Object(properties),
                Value::from(required)
            )
        })
        .collect();
    let object = format!("{{\n  \"type\": \"object\",\n  \"anyOf\": [\n{}\n  ]\n}}", parts.join(",\n"));
    let (path, text) = schema("dnsq");
    committed(&path, &with_generated(&text, "members of data", &object).expect("members of data"));
}

/// Each schema has a name with its version, and units have one type in all of them.
#[test]
fn names_and_units_are_the_same_everywhere() {
    for (tool, _) in ALL {
        let (path, text) = schema(tool);
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["$id"], format!("urn:applayer:schema:v1:{tool}"), "{}", path.display());
        units(&schema, &path);
    }
}

fn units(schema: &Value, path: &Path) {
    let named = schema["properties"].as_object().into_iter().flatten();
    for (name, member) in named.filter(|(_, member)| member.get("type").is_some()) {
        let wanted = [("_ms", "number"), ("_bytes", "integer")].into_iter().find(|(unit, _)| name.ends_with(unit));
        if let Some((_, wanted)) = wanted.filter(|_| name != "times_ms") {
            assert_eq!(member["type"], wanted, "{}: {name}", path.display());
        }
        if name == "kind" {
            panic!("{}: a kind is one of the list: $ref #/$defs/kind", path.display());
        }
    }
    match schema {
        Value::Object(members) => members.values().for_each(|member| units(member, path)),
        Value::Array(items) => items.iter().for_each(|item| units(item, path)),
        _ => {}
    }
}
