//! Several files as one configuration.

use super::config::config_from;
use crate::{Config, MemorySources, load};

const MAIN: &str = "version: 2
listen: \":8080\"
mode: http
include: conf.d/*.yaml
backends: [{ name: a, address: \"127.0.0.1:1\" }]
http: { max_idle_conns_per_host: 5 }
";

fn files(files: &[(&str, &str)]) -> MemorySources {
    let none = MemorySources::default();
    files
        .iter()
        .fold(none, |sources, (name, text)| sources.with_file(name, *text))
}

/// All diagnostics but notes of the files, of which `b.yaml` is the main one.
fn check(named: &[(&str, &str)], expected: &[&str]) {
    let loaded = load(&files(named), "b.yaml");
    let seen: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .filter(|text| !text.contains(": note: "))
        .collect();
    assert_eq!(seen, expected, "{named:#?}");
    assert_eq!(
        loaded.config.is_some(),
        !seen.iter().any(|text| text.contains("error: "))
    );
}

fn names(config: &Config) -> (Vec<&str>, Vec<&str>) {
    (
        config.pools.iter().map(|pool| pool.name.as_str()).collect(),
        config
            .routes
            .iter()
            .map(|route| route.name.as_str())
            .collect(),
    )
}

#[test]
fn lists_are_joined_and_maps_merged_in_the_order_of_names() {
    let config = config_from(&files(&[
        ("b.yaml", MAIN),
        (
            "conf.d/20.yaml",
            "routes: [{ name: r20, pool: p }]\npools: { q: { backends: [\"b:1\"] } }\n",
        ),
        (
            "conf.d/10.yaml",
            "routes: [{ name: r10, pool: q }]\npools: { p: { backends: [\"b:1\"] } }\n\
             http: { idle_conn_timeout: 7s, routes: [{ name: flat }] }\nbackends: [\"c:1\"]\nvia_name:\n",
        ),
        ("conf.d/readme.txt", "not: [valid"),
    ]));
    let (pools, routes) = names(&config);
    assert_eq!(pools, ["default", "p", "q"]);
    assert_eq!(routes, ["flat", "r10", "r20"]);
    assert_eq!(config.idle.max_idle_conns_per_host, 5);
    assert_eq!(config.idle.idle_conn_timeout.as_secs(), 7);
    assert_eq!(config.pools[0].members.len(), 2);
    assert_eq!(&*config.routes[1].place.file, "conf.d/10.yaml");
}

#[test]
fn paths_are_relative_and_files_may_include_others() {
    let config = config_from(
        &files(&[
            (
                "/etc/b.yaml",
                "include: [a/one.yaml, /opt/two.yaml]\nlisten: \":1\"\nmode: http\n",
            ),
            (
                "/etc/a/one.yaml",
                "include: ../three.yaml\nbackends: [\"a:1\"]\n",
            ),
            ("/opt/two.yaml", "via_name: ${NAME}\n"),
            ("/etc/a/../three.yaml", "zone-unknown: 1\n"),
        ])
        .with_env("NAME", "edge")
        .with_file("b.yaml", "include: /etc/b.yaml\n"),
    );
    assert_eq!(config.via_name.as_deref(), Some("edge"));
    assert_eq!(config.pools[0].name, "default");
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    check(
        &[
            ("b.yaml", MAIN),
            (
                "conf.d/a.yaml",
                "lisen: 1\nmode: tcp\npools: { p: { backends: [x] } }\n",
            ),
            (
                "conf.d/b.yaml",
                "pools: { p: { backends: [\"y:1\"] } }\ntimeouts: { idle: 5 }\n",
            ),
        ],
        &[
            "conf.d/a.yaml:1:1: error: unknown key `lisen`\n  help: did you mean `listen`?",
            "conf.d/a.yaml:2:1: error: `mode` is set in two files\n  b.yaml:3:1: it is set here first\n  help: remove one of the two",
            "conf.d/a.yaml:3:26: error: `address`: the port is missing: write host:port\n  help: like `x:8080`",
            "conf.d/b.yaml:1:10: error: `p` is set in two files\n  conf.d/a.yaml:3:10: it is set here first\n  help: remove one of the two",
            "conf.d/b.yaml:2:19: error: `idle`: `5` has no unit\n  help: write `5s` for seconds or `5ms` for milliseconds",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_used_hides_no_other_mistake_and_makes_no_false_one() {
    check(
        &[
            (
                "b.yaml",
                "include: [c.yaml, none.yaml]\nlisten: \":1\"\nmode: htpp\nroutes: [{ name: r, pool: in-c }]\n",
            ),
            ("c.yaml", "pools: [\n"),
        ],
        &[
            "b.yaml:1:19: error: cannot read `none.yaml`: entity not found",
            "b.yaml:3:7: error: `mode`: `htpp` is not known\n  help: did you mean `http`?",
            "c.yaml:1:8: error: not valid YAML: unclosed bracket '['",
        ],
    );
}

#[test]
fn cycles_and_repetitions_are_refused() {
    let rest = "listen: \":1\"\nmode: tcp\nbackends: [\"a:1\"]\n";
    let with = |include: &str| format!("include: {include}\n{rest}");
    check(
        &[("b.yaml", &with("./b.yaml"))],
        &["b.yaml:1:10: error: `./b.yaml` would include itself"],
    );
    check(
        &[
            ("b.yaml", &with("c.yaml")),
            ("c.yaml", "include: x/../b.yaml\n"),
        ],
        &["c.yaml:1:10: error: `x/../b.yaml` would include itself"],
    );
    check(
        &[("b.yaml", &with("[c.yaml, c*.yaml]")), ("c.yaml", "")],
        &[
            "b.yaml:1:19: error: `c.yaml` is included twice\n  b.yaml:1:11: it is included here first",
        ],
    );
    check(
        &[("b.yaml", &with("[\"*/c.yaml\", \"\"]"))],
        &[
            "b.yaml:1:11: error: `*/c.yaml` names no files",
            "b.yaml:1:23: error: `` names no files",
        ],
    );
    let chain: Vec<(String, String)> = (0..12)
        .map(|at| (format!("{at}.yaml"), format!("include: {}.yaml\n", at + 1)))
        .collect();
    let mut named: Vec<(&str, &str)> = chain
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let main = with("0.yaml");
    named.push(("b.yaml", &main));
    check(
        &named,
        &["6.yaml:1:10: error: more than 1000 files, or 8 inside one another"],
    );
}

#[test]
fn an_empty_folder_is_worth_a_note() {
    let loaded = load(&files(&[("b.yaml", MAIN)]), "b.yaml");
    assert!(loaded.config.is_some());
    assert_eq!(
        loaded.diagnostics[0].to_string(),
        "b.yaml:4:10: note: no file matches `conf.d/*.yaml`"
    );
}
