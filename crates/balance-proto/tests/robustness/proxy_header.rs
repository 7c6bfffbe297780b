//! A row of proxy_headers.txt against the parser, fed the way it is fed on a connection: all bytes so far, again.

use balance_proto::proxy_protocol::{Origin, Progress, parse};

use crate::rows::{Row, compare, fed};

pub(crate) fn check(row: &Row, pieces: &[&[u8]]) -> Result<(), String> {
    let found = match fed(pieces, Ok(Progress::Partial), parse)? {
        Ok(Progress::Partial) => "partial".to_owned(),
        Ok(Progress::Complete { origin, consumed }) => {
            if pieces.concat()[consumed..] != row.rest {
                return Err(format!("{consumed} bytes are taken for the header"));
            }
            format!("ok {}", shown(origin))
        }
        Err(error) => format!("closed error={error:?}"),
    };
    compare(row, &found)
}

fn shown(origin: Origin) -> String {
    match origin {
        Origin::Local => "origin=local".to_owned(),
        Origin::Unknown => "origin=unknown".to_owned(),
        Origin::Client(ends) => {
            format!(
                "destination={} source={}",
                ends.destination(),
                ends.source()
            )
        }
    }
}
