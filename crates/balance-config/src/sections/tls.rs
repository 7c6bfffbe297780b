//! `tls` on listeners, and towards backends.

use balance_core::TlsVersion;

use super::route::texts;
use crate::check::parse_host;
use crate::config::{
    ClientAuth, HandshakeSettings, HostPattern, ListenerTls, TlsCertificate, UpstreamTls,
};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::table::{ENABLED, Key, Kind, Table};
use crate::tls_material::CertificateFiles;
use crate::value::{Block, Item, Value};

pub(crate) static TLS: Table = Table {
    name: "tls",
    doc: "TLS towards clients.",
    main: None,
    keys: &[
        ENABLED,
        Key::new("cert_file", Kind::Text, "", "The certificate chain, PEM.")
            .example("/etc/balance/cert.pem"),
        Key::new("key_file", Kind::Text, "", "Its private key, PEM.")
            .example("/etc/balance/key.pem"),
        Key::new(
            "certificates",
            Kind::List(&Kind::Block(&CERTIFICATE)),
            "",
            "Several certificates, chosen by server name.",
        )
        .example("[{ cert_file: a.pem, key_file: a.key }]"),
        MIN_VERSION,
        MAX_VERSION,
        CIPHER_SUITES,
        Key::new(
            "prefer_server_cipher_suites",
            Kind::Bool,
            "true",
            "Whose order of suites counts: ours, or with false the client's.",
        ),
        SESSION_TICKETS_DISABLED,
        Key::new(
            "client_auth",
            Kind::Choice(
                &["none", "request", "require", "verify", "require-and-verify"],
                &[],
            ),
            "none",
            "Whether clients show certificates. `request` and `require` do not verify who signed them.",
        ),
        Key::new(
            "client_ca_file",
            Kind::Text,
            "",
            "Who signs the certificates of clients.",
        )
        .example("/etc/balance/clients.pem"),
        Key::new(
            "alpn_protocols",
            Kind::List(&Kind::Text),
            "",
            "Protocols offered, in order. In mode http by default those that are spoken, in mode tcp none.",
        )
        .example("[h2, http/1.1]"),
        Key::new(
            "sni",
            Kind::Block(&SNI),
            "",
            "Routes by server name.",
        ),
        Key::new(
            "backend",
            Kind::Block(&UPSTREAM_TLS),
            "",
            "TLS towards the backends of the top-level `backends`. Without any other key beside it, clients are served in the clear.",
        ),
    ],
};

const MIN_VERSION: Key = Key::new(
    "min_version",
    Kind::Choice(&["1.2", "1.3"], &[]),
    "1.2",
    "The oldest TLS version. 1.0 and 1.1 are broken (RFC 8996) and not implemented.",
)
.refuse(BROKEN_VERSIONS);

const MAX_VERSION: Key = Key::new(
    "max_version",
    Kind::Choice(&["1.2", "1.3"], &[]),
    "1.3",
    "The newest TLS version.",
)
.refuse(BROKEN_VERSIONS);

const CIPHER_SUITES: Key = Key::new(
    "cipher_suites",
    Kind::List(&Kind::Text),
    "",
    "Names of IANA or Go, in the order they are preferred. A version of which none is named has all of its own.",
)
.example("[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]");

const SESSION_TICKETS_DISABLED: Key = Key::new(
    "session_tickets_disabled",
    Kind::Bool,
    "false",
    "Sessions are not resumed.",
);

const BROKEN_VERSIONS: &[(&str, &str)] = &[
    (
        "1.0",
        "it is broken (RFC 8996): use 1.2 or 1.3, which all clients of the last ten years speak",
    ),
    (
        "1.1",
        "it is broken (RFC 8996): use 1.2 or 1.3, which all clients of the last ten years speak",
    ),
];

static CERTIFICATE: Table = Table {
    name: "certificate",
    doc: "A certificate and the names it is for.",
    main: None,
    keys: &[
        Key::required("cert_file", Kind::Text, "the certificate chain, PEM")
            .example("/etc/balance/cert.pem"),
        Key::required("key_file", Kind::Text, "its private key, PEM")
            .example("/etc/balance/key.pem"),
        Key::new(
            "domains",
            Kind::OneOrMany(&Kind::Host),
            "",
            "By default the names in the certificate.",
        )
        .example("[a.example, \"*.a.example\"]"),
        Key::new(
            "default",
            Kind::Bool,
            "false",
            "For clients that name no server or an unknown one.",
        ),
    ],
};

static SNI: Table = Table {
    name: "sni",
    doc: "Routes by server name.",
    main: None,
    keys: &[Key::new(
        "routes",
        Kind::Map(&Kind::OneOrMany(&Kind::Text)),
        "",
        "A server name (`a.example`, `*.example` or `*`) and the backends for it: names of backends of the listener's pool, `name:port`, or addresses.",
    )
    .example("{ api.example.com: [api-1] }")],
};

pub(crate) static UPSTREAM_TLS: Table = Table {
    name: "backend tls",
    doc: "TLS towards backends. A backend that cannot be verified is not used: the answer is 502.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "insecure_skip_verify",
            Kind::Bool,
            "false",
            "Accept any certificate: whoever stands in between can read and change everything.",
        ),
        Key::new(
            "ca_file",
            Kind::Text,
            "the system's list",
            "Who signs the backends' certificates, PEM.",
        )
        .example("/etc/balance/ca.pem"),
        Key::new(
            "server_name",
            Kind::Text,
            "the host of each backend's address",
            "The name that certificates must have, and that is asked for (SNI) unless it is an address.",
        )
        .example("api.internal"),
        Key::new(
            "client_cert_file",
            Kind::Text,
            "",
            "The certificate chain that is shown to backends that ask for one, PEM.",
        )
        .example("/etc/balance/us.pem"),
        Key::new("client_key_file", Kind::Text, "", "Its private key, PEM.")
            .example("/etc/balance/us.key"),
        MIN_VERSION,
        MAX_VERSION,
        CIPHER_SUITES,
        SESSION_TICKETS_DISABLED,
        Key::new(
            "alpn_protocols",
            Kind::List(&Kind::Text),
            "",
            "Protocols asked for by ALPN, in order. By default those of the pool's `protocol`; for `h1` none: HTTP/1.1 is what is spoken without.",
        )
        .example("[http/1.1]"),
    ],
};

/// Reads `tls` of a listener, or of the top level; `None` where it is not in force, or only says where sessions go or
/// how backends are reached.
pub(crate) fn read(listener: &Block) -> Option<ListenerTls> {
    let block = listener
        .enabled_block("tls")
        .filter(|tls| !only_routes(tls) && !is_for_backends_alone(tls))?;
    let several = block.list("certificates").iter();
    let certificates = certificate(block)
        .into_iter()
        .chain(several.filter_map(|item| certificate(item.block()?)));
    Some(ListenerTls {
        place: listener.key_place("tls").clone(),
        certificates: certificates.collect(),
        handshake: handshake(block),
        prefers_server_order: flag(block, "prefer_server_cipher_suites", true),
        client_auth: match block.text("client_auth") {
            Some("request") => ClientAuth::Request,
            Some("require") => ClientAuth::Require,
            Some("verify") => ClientAuth::Verify,
            Some("require-and-verify") => ClientAuth::RequireAndVerify,
            _ => ClientAuth::None,
        },
        client_ca_file: block.spanned_text("client_ca_file"),
        alpn_protocols: block
            .has("alpn_protocols")
            .then(|| texts(block, "alpn_protocols")),
    })
}

/// Reads what is said about backends: `tls` of a pool, or `backend` in the top-level `tls`. `None` where it is not in
/// force.
pub(crate) fn read_upstream(owner: &Block, key: &str) -> Option<UpstreamTls> {
    let block = owner.enabled_block(key)?;
    Some(UpstreamTls {
        place: owner.key_place(key).clone(),
        verifies: !flag(block, "insecure_skip_verify", false),
        ca_file: block.spanned_text("ca_file"),
        server_name: block.spanned_text("server_name"),
        certificate: CertificateFiles::read(block, "client_cert_file", "client_key_file"),
        handshake: handshake(block),
        alpn_protocols: texts(block, "alpn_protocols"),
    })
}

fn is_for_backends_alone(block: &Block) -> bool {
    let others = TLS.keys.iter().map(|key| key.name);
    let mut others = others.filter(|name| !["enabled", "backend"].contains(name));
    block.has("backend") && !others.any(|name| block.has(name))
}

fn handshake(block: &Block) -> HandshakeSettings {
    HandshakeSettings {
        min_version: version(block, "min_version").unwrap_or(TlsVersion::Tls12),
        max_version: version(block, "max_version").unwrap_or(TlsVersion::Tls13),
        cipher_suites: texts(block, "cipher_suites"),
        resumes_sessions: !flag(block, "session_tickets_disabled", false),
    }
}

/// The pair that a block names: `tls` itself, or an entry of its `certificates`.
fn certificate(block: &Block) -> Option<TlsCertificate> {
    let is_entry = block.table.key("default").is_some();
    Some(TlsCertificate {
        files: CertificateFiles::read(block, "cert_file", "key_file")?,
        is_default: is_entry && flag(block, "default", false),
    })
}

fn version(block: &Block, key: &str) -> Option<TlsVersion> {
    let name = block.text(key)?;
    TlsVersion::ALL
        .into_iter()
        .find(|version| version.name() == name)
}

fn flag(block: &Block, key: &str, default: bool) -> bool {
    block.bool(key).copied().unwrap_or(default)
}

/// `sni.routes` of a listener.
#[derive(Debug)]
pub(crate) struct NamesDraft {
    pub(crate) place: Place,
    /// False: TLS is switched off.
    pub(crate) is_enabled: bool,
    /// The exact names first, then the longest wildcards, as one would look them up.
    pub(crate) names: Vec<NameDraft>,
}

/// An entry of it.
#[derive(Debug)]
pub(crate) struct NameDraft {
    pub(crate) pattern: Spanned<HostPattern>,
    /// The pattern as it is written.
    pub(crate) name: String,
    pub(crate) backends: Vec<Spanned<String>>,
}

/// Whether a `tls` block only says where sessions go, and TLS is ended by whoever they go to.
fn only_routes(tls: &Block) -> bool {
    has_routes(tls) && !tls.has("cert_file") && !tls.has("certificates")
}

fn has_routes(tls: &Block) -> bool {
    let sni = tls.block("sni");
    sni.is_some_and(|sni| !sni.map("routes").is_empty())
}

/// Reads them. `None`: there are none.
pub(crate) fn read_names(listener: &Block, diagnostics: &mut Diagnostics) -> Option<NamesDraft> {
    let tls = listener.block("tls").filter(|tls| has_routes(tls))?;
    let sni = tls.block("sni")?;
    let mut names = Vec::new();
    for (name, item) in sni.map("routes") {
        let pattern = match parse_host(&name.value) {
            Ok(Value::Host(pattern)) => pattern,
            Ok(_) => continue,
            Err((message, help)) => {
                let mut diagnostic = Diagnostic::new(Severity::Error, &name.place, message);
                diagnostic.help = help;
                diagnostics.push(diagnostic);
                continue;
            }
        };
        names.push(NameDraft {
            pattern: Spanned::new(pattern, name.place.clone()),
            name: name.value.clone(),
            backends: texts_of(item),
        });
    }
    names.sort_by_key(|draft| match &draft.pattern.value {
        HostPattern::Exact(_) => (0, 0),
        HostPattern::Under(name) => (1, usize::MAX - name.len()),
        HostPattern::Any => (2, 0),
    });
    Some(NamesDraft {
        place: sni.key_place("routes").clone(),
        is_enabled: tls.is_enabled(),
        names,
    })
}

fn texts_of(item: &Item) -> Vec<Spanned<String>> {
    let Value::List(items) = &item.value else {
        return Vec::new();
    };
    let spanned = |item: &Item| Some(Spanned::new(item.text()?.to_owned(), item.place.clone()));
    items.iter().filter_map(spanned).collect()
}
