//! Real servers as witnesses: each writes down what it made of a request, in its own words, as lines of seven parts
//! with tabs between them.

use super::{Program, RealOrigin, Role};

/// What a server saw of one request. Text is Latin-1, as in [`Recorded`](crate::Recorded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its X-Request-ID; none when the server could not read the request.
    pub id: String,
    pub method: String,
    /// As it came, not what the server made of it.
    pub target: String,
    pub host: String,
    /// The values of X-Marker in the way this server joins several, or the first one from nginx before 1.23.
    pub marker: String,
    /// How many bytes of the connection were this request, framing included, from those that count them.
    pub wire_bytes: Option<usize>,
    /// From those that read it; of one that is empty nothing is known.
    pub body: Option<Vec<u8>>,
}

impl RealOrigin {
    /// Starts it as a witness: it answers everything that it takes for a request.
    ///
    /// # Errors
    /// As [`RealOrigin::start`]; Go is none.
    pub fn start_witness(program: Program) -> anyhow::Result<Self> {
        Self::start_in(Role::Witness, program)
    }

    /// What a witness has written down so far.
    ///
    /// # Errors
    /// The log cannot be read, or it is not as described.
    pub fn sights(&self) -> anyhow::Result<Vec<Sight>> {
        let log = self.process.directory().join("seen.log");
        if !log.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read(log)?;
        // The last line may be half written.
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| parse_line(&line[..line.len() - 1], self.program))
            .collect()
    }
}

fn parse_line(line: &[u8], program: Program) -> anyhow::Result<Sight> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    let [id, method, target, host, marker, wire_bytes, body] = parts[..] else {
        anyhow::bail!("{} wrote {}", program.name(), line.escape_ascii());
    };
    let text = |part: &[u8]| {
        unescape(part)
            .into_iter()
            .map(char::from)
            .collect::<String>()
    };
    let target = text(target);
    let target = match program {
        // It has the line as it came, but of the target only what it made of it.
        Program::Apache => target.split(' ').nth(1).unwrap_or_default().to_owned(),
        _ => target,
    };
    Ok(Sight {
        id: text(id),
        method: text(method),
        target,
        host: text(host),
        marker: text(marker),
        wire_bytes: std::str::from_utf8(wire_bytes)?.parse().ok(),
        body: (body != b"-").then(|| unescape(body)),
    })
}

/// What nginx and Apache write for bytes that are not visible ASCII. `-` alone stands for nothing.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    if text == b"-" {
        return bytes;
    }
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        match tail {
            [b'x', high, low, tail @ ..] => {
                let digits = [*high, *low].map(char::from);
                let value = digits.map(|digit| digit.to_digit(16).unwrap_or_default() as u8);
                bytes.push((value[0] << 4) | value[1]);
                rest = tail;
            }
            [escaped, tail @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                rest = tail;
            }
            [] => {}
        }
    }
    bytes
}

pub(super) const NGINX_CONF: &str = include_str!("witness_nginx.conf");
pub(super) const APACHE_CONF: &str = include_str!("witness_apache.conf");
pub(super) const NODE_SERVER: &str = include_str!("witness.js");
pub(super) const PYTHON_SERVER: &str = include_str!("witness.py");
pub(super) const WSGI_APPLICATION: &str = include_str!("witness_wsgi.py");
/// Threads keep connections open; limits above those of Balance, so that a request is not refused for its size.
pub(super) const GUNICORN_OPTIONS: [&str; 16] = [
    "--worker-class",
    "gthread",
    "--threads",
    "16",
    "--keep-alive",
    "30",
    "--limit-request-line",
    "0",
    "--limit-request-field_size",
    "0",
    "--permit-unconventional-http-method",
    "--no-control-socket",
    "--log-level",
    "critical",
    "--worker-tmp-dir=/dev/shm",
    "application",
];

#[cfg(test)]
mod tests {
    use crate::{PATIENCE, Program, RawClient, RealOrigin, pause};
    use std::time::{Duration, Instant};

    /// Every witness tells the same of the same request.
    #[test]
    fn witnesses_tell_what_they_saw() {
        for program in Program::WITNESSES {
            if !program.is_available() {
                continue;
            }
            let origin = RealOrigin::start_witness(program).unwrap();
            let mut client = RawClient::connect(origin.addr()).unwrap();
            for (index, body) in [
                "Content-Length: 5\r\n\r\na\"\\\r\n",
                "Transfer-Encoding: chunked\r\n\r\n5\r\na\"\\\r\n\r\n0\r\n\r\n",
            ]
            .iter()
            .enumerate()
            {
                let request = format!(
                    "POST //a%2fb?c HTTP/1.1\r\nHost: h:1\r\nX-Request-ID: r{index}\r\nX-Marker: m\r\n{body}"
                );
                let response = client.exchange(&request).unwrap();
                assert_eq!(response.status, 200, "{program:?}: {}", response.text());
                assert_eq!(response.header("x-seen"), Some("m"), "{program:?}");
                let deadline = Instant::now() + PATIENCE;
                while origin.sights().unwrap().len() <= index {
                    assert!(Instant::now() < deadline, "{program:?} writes nothing");
                    pause(Duration::from_millis(2));
                }
                let sights = origin.sights().unwrap();
                let sight = &sights[index];
                assert_eq!(sight.id, format!("r{index}"), "{program:?}");
                assert_eq!(sight.method, "POST", "{program:?}");
                assert_eq!(sight.target, "//a%2fb?c", "{program:?}");
                assert_eq!(sight.host, "h:1", "{program:?}");
                assert_eq!(sight.marker, "m", "{program:?}");
                assert!(
                    sight.wire_bytes.is_none_or(|bytes| bytes == request.len()),
                    "{program:?}: {:?} of {}",
                    sight.wire_bytes,
                    request.len()
                );
                assert!(
                    sight.body.as_ref().is_none_or(|body| body == b"a\"\\\r\n"),
                    "{program:?}: {sight:?}"
                );
                assert!(
                    sight.wire_bytes.is_some() || sight.body.is_some(),
                    "{program:?}"
                );
            }
        }
    }
}
