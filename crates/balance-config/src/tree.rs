//! The YAML document as a tree with a place on every node. Subtrees are shared, so an alias costs one
//! pointer whatever it stands for.

use std::rc::Rc;
use std::sync::Arc;

use crate::diagnostics::Place;

/// A range in one source. Lines and columns count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) end_line: u32,
    pub(crate) end_column: u32,
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) span: Span,
    pub(crate) file: Arc<str>,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Scalar {
        text: Rc<str>,
        /// Unquoted, so that `null` and `~` mean nothing.
        plain: bool,
    },
    List(Rc<[Node]>),
    Map(Rc<[Entry]>),
}

/// One key of a map, in file order; merged keys come last.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// Where it is written.
    pub(crate) fn place(&self) -> Place {
        self.span.place(&self.file)
    }

    /// Whether it says nothing (YAML 1.2 core schema §10.3.2): an empty or `null` plain scalar.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            NodeKind::Scalar { text, plain } => {
                *plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            NodeKind::List(_) | NodeKind::Map(_) => false,
        }
    }

    /// The value of a key, when this is a map that has it.
    pub(crate) fn child(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            NodeKind::Map(entries) => entries
                .iter()
                .find(|entry| &*entry.key == key)
                .map(|entry| &entry.value),
            NodeKind::Scalar { .. } | NodeKind::List(_) => None,
        }
    }

    /// Whether it is a scalar that says exactly this.
    pub(crate) fn is_text(&self, expected: &str) -> bool {
        matches!(&self.kind, NodeKind::Scalar { text, .. } if &**text == expected)
    }

    /// The word for a message.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar { .. } if self.is_null() => "nothing",
            NodeKind::Scalar { .. } => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }
}

impl Span {
    /// The public form.
    pub(crate) fn place(self, file: &Arc<str>) -> Place {
        Place {
            file: Arc::clone(file),
            line: self.line,
            column: self.column,
            end_line: self.end_line,
            end_column: self.end_column,
        }
    }
}

impl From<&Place> for Span {
    fn from(place: &Place) -> Self {
        Self {
            line: place.line,
            column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
        }
    }
}
