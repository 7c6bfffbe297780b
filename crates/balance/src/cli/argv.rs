//! The original's command line, rewritten into ours before it is parsed.
//!
//! The original took long flags with a single dash (`-config=balance.yaml`, `-version`), and its validator
//! was a program of its own (`balance-validate`).

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;

/// The arguments as `command` understands them. A single dash becomes two exactly in front of the name of a
/// long flag of `command` or one of its subcommands: `-c`, `-1` and unknown flags stay what they are.
pub(crate) fn rewrite(
    args: impl IntoIterator<Item = OsString>,
    command: &Command,
) -> Vec<OsString> {
    let mut flags = HashSet::from(["help".to_owned(), "version".to_owned()]);
    collect_flags(command, &mut flags);
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| OsString::from("balance"));
    let is_validator = Path::new(&program).file_name() == Some(OsStr::new("balance-validate"));

    let mut rewritten = vec![program];
    if is_validator {
        rewritten.push(OsString::from("check"));
    }
    let mut is_literal = false;
    for arg in args {
        is_literal |= arg == "--";
        rewritten.push(if is_literal {
            arg
        } else {
            rewrite_one(arg, &flags)
        });
    }
    rewritten
}

fn rewrite_one(arg: OsString, flags: &HashSet<String>) -> OsString {
    let Some(name_and_value) = arg.to_str().and_then(|text| text.strip_prefix('-')) else {
        return arg;
    };
    let name = name_and_value.split('=').next().unwrap_or_default();
    if name.len() > 1 && flags.contains(name) {
        OsString::from(format!("-{}", arg.display()))
    } else {
        arg
    }
}

fn collect_flags(command: &Command, flags: &mut HashSet<String>) {
    flags.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .map(str::to_owned),
    );
    for subcommand in command.get_subcommands() {
        collect_flags(subcommand, flags);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::rewrite;
    use crate::cli::Cli;

    fn check(args: &[&str], expected: &[&str]) {
        let rewritten = rewrite(args.iter().map(OsString::from), &Cli::command());
        let expected: Vec<OsString> = expected.iter().map(OsString::from).collect();
        assert_eq!(rewritten, expected, "{args:?}");
    }

    #[test]
    fn long_flags_with_one_dash_get_their_second() {
        check(
            &["balance", "-config=a.yaml"],
            &["balance", "--config=a.yaml"],
        );
        check(
            &["balance", "-config", "a.yaml"],
            &["balance", "--config", "a.yaml"],
        );
        check(&["balance", "-version"], &["balance", "--version"]);
        check(&["balance", "-help"], &["balance", "--help"]);
        check(
            &["balance", "-cpuprofile=cpu.prof", "-memprofile", "mem.prof"],
            &[
                "balance",
                "--cpuprofile=cpu.prof",
                "--memprofile",
                "mem.prof",
            ],
        );
        check(
            &["balance", "bench", "tcp", "-connections=10000"],
            &["balance", "bench", "tcp", "--connections=10000"],
        );
    }

    #[test]
    fn everything_else_stays() {
        check(&["balance", "-c", "a.yaml"], &["balance", "-c", "a.yaml"]);
        check(&["balance", "-ca.yaml"], &["balance", "-ca.yaml"]);
        check(&["balance", "--config", "-"], &["balance", "--config", "-"]);
        check(&["balance", "-unknown"], &["balance", "-unknown"]);
        check(&["balance", "--", "-config"], &["balance", "--", "-config"]);
        check(&["balance", "-h", "-V"], &["balance", "-h", "-V"]);
        check(&[], &["balance"]);
    }

    #[test]
    fn the_original_validator_is_check() {
        check(
            &["/usr/bin/balance-validate", "-config", "a.yaml"],
            &["/usr/bin/balance-validate", "check", "--config", "a.yaml"],
        );
    }
}
