//! Requests from bytes, as a strict backend reads them.

use std::io::Read;

use super::Recorded;
use crate::strict::{
    Framing, Head, StrictError, StrictReader, declared_framing, is_token, require, values,
};

impl Recorded {
    /// Reads all requests that these bytes are, one behind the other, as a strict backend would.
    ///
    /// # Errors
    /// It would refuse them, or they end in the middle of one.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, StrictError> {
        match Self::parse_until_error(bytes) {
            (requests, StrictError::Closed) => Ok(requests),
            (_, error) => Err(error),
        }
    }

    /// As [`Recorded::parse_all`], with what there is before the error: [`StrictError::Closed`] when the bytes end
    /// behind a request. The last one may be incomplete.
    pub fn parse_until_error(bytes: &[u8]) -> (Vec<Self>, StrictError) {
        let mut reader = StrictReader::new(bytes);
        let mut requests = Vec::new();
        loop {
            let (mut recorded, framing) = match read_request_head(&mut reader) {
                Ok(head) => head,
                Err(error) => return (requests, error),
            };
            let body = reader.read_body(framing);
            recorded.index = requests.len();
            recorded.raw = reader.take_log();
            recorded.is_complete = body.is_ok();
            match body {
                Ok(body) => {
                    recorded.body = body.bytes;
                    recorded.trailers = body.trailers;
                    requests.push(recorded);
                }
                Err(error) => {
                    requests.push(recorded);
                    return (requests, error);
                }
            }
        }
    }
}

/// Reads a head, and says how the body behind it is framed. Connection and index are left to who knows them.
pub(super) fn read_request_head<R: Read>(
    reader: &mut StrictReader<R>,
) -> Result<(Recorded, Framing), StrictError> {
    let head = reader.read_head()?;
    let (method, target, version) = parse_request_line(&head)?;
    let hosts = values(&head.fields, "host").len();
    require(hosts == 1 || (hosts == 0 && version == "HTTP/1.0"), || {
        format!("{hosts} Hosts")
    })?;
    let framing = declared_framing(&head.fields)?.unwrap_or(Framing::None);
    require(framing != Framing::Chunked || version == "HTTP/1.1", || {
        "Transfer-Encoding in HTTP/1.0".into()
    })?;
    let recorded = Recorded {
        method,
        target,
        version,
        fields: head.fields,
        raw: reader.log().to_vec(),
        ..Recorded::default()
    };
    Ok((recorded, framing))
}

fn parse_request_line(head: &Head) -> Result<(String, String, String), StrictError> {
    let line = &head.start_line;
    let bad = || StrictError::Malformed(format!("request line {line:?}"));
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return Err(bad());
    };
    let is_visible = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !is_visible || !matches!(*version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(bad());
    }
    Ok((
        (*method).to_owned(),
        (*target).to_owned(),
        (*version).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::Recorded;
    use crate::strict::StrictError;

    #[test]
    fn requests_one_behind_the_other() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
        let requests = Recorded::parse_all(bytes).unwrap();
        let seen: Vec<_> = requests
            .iter()
            .map(|request| (request.index, request.target.as_str(), request.text()))
            .collect();
        assert_eq!(seen, [(0, "/a", "x".to_owned()), (1, "/b", String::new())]);
        assert_eq!(
            requests
                .iter()
                .map(|request| request.raw.len())
                .sum::<usize>(),
            bytes.len()
        );
        assert_eq!(
            Recorded::parse_all(&bytes[..bytes.len() - 1]),
            Err(StrictError::Truncated)
        );
        let (requests, error) = Recorded::parse_until_error(&bytes[..bytes.len() - 1]);
        assert_eq!((requests.len(), error), (1, StrictError::Truncated));
        assert!(requests[0].is_complete);
    }
}
