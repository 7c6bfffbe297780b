//! From a connection to a backend to one under TLS.

use std::future::poll_fn;
use std::rc::Rc;

use balance_net::Stream;
use balance_tls::{ClientPolicy, TlsFault};

use super::records::RecordBuffers;
use super::stream::TlsStream;

/// Makes the handshake, within the deadline that the caller has for connecting. Who cannot be verified gets nothing
/// but an alert.
///
/// # Errors
/// Why the backend is not to be talked to.
pub(crate) async fn secure(
    policy: &ClientPolicy,
    stream: Stream,
    buffers: Rc<RecordBuffers>,
) -> Result<Box<TlsStream>, TlsFault> {
    let begun = policy.connect().map_err(|error| error.fault())?;
    let tls = TlsStream::connected(stream, begun, buffers).map_err(|error| error.fault())?;
    let mut tls = Box::new(tls);
    match poll_fn(|cx| tls.poll_handshake(cx)).await {
        Ok(()) => Ok(tls),
        Err(_) => Err(tls.fault().unwrap_or(TlsFault::BrokenOff)),
    }
}
