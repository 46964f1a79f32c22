//! `serin schema`: the JSON Schema of the configuration, for editors and for CI.

use super::output;
use crate::config::Config;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};
use std::process::ExitCode;

/// Nothing to choose.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin schema > serin.schema.json
  # then, as the first line of a configuration, for editors with the YAML language server:
  # yaml-language-server: $schema=serin.schema.json

The schema tells the form of a document; `serin check` also knows which names exist, which
addresses collide and which conditions never hold.")]
pub struct Arguments {}

/// Writes the schema to standard output.
pub fn run(_: &Arguments) -> anyhow::Result<ExitCode> {
    let schema = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(tidy))
        .into_generator()
        .into_root_schema_for::<Config>();
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a schema as a person would: a setting is left out rather than null, a description is one
/// line, and the sizes of Rust's integers are of no interest beside their bounds.
fn tidy(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    without_null(schema);
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    let integer = schema.get("type").is_some_and(|kind| kind == "integer");
    if integer && schema.get("format").and_then(Value::as_str).is_some_and(|it| it.contains("int"))
    {
        schema.shift_remove("format");
    }
}

fn without_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(choice)] = choices.as_slice() {
        let choice = choice.clone();
        schema.shift_remove("anyOf");
        for (name, value) in choice {
            // What is said at the place of use is nearer.
            schema.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;
    use schemars::json_schema;

    #[test]
    fn null_is_no_way_to_leave_a_setting_out() {
        let mut schema = json_schema!({
            "description": "outer\nline",
            "anyOf": [{ "description": "inner", "$ref": "#/$defs/A" }, { "type": "null" }]
        });
        tidy(&mut schema);
        let expected = json_schema!({ "description": "outer line", "$ref": "#/$defs/A" });
        assert_eq!(schema, expected);
        let mut schema = json_schema!({ "type": ["integer", "null"], "format": "uint8" });
        tidy(&mut schema);
        assert_eq!(schema, json_schema!({ "type": "integer" }));
    }
}
