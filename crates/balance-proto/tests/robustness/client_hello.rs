//! A row of client_hellos.txt against the parser, fed the way it is fed on a connection: all bytes so far, again.

use balance_proto::client_hello::{ClientHello, Progress, parse};

use crate::rows::{Row, compare, fed};

pub(crate) fn check(row: &Row, pieces: &[&[u8]]) -> Result<(), String> {
    let found = match fed(pieces, Ok(Progress::Partial), parse)? {
        Ok(Progress::Partial) => "partial".to_owned(),
        Ok(Progress::NotTls) => "ok tls=no".to_owned(),
        Ok(Progress::Complete(hello)) => format!("ok{}", shown(&hello)),
        Err(error) => format!("closed error={error:?}"),
    };
    compare(row, &found)
}

fn shown(hello: &ClientHello) -> String {
    let protocols = hello.protocols().map(String::from_utf8_lossy);
    let protocols = protocols.collect::<Vec<_>>().join(",");
    let mut text = String::new();
    if !protocols.is_empty() {
        text = format!(" alpn={protocols}");
    }
    if let Some(name) = hello.server_name() {
        text += &format!(" name={name}");
    }
    text
}
