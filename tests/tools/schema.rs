//! What the tools print with `--json`, held against `schemas/<tool>.json`.

use std::path::Path;

use crate::harness::Done;

/// Fails with the whole story unless every line that `tool` printed is an object of `schemas/<tool>.json`, has a `type` and
/// `"v":1`, and there is at least one.
#[track_caller]
pub(crate) fn assert_records_match_schema(tool: &str, done: &Done) {
    let validator = validator(tool);
    let records = done.records();
    assert!(!records.is_empty(), "no records at all\n{done}");
    for record in &records {
        assert!(record["type"].is_string() && record["v"] == 1, "no type or no \"v\":1 in {record}\n{done}");
        if let Some(problem) = complaint(&validator, record) {
            panic!("schemas/{tool}.json: {problem}\nin {record}\n{done}");
        }
    }
}

/// The validator of `schemas/<tool>.json`.
fn validator(tool: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{tool}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn complaint(validator: &jsonschema::Validator, record: &serde_json::Value) -> Option<String> {
    validator.iter_errors(record).next().map(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn a_wrong_record_is_noticed() {
    let schema =
        serde_json::json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert_eq!(complaint(&validator, &serde_json::json!({"name": "a"})), None);
    assert!(complaint(&validator, &serde_json::json!({"name": 1})).is_some());
    assert!(complaint(&validator, &serde_json::json!({})).is_some());
}

#[test]
fn every_schema_is_a_schema_and_belongs_to_a_tool() {
    let Ok(folder) = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")) else { return };
    for entry in folder {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let tool = name.strip_suffix(".json").unwrap_or_else(|| panic!("schemas/{name} is no .json"));
        crate::harness::binary(tool);
        validator(tool);
    }
}
