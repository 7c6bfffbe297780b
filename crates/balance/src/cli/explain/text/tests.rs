use balance_config::MemorySources;
use balance_control::{Explanation, Question, State, explain};

use super::{ROUTES_MAX, render};

/// Thirty routes that do not match, and then one that does.
fn explained() -> Explanation {
    let mut yaml = "\
version: 2
listeners: [ { name: web, listen: ':80', mode: http } ]
pools:
  p:
    backends: [ { name: a, address: 'a.test:80', max_connections: 9 }, { name: long, address: '10.0.0.2:80' } ]
routes:
"
    .to_owned();
    for n in 0..30 {
        yaml.push_str(&format!(
            "- {{ name: r{n}, match: {{ path: /r{n} }}, pool: p }}\n"
        ));
    }
    yaml.push_str("- { name: last, match: { path_prefix: /x }, pool: p }\n");
    let question = Question {
        url: Some("http://a.test/x".to_owned()),
        ..Question::default()
    };
    explain(&MemorySources::file("t.yaml", yaml), "t.yaml", &question).unwrap()
}

fn lines(explanation: &Explanation, all_routes: bool, part: &str) -> Vec<String> {
    let text = render(explanation, all_routes);
    let lines = text.lines().filter(|line| line.contains(part));
    lines.map(str::to_owned).collect()
}

#[test]
fn only_the_last_routes_are_shown_unless_all_are_asked_for() {
    let explanation = explained();
    assert_eq!(lines(&explanation, false, "✗").len(), ROUTES_MAX - 1);
    assert_eq!(
        lines(&explanation, false, "…"),
        ["routes    … 11 more that do not match: --all shows them"]
    );
    assert_eq!(lines(&explanation, true, "✗").len(), 30);
    assert!(lines(&explanation, true, "…").is_empty());
    for all_routes in [false, true] {
        assert_eq!(lines(&explanation, all_routes, "✓").len(), 1);
    }
}

#[test]
fn the_end_of_it_is_the_last_line() {
    let text = render(&explained(), false);
    assert_eq!(
        text.lines().last(),
        Some("→ would go to pool p, backend a (a.test:80)")
    );
}

#[test]
fn backends_are_shown_with_their_states() {
    let mut explanation = explained();
    explanation.source.generation = Some(3);
    let backends = &mut explanation.pool.as_mut().unwrap().backends;
    backends[0].resolved = vec!["192.0.2.1:80".to_owned(), "192.0.2.2:80".to_owned()];
    backends[0].state = Some(State {
        gate: "half_open".to_owned(),
        rest_left_ms: 1_500,
        failures: 4,
        in_flight: 1,
        slow_start_percent: None,
    });
    backends[1].resolved = vec!["10.0.0.2:80".to_owned()];
    backends[1].state = Some(State {
        gate: "pickable".to_owned(),
        rest_left_ms: 0,
        failures: 0,
        in_flight: 7,
        slow_start_percent: Some(40),
    });
    backends[1].excluded = Some("it drains".to_owned());
    let shown = lines(&explanation, false, "weight 1");
    let shown: Vec<&str> = shown
        .iter()
        .map(|line| line.split("  t.yaml:").next().unwrap().trim_end())
        .collect();
    assert_eq!(
        shown,
        [
            "backends  → a     a.test:80 = 192.0.2.1:80, 192.0.2.2:80  half-open for 1500ms after 4 failed, 1 in flight, at most 9 connections, weight 1",
            "            long  10.0.0.2:80  pickable, 7 in flight, at 40 % of its share (slow start), weight 1  ✗ it drains",
        ]
    );
    assert!(lines(&explanation, false, "states are unknown").is_empty());

    explanation.pool.as_mut().unwrap().backends[0]
        .resolved
        .clear();
    assert_eq!(
        lines(&explanation, false, "its name does not resolve").len(),
        1
    );
}

#[test]
fn what_a_request_contains_does_not_steer_the_terminal() {
    let mut explanation = explained();
    let request = explanation.request.as_mut().unwrap();
    request.path_and_query = "/\u{1b}[2J\u{9b}\r\nä".to_owned();
    explanation.verdict.text = "a\u{7}b".to_owned();
    let text = render(&explanation, false);
    assert!(
        text.contains("GET /\\u{1b}[2J\\u{9b}\\r\\nä  Host"),
        "{text}"
    );
    assert!(text.ends_with("→ a\\u{7}b\n"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}
