//! `tls` on listeners. The keys are known and checked; switching it on is an error as long as there is
//! no TLS.

use crate::table::{ENABLED, Key, Kind, Table};

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
        Key::new(
            "min_version",
            Kind::Choice(&["1.2", "1.3"], &[]),
            "1.2",
            "The oldest TLS version. 1.0 and 1.1 are broken and not implemented.",
        ),
        Key::new(
            "max_version",
            Kind::Choice(&["1.2", "1.3"], &[]),
            "1.3",
            "The newest TLS version.",
        ),
        Key::new(
            "cipher_suites",
            Kind::List(&Kind::Text),
            "",
            "IANA names; by default all that are safe.",
        )
        .example("[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"),
        Key::new(
            "prefer_server_cipher_suites",
            Kind::Bool,
            "true",
            "Whose order of suites counts.",
        ),
        Key::new(
            "session_tickets_disabled",
            Kind::Bool,
            "false",
            "No resumption by tickets.",
        ),
        Key::new(
            "client_auth",
            Kind::Choice(
                &["none", "request", "require", "verify", "require-and-verify"],
                &[],
            ),
            "none",
            "Whether clients show certificates.",
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
            "[h2, http/1.1]",
            "Protocols offered, in order.",
        )
        .example("[h2, http/1.1]"),
        Key::new("sni", Kind::Block(&SNI), "", "Routes by server name."),
        Key::new(
            "backend",
            Kind::Block(&UPSTREAM_TLS),
            "",
            "TLS towards backends.",
        ),
    ],
};

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
        "A server name and the backends for it.",
    )
    .example("{ api.example.com: [api-1] }")],
};

pub(crate) static UPSTREAM_TLS: Table = Table {
    name: "backend tls",
    doc: "TLS towards backends.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "insecure_skip_verify",
            Kind::Bool,
            "false",
            "Accept any certificate.",
        ),
        Key::new(
            "ca_file",
            Kind::Text,
            "",
            "Who signs the backends' certificates; by default the system's list.",
        )
        .example("/etc/balance/ca.pem"),
        Key::new(
            "server_name",
            Kind::Text,
            "",
            "The name to ask for and to check.",
        )
        .example("api.internal"),
        Key::new(
            "client_cert_file",
            Kind::Text,
            "",
            "The certificate we show.",
        )
        .example("/etc/balance/us.pem"),
        Key::new("client_key_file", Kind::Text, "", "Its private key.")
            .example("/etc/balance/us.key"),
    ],
};
