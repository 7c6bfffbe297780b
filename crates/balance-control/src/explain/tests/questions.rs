//! Which listener a question means, and whether it fits.

use balance_config::MemorySources;

use super::{YAML, answered, explain, place_of, question};
use crate::explain::{FileError, QuestionError};

fn refused(text: &str) -> QuestionError {
    match explain(
        &MemorySources::file("t.yaml", YAML),
        "t.yaml",
        &question(text),
    ) {
        Err(FileError::Question(error)) => error,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_listener_is_found_by_url_or_name() {
    for (text, name, address) in [
        ("GET http://a.test:8080/", "web", ":8080"),
        ("http://127.0.0.2:81/", "inner", "127.0.0.2:81"),
        ("http://127.0.0.3:81/", "other", "127.0.0.3:81"),
        ("http://a.test/ | at inner", "inner", "127.0.0.1:81"),
        ("http://a.test:81/ | at inner", "inner", "127.0.0.1:81"),
        ("https://a.test/ | at web", "web", ":8080"),
        ("/path | Host: a.test | at web", "web", ":8080"),
        ("tcp://127.0.0.1:5432", "pg", "127.0.0.1:5432"),
        ("tcp://db.test", "pg", "127.0.0.1:5432"),
        (" | at pg", "pg", "127.0.0.1:5432"),
    ] {
        let listener = answered(text).listener;
        assert_eq!(
            (&*listener.name, &*listener.address),
            (name, address),
            "{text}"
        );
        assert_eq!(
            listener.place,
            place_of(&format!("name: {name},")),
            "{text}"
        );
        assert_eq!(listener.transport, "cleartext");
    }
}

#[test]
fn a_question_that_means_no_listener_lists_them() {
    let all = "\n  web    http  :8080\n  inner  http  127.0.0.1:81\n  inner  http  127.0.0.2:81\
               \n  other  http  127.0.0.3:81\n  pg     tcp   127.0.0.1:5432";
    for (text, message) in [
        ("http://a.test/ | at wep", "there is no listener `wep`"),
        (
            "http://a.test:82/",
            "no listener at port 82 speaks http: name one with `--listener`",
        ),
        (
            "http://a.test/",
            "several listeners could be meant: name one with `--listener`",
        ),
        (
            "http://a.test:81/",
            "several listeners could be meant: name one with `--listener`",
        ),
        (
            "/path",
            "several listeners could be meant: name one with `--listener`",
        ),
        (
            "tcp://a.test:8080",
            "no listener at port 8080 speaks tcp: name one with `--listener`",
        ),
        (
            "https://a.test/",
            "no listener speaks TLS: ask for http://, or name the listener behind whoever ends TLS with `--listener`",
        ),
    ] {
        assert_eq!(
            refused(text).to_string(),
            format!("{message}{all}"),
            "{text}"
        );
    }
}

#[test]
fn a_question_that_does_not_fit_its_listener_is_told() {
    for (text, message) in [
        (
            "",
            "say what to explain: METHOD URL, tcp://HOST:PORT, or the name of a listener",
        ),
        (
            " | at web",
            "listener `web` takes HTTP requests: say which one, METHOD and URL",
        ),
        (
            "tcp://a.test | at web",
            "listener `web` takes HTTP requests: say which one, METHOD and URL",
        ),
        (
            "GET http://a.test/ | at pg",
            "listener `pg` takes TCP sessions, which have no method, URL path or headers",
        ),
        (
            "/x | at pg",
            "listener `pg` takes TCP sessions, which have no method, URL path or headers",
        ),
        ("http:///x", "`http:///x` is not a URL with a host"),
        (
            "http://a.test:8080/ | A: b\r\n\r\nGET / HTTP/1.1",
            "what is asked is more than one request: there is an empty line in it",
        ),
    ] {
        assert_eq!(refused(text).to_string(), message, "{text}");
    }
}
