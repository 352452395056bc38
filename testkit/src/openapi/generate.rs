use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use serde_json::{Map, Number, Value, json};

use super::{Interface, Request};

/// Integers near which something may change.
const EDGES: [i64; 12] = [
    0,
    -1,
    1,
    2,
    5,
    6,
    1_001,
    i32::MAX as i64,
    i32::MAX as i64 + 1,
    1 << 53,
    i64::MAX,
    i64::MIN,
];

/// Texts that somebody stumbled over before.
const ODD: [&str; 12] = [
    "",
    " ",
    "0",
    "-1",
    "NaN",
    "true",
    "null",
    "../..",
    "' OR 1=1 --",
    "a\0b",
    "\u{202e}\u{feff}",
    "💥",
];

/// Query texts that cannot be read.
const UNREADABLE: [&str; 4] = ["%", "%zz", "%ff%fe", "%00"];

pub(super) fn upper(method: &'static str) -> &'static str {
    match method {
        "get" => "GET",
        "put" => "PUT",
        "post" => "POST",
        "delete" => "DELETE",
        "patch" => "PATCH",
        other => panic!("no method {other}"),
    }
}

/// What an operator sends who has not changed the password.
pub(super) fn admin_headers() -> Vec<(String, String)> {
    // admin:admin
    [
        ("authorization", "Basic YWRtaW46YWRtaW4="),
        ("x-requested-with", "tests"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A part of a request, and whether the document allows it.
type Part<T> = BoxedStrategy<(T, bool)>;

/// Requests of an operation.
pub(super) fn request(
    interface: &Interface,
    path: &str,
    method: &'static str,
    operation: &Value,
) -> BoxedStrategy<Request> {
    let empty = Vec::new();
    let parameters: Vec<&Value> = operation["parameters"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|parameter| interface.resolved(parameter))
        .collect();
    let of = |place: &str| -> Vec<Part<(String, Option<String>)>> {
        let those = parameters.iter().filter(|p| p["in"] == place);
        those.map(|p| parameter(interface, p)).collect()
    };
    let (places, queries, headers) = (of("path"), of("query"), of("header"));
    let body = body(interface, &operation["requestBody"]);
    let secured = super::wants_login(operation);
    let operation_id = format!("{method} {path}");
    let (template, responses) = (path.to_owned(), operation["responses"].clone());
    (places, queries, headers, body, 0..8)
        .prop_map(move |(places, queries, headers, body, chance)| {
            let mut valid = true;
            let mut taken =
                |parts: Vec<((String, Option<String>), bool)>| -> Vec<(String, String)> {
                    valid &= parts.iter().all(|(_, fine)| *fine);
                    parts
                        .into_iter()
                        .filter_map(|((name, value), _)| Some((name, value?)))
                        .collect()
                };
            let mut path = template.clone();
            for (name, value) in taken(places) {
                path = path.replace(&format!("{{{name}}}"), &value);
            }
            let query: Vec<String> = taken(queries)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            if !query.is_empty() {
                path = format!("{path}?{}", query.join("&"));
            }
            let mut headers = taken(headers);
            let ((text, media_type), fine) = body;
            valid &= fine;
            headers.extend(media_type.map(|media_type| ("content-type".to_owned(), media_type)));
            // Now and then without the password.
            if secured && chance > 0 {
                headers.extend(admin_headers());
            }
            Request {
                operation: operation_id.clone(),
                method: upper(method),
                path,
                headers,
                body: text,
                valid,
                expected: None,
                responses: responses.clone(),
            }
        })
        .boxed()
}

/// A parameter's name and value, encoded for where it goes.
fn parameter(interface: &Interface, parameter: &Value) -> Part<(String, Option<String>)> {
    let name = parameter["name"].as_str().expect("a name").to_owned();
    let place = parameter["in"].as_str().expect("a place").to_owned();
    let required = parameter["required"] == true;
    let told = !interface.opaque.contains(&name.as_str());
    let right = valid(interface, &parameter["schema"]);
    let right = right.prop_map(move |value| (shown(&value), told));
    let known = interface.known.iter().find(|(known, _)| *known == name);
    let right = match known {
        Some((_, known)) => prop_oneof![
            1 => right,
            3 => select(known.clone()).prop_map(|value| (value, true)),
        ]
        .boxed(),
        None => right.boxed(),
    };
    let odd = prop_oneof![
        select(ODD.to_vec()).prop_map(str::to_owned),
        select(EDGES.to_vec()).prop_map(|edge| edge.to_string()),
        any::<String>(),
    ]
    .prop_map(|text| (text, false));
    let encoded = {
        let place = place.clone();
        move |(text, fine): (String, bool)| match place.as_str() {
            // An empty segment is another path.
            "path" => (percent(if text.is_empty() { "-" } else { &text }), fine),
            "query" => (percent(&text), fine),
            // A client cannot send a line's end in a header.
            _ => {
                let text: String = text.chars().filter(|c| !c.is_control()).collect();
                (text, fine)
            }
        }
    };
    let some = prop_oneof![4 => right, 1 => odd].prop_map(encoded);
    let some = match place.as_str() {
        "header" => some.boxed(),
        _ => prop_oneof![
            12 => some,
            1 => select(UNREADABLE.to_vec()).prop_map(|text| (text.to_owned(), false)),
        ]
        .boxed(),
    };
    let named = move |value: Option<(String, bool)>| match value {
        Some((value, fine)) => ((name.clone(), Some(value)), fine),
        None => ((name.clone(), None), true),
    };
    if required {
        some.prop_map(Some).prop_map(named).boxed()
    } else {
        option::of(some).prop_map(named).boxed()
    }
}

/// A body and its `Content-Type`.
fn body(interface: &Interface, body: &Value) -> Part<(String, Option<String>)> {
    let body = interface.resolved(body);
    let Some(content) = body["content"].get("application/json") else {
        return Just(((String::new(), None), true)).boxed();
    };
    let required = body["required"] == true;
    let right = valid(interface, &content["schema"]);
    let json = Some("application/json".to_owned());
    let declared = {
        let json = json.clone();
        move |text: String, fine| ((text, json.clone()), fine)
    };
    let as_wanted = {
        let declared = declared.clone();
        right
            .clone()
            .prop_map(move |value| declared(value.to_string(), true))
    };
    let nearly = {
        let declared = declared.clone();
        spoilt(right.clone()).prop_map(move |text| declared(text, false))
    };
    let mistyped = (
        right,
        option::of(select(vec![
            "text/plain",
            "application/xml",
            "",
            "json",
            "*/*",
        ])),
    )
        .prop_map(|(value, media_type)| ((value.to_string(), media_type.map(Into::into)), false));
    let none = Just(((String::new(), None), !required));
    prop_oneof![6 => as_wanted, 8 => nearly, 1 => mistyped, 1 => none].boxed()
}

/// Texts that are nearly the JSON that is wanted.
fn spoilt(right: BoxedStrategy<Value>) -> impl Strategy<Value = String> {
    let member = (right.clone(), any::<prop::sample::Index>(), any_json()).prop_map(
        |(mut value, index, other)| {
            if let Value::Object(members) = &mut value
                && !members.is_empty()
            {
                let name = members.keys().nth(index.index(members.len())).cloned();
                members.insert(name.unwrap_or_default(), other);
            }
            value.to_string()
        },
    );
    let without = (right.clone(), any::<prop::sample::Index>()).prop_map(|(mut value, index)| {
        if let Value::Object(members) = &mut value
            && !members.is_empty()
        {
            let name = members.keys().nth(index.index(members.len())).cloned();
            members.remove(&name.unwrap_or_default());
        }
        value.to_string()
    });
    let twice = right.clone().prop_map(|value| {
        let text = value.to_string();
        let inner = text.trim_start_matches('{').trim_end_matches('}');
        format!("{{{inner},{inner}}}")
    });
    let cut = (right, any::<prop::sample::Index>()).prop_map(|(value, index)| {
        let text = value.to_string();
        let end = text.floor_char_boundary(index.index(text.len()));
        text[..end].to_owned()
    });
    let huge = "1e999".to_owned();
    let deep = "[".repeat(10_000);
    prop_oneof![
        6 => member,
        2 => without,
        1 => twice,
        1 => cut,
        1 => any_json().prop_map(|value| value.to_string()),
        1 => any::<String>(),
        1 => select(vec![huge, deep, "{\"product\":".to_owned() + &"9".repeat(400) + "}"]),
    ]
}

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(EDGES.to_vec()).prop_map(Value::from),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        select(ODD.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (1..3_000usize).prop_map(|length| "я".repeat(length).into()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// Values that the schema allows, of those that people send: texts are ASCII, and not blank.
fn valid(interface: &Interface, schema: &Value) -> BoxedStrategy<Value> {
    let schema = interface.resolved(schema);
    if let Some(options) = schema["enum"].as_array() {
        return select(options.clone()).boxed();
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(options) = schema[keyword].as_array() {
            return Union::new(options.iter().map(|option| valid(interface, option))).boxed();
        }
    }
    let whole = |name: &str| schema[name].as_i64();
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    match kind.unwrap_or_else(|| panic!("a schema without a type: {schema}")) {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let least = whole("minimum").unwrap_or(i64::MIN);
            let most = whole("maximum").unwrap_or(i64::MAX);
            let small = least.max(1)..=most.min(least.saturating_add(10).max(5));
            prop_oneof![3 => small, 1 => least..=most]
                .prop_map(Value::from)
                .boxed()
        }
        "string" => text(schema).prop_map(Value::from).boxed(),
        "object" => object(interface, schema),
        "array" => vec(valid(interface, &schema["items"]), 0..4)
            .prop_map(Value::from)
            .boxed(),
        other => panic!("nothing of type {other} is asked for"),
    }
}

fn text(schema: &Value) -> BoxedStrategy<String> {
    let matching = |regex: &str| {
        proptest::string::string_regex(regex)
            .expect("a pattern")
            .boxed()
    };
    if let Some(pattern) = schema["pattern"].as_str() {
        return matching(pattern.trim_start_matches('^').trim_end_matches('$'));
    }
    match schema["format"].as_str() {
        Some("email") => matching("[a-z]{1,9}@[a-z]{1,9}\\.[a-z]{2,3}"),
        Some("date-time") => matching("20[0-9]{2}-0[1-9]-0[1-9]T0[0-9]:[0-5][0-9]:00Z"),
        _ => {
            let least = schema["minLength"].as_u64().unwrap_or(1).max(1);
            let most = schema["maxLength"].as_u64().unwrap_or(least + 20);
            matching(&format!("[A-Za-z0-9]{{{least},{}}}", most.min(least + 40)))
        }
    }
}

fn object(interface: &Interface, schema: &Value) -> BoxedStrategy<Value> {
    let required = |name: &String| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|n| n == name))
    };
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let least = schema["minProperties"].as_u64().unwrap_or(0) as usize;
    let members: Vec<_> = properties
        .iter()
        .enumerate()
        .map(|(index, (name, schema))| {
            let member = valid(interface, schema);
            // Who must have some has the first ones.
            let member = match required(name) || index < least {
                true => member.prop_map(Some).boxed(),
                false => option::of(member).boxed(),
            };
            let name = name.clone();
            member.prop_map(move |value| value.map(|value| (name.clone(), value)))
        })
        .collect();
    members
        .prop_map(|members| {
            let members: Map<String, Value> = members.into_iter().flatten().collect();
            json!(members)
        })
        .boxed()
}

/// A scalar as a parameter has it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encoded, all but letters and digits.
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
