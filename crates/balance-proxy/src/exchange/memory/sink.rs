//! Where messages go: to the journal, as fast as the receiver's script takes them.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use super::{Journal, Script};

/// What a receiver does with what it is sent. At the end of the script it takes everything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// One head, piece or end.
    One,
    /// It is gone: this write fails, and every other.
    Fails,
}

enum Frame {
    Head(String),
    Data(Vec<u8>),
    End,
}

pub(super) struct MemorySink {
    receiver: &'static str,
    journal: Journal,
    takes: Script<Takes>,
    kept: VecDeque<Frame>,
    is_blocked: bool,
    is_broken: bool,
    sent_bytes: u64,
}

impl MemorySink {
    pub(super) fn new(receiver: &'static str, journal: &Journal, takes: Script<Takes>) -> Self {
        Self {
            receiver,
            journal: journal.clone(),
            takes,
            kept: VecDeque::new(),
            is_blocked: false,
            is_broken: false,
            sent_bytes: 0,
        }
    }

    pub(super) fn add_head(&mut self, line: String) {
        self.kept.push_back(Frame::Head(line));
    }

    pub(super) fn kept_bytes(&self) -> usize {
        let lengths = self.kept.iter().map(|frame| match frame {
            Frame::Head(line) => line.len(),
            Frame::Data(bytes) => bytes.len(),
            Frame::End => 0,
        });
        lengths.sum()
    }

    pub(super) fn take_back_head(&mut self) {
        let last = self.kept.pop_back();
        assert!(
            matches!(last, Some(Frame::Head(_))),
            "only a head can be taken back"
        );
    }

    pub(super) fn push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        last: bool,
    ) -> io::Result<()> {
        // The contract of the sides: each direction holds at most one piece.
        let keeps_body = |frame: &Frame| !matches!(frame, Frame::Head(_));
        assert!(
            !self.kept.iter().any(keeps_body),
            "a second piece was pushed"
        );
        self.add_body(bytes, last);
        match self.poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            match self.takes.poll_next(cx, &self.journal) {
                Poll::Pending => {
                    self.is_blocked = true;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Takes::Fails)) => self.is_broken = true,
                Poll::Ready(Some(Takes::One) | None) => self.send_one(),
            }
        }
        self.is_blocked = false;
        Poll::Ready(Ok(()))
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// What was pushed of a body while nothing was sent.
    pub(super) fn unsent_body(&self) -> Option<Vec<u8>> {
        if self.sent_bytes != 0 {
            return None;
        }
        let mut body = Vec::new();
        for frame in &self.kept {
            match frame {
                Frame::Head(_) | Frame::End => {}
                Frame::Data(bytes) => body.extend_from_slice(bytes),
            }
        }
        Some(body)
    }

    pub(super) fn add_unsent(&mut self, body: &[u8], last: bool) {
        self.add_body(body, last);
    }

    fn add_body(&mut self, bytes: &[u8], last: bool) {
        if !bytes.is_empty() {
            self.kept.push_back(Frame::Data(bytes.to_vec()));
        }
        if last {
            self.kept.push_back(Frame::End);
        }
    }

    fn send_one(&mut self) {
        let (line, bytes) = match self.kept.pop_front() {
            None => return,
            Some(Frame::Head(line)) => (line, 1),
            Some(Frame::Data(bytes)) => (
                format!("[{}]", String::from_utf8_lossy(&bytes)),
                bytes.len(),
            ),
            Some(Frame::End) => ("end".to_owned(), 0),
        };
        self.sent_bytes += bytes as u64;
        self.journal.write(format!("{} got {line}", self.receiver));
    }
}
