//! `balance cert`: certificates for tests. For the public there are authorities that sign for nothing.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::console;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CertCommand {
    /// Make a certificate that nobody but yourself trusts, and its key
    SelfSigned(SelfSignedArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SelfSignedArgs {
    /// The names and addresses that it is for
    #[arg(default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    names: Vec<String>,

    /// Where the certificate goes
    #[arg(long, value_name = "FILE", default_value = "cert.pem")]
    cert: String,

    /// Where the key goes, readable for you alone
    #[arg(long, value_name = "FILE", default_value = "key.pem")]
    key: String,

    /// How long it is valid
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// Exits with 0 when both files are written.
pub(crate) fn run(command: &CertCommand) -> ExitCode {
    let CertCommand::SelfSigned(args) = command;
    match self_signed(args) {
        Ok(()) => {
            console::line(format_args!(
                "{} and {} are for {}, for {} days",
                args.cert,
                args.key,
                args.names.join(", "),
                args.days
            ));
            ExitCode::SUCCESS
        }
        Err(message) => {
            console::error(message);
            ExitCode::FAILURE
        }
    }
}

fn self_signed(args: &SelfSignedArgs) -> Result<(), String> {
    let (certificate, key) = generate(&args.names, args.days)
        .map_err(|error| format!("cannot make a certificate: {error}"))?;
    // The key first: without it the certificate would be of no use.
    write(&args.key, &key, 0o600, args.force)?;
    write(&args.cert, &certificate, 0o644, args.force)
}

/// Certificate and key, PEM.
fn generate(names: &[String], days: u32) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?; // ECDSA P-256: what every client knows and costs least
    let mut params = CertificateParams::new(names.to_vec())?;
    let name = names.first().map_or("localhost", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    // Clocks differ: it is valid for somebody whose clock is an hour behind.
    params.not_before = (now - Duration::from_secs(3_600)).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 24 * 3_600)).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write(path: &str, text: &str, mode: u32, force: bool) -> Result<(), String> {
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("`{path}` is there already; --force writes over it")
        }
        _ => format!("cannot write `{path}`: {error}"),
    })
}
