//! The seam to the admin API: control decides which addresses it is served on and by which rules, binds
//! them while it compiles, and hands them over when it publishes. Who serves is balance-admin's business.

use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixListener;

use crate::handle::ControlHandle;

/// What serves the admin API.
pub trait AdminServer {
    /// Serves exactly these from now on: a known address gets new rules, one that is missing is closed.
    /// Called inside control's runtime; it must not block.
    fn serve(&mut self, listeners: Vec<AdminListener>, control: &ControlHandle);
}

/// One address of the admin API.
#[derive(Debug)]
pub struct AdminListener {
    /// What it is known by over reloads.
    pub address: String,
    pub rules: AdminRules,
    /// Listening and non-blocking. `None`: as before, the server has it already.
    pub socket: Option<AdminSocketKind>,
}

/// A listening socket of the admin API.
#[derive(Debug)]
pub enum AdminSocketKind {
    Tcp(TcpListener),
    /// A file of mode 0600, or one whose folder decides.
    Unix(UnixListener),
}

/// What is served at an address, and to whom.
#[derive(Clone, Debug)]
pub struct AdminRules {
    /// Whether the whole API is here, or only health, readiness, version and metrics.
    pub api: bool,
    /// Whether profiles are here.
    pub profiling: bool,
    /// Where the metrics are, if here.
    pub metrics_path: Option<String>,
    /// What a caller has to present for more than that.
    pub token: Option<Token>,
}

/// A bearer token. It is never shown, and compared in a time that does not depend on where it differs.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// Whether a caller may see more than health, readiness, version and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Granted,
    /// A token is configured, and the caller has none or another.
    TokenWrong,
    /// None is configured, and the caller is not on this machine.
    TokenMissing,
}

impl AdminRules {
    /// Who may call what. `peer` is `None` for a unix socket, whose file mode has decided already.
    ///
    /// Without a token the *caller* must be on loopback, not the listener: `admin: ":9090"` still answers
    /// `curl localhost:9090/pools` on the host itself.
    pub fn access(&self, peer: Option<IpAddr>, bearer: Option<&[u8]>) -> Access {
        let Some(peer) = peer else {
            return Access::Granted;
        };
        match &self.token {
            Some(token) if bearer.is_some_and(|bearer| token.matches(bearer)) => Access::Granted,
            Some(_) => Access::TokenWrong,
            None if peer.to_canonical().is_loopback() => Access::Granted,
            None => Access::TokenMissing,
        }
    }
}

impl Token {
    /// The contents of a token file without the white space around it. `None` when nothing is left.
    pub fn from_file(bytes: &[u8]) -> Option<Self> {
        let trimmed = bytes.trim_ascii();
        (!trimmed.is_empty()).then(|| Self(trimmed.to_vec()))
    }

    /// Takes as long for a wrong token as for the right one; only its length can be learned.
    fn matches(&self, other: &[u8]) -> bool {
        if self.0.len() != other.len() {
            return false;
        }
        let difference = self
            .0
            .iter()
            .zip(other)
            .fold(0_u8, |all, (a, b)| all | (a ^ b));
        // Without this the compiler may leave the loop early.
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, AdminRules, Token};

    #[test]
    fn access_depends_on_the_caller_and_the_token() {
        let check = |token: Option<&str>, peer: Option<&str>, bearer: Option<&str>, expected| {
            let rules = AdminRules {
                api: true,
                profiling: true,
                metrics_path: None,
                token: token.and_then(|token| Token::from_file(token.as_bytes())),
            };
            let peer = peer.map(|peer| peer.parse().unwrap());
            let seen = rules.access(peer, bearer.map(str::as_bytes));
            assert_eq!(seen, expected, "{token:?} {peer:?} {bearer:?}");
        };
        check(None, Some("127.0.0.1"), None, Access::Granted);
        check(None, Some("127.8.8.8"), None, Access::Granted);
        check(None, Some("::1"), None, Access::Granted);
        check(None, Some("::ffff:127.0.0.1"), None, Access::Granted);
        check(None, Some("10.0.0.1"), None, Access::TokenMissing);
        check(None, Some("10.0.0.1"), Some("x"), Access::TokenMissing);
        check(Some("x\n"), Some("10.0.0.1"), Some("x"), Access::Granted);
        check(Some("x"), Some("10.0.0.1"), Some("xx"), Access::TokenWrong);
        check(Some("x"), Some("127.0.0.1"), None, Access::TokenWrong);
        check(Some("x"), Some("127.0.0.1"), Some("y"), Access::TokenWrong);
        check(Some("x"), None, None, Access::Granted);
        assert!(Token::from_file(b" \n").is_none());
    }
}
