//! Every target over its corpus and over seeded mutations of it, without libFuzzer. A failure prints the
//! input and the seed; `BALANCE_FUZZ_SEED` and `BALANCE_FUZZ_ROUNDS` repeat it or go on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use balance_fuzz::{Mutator, TARGETS, corpus};

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let inputs = corpus::load(target).expect("a corpus in the repository");
    assert!(!inputs.is_empty());
    let check = |input: &[u8], origin: &dyn Fn() -> String| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
        let holds = outcome.is_ok();
        assert!(holds, "{name}, {}: \"{}\"", origin(), input.escape_ascii());
    };
    for (index, input) in inputs.iter().enumerate() {
        check(input, &|| format!("input {index} of the corpus"));
    }
    let first = number("BALANCE_FUZZ_SEED", 0);
    for seed in first..first + number("BALANCE_FUZZ_ROUNDS", target.rounds) {
        let input = Mutator::new(seed).mutate(&inputs);
        check(&input, &|| format!("BALANCE_FUZZ_SEED={seed}"));
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run_here_and_has_its_binary() {
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, known);
            for name in names {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets");
                let text = std::fs::read_to_string(format!("{folder}/{name}.rs")).unwrap();
                assert!(text.contains(&format!("balance_fuzz::{name}::check(input)")));
            }
        }
    };
}

targets! {
    access_log
    chunked
    client_hello
    config_file
    forwarded_for
    h2_client
    h2_downgrade
    h2_server
    hpack
    path_rules
    pipelined
    proxy_header
    request_head
    response_head
    route_match
    route_regex
    tls_client
    tls_server
}

#[test]
fn a_seed_stands_for_one_input() {
    let corpus = [b"abc".to_vec(), b"def".to_vec()];
    let inputs = |first| -> Vec<_> {
        let seeds = first..first + 50;
        seeds
            .map(|seed| Mutator::new(seed).mutate(&corpus))
            .collect()
    };
    assert_eq!(inputs(0), inputs(0));
    assert_ne!(inputs(0), inputs(50));
}
