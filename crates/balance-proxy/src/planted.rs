//! Panics on demand, for the end-to-end tests of what a panic may cost.
//!
//! A release build does not contain them: without `debug_assertions` [`panic_at`] is empty, and a test looks for
//! the variable's name in the binary. A debug build panics only where `BALANCE_PLANTED_PANICS` names the place,
//! and in an exchange only when the request asks for it too.

use balance_proto::RequestView;

/// Panics if this place is named in the environment, and `is_asked`.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "it is what this is for")]
pub(crate) fn panic_at(place: &str, is_asked: impl FnOnce() -> bool) {
    use std::sync::OnceLock;

    static PLACES: OnceLock<String> = OnceLock::new();
    let places = PLACES.get_or_init(|| std::env::var("BALANCE_PLANTED_PANICS").unwrap_or_default());
    if !places.is_empty() && places.split(',').any(|each| each == place) && is_asked() {
        panic!("planted at {place}");
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn panic_at(_: &str, _: impl FnOnce() -> bool) {}

/// As [`panic_at`], when this request has the field `X-Planted-Panic` with the place's name.
pub(crate) fn panic_for(place: &str, request: &impl RequestView) {
    panic_at(place, || {
        request.get(b"x-planted-panic") == Some(place.as_bytes())
    });
}

/// As [`panic_for`], where the request was not parsed yet.
pub(crate) fn panic_over(place: &str, input: &[u8]) {
    panic_at(place, || {
        let field = format!("X-Planted-Panic: {place}\r\n");
        let mut windows = input.windows(field.len());
        windows.any(|window| window == field.as_bytes())
    });
}
