//! Standard error behind a queue: whoever logs never waits for who reads it. A pipe whose reader stands still
//! would else stop the first worker that has something to say, and with it its connections.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The end that is written to. Each write is one line, or several.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

impl LineQueue {
    /// Starts the thread that writes to `target`, for the life of the process.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, messages) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("balance-stderr".to_owned())
            .spawn(move || write_all(&messages, target, &counted))?;
        Ok(Self { sender, lost })
    }

    /// Waits until what was written before is out, or for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let (done, is_done) = sync_channel(1);
        // A full queue is one that nobody reads.
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            // Either way there is nothing left to do.
            let _ = is_done.recv_timeout(limit);
        }
    }
}

impl Write for &LineQueue {
    /// Takes all of it, or counts it as lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.sender.try_send(Message::Line(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn write_all(messages: &Receiver<Message>, mut target: impl Write, lost: &AtomicU64) {
    while let Ok(message) = messages.recv() {
        match message {
            // An error (a reader that has gone, a full disk) costs this line: there is nowhere to say so.
            Message::Line(line) => {
                if target.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
            // Who asked may have stopped waiting.
            Message::Flush(done) => drop(done.try_send(())),
        }
        let lines = lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(
                lines,
                "lines of this log were lost: it could not be written"
            );
        }
    }
}

/// A burst of this many lines waits for a slow reader.
const LINES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::{LINES_MAX, LineQueue};

    /// Writes to the test, and not before it says so.
    struct Gate {
        open: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv(); // open for good when the sender is gone
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stands_still() {
        let (open, is_open) = channel();
        let (written, lines) = channel();
        let queue = LineQueue::start(Gate {
            open: is_open,
            written,
        })
        .unwrap();
        let total = LINES_MAX + 100;
        for number in 0..total {
            (&queue).write_all(number.to_string().as_bytes()).unwrap();
        }
        queue.flush(Duration::from_millis(1));
        let lost = queue.lost.load(Ordering::Relaxed) as usize;
        // One line may have been taken out of the queue already.
        assert!((99..=100).contains(&lost), "{lost}");
        drop(open);
        let expected: Vec<_> = (0..total - lost)
            .map(|number| number.to_string().into_bytes())
            .collect();
        let lines: Vec<_> = lines.iter().take(expected.len()).collect();
        assert!(lines == expected, "those that were taken, in order");
        queue.flush(Duration::from_secs(20));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 0, "it was said");
    }
}
