//! `transform.request_headers` and `transform.response_headers`.

use std::fmt;

use balance_proto::{FieldName, FieldValue, HeadEdits, HeadView, Scheme};

use super::{FilterContext, checked};

/// What a header rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// Appends a field, whatever is there.
    Add,
    /// Replaces all fields of that name.
    Set,
    Remove,
}

/// One line of `transform.request_headers` or `transform.response_headers`, checked.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    action: HeaderAction,
    name: Box<[u8]>,
    value: Template,
}

/// Why a header rule cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRuleError {
    #[error("`{0}` is not a header name")]
    NameInvalid(String),
    #[error("the value of `{0}` contains a control character")]
    ValueInvalid(String),
    #[error("`{0}` is decided by Balance and cannot be changed by a rule")]
    NameReserved(String),
    #[error("unknown placeholder `{{{0}}}`: known are {{client_ip}} and {{scheme}}")]
    PlaceholderUnknown(String),
}

impl HeaderRule {
    /// Checks and compiles a rule. `value` may contain `{client_ip}` and `{scheme}`; it is ignored by
    /// [`HeaderAction::Remove`].
    ///
    /// # Errors
    /// What is wrong with it, for the user.
    pub fn new(action: HeaderAction, name: &str, value: &str) -> Result<Self, HeaderRuleError> {
        // Framing and connection management have one owner (architecture invariant 3).
        if RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
        {
            return Err(HeaderRuleError::NameReserved(name.to_owned()));
        }
        if FieldName::new(name.as_bytes()).is_err() {
            return Err(HeaderRuleError::NameInvalid(name.to_owned()));
        }
        if FieldValue::new(value.as_bytes()).is_err() {
            return Err(HeaderRuleError::ValueInvalid(name.to_owned()));
        }
        Ok(Self {
            action,
            name: name.as_bytes().into(),
            value: Template::parse(value)?,
        })
    }
}

/// Applies the rules in order.
pub(super) fn apply<V: HeadView>(
    rules: &[HeaderRule],
    head: &V,
    edits: &mut HeadEdits,
    context: &FilterContext,
) {
    for rule in rules {
        rule.value.with(context, |value| {
            let Some((name, value)) = checked(&rule.name, value) else {
                return;
            };
            match rule.action {
                HeaderAction::Add => edits.append(name, value),
                HeaderAction::Set => edits.set(head, name, value),
                HeaderAction::Remove => edits.remove(head, name),
            }
        });
    }
}

/// Says what the rules do, as their configuration does.
pub(super) fn show(rules: &[HeaderRule], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, rule) in rules.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let name = String::from_utf8_lossy(&rule.name);
        match rule.action {
            HeaderAction::Add => write!(f, "{separator}add {name}: {}", rule.value)?,
            HeaderAction::Set => write!(f, "{separator}set {name}: {}", rule.value)?,
            HeaderAction::Remove => write!(f, "{separator}remove {name}")?,
        }
    }
    Ok(())
}

/// A value, possibly with placeholders.
#[derive(Clone, Debug)]
enum Template {
    Literal(Box<[u8]>),
    Parts(Box<[Part]>),
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    ClientIp,
    Scheme,
}

impl Template {
    fn parse(text: &str) -> Result<Self, HeaderRuleError> {
        let mut parts = Vec::new();
        let mut rest = text;
        // A brace that opens no placeholder name is text: JSON in a header is legal.
        while let Some((before, name, after)) = next_placeholder(rest) {
            let part = match name {
                "client_ip" => Part::ClientIp,
                "scheme" => Part::Scheme,
                _ => return Err(HeaderRuleError::PlaceholderUnknown(name.to_owned())),
            };
            parts.push(Part::Literal(before.as_bytes().into()));
            parts.push(part);
            rest = after;
        }
        if parts.is_empty() {
            return Ok(Self::Literal(text.as_bytes().into()));
        }
        parts.push(Part::Literal(rest.as_bytes().into()));
        Ok(Self::Parts(parts.into()))
    }

    fn with(&self, context: &FilterContext, use_value: impl FnOnce(&[u8])) {
        match self {
            Self::Literal(value) => use_value(value),
            Self::Parts(parts) => {
                let mut value = Vec::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => value.extend_from_slice(text),
                        Part::ClientIp => value.extend(context.client.to_string().bytes()),
                        Part::Scheme => value.extend_from_slice(match context.scheme {
                            Scheme::Http => b"http",
                            Scheme::Https => b"https",
                        }),
                    }
                }
                use_value(&value);
            }
        }
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => f.write_str(&String::from_utf8_lossy(value)),
            Self::Parts(parts) => parts.iter().try_for_each(|part| match part {
                Part::Literal(text) => f.write_str(&String::from_utf8_lossy(text)),
                Part::ClientIp => f.write_str("{client_ip}"),
                Part::Scheme => f.write_str("{scheme}"),
            }),
        }
    }
}

/// Splits at the first `{word}` of lower-case letters and `_`.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text.get(from..)?.find('{').map(|at| from + at) {
        let rest = &text[open + 1..];
        if let Some(close) = rest.find('}') {
            let name = &rest[..close];
            let is_word = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_word && !name.is_empty() {
                return Some((&text[..open], name, &rest[close + 1..]));
            }
        }
        from = open + 1;
    }
    None
}

const RESERVED: &[&str] = &[
    "Connection",
    "Content-Length",
    "Host",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use balance_core::PathPolicy;
    use balance_proto::Scheme;

    use super::{FilterContext, HeaderAction, HeaderRule, HeaderRuleError, Template};

    fn expand(text: &str) -> String {
        let context = FilterContext {
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            scheme: Scheme::Https,
            paths: PathPolicy::Safe,
        };
        let mut seen = String::new();
        let template = Template::parse(text).expect("parses");
        template.with(&context, |value| {
            seen = String::from_utf8_lossy(value).into_owned()
        });
        seen
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(expand("plain"), "plain");
        assert_eq!(expand("{client_ip}"), "192.0.2.7");
        assert_eq!(
            expand("a {scheme}://{client_ip} b"),
            "a https://192.0.2.7 b"
        );
        assert_eq!(expand("{\"json\": {}}"), "{\"json\": {}}");
    }

    fn check(name: &str, value: &str, expected: HeaderRuleError) {
        assert_eq!(
            HeaderRule::new(HeaderAction::Set, name, value).unwrap_err(),
            expected
        );
    }

    #[test]
    fn bad_rules_are_refused() {
        check("A B", "v", HeaderRuleError::NameInvalid("A B".into()));
        check(
            "X-A",
            "a\r\nb: c",
            HeaderRuleError::ValueInvalid("X-A".into()),
        );
        check(
            "transfer-encoding",
            "x",
            HeaderRuleError::NameReserved("transfer-encoding".into()),
        );
        check(
            "X-A",
            "{client}",
            HeaderRuleError::PlaceholderUnknown("client".into()),
        );
    }
}
