//! An explanation for people: one subject a line, places at the right, the end of it last.

use std::fmt::Write;

use balance_control::{
    Asked, Backend, Explanation, Field, Pool, Routes, Sent, State, Timeout, Tls, Verdict,
};

/// `all_routes`: every route that was asked, however many.
pub(crate) fn render(explanation: &Explanation, all_routes: bool) -> String {
    let mut page = Page::default();
    head(&mut page, explanation);
    if let Some(routes) = &explanation.routes {
        show_routes(&mut page, routes, all_routes);
    }
    for filter in &explanation.filters {
        let note = if filter.waits { "not asked" } else { "" };
        page.row("filters", &filter.what, note);
    }
    if let Some(sent) = &explanation.sent {
        show_sent(&mut page, sent);
    }
    if let Some(pool) = &explanation.pool {
        show_pool(&mut page, pool, explanation.source.generation.is_some());
    }
    if !explanation.timeouts.is_empty() {
        let shown: Vec<String> = explanation.timeouts.iter().map(show_timeout).collect();
        page.row("timeouts", &shown.join(", "), "");
    }
    for retry in &explanation.retries {
        page.row("retries", retry, "");
    }
    if let Some(answer) = &explanation.answer {
        page.row("answer", &format!("{} {}", answer.status, answer.cause), "");
        for Field { name, value, .. } in &answer.fields {
            page.row("", &format!("{name}: {value}"), "");
        }
        let body = answer.body.lines().take(BODY_LINES_MAX);
        body.for_each(|line| page.row("", line, ""));
    }
    page.finish(&explanation.verdict)
}

fn head(page: &mut Page, explanation: &Explanation) {
    let source = &explanation.source;
    match source.generation {
        Some(generation) => page.row(
            "config",
            &format!("{}, running, generation {generation}", source.config),
            "",
        ),
        None => page.row("config", &format!("{}, not running", source.config), ""),
    }
    if let Some(request) = &explanation.request {
        let line = format!(
            "{} {}  Host: {}",
            request.method, request.path_and_query, request.authority
        );
        page.row("request", &line, "");
    }
    let (peer, client) = (explanation.peer, explanation.client);
    let from = match (explanation.peer_is_trusted, peer == client) {
        (true, false) => format!("{peer}, a trusted proxy, for client {client}"),
        (true, true) => format!("{peer}, a trusted proxy that names no client"),
        (false, _) => peer.to_string(),
    };
    page.row("from", &from, "");
    let listener = &explanation.listener;
    let text = format!(
        "{}  {}  {}  {}",
        listener.name, listener.mode, listener.address, listener.transport
    );
    page.row("listener", &text, &listener.place);
    if let Some(tls) = &explanation.tls {
        show_tls(page, tls);
    }
}

/// A row for each certificate: which one it is depends on the signatures that the client can check.
fn show_tls(page: &mut Page, tls: &Tls) {
    let name = tls.server_name.as_deref().unwrap_or("no server name");
    for (index, certificate) in tls.certificates.iter().enumerate() {
        let text = match index {
            0 => format!("{}  for {name}", certificate.file),
            _ => format!("{}  for clients that cannot check it", certificate.file),
        };
        page.row("certificate", &text, &certificate.place);
    }
}

fn show_routes(page: &mut Page, routes: &Routes, all: bool) {
    let left_out = if all {
        0
    } else {
        routes.asked.len().saturating_sub(ROUTES_MAX)
    };
    if left_out > 0 {
        let text = format!("… {left_out} more that do not match: --all shows them");
        page.row("routes", &text, "");
    }
    let shown = &routes.asked[left_out..];
    let width = shown.iter().map(|asked| asked.name.chars().count()).max();
    let width = width.unwrap_or_default();
    for Asked {
        name,
        place,
        mismatch,
    } in shown
    {
        let (mark, why) = match mismatch {
            Some(mismatch) => ("✗", mismatch.as_str()),
            None => ("✓", routes.action.as_str()),
        };
        page.row("routes", &format!("{mark} {name:width$}  {why}"), place);
    }
    if routes.decided.is_none() {
        page.row("routes", &format!("none: {}", routes.action), "");
    }
    if let Some(mirror) = &routes.mirror {
        page.row("routes", mirror, "");
    }
    if routes.unasked > 0 {
        let text = format!("{} behind it: not asked", routes.unasked);
        page.row("routes", &text, "");
    }
}

fn show_sent(page: &mut Page, sent: &Sent) {
    let by = sent.path_by.as_deref().unwrap_or_default();
    let mark = if sent.path_by.is_some() { "~" } else { " " };
    let line = format!("{mark} {} {} HTTP/1.1", sent.method, sent.path_and_query);
    page.row("sends", &line, by);
    for field in &sent.fields {
        let mark = if field.by.is_some() { "+" } else { " " };
        show_field(page, mark, field);
    }
    for field in &sent.removed {
        show_field(page, "-", field);
    }
}

fn show_field(page: &mut Page, mark: &str, field: &Field) {
    let by = field.by.as_deref().unwrap_or_default();
    page.row(
        "sends",
        &format!("{mark} {}: {}", field.name, field.value),
        by,
    );
}

fn show_pool(page: &mut Page, pool: &Pool, is_running: bool) {
    let mut text = format!("{}  {}", pool.name, pool.algorithm);
    if let Some(hashed) = &pool.hashed {
        let _ = write!(text, " of {hashed}");
    }
    page.row("pool", &text, &pool.place);
    if let Some(turn) = &pool.turn {
        let text = format!("its turn in the split is next: {turn} (each request takes a turn)");
        page.row("pool", &text, "");
    }
    if let Some(of) = &pool.view_of {
        page.row(
            "pool",
            &format!("a choice among the backends of pool {of}"),
            "",
        );
    }
    let names = pool.backends.iter().map(|one| one.name.chars().count());
    let width = names.max().unwrap_or_default();
    let picked = pool.pick.as_ref().map(|pick| pick.backend.as_str());
    for backend in &pool.backends {
        let mark = if picked == Some(backend.name.as_str()) {
            "→"
        } else {
            " "
        };
        let text = format!("{mark} {:width$}  {}", backend.name, show_backend(backend));
        page.row("backends", &text, &backend.place);
    }
    if !is_running {
        page.row(
            "backends",
            "  states are unknown: --admin asks the running process",
            "",
        );
    }
    match &pool.pick {
        Some(pick) => {
            let sure = if pick.is_certain {
                ""
            } else {
                " (may differ next time)"
            };
            page.row("pick", &format!("{}: {}{sure}", pick.backend, pick.why), "");
        }
        None => page.row("pick", "none", ""),
    }
    if !pool.then.is_empty() {
        let text = format!("if it cannot be reached: {}", pool.then.join(", then "));
        page.row("pick", &text, "");
    }
}

fn show_backend(backend: &Backend) -> String {
    let mut text = backend.address.clone();
    if let Some(tls) = &backend.tls {
        let _ = write!(text, " by {tls}");
    }
    if let Some(protocol) = &backend.protocol {
        let _ = write!(text, " in {protocol}");
    }
    let is_a_name = !backend.resolved.contains(&backend.address);
    if is_a_name && !backend.resolved.is_empty() {
        let _ = write!(text, " = {}", backend.resolved.join(", "));
    }
    if let Some(state) = &backend.state {
        let _ = write!(text, "  {}", show_state(state));
        if is_a_name && backend.resolved.is_empty() {
            text.push_str(", its name does not resolve");
        }
    }
    if backend.max_connections > 0 {
        let _ = write!(text, ", at most {} connections", backend.max_connections);
    }
    let _ = write!(text, ", weight {}", backend.weight);
    if let Some(why) = &backend.excluded {
        let _ = write!(text, "  ✗ {why}");
    }
    text
}

fn show_state(state: &State) -> String {
    let mut text = state.gate.replace('_', "-");
    if state.rest_left_ms > 0 {
        let _ = write!(text, " for {}", show_ms(state.rest_left_ms));
    }
    if state.failures > 0 {
        let _ = write!(text, " after {} failed", state.failures);
    }
    let _ = write!(text, ", {} in flight", state.in_flight);
    if let Some(percent) = state.slow_start_percent {
        let _ = write!(text, ", at {percent} % of its share (slow start)");
    }
    text
}

fn show_timeout(timeout: &Timeout) -> String {
    let after = match timeout.ms {
        0 => "off".to_owned(),
        ms => show_ms(ms),
    };
    format!("{} {after}", timeout.name)
}

fn show_ms(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}

/// Rows: what it is about, what there is to say, and where that is written.
#[derive(Default)]
struct Page {
    rows: Vec<Row>,
}

struct Row {
    label: &'static str,
    text: String,
    note: String,
}

impl Page {
    /// A label stands in front of its first row only; an empty one goes on with the row before.
    fn row(&mut self, label: &'static str, text: &str, note: &str) {
        self.rows.push(Row {
            label,
            text: printable(text),
            note: printable(note),
        });
    }

    fn finish(self, verdict: &Verdict) -> String {
        let widths = self.rows.iter().filter(|row| !row.note.is_empty());
        let widths = widths.map(|row| row.text.chars().count());
        let width = widths.filter(|width| *width <= TEXT_WIDTH_MAX).max();
        let width = width.unwrap_or_default();
        let mut page = String::new();
        let mut before = "";
        for Row { label, text, note } in &self.rows {
            let shown = if *label == before { "" } else { label };
            if !label.is_empty() {
                before = label;
            }
            let line = if note.is_empty() {
                format!("{shown:9} {text}")
            } else {
                format!("{shown:9} {text:width$}  {note}")
            };
            let _ = writeln!(page, "{}", line.trim_end());
        }
        let _ = writeln!(page, "→ {}", printable(&verdict.text));
        page
    }
}

/// What a request contains must not steer a terminal.
fn printable(text: &str) -> String {
    let is_unsafe = |c: char| c.is_control();
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    let escape = |c: char| match is_unsafe(c) {
        true => c.escape_default().collect(),
        false => String::from(c),
    };
    text.chars().map(escape).collect()
}

/// Routes that are shown without `--all`: the last ones asked.
const ROUTES_MAX: usize = 20;
/// Of the body of a direct response.
const BODY_LINES_MAX: usize = 5;
/// A longer text pushes its own note to the right, not everybody's.
const TEXT_WIDTH_MAX: usize = 72;

#[cfg(test)]
mod tests;
