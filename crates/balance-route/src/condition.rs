//! Conditions on what a request carries under a name: headers, parameters of the query, cookies.

use std::fmt;

use crate::regex::Regex;

/// A header, parameter or cookie of this name must be as `value` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatch {
    /// That of a header in lower case, any other as requests send it.
    pub name: String,
    pub value: ValueMatch,
}

/// What must stand under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// These octets.
    Exact(String),
    /// A value that matches as a whole.
    Regex(Regex),
    /// Any value, the empty one too.
    Present,
    /// Nothing of this name.
    Absent,
}

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Its position in [`RouteSpec::headers`](crate::RouteSpec::headers), `query` or `cookies`.
    pub position: usize,
    pub got: Got,
}

/// What the request has under the name of a condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Nothing, where something is wanted.
    Nothing,
    /// Another value.
    OtherValue,
    /// Something, where nothing may be.
    Something,
}

impl ValueMatch {
    /// What the values of one name are instead of what is wanted; `None` if one of them is right.
    pub(crate) fn mismatch<'v>(&self, values: impl IntoIterator<Item = &'v [u8]>) -> Option<Got> {
        let mut values = values.into_iter().peekable();
        let is_there = values.peek().is_some();
        let is_met = match self {
            Self::Exact(wanted) => values.any(|value| value == wanted.as_bytes()),
            Self::Regex(regex) => values.any(|value| regex.is_match(value)),
            Self::Present => is_there,
            Self::Absent => !is_there,
        };
        let got = match (is_there, self) {
            (false, _) => Got::Nothing,
            (true, Self::Absent) => Got::Something,
            (true, _) => Got::OtherValue,
        };
        (!is_met).then_some(got)
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => f.write_str(value),
            Self::Regex(regex) => write!(f, "{{ regex: {regex} }}"),
            Self::Present => f.write_str("{ present: true }"),
            Self::Absent => f.write_str("{ present: false }"),
        }
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "is not there",
            Self::OtherValue => "has another value",
            Self::Something => "is there",
        })
    }
}
