//! What the tools print with `--json`, held against `schemas/<tool>.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Fails if one of the records that a command line with `--json` printed is none of its tool's schema, or if there is none
/// although it failed: every run of a test is a test of the schemas. Usage errors (64) are text alone.
#[track_caller]
pub(crate) fn assert_printed_records_match(line: &str, stdout: &[u8], status: i32) {
    static VALIDATORS: Mutex<BTreeMap<String, Arc<jsonschema::Validator>>> = Mutex::new(BTreeMap::new());
    let Some((tool, _)) = line.split_once(' ').filter(|(_, arguments)| arguments.contains("\"--json\"")) else {
        return;
    };
    let validator = {
        let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(validators.entry(tool.to_owned()).or_insert_with(|| Arc::new(validator(tool))))
    };
    let failed = matches!(status, 65..=78) && !line.contains("\"--report\"");
    assert!(!failed || !stdout.is_empty(), "it failed with {status} and printed no record\n$ {line}");
    // A payload may stand on stdout as well, and a killed tool may leave half a line.
    for record in stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
        if let Some(problem) = complaint(&validator, &record) {
            panic!("schemas/{tool}.json: {problem}\nin {record}\n$ {line}");
        }
    }
}

/// The validator of `schemas/<tool>.json`, which takes no member that the schema does not name: for readers a schema is open
/// to what later versions add, for this version's own output it is not.
fn validator(tool: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{tool}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    close(&mut schema, true);
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Closes every object that the schema describes. `whole` is true where a schema stands for a value by itself, not for a
/// part of what another one says of the same value (`allOf`, `oneOf`, `$defs`).
fn close(schema: &mut serde_json::Value, whole: bool) {
    let Some(members) = schema.as_object_mut() else { return };
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("properties", serde_json::Value::Object(values)) => values.values_mut().for_each(|it| close(it, true)),
            ("$defs", serde_json::Value::Object(parts)) => parts.values_mut().for_each(|it| close(it, false)),
            ("allOf" | "oneOf" | "anyOf", serde_json::Value::Array(parts)) => {
                parts.iter_mut().for_each(|it| close(it, false));
            }
            ("items" | "additionalProperties", value) => close(value, true),
            _ => {}
        }
    }
    if whole && ["properties", "$ref", "allOf", "oneOf", "anyOf"].iter().any(|word| members.contains_key(*word)) {
        members.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

fn complaint(validator: &jsonschema::Validator, record: &serde_json::Value) -> Option<String> {
    validator.iter_errors(record).next().map(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn a_wrong_record_is_noticed() {
    let mut schema = serde_json::json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
        "oneOf": [{"properties": {"at": {"$ref": "#/$defs/at"}}}], "$defs": {"at": {"properties": {"x": {}}}}});
    close(&mut schema, true);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let fits = |record| complaint(&validator, &record).is_none();
    assert!(fits(serde_json::json!({"name": "a"})) && fits(serde_json::json!({"name": "a", "at": {"x": 1}})));
    assert!(!fits(serde_json::json!({"name": 1})) && !fits(serde_json::json!({})));
    assert!(!fits(serde_json::json!({"name": "a", "new": 1})), "a member that the schema does not name");
    assert!(!fits(serde_json::json!({"name": "a", "at": {"y": 1}})), "the same further down");
}

#[test]
fn every_tool_has_a_schema_and_every_schema_a_tool() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut schemas: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    schemas.sort();
    let tools: Vec<String> = applayer::tool::ALL.iter().map(|(tool, _)| format!("{tool}.json")).collect();
    assert_eq!(schemas, tools);
    applayer::tool::ALL.iter().for_each(|(tool, _)| drop(validator(tool)));
}
