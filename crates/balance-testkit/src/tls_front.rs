//! TLS in front of an origin: handshakes, and then what it carries is passed on in the clear.
//!
//! rustls speaks, over its own buffered interface, which the proxy under test does not use. How the connection ends is
//! ours: announced, as servers should, or cut off. What the origin resets is reset.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

use crate::accepting::{ANY_PORT, Accepting, Threads};
use crate::client::reset;

/// How it serves.
#[derive(Clone, Debug, Default)]
pub struct TlsFrontOptions<'p> {
    /// Whose certificates clients must show, a PEM file.
    pub client_ca: Option<&'p Path>,
    /// Whether it speaks TLS 1.2 alone.
    pub is_tls12: bool,
    /// Whether the end of what the origin says is a FIN that nobody announced (RFC 8446 §6.1).
    pub cuts: bool,
    /// Whether the origin speaks HTTP/2, and nothing else; otherwise HTTP/1.1.
    pub carries_http2: bool,
}

/// A connection after its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// What it asked for (SNI).
    pub server_name: Option<String>,
    pub is_resumed: bool,
    pub alpn: Option<Vec<u8>>,
    /// Whether the client showed a certificate.
    pub shows_certificate: bool,
    /// Whether the client announced its end; known when that has come.
    pub is_ended: bool,
}

/// A running front. Dropping it closes what it carries.
#[derive(Debug)]
pub struct TlsFront {
    accepting: Accepting,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    secured: Mutex<Vec<Secured>>,
    /// With what a connection is known by.
    open: Mutex<Vec<(u64, TcpStream)>>,
    /// Connections whose handshake failed.
    failures: Mutex<Vec<String>>,
}

impl TlsFront {
    /// Shows the certificate in `certificate` (a chain in PEM, its key in `key`) before `target`.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn start(
        target: SocketAddr,
        certificate: &Path,
        key: &Path,
        options: &TlsFrontOptions<'_>,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(config(certificate, key, options)?);
        let shared = Arc::new(Shared::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let (taken, cuts) = (Arc::clone(&shared), options.cuts);
        let accepting = Accepting::start(ANY_PORT, &stopping, move |incoming| {
            let mut threads = Threads::default();
            for ((stream, _), number) in incoming.zip(0..) {
                let (shared, config) = (Arc::clone(&taken), Arc::clone(&config));
                threads.spawn(move || {
                    if let Err(error) = serve(&shared, config, (number, stream), target, cuts) {
                        lock(&shared.failures).push(error.to_string());
                    }
                });
            }
            threads.join();
        });
        Ok(Self { accepting, shared })
    }

    pub fn addr(&self) -> SocketAddr {
        self.accepting.addr()
    }

    /// The connections whose handshake succeeded, in that order.
    pub fn secured(&self) -> Vec<Secured> {
        lock(&self.shared.secured).clone()
    }

    /// What handshakes failed of.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.shared.failures).clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.stop();
        for (_, stream) in lock(&self.shared.open).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.accepting.join();
    }
}

fn config(
    certificate: &Path,
    key: &Path,
    options: &TlsFrontOptions<'_>,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match options.is_tls12 {
        true => &[&rustls::version::TLS12],
        false => rustls::ALL_VERSIONS,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?;
    let builder = match options.client_ca {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_file_iter(file)? {
                roots.add(authority?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let protocol: &[u8] = match options.carries_http2 {
        true => b"h2",
        false => b"http/1.1",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Makes the handshake; then each direction has a thread.
fn serve(
    shared: &Shared,
    config: Arc<ServerConfig>,
    (number, mut client): (u64, TcpStream),
    target: SocketAddr,
    cuts: bool,
) -> anyhow::Result<()> {
    lock(&shared.open).push((number, client.try_clone()?));
    // What waits to be sent would be lost with a reset.
    client.set_nodelay(true)?;
    let mut session = ServerConnection::new(config)?;
    while session.is_handshaking() {
        session.complete_io(&mut client)?;
    }
    let index = {
        let mut secured = lock(&shared.secured);
        secured.push(Secured {
            server_name: session.server_name().map(str::to_owned),
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            shows_certificate: session.peer_certificates().is_some(),
            is_ended: false,
        });
        secured.len() - 1
    };
    let origin = TcpStream::connect(target)?;
    origin.set_nodelay(true)?;
    lock(&shared.open).push((number, origin.try_clone()?));
    let carrying = Carrying {
        session: Mutex::new(session),
        client,
        origin,
    };
    let mut has_ended = false;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A broken connection is a way to end.
            let _ = match carrying.down() {
                Ok(()) => carrying.finish(cuts),
                Err(_) => reset(&carrying.client),
            };
        });
        let ended = carrying.up();
        lock(&shared.secured)[index].is_ended = matches!(ended, Ok(true));
        let _ = carrying.origin.shutdown(Shutdown::Write);
        has_ended = ended.is_ok();
    });
    // Else something may be unread, and closing would reset what the client has not read.
    if has_ended {
        lock(&shared.open).retain(|(other, _)| *other != number);
    }
    Ok(())
}

struct Carrying {
    session: Mutex<ServerConnection>,
    client: TcpStream,
    origin: TcpStream,
}

impl Carrying {
    /// From the client to the origin, to the end; whether that was announced.
    fn up(&self) -> io::Result<bool> {
        // The handshake may have read more than itself.
        let (plaintext, mut is_ended) = self.open()?;
        (&self.origin).write_all(&plaintext)?;
        let mut records = [0; 16 * 1024];
        while !is_ended {
            let bytes = (&self.client).read(&mut records)?;
            if bytes == 0 {
                return Ok(false);
            }
            let mut arrived = &records[..bytes];
            while !arrived.is_empty() {
                // Taken out at once: a session holds one record's plaintext and no more.
                lock(&self.session).read_tls(&mut arrived)?;
                let plaintext;
                (plaintext, is_ended) = self.open()?;
                (&self.origin).write_all(&plaintext)?;
            }
        }
        Ok(true)
    }

    /// What the records say that were read, and whether they announce the end.
    fn open(&self) -> io::Result<(Vec<u8>, bool)> {
        let mut session = lock(&self.session);
        let state = session.process_new_packets().map_err(io::Error::other)?;
        let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
        session.reader().read_exact(&mut plaintext)?;
        while session.wants_write() {
            session.write_tls(&mut &self.client)?;
        }
        Ok((plaintext, state.peer_has_closed()))
    }

    fn down(&self) -> io::Result<()> {
        let mut plaintext = [0; 16 * 1024];
        loop {
            let bytes = (&self.origin).read(&mut plaintext)?;
            if bytes == 0 {
                return Ok(());
            }
            let mut session = lock(&self.session);
            session.writer().write_all(&plaintext[..bytes])?;
            while session.wants_write() {
                session.write_tls(&mut &self.client)?;
            }
        }
    }

    fn finish(&self, cuts: bool) -> io::Result<()> {
        let mut session = lock(&self.session);
        if !cuts {
            session.send_close_notify();
            while session.wants_write() {
                session.write_tls(&mut &self.client)?;
            }
        }
        self.client.shutdown(Shutdown::Write)
    }
}

/// What is in there is whole whenever a thread may have panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
