//! The JSON Schema (draft 2020-12) of a configuration, written from the tables: for editors and tools.
//!
//! It accepts what the checks of single values accept, and refuses what they refuse; what several keys say
//! together (names, clashes) is beyond a schema. It is about values as YAML 1.2 types them: `5` is a
//! number, `5s` a text. A text with `${…}` is accepted everywhere, since what it stands for is known later.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::alias::{self, Alias, HEADER_MAPS, Target};
use crate::check::ROOT_NAME;
use crate::sections::root::ROOT;
use crate::sections::transform::TRANSFORM;
use crate::table::{DURATION_MAX_MS, Key, Kind, Table};

/// The schema as a JSON document.
pub fn schema() -> Value {
    let mut sections = Sections::default();
    sections.add(&ROOT);
    let mut definitions: Map<String, Value> = sections.written.into_iter().collect();
    definitions.insert(
        "variable".to_owned(),
        json!({ "description": "A variable of the environment.", "type": "string", "pattern": "\\$\\{" }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of Balance",
        "$ref": reference(&ROOT),
        "$defs": definitions,
    })
}

/// One definition for each table.
#[derive(Default)]
struct Sections {
    written: BTreeMap<String, Value>,
}

impl Sections {
    fn add(&mut self, table: &'static Table) {
        let name = definition_name(table);
        if self.written.contains_key(&name) {
            return;
        }
        self.written.insert(name.clone(), Value::Null); // it may hold itself
        let written = self.section(table);
        self.written.insert(name, written);
    }

    /// A map, or what stands in its place: the switch, the main key.
    fn section(&mut self, table: &'static Table) -> Value {
        let mut properties = Map::new();
        // In a section that can be switched off, what is not supported yet may say anything then.
        let mut later = Map::new();
        for key in table.keys {
            let mut property = self.property(key);
            if table.is_switchable()
                && let Some(off) = property.as_object_mut().and_then(|it| it.remove("allOf"))
            {
                later.insert(key.name.to_owned(), json!({ "allOf": off }));
            }
            properties.insert(key.name.to_owned(), property);
        }
        for alias in alias::aliases_of(table) {
            let mut property = self.alias(alias, table);
            property["deprecated"] = json!(true);
            properties.insert(alias.name.to_owned(), property);
        }
        let required = table.keys.iter().filter(|key| key.required);
        let required: Vec<&str> = required.map(|key| key.name).collect();
        let mut map = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if !later.is_empty() {
            map["anyOf"] = json!([
                { "properties": { "enabled": off(&Kind::Bool) }, "required": ["enabled"] },
                { "properties": later },
            ]);
        }
        if table.name == ROOT_NAME {
            map["patternProperties"] = json!({ "^x-": true });
        }
        let mut forms = vec![map];
        if table.is_switchable() {
            forms.push(boolean());
        }
        if let Some(main) = table.main.and_then(|name| table.key(name)) {
            forms.push(self.value(&main.kind));
        }
        json!({ "description": table.doc, "anyOf": forms })
    }

    fn property(&mut self, key: &'static Key) -> Value {
        let mut forms = vec![self.value(&key.kind)];
        if !key.required {
            forms.push(json!({ "type": "null" }));
        }
        let mut property = json!({ "description": description(key), "anyOf": forms });
        if key.later.is_some() {
            property["allOf"] = json!([off(&key.kind)]);
        }
        property
    }

    fn alias(&mut self, alias: &Alias, table: &'static Table) -> Value {
        let description = match alias.target {
            Target::Nothing => "Has no effect here.".to_owned(),
            _ => format!("Old name of `{}`.", alias.instead()),
        };
        let mut schema = match alias.target {
            Target::Key(name) => table.key(name).map(|key| self.property(key)),
            Target::Path(path) => key_at(path).map(|key| self.property(key)),
            Target::Switch(_) => Some(json!({ "anyOf": [
                boolean(),
                { "type": "object", "properties": { "enabled": boolean() } },
                { "type": "null" },
            ]})),
            Target::Transform => Some(self.old_transform()),
            Target::Nothing => None,
        }
        .unwrap_or_else(|| json!({}));
        schema["description"] = json!(description);
        schema
    }

    fn old_transform(&mut self) -> Value {
        let mut properties = Map::new();
        for key in TRANSFORM.keys {
            properties.insert(key.name.to_owned(), self.property(key));
        }
        for (name, _, action) in HEADER_MAPS {
            let names = self.value(&Kind::OneOrMany(&Kind::Token));
            let schema = match action {
                "add" => json!({ "type": ["object", "null"], "additionalProperties": true }),
                _ => json!({ "anyOf": [names, { "type": "null" }] }),
            };
            properties.insert(name.to_owned(), schema);
        }
        json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
    }

    fn value(&mut self, kind: &'static Kind) -> Value {
        match kind {
            Kind::List(inner) => json!({ "type": "array", "items": self.value(inner) }),
            Kind::OneOrMany(inner) => {
                let item = self.value(inner);
                json!({ "anyOf": [item, { "type": "array", "items": item }] })
            }
            Kind::Map(inner) => {
                json!({ "type": "object", "additionalProperties": self.value(inner) })
            }
            Kind::Block(table) => {
                self.add(table);
                json!({ "$ref": reference(table) })
            }
            _ => {
                let mut forms = scalar(kind);
                forms.push(json!({ "$ref": "#/$defs/variable" }));
                json!({ "anyOf": forms })
            }
        }
    }
}

fn definition_name(table: &Table) -> String {
    table.name.replace(' ', "_")
}

fn reference(table: &Table) -> String {
    format!("#/$defs/{}", definition_name(table))
}

fn description(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if !key.default.is_empty() {
        text.push_str(&format!(" Default: {}.", key.default));
    }
    if key.later.is_some() {
        text.push_str(" Not supported yet: only switched off.");
    }
    text
}

/// The row of a key, from the top of the file.
fn key_at(path: &[&str]) -> Option<&'static Key> {
    let mut table: &'static Table = &ROOT;
    let (name, sections) = path.split_last()?;
    for section in sections {
        let Kind::Block(inner) = table.key(section)?.kind else {
            return None;
        };
        table = inner;
    }
    table.key(name)
}

/// Where a key must not be in use: what [`Item::is_on`](crate::value::Item::is_on) calls off.
fn off(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => {
            json!({ "enum": [false, "false", "False", "FALSE", "no", "No", "off", "Off", null] })
        }
        Kind::Integer { .. }
        | Kind::Number { .. }
        | Kind::Share
        | Kind::Size { .. }
        | Kind::Duration { .. } => {
            json!({ "anyOf": [{ "const": 0 }, { "type": "null" }, { "type": "string", "pattern": "^[^1-9]*$" }] })
        }
        Kind::List(_) | Kind::OneOrMany(_) => json!({ "type": ["array", "null"], "maxItems": 0 }),
        Kind::Map(_) => json!({ "type": ["object", "null"], "maxProperties": 0 }),
        Kind::Block(table) if table.is_switchable() => json!({ "anyOf": [
            off(&Kind::Bool),
            { "type": "object", "properties": { "enabled": off(&Kind::Bool) }, "required": ["enabled"] },
        ]}),
        _ => json!({ "type": "null" }),
    }
}

fn boolean() -> Value {
    json!({ "anyOf": [
        { "type": "boolean" },
        text("^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy][Ee][Ss]|[Oo][Nn]|[Nn][Oo]|[Oo][Ff][Ff])$"),
        { "$ref": "#/$defs/variable" },
    ]})
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// The forms of a single value.
fn scalar(kind: &Kind) -> Vec<Value> {
    match kind {
        Kind::Bool => vec![boolean()],
        Kind::Integer { min, max } => vec![
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            text("^([+-]?[0-9]+|0x[0-9A-Fa-f]+|0o[0-7]+)$"),
        ],
        Kind::Number { min, max } => vec![
            json!({ "type": "number", "minimum": min, "maximum": max }),
            text("^[0-9.eE+-]+$"),
        ],
        Kind::Share => vec![
            json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            text("^(100(\\.0*)?|[0-9]{1,2}(\\.[0-9]*)?|\\.[0-9]+) *%$"),
        ],
        Kind::Size { min, max } => vec![
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            text("^([0-9]+(\\.[0-9]*)?|\\.[0-9]+) *([kKmMgG][iI]?)?[bB]?$"),
        ],
        Kind::Duration { min_ms } => duration(*min_ms),
        Kind::Choice(now, _) => {
            let words = now.iter().map(|word| json!(word));
            // `1.2` without quotes is a number to everybody else.
            let numbers = now.iter().filter_map(|word| word.parse::<f64>().ok());
            let all: Vec<Value> = words.chain(numbers.map(|number| json!(number))).collect();
            vec![json!({ "enum": all })]
        }
        Kind::ListenAddress => vec![text(&format!(
            "^(unix:.+|(\\*|localhost|{IPV4}|\\[{IPV6}\\])?:(0|{PORT}))$"
        ))],
        Kind::BackendAddress => vec![text(&format!(
            "^(unix:.+|({NAME}|{IPV4}|\\[{IPV6}\\]):{PORT})$"
        ))],
        Kind::Network => vec![text(&format!(
            "^({IPV4}(/([12]?[0-9]|3[0-2]))?|{IPV6}(/(1[01][0-9]|12[0-8]|[1-9]?[0-9]))?)$"
        ))],
        Kind::HashKey => vec![text(&format!("^(source-ip|header: *{TOKEN}+ *)$"))],
        Kind::Host => vec![
            text("^(\\*|(\\*\\.)?[A-Za-z0-9_~\\[:-][A-Za-z0-9._~\\[\\]:-]*)$"),
            json!({ "type": "number" }),
        ],
        Kind::UrlPath => vec![text("^/[^\\u0000-\\u0020\\u007f]*$")],
        Kind::Token => vec![
            text(&format!("^{TOKEN}+$")),
            json!({ "type": ["number", "boolean"] }),
        ],
        Kind::FieldValue => vec![
            text("^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$"),
            json!({ "type": ["number", "boolean"] }),
        ],
        // The others are taken apart by the caller.
        _ => vec![json!({ "type": ["string", "number", "boolean"] })],
    }
}

/// A Go duration of at most a year. A sum of several parts may pass the year; only the loader adds up.
fn duration(min_ms: u64) -> Vec<Value> {
    const UNITS: &str = "(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+";
    let too_long = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        .map(|(unit, ms)| format!("{}(\\.[0-9]*)?{unit}", above(DURATION_MAX_MS / ms)))
        .join("|");
    let bounded = format!("(?!(.*[^0-9.])?({too_long})([^s]|$))");
    if min_ms == 0 {
        vec![
            json!({ "const": 0 }),
            text(&format!("^{bounded}(0|\\+?{UNITS})$")),
        ]
    } else {
        vec![text(&format!("^(?=.*[1-9]){bounded}\\+?{UNITS}$"))]
    }
}

/// A pattern for the whole numbers above `max`.
fn above(max: u64) -> String {
    let digits = max.to_string();
    let longer = format!("[1-9][0-9]{{{},}}", digits.len());
    let mut forms = vec![longer];
    for (at, digit) in digits.char_indices().filter(|(_, digit)| *digit < '9') {
        let next = char::from(digit as u8 + 1);
        let rest = digits.len() - at - 1;
        forms.push(format!("{}[{next}-9][0-9]{{{rest}}}", &digits[..at]));
    }
    format!("0*({})", forms.join("|"))
}

/// RFC 9110 §5.6.2.
const TOKEN: &str = "[A-Za-z0-9!#$%&'*+.^_`|~-]";
const PORT: &str =
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
const IPV4: &str = "((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
/// Only the letters of one: its grammar is for the loader.
const IPV6: &str = "[0-9A-Fa-f]*:[0-9A-Fa-f:.]+";
/// Not of digits and dots only, which is a mistyped IPv4 address.
const NAME: &str = "(?![0-9.]+:)[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.?";
