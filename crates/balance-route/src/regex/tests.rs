use super::{PATTERN_BYTES_MAX, Regex, RegexError};

fn check(pattern: &str, takes: &[&str], leaves: &[&str]) {
    let regex = Regex::compile(pattern).unwrap();
    for text in takes {
        assert!(regex.is_match(text.as_bytes()), "{pattern} {text}");
    }
    for text in leaves {
        assert!(!regex.is_match(text.as_bytes()), "{pattern} {text}");
    }
}

#[test]
fn the_whole_text_must_match() {
    check("", &[""], &["/"]);
    check(
        "/v[0-9]+",
        &["/v1", "/v10"],
        &["/v", "/v1/", "x/v1", "/v1\n"],
    );
    check("^/v1$", &["/v1"], &["/v1/", "/v1\n"]);
    check("a|ab", &["a", "ab"], &["abb", "b"]);
    check("/(a|ab)(c|bcd)", &["/abcd", "/ac", "/abc"], &["/abcdd"]);
    check("(?i)/Api/.*", &["/api/", "/API/x"], &["/api"]);
    check(r"/\w+\b.*", &["/a-b", "/a"], &["/-"]);
    check("a^b", &[], &["ab", "a\nb"]);
    check("(?m)a$\n^b", &["a\nb"], &["ab"]);
}

#[test]
fn octets_not_letters() {
    let any = Regex::compile("/.").unwrap();
    assert!(any.is_match(b"/\xff"));
    assert!(!any.is_match("/é".as_bytes()), "two octets");
    check(r"\w", &["a", "_"], &["é"]);
    check("(?i)k", &["k", "K"], &["\u{212a}"]);
}

fn check_error(pattern: &str, expected: &str, wrong: &str) {
    match Regex::compile(pattern) {
        Err(RegexError::Syntax { reason, place }) => {
            assert_eq!(reason, expected, "{pattern}");
            assert_eq!(&pattern[place], wrong, "{pattern}");
        }
        other => unreachable!("{pattern}: {other:?}"),
    }
}

#[test]
fn a_mistake_has_its_place() {
    check_error("/a(b", "unclosed group", "(");
    check_error("/a[b", "unclosed character class", "[");
    check_error("/a)", "unopened group", ")");
    check_error("*a", "repetition operator missing expression", "");
    check_error(r"/\q", "unrecognized escape sequence", r"\q");
    check_error(r"/(a)\1", "backreferences are not supported", r"\1");
    check_error(
        "/(?!x)a",
        "look-around, including look-ahead and look-behind, is not supported",
        "(?!",
    );
    check_error(
        "/a{3,2}",
        "invalid repetition count range, the start must be <= the end",
        "{3,2}",
    );
    check_error("/[é]", "Unicode not allowed here", "é");
    let nested = "(".repeat(101) + &")".repeat(101);
    check_error(
        &nested,
        "exceed the maximum number of nested parentheses/brackets (100)",
        "()",
    );
}

#[test]
fn what_would_be_too_large_is_refused() {
    for pattern in [
        "(((a{1000}){1000}){1000}){1000}",
        "/.*a.{30}",
        "(/.{0,100}x.{0,100}){3}",
    ] {
        assert_eq!(
            Regex::compile(pattern),
            Err(RegexError::TooLarge),
            "{pattern}"
        );
    }
    let long = "a".repeat(PATTERN_BYTES_MAX);
    check(&long, &[&long], &[]);
    assert_eq!(
        Regex::compile(&(long + "a")),
        Err(RegexError::TooLong(PATTERN_BYTES_MAX + 1))
    );
    assert_eq!(
        Regex::compile(r"(?u:\b)"),
        Err(RegexError::UnicodeWordBoundary)
    );
}

#[test]
fn what_people_write_fits() {
    check(
        "/users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/.*)?",
        &["/users/01234567-89ab-cdef-0123-456789abcdef/x"],
        &["/users/01234567-89ab-cdef-0123-456789abcdeg"],
    );
    check(
        r".*\.(css|gif|ico|jpe?g|js|png|svg|webp|woff2?)",
        &["/a/b.jpeg", "/.js"],
        &["/a/b.jpeg/"],
    );
    check(
        "/(en|de|fr|es|it)/(shop|blog)/[^/]{1,64}/?",
        &["/de/shop/x/"],
        &["/de/shop//", "/pl/shop/x"],
    );
    check(
        r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63})+",
        &["a.b@c.d"],
        &["a@b"],
    );
    check(
        r".*(iPhone|Android).*Mobile.*",
        &["Mozilla (iPhone) Mobile/1"],
        &["Mobile iPhone"],
    );
}

/// Ten thousand of them are walked at random: what is not needed costs lines of memory, and those are the time.
#[test]
fn an_automaton_has_the_states_behind_the_prefix_and_the_octets_that_differ() {
    let check = |pattern: &str, cells: usize| {
        let regex = Regex::compile(pattern).unwrap();
        assert_eq!(regex.0.automaton.cells(), cells, "{pattern}");
    };
    // Rows: dead, behind the prefix, and one octet later, when the match is noticed. Columns: any octet, and the end.
    check("/a/long/text/that/is/compared/at/once", 3 * 2);
    // A line feed is another octet.
    check("/v1/.*", 4 * 3);
    // `/`, the digits, the seven letters, any other, and the end.
    check("/s/(users|teams)/[0-9]+", 15 * 11);
}

#[test]
fn all_that_matches_begins_with_the_prefix() {
    let check = |pattern: &str, prefix: &str| {
        let regex = Regex::compile(pattern).unwrap();
        assert_eq!(regex.prefix(), prefix.as_bytes(), "{pattern}");
    };
    check("/v1/users/[0-9]+", "/v1/users/");
    check("^/v1/.*$", "/v1/");
    check("/v1", "/v1");
    check("/(abc|abd)x", "/ab");
    check("(/a)?/b", "/");
    check(".*", "");
    check("(?i)/v1", "/");
    check("/a|b", "");
}

#[test]
fn all_below_a_text() {
    let check = |pattern: &str, begin: &str, expected: bool| {
        let regex = Regex::compile(pattern).unwrap();
        let seen = regex.takes_all_below(begin.as_bytes());
        assert_eq!(seen, expected, "{pattern} {begin}");
    };
    check(".*", "", true);
    check(".+", "", false);
    check("/.*", "/", true);
    check("/.*", "", false);
    check("/v[0-9]/.*", "/v1/", true);
    check("/v[0-9]/.*", "/v1/users", true);
    check("/v[0-9]/.*", "/v1", false);
    check("/v[0-9](/.*)?", "/v1/", true);
    check("/v[0-9](/.*)?", "/v1", false);
    check("/[^x]*", "/", false);
    check("/(x|[^x])*", "/", true);
    check("/a", "/a", false);
    check("/.{0,9}", "/", false);
}
