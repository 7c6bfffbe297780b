//! What happened on both sides, in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use balance_proto::{HeadEdits, HeadView};

/// Shared by everybody who takes part.
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<Inner>);

#[derive(Default)]
struct Inner {
    lines: RefCell<Vec<String>>,
    heads: RefCell<Vec<Head>>,
    waiting: RefCell<Vec<Waker>>,
}

/// A head as its receiver sees it.
struct Head {
    receiver: &'static str,
    fields: Vec<(String, String)>,
}

impl Journal {
    pub(crate) fn write(&self, line: String) {
        self.0.lines.borrow_mut().push(line);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lines.borrow().clone()
    }

    /// Ready once the line is there.
    pub(super) fn poll_line(&self, cx: &Context<'_>, line: &str) -> Poll<()> {
        if self.0.lines.borrow().iter().any(|seen| seen == line) {
            return Poll::Ready(());
        }
        self.0.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Keeps a head that is being sent, with its edits applied. Fields that only an encoder writes
    /// (framing, Host, Connection) do not exist in memory.
    pub(super) fn keep_head<V: HeadView>(
        &self,
        receiver: &'static str,
        view: &V,
        edits: &HeadEdits,
    ) {
        let received = (0..view.field_count())
            .filter(|index| !edits.is_dropped(*index))
            .map(|index| view.field(index))
            .filter(|field| !field.class.is_encoder_owned())
            .map(|field| (text(field.name), text(field.value)));
        let appended = edits
            .appended()
            .map(|(name, value)| (text(name), text(value)));
        self.keep_fields(receiver, received.chain(appended).collect());
    }

    pub(super) fn keep_fields(&self, receiver: &'static str, fields: Vec<(String, String)>) {
        self.0.heads.borrow_mut().push(Head { receiver, fields });
    }

    /// All values of a field in the last head that `receiver` was sent, joined by ` | `; `-` for none.
    pub(crate) fn field(&self, receiver: &str, name: &str) -> String {
        let heads = self.0.heads.borrow();
        let Some(head) = heads.iter().rfind(|head| head.receiver == receiver) else {
            return "no head".to_owned();
        };
        let values: Vec<&str> = head
            .fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() {
            "-".to_owned()
        } else {
            values.join(" | ")
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
