//! Real sockets on loopback: who may own an address.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use balance_core::ListenAddress;
use socket2::{Domain, Socket, Type};

use super::{BindError, BoundListener, ListenOptions, LocalAddress, bind, own, tcp_socket};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn bind_text(text: &str, sockets: usize) -> Result<BoundListener, BindError> {
    let address = ListenAddress::parse(text).unwrap();
    bind(&address, sockets, &ListenOptions::default())
}

fn listeners(bound: BoundListener) -> Vec<TcpListener> {
    let sockets = bound.into_sockets().into_iter();
    sockets
        .map(|socket| TcpListener::from(socket.into_fd()))
        .collect()
}

/// A handshake can end on the client's side a moment before the listener has the connection.
fn until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "it never happened");
        thread::yield_now();
    }
}

fn scratch_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("balance-net-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn port_zero_gives_all_workers_the_same_port() {
    let bound = bind_text("127.0.0.1:0", 4).unwrap();
    let port = bound.local_addr().unwrap().port();
    assert_ne!(port, 0);
    assert_eq!(bound.sockets().len(), 4);
    for listener in listeners(bound) {
        assert_eq!(listener.local_addr().unwrap().port(), port);
    }
}

#[test]
fn a_second_balance_is_refused() {
    for sockets in [1, 3] {
        let first = bind_text("127.0.0.1:0", sockets).unwrap();
        let text = first.local_addr().unwrap().to_string();
        for second in [1, 3] {
            let error = bind_text(&text, second).expect_err("the port has an owner");
            assert!(error.is_in_use(), "{error}");
            assert!(error.to_string().contains("ss -ltnp"), "{error}");
        }
        drop(first);
        bind_text(&text, sockets).expect("free again at once");
    }
}

#[test]
fn of_two_that_start_at_once_one_wins() {
    let options = ListenOptions::default();
    let (one, other) = (
        tcp_socket(LOOPBACK, &options).unwrap(),
        tcp_socket(LOOPBACK, &options).unwrap(),
    );
    // Both are past bind before either listens: the kernel allows that, for neither takes connections.
    one.bind(&LOOPBACK.into()).unwrap();
    other.bind(&one.local_addr().unwrap()).unwrap();
    own(&one, 2, &options).expect("the first to listen owns it");
    let error = own(&other, 2, &options).expect_err("the port has an owner");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_port_shared_by_others_is_refused() {
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&LOOPBACK.into()).unwrap();
    other.listen(1).unwrap();
    let taken = other.local_addr().unwrap().as_socket().unwrap();
    assert!(bind_text(&taken.to_string(), 2).unwrap_err().is_in_use());
    // Nor behind a wildcard, whose dual-stack socket covers it.
    let wildcard = format!(":{}", taken.port());
    assert!(bind_text(&wildcard, 2).unwrap_err().is_in_use());
}

#[test]
fn every_workers_socket_gets_connections() {
    let bound = bind_text("127.0.0.1:0", 2).unwrap();
    let address = bound.local_addr().unwrap();
    // Which socket gets one depends on a hash of the ports: 64 of them miss one socket with odds of 2^-63.
    let clients: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let listeners = listeners(bound);
    let mut taken = vec![0; listeners.len()];
    until(|| {
        for (count, listener) in taken.iter_mut().zip(&listeners) {
            *count += std::iter::from_fn(|| listener.accept().ok()).count();
        }
        taken.iter().sum::<usize>() == clients.len()
    });
    assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
}

#[test]
fn a_wildcard_takes_both_families() {
    let bound = bind_text(":0", 2).unwrap();
    let port = bound.local_addr().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    if bound.local_addr().unwrap().is_ipv6() {
        TcpStream::connect(("::1", port)).unwrap();
    }
}

#[test]
fn time_wait_does_not_hinder_a_restart() {
    let bound = bind_text("127.0.0.1:0", 2).unwrap();
    let address = bound.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let listeners = listeners(bound);
    let mut accepted = None;
    until(|| {
        accepted = listeners.iter().find_map(|listener| listener.accept().ok());
        accepted.is_some()
    });
    drop(listeners);
    // The side that closes first is left in TIME_WAIT, on the listener's port.
    drop(accepted);
    drop(client);
    bind_text(&address.to_string(), 2).expect("TIME_WAIT is forgiven");
}

#[test]
fn an_address_of_another_machine_is_named_as_such() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let error = bind_text("192.0.2.1:0", 1).unwrap_err();
    assert!(
        matches!(error, BindError::AddressNotLocal { .. }),
        "{error}"
    );
}

#[test]
fn privileged_ports_come_with_a_remedy() {
    let address = ListenAddress::parse("127.0.0.1:80").unwrap();
    let error = BindError::new(&address, io::Error::from_raw_os_error(libc::EACCES));
    let text = error.to_string();
    assert!(text.contains("setcap") && text.contains("systemd") && text.contains("1024"));
    let error = BindError::new(&address, io::Error::from_raw_os_error(libc::EMFILE));
    assert!(error.to_string().contains("LimitNOFILE"));
}

#[test]
fn unix_paths_are_shared_by_all_workers() {
    let path = scratch_path("shared");
    let address = ListenAddress::Unix(path.to_str().unwrap().to_owned());
    let options = ListenOptions {
        unix_mode: Some(0o640),
        ..ListenOptions::default()
    };
    let bound = bind(&address, 3, &options).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(bound.sockets().len(), 3);
    let local = bound.local_address().clone();
    assert_eq!(local, LocalAddress::Unix(path.clone()));

    let _client = UnixStream::connect(&path).unwrap();
    let last = bound.into_sockets().pop().unwrap();
    UnixListener::from(last.into_fd()).accept().unwrap();
    local.remove_file().unwrap();
    local.remove_file().expect("gone already");
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
    let path = scratch_path("stale");
    let text = format!("unix:{}", path.display());
    // Dropping a listener leaves its file behind, as a killed process does.
    drop(UnixListener::bind(&path).unwrap());
    let bound = bind_text(&text, 1).expect("the file is stale");
    let error = bind_text(&text, 1).unwrap_err();
    assert!(matches!(error, BindError::PathInUse { .. }), "{error}");
    UnixStream::connect(&path).expect("the first one still listens");
    bound.local_address().remove_file().unwrap();
}

#[test]
fn unix_paths_that_cannot_work() {
    let path = scratch_path("file");
    fs::write(&path, "precious").unwrap();
    let error = bind_text(&format!("unix:{}", path.display()), 1).unwrap_err();
    assert!(matches!(error, BindError::PathOccupied { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    let error = bind_text(&format!("unix:{}/a/b.sock", path.display()), 1).unwrap_err();
    assert!(
        matches!(error, BindError::DirectoryMissing { .. }),
        "{error}"
    );
    let error = bind_text(&format!("unix:/tmp/{}", "x".repeat(120)), 1).unwrap_err();
    assert!(matches!(error, BindError::PathTooLong { .. }), "{error}");
}
