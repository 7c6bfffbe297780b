//! What a section's table says: one row a key, with its type, default, limits and sentence. The checks
//! read it, and the JSON Schema and the reference are written from the same rows.

/// A section: a map with known keys.
#[derive(Debug)]
pub struct Table {
    /// The name in messages and in the reference.
    pub name: &'static str,
    pub doc: &'static str,
    /// The key that a scalar in place of the map sets: `metrics: ":9090"`.
    pub main: Option<&'static str>,
    pub keys: &'static [Key],
}

/// A row.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As one would write it; empty = none.
    pub default: &'static str,
    /// A value as one would write it, where neither the default nor the type gives one; empty = none.
    pub example: &'static str,
    pub doc: &'static str,
    pub required: bool,
    /// What is missing as long as using the key is an error ("not supported yet: …").
    pub later: Option<&'static str>,
    /// Values that one may expect to be known, and why they are not.
    pub refused: &'static [(&'static str, &'static str)],
}

/// The type and limits of a value.
#[derive(Debug)]
pub enum Kind {
    Bool,
    Text,
    /// A regular expression. What is none is told by whoever compiles it.
    Regex,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    /// `30%` or 0.3.
    Share,
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// Limits in milliseconds.
    Duration {
        min_ms: u64,
    },
    /// One of these words; the second list is known and not supported yet.
    Choice(&'static [&'static str], &'static [&'static str]),
    ListenAddress,
    BackendAddress,
    /// An address or a CIDR block.
    Network,
    /// `source-ip` or `header:NAME`.
    HashKey,
    /// A host name, `*.name` or `*`.
    Host,
    /// Begins with `/`.
    UrlPath,
    /// A token (RFC 9110 §5.6.2).
    Token,
    /// Without control characters.
    FieldValue,
    /// `true`, `false` or a text.
    BoolOrText,
    List(&'static Self),
    /// A list, or one item without brackets.
    OneOrMany(&'static Self),
    /// Any keys, these values.
    Map(&'static Self),
    Block(&'static Table),
}

impl Table {
    /// The row of a key.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether it has the key `enabled`, so that its presence alone switches it on.
    pub fn is_switchable(&self) -> bool {
        self.key("enabled").is_some()
    }
}

impl Key {
    /// An optional key.
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            example: "",
            doc,
            required: false,
            later: None,
            refused: &[],
        }
    }

    /// A key that must be there.
    pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            default: "",
            example: "",
            doc,
            required: true,
            later: None,
            refused: &[],
        }
    }

    /// A value as one would write it.
    pub(crate) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// Values that are refused, and what to do instead.
    pub(crate) const fn refuse(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        Self { refused, ..self }
    }

    /// The key is known, and switching it on is an error so far.
    pub(crate) const fn later(self, what: &'static str) -> Self {
        Self {
            later: Some(what),
            ..self
        }
    }
}

/// The row that every switchable section begins with.
pub(crate) const ENABLED: Key = Key::new(
    "enabled",
    Kind::Bool,
    "true",
    "Whether the section is in force. A section that is present is, unless this says false.",
);

/// Any count that fits 32 bits; 0 is mostly "unlimited".
pub(crate) const COUNT: Kind = Kind::Integer {
    min: 0,
    max: u32::MAX as i64,
};
/// A count that must be there.
pub(crate) const POSITIVE_COUNT: Kind = Kind::Integer {
    min: 1,
    max: 1_000_000,
};
/// A time that may be 0, which switches the deadline off.
pub(crate) const DURATION: Kind = Kind::Duration { min_ms: 0 };
/// A time that must be there.
pub(crate) const POSITIVE_DURATION: Kind = Kind::Duration { min_ms: 1 };
/// A whole year: above it a deadline is a mistake, and below it no clock arithmetic overflows.
pub(crate) const DURATION_MAX_MS: u64 = 365 * 24 * 3_600 * 1_000;
