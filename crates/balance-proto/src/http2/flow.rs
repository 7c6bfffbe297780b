//! Flow control (RFC 9113 §5.2 and §6.9): one kind of window for what we may send, one for what we take.

use super::error::Violation;

/// What we may still send. Negative after the peer made its initial window smaller (RFC 9113 §6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) const fn new(octets: u32) -> Self {
        Self(octets as i64)
    }

    /// How many octets may be sent now.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `octets` were sent, at most [`SendWindow::available`].
    pub(super) fn take(&mut self, octets: usize) {
        self.0 = self.0.saturating_sub(octets as i64);
    }

    /// A WINDOW_UPDATE, or the difference of two initial windows.
    pub(super) fn change(&mut self, by: i64) -> Result<(), Violation> {
        let changed = self.0.saturating_add(by);
        if changed > WINDOW_MAX {
            return Err(Violation::WindowOverflow);
        }
        self.0 = changed;
        Ok(())
    }
}

/// What the peer may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    size: u32,
    left: u32,
    /// Used up by the peer and free again here, but not yet told.
    untold: u32,
}

impl ReceiveWindow {
    pub(super) const fn new(size: u32) -> Self {
        Self {
            size,
            left: size,
            untold: 0,
        }
    }

    /// A DATA frame of `octets`, padding included, begins.
    pub(super) fn take(&mut self, octets: u32) -> Result<(), Violation> {
        self.left = self
            .left
            .checked_sub(octets)
            .ok_or(Violation::WindowExceeded)?;
        Ok(())
    }

    /// `octets` need no room any more. The increment that is worth a WINDOW_UPDATE now: half a window, so that there are
    /// few of them and the peer never waits for one.
    pub(super) fn release(&mut self, octets: u32) -> Option<u32> {
        self.untold = self.untold.saturating_add(octets);
        if self.untold < self.size / 2 || self.untold == 0 {
            return None;
        }
        let increment = std::mem::take(&mut self.untold);
        self.left = self.left.saturating_add(increment);
        Some(increment)
    }
}

const WINDOW_MAX: i64 = 0x7fff_ffff;

/// The window of everything before any SETTINGS or WINDOW_UPDATE (RFC 9113 §6.9.2).
pub(super) const WINDOW_DEFAULT: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::{ReceiveWindow, SendWindow};
    use crate::http2::error::Violation;

    #[test]
    fn send_windows_may_be_negative_and_never_too_large() {
        let mut window = SendWindow::new(10);
        window.take(4);
        assert_eq!(window.available(), 6);
        window.change(-10).unwrap();
        assert_eq!(window.available(), 0);
        window.change(5).unwrap();
        assert_eq!(window.available(), 1);
        assert_eq!(window.change(0x7fff_ffff), Err(Violation::WindowOverflow));
        assert_eq!(window.change(0x7fff_fffe), Ok(()));
    }

    #[test]
    fn receive_windows_are_told_by_halves() {
        let mut window = ReceiveWindow::new(10);
        window.take(8).unwrap();
        assert_eq!(window.take(3), Err(Violation::WindowExceeded));
        assert_eq!(window.release(4), None);
        assert_eq!(window.release(1), Some(5));
        assert_eq!(window.release(3), None);
        window.take(7).unwrap();
        assert_eq!(window.take(1), Err(Violation::WindowExceeded));
        assert_eq!(window.release(0), None);
    }
}
