//! Reads the table of faults (tests/data/faults.txt; the format is described at its top).

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use balance_testkit::FaultAction;

/// One exchange, its fault, and what must become of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Where it stands in the file.
    line: usize,
    rule: String,
    pub(super) setting: Setting,
    pub(super) fault: Option<TableFault>,
    pub(super) expected: Expected,
}

/// What the exchange is, whatever happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Setting {
    pub(super) request: Request,
    /// The name of the origin's script.
    pub(super) response: String,
    /// The name of the pool.
    pub(super) pool: String,
    pub(super) is_reused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Get,
    Post,
    Chunked,
    /// As `Post`, in two parts.
    Uploading,
    Big,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableFault {
    pub(super) phase: Phase,
    pub(super) action: FaultAction,
    /// How many attempts it strikes.
    pub(super) times: usize,
}

/// A place in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Accept,
    RequestHead,
    RequestBody,
    BeforeHead,
    InHead,
    AfterHead,
    InBody,
    AtEnd,
}

#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Alternatives, here and in the next three.
    pub(super) outcome: Vec<String>,
    pub(super) causes: Vec<String>,
    pub(super) sent: Vec<usize>,
    pub(super) client: Vec<String>,
    /// `None` when the next request may meet another backend.
    pub(super) backend: Option<String>,
}

impl Row {
    /// For messages.
    pub(super) fn title(&self) -> String {
        let Self {
            line,
            rule,
            setting,
            fault,
            ..
        } = self;
        format!("{rule} (line {line}) {setting:?} {fault:?}")
    }
}

/// All rows of the file.
///
/// # Panics
/// When it is not there or not as described.
pub(super) fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults.txt");
    let text = std::fs::read_to_string(file).unwrap();
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|(index, line)| parse_line(index + 1, line))
        .collect();
    assert!(rows.len() > 200, "{}", rows.len());
    rows
}

/// The row that says what becomes of this exchange.
///
/// # Panics
/// When none does.
pub(super) fn row_of<'r>(
    rows: &'r [Row],
    setting: &Setting,
    phase: Phase,
    action: &FaultAction,
) -> &'r Row {
    let is_meant = |row: &&Row| {
        let fault = row.fault.as_ref();
        row.setting == *setting
            && fault.is_some_and(|fault| {
                fault.phase == phase && fault.action == *action && fault.times == 1
            })
    };
    let found: Vec<_> = rows.iter().filter(is_meant).collect();
    assert_eq!(
        found.len(),
        1,
        "rows for {setting:?} {phase:?} {action:?}: {found:?}"
    );
    found[0]
}

/// The rows that a line stands for.
fn parse_line(line: usize, text: &str) -> Vec<Row> {
    let (case, expected) = text.split_once(" : ").unwrap();
    let words: Vec<&str> = case.split_whitespace().collect();
    let [rule, requests, responses, pool, connections, faults] = words[..] else {
        unreachable!("line {line}: {words:?}")
    };
    let expected = parse_expected(expected);
    let faults = parse_faults(faults);
    let mut rows = Vec::new();
    for request in requests.split(',') {
        for response in responses.split(',') {
            for connection in connections.split(',') {
                for fault in &faults {
                    let setting = Setting {
                        request: request.parse().unwrap(),
                        response: response.to_owned(),
                        pool: pool.to_owned(),
                        is_reused: parse_connection(connection),
                    };
                    rows.push(Row {
                        line,
                        rule: rule.to_owned(),
                        setting,
                        fault: fault.clone(),
                        expected: expected.clone(),
                    });
                }
            }
        }
    }
    rows
}

fn parse_connection(text: &str) -> bool {
    match text {
        "fresh" => false,
        "reused" => true,
        other => unreachable!("{other}"),
    }
}

fn parse_faults(text: &str) -> Vec<Option<TableFault>> {
    if text == "-" {
        return vec![None];
    }
    let (phase, actions) = text.split_once('=').unwrap();
    let parse = |action: &str| {
        let (action, times) = action.split_once('*').unwrap_or((action, "1"));
        Some(TableFault {
            phase: phase.parse().unwrap(),
            action: parse_action(action),
            times: times.parse().unwrap(),
        })
    };
    actions.split(',').map(parse).collect()
}

fn parse_action(text: &str) -> FaultAction {
    match text {
        "reset" => FaultAction::Reset,
        "close" => FaultAction::Close,
        "half-close" => FaultAction::HalfClose,
        "blackhole" => FaultAction::Blackhole,
        "stall" => FaultAction::Stall,
        // More than the rest of any chunk here, so that it is not taken for payload.
        "garbage" => FaultAction::Garbage(b"\x00\xff garbage ".repeat(20)),
        "delay" => FaultAction::Delay(Duration::from_millis(30)),
        "drip" => FaultAction::Drip(Duration::from_micros(100)),
        // A head takes longer than a deadline of a second; each byte comes well within it.
        "trickle" => FaultAction::Drip(Duration::from_millis(100)),
        other => unreachable!("{other}"),
    }
}

fn parse_expected(text: &str) -> Expected {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [outcome, cause, sent, client, backend] = words[..] else {
        unreachable!("{words:?}")
    };
    let alternatives = |text: &str| text.split('|').map(str::to_owned).collect();
    Expected {
        outcome: alternatives(outcome),
        causes: alternatives(cause),
        sent: sent.split('|').map(|each| each.parse().unwrap()).collect(),
        client: alternatives(client),
        backend: (backend != "-").then(|| backend.to_owned()),
    }
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "get" => Ok(Self::Get),
            "post" => Ok(Self::Post),
            "chunked" => Ok(Self::Chunked),
            "uploading" => Ok(Self::Uploading),
            "big" => Ok(Self::Big),
            other => Err(other.to_owned()),
        }
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "accept" => Ok(Self::Accept),
            "request-head" => Ok(Self::RequestHead),
            "request-body" => Ok(Self::RequestBody),
            "before-head" => Ok(Self::BeforeHead),
            "in-head" => Ok(Self::InHead),
            "after-head" => Ok(Self::AfterHead),
            "in-body" => Ok(Self::InBody),
            "at-end" => Ok(Self::AtEnd),
            other => Err(other.to_owned()),
        }
    }
}
