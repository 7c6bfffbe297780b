//! `balance reload`: the same as SIGHUP, but it waits for the result and tells it.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::console;
use super::process::{self, Method};

#[derive(Debug, clap::Args)]
pub(crate) struct ReloadArgs {
    /// How long to wait for the result, in seconds
    #[arg(long, default_value_t = 30)]
    timeout: u64,
}

/// Exits with 0 when the new configuration is in use and with 1 when the old one stayed.
pub(crate) fn run(args: &ReloadArgs, path: &str) -> ExitCode {
    let limit = Duration::from_secs(args.timeout);
    let answer = match process::ask(path, Method::POST, "/reload", Vec::new(), limit) {
        Ok(answer) => answer,
        Err(message) => {
            console::error(message);
            return ExitCode::FAILURE;
        }
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for problem in body["problems"].as_array().into_iter().flatten() {
        console::note(show_problem(problem));
    }
    match answer.status {
        200 => {
            console::line(format_args!("{path} is in use{}", show_changes(&body)));
            ExitCode::SUCCESS
        }
        422 => {
            console::error("not reloaded: the old configuration stays in use");
            ExitCode::FAILURE
        }
        status => {
            let reason = body["error"].as_str().unwrap_or("no reason given");
            console::error(format_args!("not reloaded ({status}): {reason}"));
            ExitCode::FAILURE
        }
    }
}

/// As `balance check` shows it.
fn show_problem(problem: &Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let mut shown = text("file").to_owned();
    if problem["line"] != 0 {
        shown.push_str(&format!(":{}:{}", problem["line"], problem["column"]));
    }
    shown.push_str(&format!(": {}: {}", text("severity"), text("message")));
    if let Some(help) = problem["help"].as_str() {
        shown.push_str(&format!("\n  help: {help}"));
    }
    shown
}

/// `, listeners +web (…) -old (…)` and so on; nothing when only rules have changed.
fn show_changes(body: &Value) -> String {
    let mut shown = String::new();
    for kind in ["listeners", "pools", "backends"] {
        let changes = [("+", &body[kind]["added"]), ("-", &body[kind]["removed"])];
        let names: Vec<String> = changes
            .into_iter()
            .flat_map(|(sign, list)| {
                let list = list.as_array().into_iter().flatten();
                list.filter_map(Value::as_str)
                    .map(move |name| format!("{sign}{name}"))
            })
            .collect();
        if !names.is_empty() {
            shown.push_str(&format!("; {kind} {}", names.join(" ")));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{show_changes, show_problem};

    #[test]
    fn what_changed_is_one_line() {
        let body = json!({
            "listeners": { "added": [], "removed": [], "kept": 1 },
            "backends": { "added": ["p/a (127.0.0.1:1)"], "removed": ["p/b (127.0.0.1:2)"], "kept": 0 },
        });
        assert_eq!(
            show_changes(&body),
            "; backends +p/a (127.0.0.1:1) -p/b (127.0.0.1:2)"
        );
        assert_eq!(show_changes(&json!({})), "");
    }

    #[test]
    fn a_problem_is_shown_as_check_shows_it() {
        let mut problem = json!({
            "severity": "error", "file": "a.yaml", "line": 3, "column": 7, "message": "m", "help": "h",
        });
        assert_eq!(show_problem(&problem), "a.yaml:3:7: error: m\n  help: h");
        problem["line"] = json!(0);
        problem["help"] = json!(null);
        assert_eq!(show_problem(&problem), "a.yaml: error: m");
    }
}
