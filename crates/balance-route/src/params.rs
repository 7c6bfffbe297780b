//! Parameters of a query and cookies, found where they lie in the head.
//!
//! Nothing is decoded: a route sees the octets that the backend sees, `%41` is not `A` and `+` is not a space. Of
//! several with one name the first counts. Both as nginx (`$arg_…`, `$cookie_…`) and Envoy do; names are compared with
//! their case, as Envoy and the recipients of such requests do and nginx does not.

/// The value of the first parameter with this name. A parameter without `=` has the empty value.
pub(crate) fn query_value<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').find_map(|parameter| {
        let (key, value) = split_at_equals(parameter).unwrap_or((parameter, &[]));
        (key == name).then_some(value)
    })
}

/// The value of the first cookie with this name in the `Cookie` lines of a head (RFC 6265 §4.2.1; RFC 9113 §8.2.3 lets
/// a client send several lines). Quotes are part of the value, as RFC 6265 §5.2 keeps them. What has no `=` is no cookie.
pub(crate) fn cookie_value<'h>(
    lines: impl Iterator<Item = &'h [u8]>,
    name: &[u8],
) -> Option<&'h [u8]> {
    let mut cookies = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    cookies.find_map(|cookie| {
        let (key, value) = split_at_equals(cookie)?;
        (key.trim_ascii() == name).then(|| value.trim_ascii())
    })
}

fn split_at_equals(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..at], &pair[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{cookie_value, query_value};

    fn check_query(query: &str, name: &str, expected: Option<&str>) {
        let found = query_value(query.as_bytes(), name.as_bytes());
        assert_eq!(found, expected.map(str::as_bytes), "{query} {name}");
    }

    #[test]
    fn the_first_parameter_of_a_name_as_it_was_sent() {
        check_query("", "a", None);
        check_query("a", "a", Some(""));
        check_query("a=", "a", Some(""));
        check_query("a=1", "a", Some("1"));
        check_query("b=2&a=1", "a", Some("1"));
        check_query("a=1&a=2", "a", Some("1"));
        check_query("a&a=2", "a", Some(""));
        check_query("aa=1&ba=2", "a", None);
        check_query("A=1", "a", None);
        check_query("%61=1", "a", None);
        check_query("%61=1", "%61", Some("1"));
        check_query("a=%31+2", "a", Some("%31+2"));
        check_query("a=b=c", "a", Some("b=c"));
        check_query("&&a=1&", "a", Some("1"));
        check_query("b;a=1", "a", None);
        check_query("b=?a=1", "a", None);
    }

    fn check_cookie(lines: &[&str], name: &str, expected: Option<&str>) {
        let found = cookie_value(lines.iter().map(|line| line.as_bytes()), name.as_bytes());
        assert_eq!(found, expected.map(str::as_bytes), "{lines:?} {name}");
    }

    #[test]
    fn the_first_cookie_of_a_name_in_any_line() {
        check_cookie(&[], "a", None);
        check_cookie(&[""], "a", None);
        check_cookie(&["a"], "a", None);
        check_cookie(&["a="], "a", Some(""));
        check_cookie(&["a=1"], "a", Some("1"));
        check_cookie(&["b=2; a=1"], "a", Some("1"));
        check_cookie(&["b=2;a=1"], "a", Some("1"));
        check_cookie(&["b=2 ;\ta = 1 "], "a", Some("1"));
        check_cookie(&["b=2", "a=1; a=3"], "a", Some("1"));
        check_cookie(&["a; a=1"], "a", Some("1"));
        check_cookie(&["A=1"], "a", None);
        check_cookie(&["a=\"1\""], "a", Some("\"1\""));
        check_cookie(&["a=b=c"], "a", Some("b=c"));
        check_cookie(&["ab=1, a=2"], "a", None);
    }
}
