//! A section checked against its table: typed values with their places. What was wrong is reported and
//! stands as `Invalid`, so that one mistake is one message and no default hides it.

use std::net::IpAddr;
use std::time::Duration;

use balance_core::{BackendAddress, HashKey, ListenAddress};
use ipnet::IpNet;

use crate::check::shown;
use crate::config::HostPattern;
use crate::diagnostics::{Diagnostics, Place, Spanned};
use crate::scalar::is_token;
use crate::table::Table;

/// A checked value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bool(bool),
    Text(String),
    Integer(i64),
    Number(f64),
    Size(u64),
    Duration(Duration),
    Listen(ListenAddress),
    Backend(BackendAddress),
    Network(IpNet),
    HashKey(HashKey),
    Host(HostPattern),
    List(Vec<Item>),
    Map(Vec<(Spanned<String>, Item)>),
    Block(Block),
    /// Reported already.
    Invalid,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A map that was checked against its table.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) table: &'static Table,
    pub(crate) place: Place,
    pub(crate) fields: Vec<Field>,
    /// Required keys that stand there under a name that is nearly theirs: unknown, which is said, but not missing.
    pub(crate) misspelt: Vec<&'static str>,
}

/// A key of a block that is present.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) key_place: Place,
    pub(crate) item: Item,
}

/// Reads one variant; anything else (absent, invalid) is `None`.
macro_rules! readers {
    ($( $(#[$doc:meta])* $name:ident: $variant:ident($type:ty); )*) => {
        #[allow(dead_code, reason = "both have a reader per variant; sections use what they need")]
        impl Item {
            $( $(#[$doc])* pub(crate) fn $name(&self) -> Option<&$type> {
                match &self.value { Value::$variant(value) => Some(value), _ => None }
            } )*
        }
        #[allow(dead_code, reason = "both have a reader per variant; sections use what they need")]
        impl Block {
            $( $(#[$doc])* pub(crate) fn $name(&self, key: &str) -> Option<&$type> {
                self.item(key)?.$name()
            } )*
        }
    };
}

readers! {
    bool: Bool(bool);
    text: Text(str);
    integer: Integer(i64);
    number: Number(f64);
    size: Size(u64);
    duration: Duration(Duration);
    listen: Listen(ListenAddress);
    backend: Backend(BackendAddress);
    network: Network(IpNet);
    hash_key: HashKey(HashKey);
    host: Host(HostPattern);
    block: Block(Block);
}

impl Block {
    /// A section that nobody wrote.
    pub(crate) fn absent(table: &'static Table, place: Place) -> Self {
        Self {
            table,
            place,
            fields: Vec::new(),
            misspelt: Vec::new(),
        }
    }

    pub(crate) fn field(&self, key: &str) -> Option<&Field> {
        debug_assert!(
            self.table.key(key).is_some(),
            "`{key}` is not in the table of {}",
            self.table.name
        );
        self.fields.iter().find(|field| field.name == key)
    }

    pub(crate) fn item(&self, key: &str) -> Option<&Item> {
        self.field(key).map(|field| &field.item)
    }

    /// Whether the key is present, valid or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.field(key).is_some()
    }

    /// The place of the key itself, for a message about the whole of it; else that of the block.
    pub(crate) fn key_place(&self, key: &str) -> &Place {
        self.field(key)
            .map_or(&self.place, |field| &field.key_place)
    }

    /// A text with its place.
    pub(crate) fn spanned_text(&self, key: &str) -> Option<Spanned<String>> {
        let item = self.item(key)?;
        Some(Spanned::new(item.text()?.to_owned(), item.place.clone()))
    }

    /// The items of a list; none when absent.
    pub(crate) fn list(&self, key: &str) -> &[Item] {
        match self.item(key).map(|item| &item.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// Whether the key has a list with nothing in it.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.item(key).map(|item| &item.value), Some(Value::List(items)) if items.is_empty())
    }

    /// The entries of a map; none when absent.
    pub(crate) fn map(&self, key: &str) -> &[(Spanned<String>, Item)] {
        match self.item(key).map(|item| &item.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// A map of field names and values; a name that is none is reported.
    pub(crate) fn fields(&self, key: &str, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        for (name, item) in self.map(key) {
            if !is_token(&name.value) {
                let message = format!("`{}` is not a field name", shown(&name.value));
                diagnostics.error(&name.place, message);
            } else if let Some(value) = item.text() {
                fields.push((name.value.clone(), value.to_owned()));
            }
        }
        fields
    }

    /// Whether a switchable block is in force.
    pub(crate) fn is_enabled(&self) -> bool {
        self.bool("enabled").copied().unwrap_or(true)
    }

    /// A block under a key, when it is there and in force.
    pub(crate) fn enabled_block(&self, key: &str) -> Option<&Self> {
        self.block(key).filter(|block| block.is_enabled())
    }
}

impl Item {
    /// Whether it asks for something: what "not supported yet" is said about.
    pub(crate) fn is_on(&self) -> bool {
        match &self.value {
            Value::Bool(on) => *on,
            Value::Integer(number) => *number != 0,
            Value::Number(number) => *number != 0.0,
            Value::Size(bytes) => *bytes != 0,
            Value::Duration(duration) => !duration.is_zero(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
            Value::Block(block) => !block.table.is_switchable() || block.is_enabled(),
            Value::Invalid => false,
            _ => true,
        }
    }
}

/// An address or a CIDR block; an address alone is a block of one.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
