//! A target, what was measured, and whether it is met.

use std::process::ExitCode;

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    /// Something else was saturated first: what was measured is a lower bound.
    Limited,
}

#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) name: &'static str,
    pub(super) measured: f64,
    /// Written behind the figure.
    pub(super) unit: &'static str,
    pub(super) target: String,
    pub(super) verdict: Verdict,
    pub(super) note: String,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Limited => "LIMITED",
        }
    }
}

impl Judged {
    pub(super) fn to_line(&self) -> String {
        let (verdict, name, target) = (self.verdict.name(), self.name, &self.target);
        let decimals = usize::from(self.measured < 100.0 && self.measured.fract() != 0.0);
        let figure = format!("{:.decimals$}{}", self.measured, self.unit);
        let note = if self.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.note)
        };
        format!("{verdict:<8} {name:<18} {figure:<12} target: {target}{note}\n")
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "measured": self.measured,
            "unit": self.unit.trim(),
            "target": self.target,
            "verdict": self.verdict.name(),
            "note": self.note,
        })
    }
}

/// 1: a target is missed. 3: none is, but not all could be shown here. 0: all are met.
pub(super) fn exit_code(judged: &[Judged]) -> ExitCode {
    let has = |verdict| judged.iter().any(|each| each.verdict == verdict);
    if has(Verdict::Fail) || judged.is_empty() {
        ExitCode::from(1)
    } else if has(Verdict::Limited) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::{Judged, Verdict, exit_code};

    fn judged(verdict: Verdict) -> Judged {
        Judged {
            name: "their memory",
            measured: 12.34,
            unit: " MB",
            target: "below 100 MB".to_owned(),
            verdict,
            note: String::new(),
        }
    }

    #[test]
    fn the_worst_verdict_is_the_exit_code() {
        use Verdict::{Fail, Limited, Pass};
        for (verdicts, code) in [
            (&[Pass, Pass][..], 0),
            (&[Pass, Limited], 3),
            (&[Limited, Fail, Pass], 1),
            (&[], 1),
        ] {
            let judged: Vec<Judged> = verdicts.iter().map(|each| judged(*each)).collect();
            let expected = format!("{:?}", std::process::ExitCode::from(code));
            assert_eq!(
                format!("{:?}", exit_code(&judged)),
                expected,
                "{verdicts:?}"
            );
        }
    }

    #[test]
    fn a_line_has_the_verdict_first() {
        let line = judged(Verdict::Pass).to_line();
        assert_eq!(
            line,
            "PASS     their memory       12.3 MB      target: below 100 MB\n"
        );
    }
}
