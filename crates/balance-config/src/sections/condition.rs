//! Conditions on headers, query parameters and cookies: a value, a regular expression, or presence.

use crate::check::{quoted, shown};
use crate::config::{NamedMatch, ValueMatch};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity, Spanned};
use crate::scalar;
use crate::table::{Key, Kind, Table};
use crate::value::Block;

pub(crate) static CONDITION: Table = Table {
    name: "condition",
    doc: "What must stand under a name; one of the three.",
    main: Some("value"),
    keys: &[
        Key::new("value", Kind::FieldValue, "", "Exactly this, in this case.").example("\"1\""),
        Key::new(
            "regex",
            Kind::Regex,
            "",
            "A regular expression that the whole value matches.",
        )
        .example("\"v[0-9]+\""),
        Key::new(
            "present",
            Kind::Bool,
            "",
            "`true`: there, with any value. `false`: not there.",
        )
        .example("true"),
    ],
};

/// Whose names and values conditions are about.
#[derive(Clone, Copy)]
pub(crate) enum Carrier {
    Headers,
    Query,
    Cookies,
}

impl Carrier {
    fn key(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Query => "query",
            Self::Cookies => "cookie",
        }
    }

    fn name_error(self, name: &str) -> Option<String> {
        let (is_valid, what) = match self {
            Self::Headers => (scalar::is_token(name), "a field name"),
            Self::Cookies => (scalar::is_token(name), "a cookie name"),
            Self::Query => (
                !name.is_empty() && !name.contains('=') && is_sendable(self, name),
                "the name of a parameter as requests send it",
            ),
        };
        (!is_valid).then(|| format!("`{}` is not {what}", shown(name)))
    }

    fn value_error(self, value: &str) -> Option<String> {
        let what = match self {
            Self::Headers => return None, // The table has checked it.
            Self::Query => "no parameter",
            Self::Cookies => "no cookie",
        };
        (!is_sendable(self, value)).then(|| format!("{what} has the value `{}`", shown(value)))
    }
}

/// Whether octets of this text can stand in a request there, undecoded as routes see them.
fn is_sendable(carrier: Carrier, text: &str) -> bool {
    match carrier {
        Carrier::Headers => true,
        Carrier::Query => text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&#".contains(&byte)),
        Carrier::Cookies => !text.contains(';') && text.trim_ascii() == text,
    }
}

/// The conditions of a `match`. Those that can never hold are reported.
pub(crate) fn read(
    block: &Block,
    carrier: Carrier,
    diagnostics: &mut Diagnostics,
) -> Vec<NamedMatch> {
    let mut conditions = Vec::new();
    for (name, item) in block.map(carrier.key()) {
        if let Some(message) = carrier.name_error(&name.value) {
            let mut diagnostic = Diagnostic::new(Severity::Error, &name.place, message);
            diagnostic.help = encoding_help(carrier, &name.value);
            diagnostics.push(diagnostic);
            continue;
        }
        let value = item
            .block()
            .and_then(|condition| read_value(condition, carrier, diagnostics));
        if let Some(value) = value {
            let name = match carrier {
                Carrier::Headers => name.value.to_ascii_lowercase(),
                Carrier::Query | Carrier::Cookies => name.value.clone(),
            };
            conditions.push(NamedMatch { name, value });
        }
    }
    conditions
}

fn read_value(
    block: &Block,
    carrier: Carrier,
    diagnostics: &mut Diagnostics,
) -> Option<ValueMatch> {
    let written: Vec<&str> = CONDITION
        .keys
        .iter()
        .map(|key| key.name)
        .filter(|key| block.has(key))
        .collect();
    if written.is_empty() {
        let keys = quoted(CONDITION.keys.iter().map(|key| key.name));
        let message = "this condition says nothing";
        diagnostics.error_help(&block.place, message, format!("give one of {keys}"));
    }
    if let [first, second, ..] = written[..] {
        let message = format!("`{second}` beside `{first}`: a condition says one thing");
        diagnostics.push(
            Diagnostic::new(Severity::Error, block.key_place(second), message)
                .with_related(block.key_place(first), "the other one is here"),
        );
    }
    if let Some(value) = block.spanned_text("value") {
        if let Some(message) = carrier.value_error(&value.value) {
            let mut diagnostic = Diagnostic::new(Severity::Error, &value.place, message);
            diagnostic.help = encoding_help(carrier, &value.value);
            diagnostics.push(diagnostic);
        }
        return Some(ValueMatch::Exact(value.value));
    }
    if let Some(regex) = read_regex(block, "regex", "value", diagnostics) {
        return Some(ValueMatch::Regex(regex));
    }
    let present = block.bool("present")?;
    Some(if *present {
        ValueMatch::Present
    } else {
        ValueMatch::Absent
    })
}

/// What the user probably means: a query in clear text.
fn encoding_help(carrier: Carrier, text: &str) -> Option<String> {
    let is_query = matches!(carrier, Carrier::Query);
    let is_encodable = !text.is_empty() && !is_sendable(carrier, text);
    (is_query && is_encodable).then(|| {
        let encoded: String = text.bytes().map(percent_encoded).collect();
        format!(
            "nothing is decoded: write it as clients send it, perhaps `{}`",
            shown(&encoded)
        )
    })
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_graphic() && !b"&#".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// A regular expression, which control compiles. Elsewhere a search is usual, so half a pair of anchors is
/// a hint at a misunderstanding: here all of `what` must match anyway.
pub(crate) fn read_regex(
    block: &Block,
    key: &str,
    what: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Spanned<String>> {
    let regex = block.spanned_text(key)?;
    let text = regex.value.as_str();
    let begins = text.starts_with('^');
    let ends = text.ends_with('$') && !text.ends_with("\\$");
    let hint = match (begins, ends) {
        (true, false) if !text.ends_with(".*") => {
            Some("write `.*` at its end if anything may follow")
        }
        (false, true) if !text.starts_with(".*") => {
            Some("write `.*` at its beginning if anything may come before")
        }
        _ => None,
    };
    if let Some(hint) = hint {
        let message = format!("`{key}` must match the whole {what}, also without `^` and `$`");
        let help = format!("{hint}, else remove the anchor");
        diagnostics.push(Diagnostic::new(Severity::Warning, &regex.place, message).with_help(help));
    }
    Some(regex)
}
