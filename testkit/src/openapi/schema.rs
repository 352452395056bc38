use serde_json::Value;

use super::Interface;

/// Keywords that say nothing of validity, or what the generator alone needs.
const SILENT: [&str; 6] = [
    "description",
    "format",
    "default",
    "examples",
    "example",
    "title",
];

/// Whether `value` is valid; what is not, with its place.
///
/// # Panics
/// At a keyword that is not known here: a check that passes over it would prove nothing.
pub(super) fn check(interface: &Interface, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = interface.resolved(schema);
    let Some(keywords) = schema.as_object() else {
        return Ok(());
    };
    for (keyword, wanted) in keywords {
        let fine = match keyword.as_str() {
            "type" => of_type(wanted, value),
            "const" => value == wanted,
            "enum" => list(wanted).contains(value),
            "minimum" => number(value).is_none_or(|n| n >= number(wanted).expect("a minimum")),
            "maximum" => number(value).is_none_or(|n| n <= number(wanted).expect("a maximum")),
            "minLength" => length(value).is_none_or(|n| n >= size(wanted)),
            "maxLength" => length(value).is_none_or(|n| n <= size(wanted)),
            "minItems" => value.as_array().is_none_or(|v| v.len() >= size(wanted)),
            "maxItems" => value.as_array().is_none_or(|v| v.len() <= size(wanted)),
            "minProperties" => value.as_object().is_none_or(|v| v.len() >= size(wanted)),
            // Of what is answered nothing has one.
            "pattern" => true,
            "required" => missing(wanted, value)?,
            "properties" => {
                for (name, schema) in wanted.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(interface, schema, value).map_err(|e| format!("{name}: {e}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.get(name).is_none() {
                        check(interface, wanted, value).map_err(|e| format!("{name}: {e}"))?;
                    }
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(interface, wanted, value).map_err(|e| format!("{index}: {e}"))?;
                }
                true
            }
            "allOf" => {
                for schema in list(wanted) {
                    check(interface, schema, value)?;
                }
                true
            }
            "anyOf" | "oneOf" => {
                let valid = |schema: &&Value| check(interface, schema, value).is_ok();
                let count = list(wanted).iter().filter(valid).count();
                count == 1 || (count > 1 && keyword == "anyOf")
            }
            silent if SILENT.contains(&silent) => true,
            unknown => panic!("{unknown} in a schema is not known here"),
        };
        if !fine {
            return Err(format!("{value} is not of {keyword} {wanted}"));
        }
    }
    Ok(())
}

fn of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    };
    match wanted {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().expect("a type"))),
        name => is(name.as_str().expect("a type")),
    }
}

fn missing(wanted: &Value, value: &Value) -> Result<bool, String> {
    let Some(object) = value.as_object() else {
        return Ok(true);
    };
    let names = list(wanted).iter().filter_map(Value::as_str);
    let missing: Vec<&str> = names.filter(|name| !object.contains_key(*name)).collect();
    match missing.is_empty() {
        true => Ok(true),
        false => Err(format!("{} missing", missing.join(", "))),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

fn length(value: &Value) -> Option<usize> {
    Some(value.as_str()?.chars().count())
}
