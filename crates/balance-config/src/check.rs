//! A tree held against the tables: unknown keys, types, ranges and what is not supported yet, all at
//! once. What several keys say together is the sections' and `resolve`'s business.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::rc::Rc;

use balance_core::{AddressError, BackendAddress, HashKey, ListenAddress};

use crate::alias::{self, Alias, Target};
use crate::config::HostPattern;
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::scalar;
use crate::suggest::{did_you_mean, nearest, translated};
use crate::table::{DURATION_MAX_MS, Key, Kind, Table};
use crate::tree::{Entry, Node, NodeKind};
use crate::value::{Block, Field, Item, Value, parse_network};

/// Checks trees against tables.
pub(crate) struct Checker<'d> {
    pub(crate) diagnostics: &'d mut Diagnostics,
    /// `version: 2`: unknown keys are errors.
    pub(crate) is_strict: bool,
    /// Inside a section that is an error as a whole: only real mistakes are worth a line there.
    pub(crate) is_later: bool,
}

impl Checker<'_> {
    /// A section: a map, or a scalar where the table has a main key.
    pub(crate) fn block(&mut self, node: &Node, table: &'static Table) -> Option<Block> {
        let mut block = Block::absent(table, node.place());
        match &node.kind {
            NodeKind::Map(entries) => self.entries(entries, &mut block),
            // `metrics: off`, `metrics: ":9090"`.
            NodeKind::Scalar { text, .. } if scalar_key(table, text).is_some() => {
                let key = scalar_key(table, text)?;
                let item = self.key_value(node, key, &node.place());
                block.fields.push(Field {
                    name: key.name,
                    key_place: node.place(),
                    item,
                });
            }
            NodeKind::Scalar { .. } | NodeKind::List(_) => {
                let message = format!(
                    "`{}` takes keys and values, not {}",
                    table.name,
                    node.kind_name()
                );
                let keys: Vec<&str> = table.keys.iter().take(4).map(|key| key.name).collect();
                let help = format!("its keys are {} …", quoted(keys));
                self.diagnostics.error_help(&node.place(), message, help);
                return None;
            }
        }
        self.missing_keys(&block);
        Some(block)
    }

    fn entries(&mut self, entries: &Rc<[Entry]>, block: &mut Block) {
        let table = block.table;
        let was_later = self.is_later;
        // What is not supported yet asks for nothing in a section that is switched off.
        self.is_later |= table.is_switchable() && entries.iter().any(switches_off);
        for entry in entries.iter() {
            let Some(key) = self.key_of(entry, entries, block) else {
                continue;
            };
            // `null` is the default (config.md §3), as if the key were not there.
            if entry.value.is_null() {
                continue;
            }
            let item = self.key_value(&entry.value, key, &entry.key_place);
            block.fields.push(Field {
                name: key.name,
                key_place: entry.key_place.clone(),
                item,
            });
        }
        self.is_later = was_later;
        if table.is_switchable() && !block.has("enabled") && !self.is_strict && !self.is_later {
            let message = format!(
                "`{}` is in force because it is present; `enabled: true` would say so",
                table.name
            );
            self.diagnostics.note(&block.place, message);
        }
    }

    /// The row of an entry, also under an old name. `None` when there is nothing to read, and that is said.
    fn key_of(
        &mut self,
        entry: &Entry,
        entries: &[Entry],
        block: &mut Block,
    ) -> Option<&'static Key> {
        let table = block.table;
        if let Some(key) = table.key(&entry.key) {
            return Some(key);
        }
        let mut aliases = alias::aliases_of(table);
        match aliases.find(|alias| alias.name == &*entry.key) {
            Some(alias) => self.key_of_alias(alias, entry, entries, table),
            None => {
                self.unknown_key(entry, entries, block);
                None
            }
        }
    }

    fn key_of_alias(
        &mut self,
        alias: &Alias,
        entry: &Entry,
        entries: &[Entry],
        table: &'static Table,
    ) -> Option<&'static Key> {
        if entry.value.is_null() {
            return None;
        }
        let Target::Key(target) = alias.target else {
            // What belongs into another section was moved there; the rest is nothing here.
            let message = format!("`{}` has no effect here", alias.name);
            self.diagnostics.warning(&entry.key_place, message);
            return None;
        };
        alias::warn(alias.name, target, &entry.key_place, self.diagnostics);
        let mut others = entries.iter().filter(|other| !other.value.is_null());
        if let Some(other) = others.find(|other| &*other.key == target) {
            let message = format!("`{}` sets `{target}` a second time", alias.name);
            self.diagnostics.push(
                Diagnostic::new(Severity::Error, &entry.key_place, message)
                    .with_related(&other.key_place, "it is set here too")
                    .with_help("remove one of the two"),
            );
            return None;
        }
        table.key(target)
    }

    pub(crate) fn key_value(&mut self, node: &Node, key: &'static Key, key_place: &Place) -> Item {
        let was_later = self.is_later;
        self.is_later |= key.later.is_some();
        let item = match self.refused(node, key) {
            Some(refused) => refused,
            None => self.item(node, &key.kind, key.name),
        };
        self.is_later = was_later;
        if let Some(what) = key.later
            && item.is_on()
            && !self.is_later
        {
            self.not_yet(key_place, what);
        }
        item
    }

    /// A value that one may expect to be known.
    fn refused(&mut self, node: &Node, key: &'static Key) -> Option<Item> {
        let NodeKind::Scalar { text, .. } = &node.kind else {
            return None;
        };
        let (value, why) = key.refused.iter().find(|(value, _)| *value == &**text)?;
        let place = node.place();
        let message = format!("`{}`: `{value}` is refused", key.name);
        self.diagnostics.error_help(&place, message, *why);
        Some(Item {
            value: Value::Invalid,
            place,
        })
    }

    fn not_yet(&mut self, place: &Place, what: &str) {
        self.diagnostics.error_help(
            place,
            format!("not supported yet: {what}"),
            "remove it or switch it off; this version would not do what it says",
        );
    }

    fn unknown_key(&mut self, entry: &Entry, entries: &[Entry], block: &mut Block) {
        let table = block.table;
        if table.name == ROOT_NAME && entry.key.starts_with("x-") {
            return; // A place of the user's own, for anchors.
        }
        let names = table.keys.iter().map(|key| key.name);
        let near = self.diagnostics.nearest(&entry.key, names);
        let elsewhere = self.diagnostics.elsewhere(&entry.key, near, table);
        let meant = near.filter(|_| elsewhere.is_none());
        let required = meant
            .and_then(|name| table.key(name))
            .filter(|key| key.required && entries.iter().all(|other| &*other.key != key.name));
        block.misspelt.extend(required.map(|key| key.name));
        let severity = if self.is_strict || required.is_some() {
            Severity::Error
        } else {
            Severity::Warning
        };
        let message = if table.name == ROOT_NAME {
            format!("unknown key `{}`", shown(&entry.key))
        } else {
            format!("unknown key `{}` in `{}`", shown(&entry.key), table.name)
        };
        let mut diagnostic = Diagnostic::new(severity, &entry.key_place, message);
        diagnostic.help = meant.map(|name| match required {
            Some(_) => format!("{} It is required", did_you_mean(name)),
            None => did_you_mean(name),
        });
        diagnostic.help = diagnostic
            .help
            .or_else(|| elsewhere.as_deref().map(did_you_mean));
        self.diagnostics.push(diagnostic);
    }

    fn missing_keys(&mut self, block: &Block) {
        for key in block.table.keys.iter().filter(|key| key.required) {
            if !block.has(key.name) && !block.misspelt.contains(&key.name) {
                let message = format!("`{}` is missing in `{}`", key.name, block.table.name);
                self.diagnostics.error_help(&block.place, message, key.doc);
            }
        }
    }

    fn item(&mut self, node: &Node, kind: &'static Kind, name: &str) -> Item {
        let value = match kind {
            Kind::Block(table) => self.block(node, table).map_or(Value::Invalid, Value::Block),
            Kind::List(inner) => self.list(node, inner, name, false),
            Kind::OneOrMany(inner) => self.list(node, inner, name, true),
            Kind::Map(inner) => self.map(node, inner, name),
            _ => self.scalar(node, kind, name),
        };
        Item {
            value,
            place: node.place(),
        }
    }

    fn list(
        &mut self,
        node: &Node,
        inner: &'static Kind,
        name: &str,
        one_is_enough: bool,
    ) -> Value {
        match &node.kind {
            NodeKind::List(items) => Value::List(
                items
                    .iter()
                    .map(|item| self.item(item, inner, name))
                    .collect(),
            ),
            NodeKind::Scalar { .. } | NodeKind::Map(_) if one_is_enough => {
                Value::List(vec![self.item(node, inner, name)])
            }
            NodeKind::Scalar { .. } | NodeKind::Map(_) => {
                let message = format!("`{name}` takes a list, not {}", node.kind_name());
                self.diagnostics.error_help(
                    &node.place(),
                    message,
                    "put `- ` in front of each item, or all of them into `[ ]`",
                );
                Value::Invalid
            }
        }
    }

    fn map(&mut self, node: &Node, inner: &'static Kind, name: &str) -> Value {
        let NodeKind::Map(entries) = &node.kind else {
            let message = format!(
                "`{name}` takes a map of names to values, not {}",
                node.kind_name()
            );
            self.diagnostics.error(&node.place(), message);
            return Value::Invalid;
        };
        let entries = entries.iter().map(|entry| {
            let key = Spanned::new((*entry.key).to_owned(), entry.key_place.clone());
            let item = self.item(&entry.value, inner, &entry.key);
            (key, item)
        });
        Value::Map(entries.collect())
    }

    fn scalar(&mut self, node: &Node, kind: &'static Kind, name: &str) -> Value {
        let NodeKind::Scalar { text, .. } = &node.kind else {
            let message = format!(
                "`{name}` takes {}, not {}",
                expectation(kind),
                node.kind_name()
            );
            self.diagnostics.error(&node.place(), message);
            return Value::Invalid;
        };
        if node.is_null() {
            let message = format!("`{name}` takes {}, and nothing is here", expectation(kind));
            self.diagnostics.error(&node.place(), message);
            return Value::Invalid;
        }
        match self.parse(text, kind, name, &node.place()) {
            Ok(value) => value,
            Err(problem) => {
                let mut diagnostic = Diagnostic::new(
                    Severity::Error,
                    &node.place(),
                    format!("`{name}`: {}", problem.0),
                );
                diagnostic.help = problem.1;
                self.diagnostics.push(diagnostic);
                Value::Invalid
            }
        }
    }

    fn parse(&mut self, text: &str, kind: &'static Kind, name: &str, place: &Place) -> Parsed {
        match kind {
            Kind::Bool => self.parse_bool(text, place),
            Kind::BoolOrText => match scalar::parse_bool(text) {
                Some(_) => self.parse_bool(text, place),
                None => Ok(Value::Text(text.to_owned())),
            },
            Kind::Choice(now, later) => {
                if later.contains(&text) {
                    if !self.is_later {
                        self.not_yet(place, &format!("`{name}: {text}`"));
                    }
                    return Ok(Value::Invalid);
                }
                parse_choice(text, now, later)
            }
            _ => parse_value(text, kind),
        }
    }

    fn parse_bool(&mut self, text: &str, place: &Place) -> Parsed {
        let (on, is_yaml_1_1) =
            scalar::parse_bool(text).ok_or_else(|| not_a(text, "true or false"))?;
        if is_yaml_1_1 {
            let message = format!("`{text}` is read as {on}; YAML 1.2 knows only true and false");
            self.diagnostics.warning(place, message);
        }
        Ok(Value::Bool(on))
    }
}

fn switches_off(entry: &Entry) -> bool {
    let NodeKind::Scalar { text, .. } = &entry.value.kind else {
        return false;
    };
    &*entry.key == "enabled" && matches!(scalar::parse_bool(text), Some((false, _)))
}

/// The key that a scalar in place of a section sets: the switch, or the main key.
fn scalar_key(table: &'static Table, text: &str) -> Option<&'static Key> {
    match table.key("enabled") {
        Some(switch) if scalar::parse_bool(text).is_some() => Some(switch),
        _ => table.main.and_then(|name| table.key(name)),
    }
}

/// A value, or what is wrong and what to do.
pub(crate) type Parsed = Result<Value, (String, Option<String>)>;

fn parse_value(text: &str, kind: &Kind) -> Parsed {
    let plain = |fits: bool, value: Value| {
        if fits {
            Ok(value)
        } else {
            Err(not_a(text, expectation(kind)))
        }
    };
    match kind {
        Kind::Integer { min, max } => {
            let number =
                scalar::parse_integer(text).ok_or_else(|| not_a(text, "a whole number"))?;
            in_range(number, *min, *max).map(Value::Integer)
        }
        Kind::Number { min, max } => {
            let number = scalar::parse_number(text).ok_or_else(|| not_a(text, "a number"))?;
            in_range(number, *min, *max).map(Value::Number)
        }
        Kind::Share => {
            let share = scalar::parse_share(text).ok_or_else(|| not_a(text, expectation(kind)))?;
            let help = format!("{}; 100% is the whole", expectation(kind));
            let in_range = in_range(share, 0.0, 1.0).map(Value::Number);
            in_range.map_err(|(message, _)| (message, Some(help)))
        }
        Kind::Size { min, max } => {
            let bytes = scalar::parse_size(text).map_err(|error| (error.message, error.help))?;
            in_range(bytes, *min, *max).map(Value::Size)
        }
        Kind::Duration { min_ms } => parse_duration(text, *min_ms),
        Kind::ListenAddress => parse_listen(text),
        Kind::BackendAddress => BackendAddress::parse(text)
            .map(Value::Backend)
            .map_err(|error| address_problem(text, &error)),
        Kind::Network => parse_network(text)
            .map(Value::Network)
            .ok_or_else(|| not_a(text, expectation(kind))),
        Kind::HashKey => parse_hash_key(text),
        Kind::Host => parse_host(text),
        Kind::UrlPath => parse_url_path(kind, text),
        Kind::Token => plain(scalar::is_token(text), Value::Text(text.to_owned())),
        Kind::FieldValue => plain(scalar::is_field_value(text), Value::Text(text.to_owned())),
        // The rest was taken apart by the caller.
        _ => Ok(Value::Text(text.to_owned())),
    }
}

fn parse_choice(text: &str, now: &[&'static str], later: &[&'static str]) -> Parsed {
    if now.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    let known = || now.iter().chain(later).copied();
    let help = match (nearest(text, known()), translated(text, known())) {
        (_, Some(here)) => format!("what other proxies call `{text}` is {here} here"),
        (Some(candidate), None) => did_you_mean(candidate),
        (None, None) => format!("it is one of {}", quoted(now.iter().copied())),
    };
    Err((format!("`{}` is not known", shown(text)), Some(help)))
}

fn parse_duration(text: &str, min_ms: u64) -> Parsed {
    let duration = scalar::parse_duration(text).map_err(|error| (error.message, error.help))?;
    if duration.as_millis() > u128::from(DURATION_MAX_MS) {
        return Err((format!("`{text}` is more than a year"), None));
    }
    if duration.as_nanos() < u128::from(min_ms) * 1_000_000 {
        return Err((
            format!("`{text}` is too short"),
            Some(format!("at least {min_ms}ms")),
        ));
    }
    Ok(Value::Duration(duration))
}

fn parse_listen(text: &str) -> Parsed {
    ListenAddress::parse(text)
        .map(Value::Listen)
        .map_err(|error| {
            let is_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match error {
                AddressError::PortMissing if is_port => (
                    format!("`{text}` is a port without an address"),
                    Some(format!(
                        "write `\":{text}\"` for all addresses, or `\"127.0.0.1:{text}\"`"
                    )),
                ),
                AddressError::HostInvalid(host) => (
                    format!("`{}` is not an IP address to listen on", shown(&host)),
                    Some("write an address of this machine, or `:port` for all of them".to_owned()),
                ),
                _ => address_problem(text, &error),
            }
        })
}

fn address_problem(text: &str, error: &AddressError) -> (String, Option<String>) {
    let help = match error {
        AddressError::PortMissing => {
            Some(format!("like `{}:8080`", shown(text.trim_end_matches(':'))))
        }
        AddressError::BracketsMissing(_) => with_brackets(text),
        _ if text.contains("://") => Some("without a scheme: `host:port`".to_owned()),
        _ => None,
    };
    (error.to_string(), help)
}

/// `::1:9002` is an address as a whole, and mostly meant is one with a port.
fn with_brackets(text: &str) -> Option<String> {
    let (ip, port) = text.rsplit_once(':')?;
    let is_meant = ip.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok();
    is_meant.then(|| did_you_mean(&format!("[{ip}]:{port}")))
}

fn parse_hash_key(text: &str) -> Parsed {
    if text == "source-ip" {
        return Ok(Value::HashKey(HashKey::SourceIp));
    }
    match text.strip_prefix("header:").map(str::trim) {
        Some(name) if scalar::is_token(name) => {
            Ok(Value::HashKey(HashKey::Header(name.to_ascii_lowercase())))
        }
        _ => Err(not_a(text, "`source-ip` or `header:NAME`")),
    }
}

/// Case, port and trailing dot do not matter (config.md §3), so they are gone here already.
pub(crate) fn parse_host(text: &str) -> Parsed {
    let lower = text.to_ascii_lowercase();
    let without_port = match lower.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => &lower,
    };
    let host = without_port.strip_suffix('.').unwrap_or(without_port);
    if host == "*" {
        return Ok(Value::Host(HostPattern::Any));
    }
    let (under, name) = match host.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, host),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) || name.starts_with('.') {
        let message = format!("`{}` is not a host", shown(text));
        return Err((
            message,
            Some("write `name.example`, `*.example` or `*`".to_owned()),
        ));
    }
    let name = name.to_owned();
    Ok(Value::Host(if under {
        HostPattern::Under(name)
    } else {
        HostPattern::Exact(name)
    }))
}

fn in_range<T: PartialOrd + Display>(
    number: T,
    min: T,
    max: T,
) -> Result<T, (String, Option<String>)> {
    if number < min || number > max {
        let message = format!("{number} is outside {min} to {max}");
        return Err((message, None));
    }
    Ok(number)
}

fn parse_url_path(kind: &Kind, text: &str) -> Result<Value, (String, Option<String>)> {
    let is_printable = text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if is_printable && text.starts_with('/') {
        return Ok(Value::Text(text.to_owned()));
    }
    let (message, _) = not_a(text, expectation(kind));
    let help = is_printable.then(|| format!("did you mean `/{}`?", shown(text)));
    Err((message, help))
}

fn not_a(text: &str, what: &str) -> (String, Option<String>) {
    (format!("`{}` is not {what}", shown(text)), None)
}

/// The words for "takes …" and "is not …".
fn expectation(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Regex => "a regular expression",
        Kind::Text | Kind::FieldValue => "a text without control characters",
        Kind::Integer { .. } => "a whole number",
        Kind::Number { .. } => "a number",
        Kind::Share => "a share like 30% or 0.3",
        Kind::Size { .. } => "a size like 64KiB",
        Kind::Duration { .. } => "a duration like 30s",
        Kind::Choice(..) => "a word",
        Kind::ListenAddress | Kind::BackendAddress => "an address like host:port",
        Kind::Network => "an IP address or a block like 10.0.0.0/8",
        Kind::HashKey => "`source-ip` or `header:NAME`",
        Kind::Host => "a host name",
        Kind::UrlPath => "a path that begins with `/`",
        Kind::Token => "a name of letters, digits and `-`",
        Kind::BoolOrText => "true, false or a text",
        Kind::List(_) | Kind::OneOrMany(_) => "a list",
        Kind::Map(_) | Kind::Block(_) => "a map",
    }
}

/// A user's text in a message: not longer than one wants to read, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let clean = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    let mut short: String = text.chars().take(CHARS_MAX).map(clean).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// "`a`, `b`, `c`".
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The table of the file itself, whose name no message shows.
pub(crate) const ROOT_NAME: &str = "the file";
