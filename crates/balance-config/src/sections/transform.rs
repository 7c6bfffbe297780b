//! `transform`: header edits and path prefixes.

use crate::config::{HeaderEdit, Transform};
use crate::diagnostics::Diagnostics;
use crate::table::{Key, Kind, Table};
use crate::value::{Block, Item};

pub(crate) static TRANSFORM: Table = Table {
    name: "transform",
    doc: "What is changed in passing: header fields and the path.",
    main: None,
    keys: &[
        Key::new(
            "request_headers",
            Kind::List(&Kind::Block(&HEADER_EDIT)),
            "",
            "Edits of the request's fields, in order.",
        )
        .example("[{ action: set, name: X-A, value: b }]"),
        Key::new(
            "response_headers",
            Kind::List(&Kind::Block(&HEADER_EDIT)),
            "",
            "Edits of the response's fields, in order.",
        )
        .example("[{ action: remove, name: Server }]"),
        Key::new(
            "strip_prefix",
            Kind::UrlPath,
            "",
            "Removed from the front of the path where it is there, before `add_prefix`.",
        )
        .example("/v1"),
        Key::new("add_prefix", Kind::UrlPath, "", "Put in front of the path.").example("/api"),
    ],
};

static HEADER_EDIT: Table = Table {
    name: "header edit",
    doc: "One change of one field.",
    main: None,
    keys: &[
        Key::required(
            "action",
            Kind::Choice(&["add", "set", "remove"], &[]),
            "`add` keeps what is there, `set` replaces it, `remove` drops it",
        ),
        Key::required("name", Kind::Token, "the name of the field").example("X-Served-By"),
        Key::new(
            "value",
            Kind::FieldValue,
            "",
            "The value, for `add` and `set`.",
        )
        .example("balance"),
    ],
};

/// Fields that say where a message ends or belong to one connection: balance-proto decides them alone
/// (RFC 9110 §7.6.1, RFC 9112 §6).
const UNTOUCHABLE: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a block; an absent one changes nothing.
pub(crate) fn read(block: Option<&Block>, diagnostics: &mut Diagnostics) -> Transform {
    let Some(block) = block else {
        return Transform::default();
    };
    let text = |key: &str| block.text(key).map(str::to_owned);
    Transform {
        request_headers: edits(block.list("request_headers"), diagnostics),
        response_headers: edits(block.list("response_headers"), diagnostics),
        strip_prefix: text("strip_prefix"),
        add_prefix: text("add_prefix"),
    }
}

/// The outer edits come first, so that the inner ones see and may undo them; of the prefixes the inner
/// ones win.
pub(crate) fn merge(outer: &Transform, inner: Transform) -> Transform {
    let chain =
        |outer: &[HeaderEdit], inner: Vec<HeaderEdit>| outer.iter().cloned().chain(inner).collect();
    Transform {
        request_headers: chain(&outer.request_headers, inner.request_headers),
        response_headers: chain(&outer.response_headers, inner.response_headers),
        strip_prefix: inner.strip_prefix.or_else(|| outer.strip_prefix.clone()),
        add_prefix: inner.add_prefix.or_else(|| outer.add_prefix.clone()),
    }
}

fn edits(items: &[Item], diagnostics: &mut Diagnostics) -> Vec<HeaderEdit> {
    items
        .iter()
        .filter_map(|item| edit(item.block()?, diagnostics))
        .collect()
}

fn edit(block: &Block, diagnostics: &mut Diagnostics) -> Option<HeaderEdit> {
    let name = block.text("name")?.to_owned();
    let action = block.text("action")?;
    if UNTOUCHABLE.contains(&name.to_ascii_lowercase().as_str()) {
        diagnostics.error_help(
            block.key_place("name"),
            format!("`{name}` cannot be edited: it belongs to the connection or says where a message ends"),
            "Balance writes it itself, from what it really sends",
        );
        return None;
    }
    if action == "remove" {
        if block.has("value") {
            let message = "`remove` drops the field whatever its value; `value` has no effect here";
            diagnostics.warning(block.key_place("value"), message);
        }
        return Some(HeaderEdit::Remove { name });
    }
    let Some(value) = block.text("value").map(str::to_owned) else {
        if !block.has("value") {
            let message = format!("`{action}` needs a `value`");
            diagnostics.error_help(
                &block.place,
                message,
                "write `value: \"\"` for an empty one",
            );
        }
        return None;
    };
    Some(match action {
        "add" => HeaderEdit::Add { name, value },
        _ => HeaderEdit::Set { name, value },
    })
}
