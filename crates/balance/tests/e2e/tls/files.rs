//! Certificates and keys in a folder, and clients that trust them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use balance_testkit::{TempDir, TlsFront, TlsFrontOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::subject::Config;

/// The files of an authority and of those it signed for, each as `NAME.pem` and `NAME.key`.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    /// With the authority `ca` and the certificate `server` for `a.test`, `localhost` and 127.0.0.1.
    pub(crate) fn new() -> Self {
        let files = Self {
            folder: TempDir::new("tls").unwrap(),
            authority: authority("Test authority"),
        };
        files.write("ca.pem", &files.authority.pem());
        files.issue("server", &["a.test", "localhost", "127.0.0.1"]);
        files
    }

    /// A certificate for these names.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) {
        self.issue_with(file, names, &rcgen::PKCS_ECDSA_P256_SHA256);
    }

    pub(crate) fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) {
        sign(
            &self.folder,
            file,
            params(file, names),
            algorithm,
            &self.authority,
        );
    }

    /// A certificate that is valid from the first year until the second.
    pub(crate) fn issue_between(&self, file: &str, names: &[&str], years: (i32, i32)) {
        let mut params = params(file, names);
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
        sign(&self.folder, file, params, algorithm, &self.authority);
    }

    /// A certificate that another authority signed, whom nobody knows.
    pub(crate) fn issue_by_a_stranger(&self, file: &str, names: &[&str]) {
        let stranger = authority("Stranger");
        let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
        sign(
            &self.folder,
            file,
            params(file, names),
            algorithm,
            &stranger,
        );
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The keys of a certificate in a configuration.
    pub(crate) fn pair(&self, name: &str) -> String {
        let (certificate, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        format!("cert_file: '{certificate}', key_file: '{key}'")
    }

    /// TLS with this certificate in front of an origin.
    pub(crate) fn front(
        &self,
        target: SocketAddr,
        name: &str,
        options: &TlsFrontOptions<'_>,
    ) -> TlsFront {
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        TlsFront::start(target, &file("pem"), &file("key"), options).unwrap()
    }

    /// The key `tls` of a pool that trusts the authority, with more keys.
    pub(crate) fn trusted(&self, more: &str) -> String {
        let authority = self.path("ca.pem");
        format!("tls: {{ ca_file: '{authority}', {more} }}")
    }

    /// The keys of a certificate that is shown to backends.
    pub(crate) fn shown(&self, name: &str) -> String {
        let (certificate, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        format!("client_cert_file: '{certificate}', client_key_file: '{key}'")
    }

    /// The listener `web` with these keys of `tls`.
    pub(crate) fn secure(&self, mut config: Config, tls: &str) -> Config {
        config.listener = format!("pool: p, tls: {{ {tls} }}");
        config
    }

    /// The listener `web` with the certificate `server`.
    pub(crate) fn secured(&self, config: Config) -> Config {
        self.secure(config, &self.pair("server"))
    }

    /// curl that trusts the authority and takes `a.test` for the address.
    pub(crate) fn curl(&self, address: SocketAddr, args: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "30"])
            .args(["--noproxy", "*", "--cacert", &self.path("ca.pem")])
            .args(["--connect-to", &format!("::{address}")])
            .args(args);
        command.output().unwrap()
    }

    /// `openssl s_client` that sends `input` and reads until the end; everything it says.
    pub(crate) fn s_client(&self, address: SocketAddr, args: &[&str], input: &[u8]) -> String {
        use std::io::Write;

        let mut command = Command::new("timeout");
        command
            .args(["30", "openssl", "s_client", "-connect"])
            .args([&address.to_string(), "-CAfile", &self.path("ca.pem")])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Refused before it has read all: that is for the test to judge.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let (out, err) = (&output.stdout, &output.stderr);
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    }
}

/// What a program said, and that it was content.
#[track_caller]
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let text = String::from_utf8_lossy(out).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(err)
    );
    text
}

/// Replaces a file in one step, as those do who renew certificates.
pub(crate) fn rename(folder: &Path, from: &str, to: &str) {
    std::fs::rename(folder.join(from), folder.join(to)).unwrap();
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params(file: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, file);
    params
}

fn sign(
    folder: &TempDir,
    file: &str,
    params: CertificateParams,
    algorithm: &'static rcgen::SignatureAlgorithm,
    by: &CertifiedIssuer<'static, KeyPair>,
) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    folder
        .write(&format!("{file}.pem"), certificate.pem())
        .unwrap();
    folder
        .write(&format!("{file}.key"), key.serialize_pem())
        .unwrap();
}
