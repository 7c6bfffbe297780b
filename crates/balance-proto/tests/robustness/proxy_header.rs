//! A row of proxy_headers.txt against the parser, fed the way it is fed on a connection: all bytes so far, again.

use balance_proto::proxy_protocol::{Origin, Progress, parse};

use crate::rows::{Row, expected};

pub(crate) fn check(row: &Row, pieces: &[&[u8]]) -> Result<(), String> {
    let mut received = Vec::new();
    let mut last = Ok(Progress::Partial);
    for piece in pieces {
        received.extend_from_slice(piece);
        let next = parse(&received);
        // A verdict stands, whatever follows.
        if last != Ok(Progress::Partial) && next != last {
            return Err(format!("{last:?} became {next:?}"));
        }
        last = next;
    }
    let found = match last {
        Ok(Progress::Partial) => "partial".to_owned(),
        Ok(Progress::Complete { origin, consumed }) => {
            if received[consumed..] != row.rest {
                return Err(format!("{consumed} bytes are taken for the header"));
            }
            format!("ok {}", shown(origin))
        }
        Err(error) => format!("closed error={error:?}"),
    };
    let expected = expected(row);
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found}, not {expected}"))
    }
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
