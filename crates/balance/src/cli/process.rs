//! A question to the process that runs with a configuration.

use std::path::Path;
use std::time::Duration;

use balance_admin::{Answer, call};
use balance_control::find_admin_socket;
use tokio::runtime::Builder;

pub(crate) use balance_admin::Method;

/// Asks over the admin socket that belongs to the configuration at `path`.
///
/// # Errors
/// One line: nobody runs with it, or nobody answers.
pub(crate) fn ask(
    path: &str,
    method: Method,
    target: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<Answer, String> {
    let socket = find_admin_socket(Path::new(path)).ok_or_else(|| {
        format!("no Balance runs with {path} (as this user): start it, or name its configuration with `-c FILE`")
    })?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let answer = runtime.block_on(call(&socket, method, target, body, limit));
    answer.map_err(|error| format!("{}: {error}", socket.display()))
}
