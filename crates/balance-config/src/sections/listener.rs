//! `listeners` and the top-level keys that are shorthand for the listener `main`.

use balance_core::ListenAddress;
use ipnet::IpNet;

use super::route::texts;
use super::tls::{self, NamesDraft, TLS};
use crate::config::{ListenerTls, Mode};
use crate::diagnostics::{Diagnostics, Place, Spanned};
use crate::table::{Key, Kind, Table};
use crate::value::Block;

pub(crate) static LISTENER: Table = Table {
    name: "listener",
    doc: "An address that clients reach, and what is done there.",
    main: None,
    keys: &[
        Key::required("name", Kind::Text, "its name in logs and metrics; unique").example("web"),
        Key::required(
            "listen",
            LISTEN,
            "one address or several: `:443`, `127.0.0.1:80`, `unix:/run/x.sock`",
        ),
        Key::new("mode", MODE, "as the file", "What is spoken there."),
        Key::new("tls", Kind::Block(&TLS), "", "TLS towards clients."),
        Key::new(
            "proxy_protocol",
            Kind::Block(&PROXY_PROTOCOL),
            "",
            "The PROXY protocol from those in front.",
        ),
        TRUSTED_PROXIES,
        Key::new(
            "routes",
            Kind::OneOrMany(&Kind::Text),
            "all",
            "Which routes are asked, and in which order.",
        )
        .example("[api, site]"),
        Key::new(
            "pool",
            Kind::Text,
            "",
            "When no route matches; the pool of a tcp listener.",
        )
        .example("site"),
    ],
};

static PROXY_PROTOCOL: Table = Table {
    name: "proxy_protocol",
    doc: "The PROXY protocol from those in front.",
    main: None,
    keys: &[
        Key::new(
            "accept",
            Kind::Bool,
            "false",
            "Whether each connection begins with a header, of version 1 or 2. Its client is then the one that it names.",
        ),
        Key::new(
            "from",
            Kind::OneOrMany(&Kind::Network),
            "",
            "Who may connect, and must send it; everybody else is closed. A unix socket counts as 127.0.0.1.",
        )
        .example("[10.0.0.0/8]"),
    ],
};

pub(crate) const LISTEN: Kind = Kind::OneOrMany(&Kind::ListenAddress);
pub(crate) const MODE: Kind = Kind::Choice(&["tcp", "http"], &["udp"]);
pub(crate) const TRUSTED_PROXIES: Key = Key::new(
    "trusted_proxies",
    Kind::OneOrMany(&Kind::Network),
    "",
    "Peers whose X-Forwarded-* fields are believed; those of everybody else are replaced.",
);

/// A listener as written; names are not resolved.
#[derive(Debug)]
pub(crate) struct ListenerDraft {
    pub(crate) name: Spanned<String>,
    pub(crate) place: Place,
    pub(crate) listen: Vec<Spanned<ListenAddress>>,
    pub(crate) mode: Option<Mode>,
    /// From whom a PROXY header is required, where it is.
    pub(crate) proxy_sources: Option<Vec<IpNet>>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) routes: Option<Vec<Spanned<String>>>,
    pub(crate) pool: Option<Spanned<String>>,
    pub(crate) tls: Option<ListenerTls>,
    /// Of `tls.sni.routes`.
    pub(crate) server_names: Option<NamesDraft>,
}

/// Reads an entry of `listeners`. `None` when not even its name is there.
pub(crate) fn read(block: &Block, diagnostics: &mut Diagnostics) -> Option<ListenerDraft> {
    if let Some(tls) = block.enabled_block("tls").filter(|tls| tls.has("backend")) {
        diagnostics.error_help(
            tls.key_place("backend"),
            "`backend` is for the top-level `tls`, which has the backends of the top level",
            "write `tls` into the pool that the listener uses",
        );
    }
    Some(ListenerDraft {
        name: block.spanned_text("name")?,
        place: block.place.clone(),
        listen: addresses(block),
        mode: mode(block),
        proxy_sources: block
            .block("proxy_protocol")
            .and_then(|block| read_proxy_protocol(block, diagnostics)),
        trusted_proxies: networks(block, "trusted_proxies"),
        routes: block.has("routes").then(|| texts(block, "routes")),
        pool: block.spanned_text("pool"),
        tls: tls::read(block),
        server_names: tls::read_names(block, diagnostics),
    })
}

/// The listener `main` of the top-level keys; `None` without `listen`.
pub(crate) fn read_main(root: &Block, diagnostics: &mut Diagnostics) -> Option<ListenerDraft> {
    let place = &root.field("listen")?.key_place;
    Some(main_at(root, place, diagnostics))
}

/// The same, made by `place` whatever the file says about `listen`.
pub(crate) fn main_at(root: &Block, place: &Place, diagnostics: &mut Diagnostics) -> ListenerDraft {
    ListenerDraft {
        name: Spanned::new(MAIN.to_owned(), place.clone()),
        place: place.clone(),
        listen: addresses(root),
        mode: mode(root),
        proxy_sources: None,
        trusted_proxies: networks(root, "trusted_proxies"),
        routes: None,
        pool: None,
        tls: tls::read(root),
        server_names: tls::read_names(root, diagnostics),
    }
}

/// The listener that the top-level keys stand for.
pub(crate) const MAIN: &str = "main";

/// The mode that a block writes. One that is not known is said already: nothing is concluded in its place, and in http mode
/// nothing else is complained about.
pub(crate) fn mode(block: &Block) -> Option<Mode> {
    block.has("mode").then(|| match block.text("mode") {
        Some("tcp") => Mode::Tcp,
        _ => Mode::Http,
    })
}

fn addresses(block: &Block) -> Vec<Spanned<ListenAddress>> {
    block
        .list("listen")
        .iter()
        .filter_map(|item| Some(Spanned::new(item.listen()?.clone(), item.place.clone())))
        .collect()
}

fn read_proxy_protocol(block: &Block, diagnostics: &mut Diagnostics) -> Option<Vec<IpNet>> {
    let from = networks(block, "from");
    let accepts = block.bool("accept").copied().unwrap_or(false);
    if !accepts && block.has("from") {
        let message = "`from` has no effect without `accept: true`";
        diagnostics.warning(block.key_place("from"), message);
    }
    if accepts && block.list("from").is_empty() {
        let message = "`proxy_protocol` would believe everybody: a header says who a client is";
        let help = "list the proxies in front: `from: [10.0.0.0/8]`";
        diagnostics.error_help(&block.place, message, help);
    }
    accepts.then_some(from)
}

fn networks(block: &Block, key: &str) -> Vec<IpNet> {
    block
        .list(key)
        .iter()
        .filter_map(|item| item.network().copied())
        .collect()
}
