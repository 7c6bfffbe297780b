//! Accepting, connecting and looking, with real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use balance_core::ListenAddress;
use balance_net::{
    Acceptor, ConnectOptions, ConnectTarget, Keepalive, ListenOptions, Peer, PeerState, bind,
    connect, first_read, is_out_of_resources, peek, peer_state, set_linger_zero, shutdown_write,
};

/// One listening socket and its address.
fn listen(text: &str, options: &ListenOptions) -> (Acceptor, SocketAddr) {
    let bound = bind(&ListenAddress::parse(text).unwrap(), 1, options).unwrap();
    let address = bound.local_addr().unwrap();
    let socket = bound.into_sockets().pop().unwrap();
    (Acceptor::new(socket).unwrap(), address)
}

/// A connected pair, the accepted side not registered.
async fn pair() -> (TcpStream, balance_net::Accepted) {
    let (acceptor, address) = listen("127.0.0.1:0", &ListenOptions::default());
    let client = TcpStream::connect(address).unwrap();
    let accepted = acceptor.accept().await.unwrap();
    (client, accepted)
}

/// Waits for something that the kernel does on its own time, without a fixed sleep.
async fn until(mut happened: impl FnMut() -> bool) {
    let waited = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited)
        .await
        .expect("it happens");
}

#[tokio::test]
async fn accepting_waits_and_tells_who_came() {
    let (acceptor, address) = listen("127.0.0.1:0", &ListenOptions::default());
    assert!(acceptor.try_accept().unwrap().is_none());
    let (accepted, client) =
        tokio::join!(acceptor.accept(), tokio::net::TcpStream::connect(address));
    let (accepted, client) = (accepted.unwrap(), client.unwrap());
    assert_eq!(accepted.peer, Peer::Ip(client.local_addr().unwrap()));
    assert!(
        rustix::net::sockopt::tcp_nodelay(&accepted.fd).unwrap(),
        "inherited"
    );
    // Edge-triggered: it must wait for the next one again, not only the first time.
    let (accepted, _client) =
        tokio::join!(acceptor.accept(), tokio::net::TcpStream::connect(address));
    accepted.unwrap();
}

#[tokio::test]
async fn ipv4_clients_of_a_dual_stack_listener_look_like_ipv4() {
    let (acceptor, address) = listen(":0", &ListenOptions::default());
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
    let peer = acceptor.accept().await.unwrap().peer.ip().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::LOCALHOST);
}

#[tokio::test]
async fn a_stopping_listener_takes_all_who_wait() {
    let (acceptor, address) = listen("127.0.0.1:0", &ListenOptions::default());
    let clients: Vec<_> = (0..5)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut taken = 0;
    until(|| {
        taken += std::iter::from_fn(|| acceptor.try_accept().unwrap()).count();
        taken == clients.len()
    })
    .await;
}

#[tokio::test]
async fn unix_clients_have_no_address() {
    let path = std::env::temp_dir().join(format!("balance-net-{}-accept", std::process::id()));
    let address = ListenAddress::Unix(path.to_str().unwrap().to_owned());
    let bound = bind(&address, 1, &ListenOptions::default()).unwrap();
    let local = bound.local_address().clone();
    let acceptor = Acceptor::new(bound.into_sockets().pop().unwrap()).unwrap();
    let target = ConnectTarget::Unix(&path);
    let client = connect(target, &ConnectOptions::default()).await.unwrap();
    let accepted = acceptor.accept().await.unwrap();
    assert_eq!(accepted.peer, Peer::Unix);
    assert!(!client.is_tcp() && !accepted.into_stream().unwrap().is_tcp());
    local.remove_file().unwrap();
}

#[tokio::test]
async fn deferred_connections_come_with_their_first_bytes() {
    let options = ListenOptions {
        defer_accept: true,
        ..ListenOptions::default()
    };
    let (acceptor, address) = listen("127.0.0.1:0", &options);
    let mut client = TcpStream::connect(address).unwrap();
    assert!(
        acceptor.try_accept().unwrap().is_none(),
        "it has sent nothing"
    );
    client.write_all(b"GET /").unwrap();
    let accepted = acceptor.accept().await.unwrap();
    let mut buffer = [0; 16];
    assert_eq!(first_read(&accepted.fd, &mut buffer).unwrap(), Some(5));
    assert_eq!(&buffer[..5], b"GET /");
}

#[tokio::test]
async fn the_first_read_does_not_wait() {
    let (client, accepted) = pair().await;
    assert_eq!(first_read(&accepted.fd, &mut [0; 4]).unwrap(), None);
    shutdown_write(&client).unwrap();
    until(|| first_read(&accepted.fd, &mut [0; 4]).unwrap() == Some(0)).await;
}

#[tokio::test]
async fn a_watched_client_is_quiet_then_speaks_then_closes() {
    let (mut client, accepted) = pair().await;
    assert_eq!(peer_state(&accepted.fd), PeerState::Quiet);
    client.write_all(b"more").unwrap();
    until(|| peer_state(&accepted.fd) == PeerState::Data).await;
    let mut buffer = [0; 16];
    assert_eq!(peek(&accepted.fd, &mut buffer).unwrap(), Some(4));
    assert_eq!(
        first_read(&accepted.fd, &mut buffer).unwrap(),
        Some(4),
        "still there"
    );
    shutdown_write(&client).unwrap();
    until(|| peer_state(&accepted.fd) == PeerState::Closed).await;
}

#[tokio::test]
async fn a_reset_is_seen_even_behind_unread_bytes() {
    for sent in [&b""[..], b"pipelined"] {
        let (mut client, accepted) = pair().await;
        client.write_all(sent).unwrap();
        set_linger_zero(&client).unwrap();
        drop(client);
        until(|| peer_state(&accepted.fd) == PeerState::Reset).await;
    }
}

#[tokio::test]
async fn a_fin_from_both_sides_is_no_reset() {
    let (mut client, accepted) = pair().await;
    client.write_all(b"last words").unwrap();
    shutdown_write(&client).unwrap();
    shutdown_write(&accepted.fd).unwrap();
    // Shut on both sides is what poll(2) calls a hang-up.
    let fd = &accepted.fd;
    until(|| {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut watched = [PollFd::new(fd, PollFlags::empty())];
        poll(
            &mut watched,
            Some(&rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            == 1
    })
    .await;
    assert_eq!(peer_state(fd), PeerState::Data);
}

#[tokio::test]
async fn connecting_says_whose_fault_it_is() {
    // Bound and not listening: nobody else can take the port meanwhile.
    let placeholder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let placeholder = placeholder.unwrap();
    placeholder
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = placeholder.local_addr().unwrap().as_socket().unwrap();
    let options = ConnectOptions {
        keepalive: Some(Keepalive::default()),
    };
    let error = connect(ConnectTarget::Ip(address), &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(!is_out_of_resources(&error));

    let missing = ConnectTarget::Unix(Path::new("/nonexistent/balance.sock"));
    let error = connect(missing, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    for errno in [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENFILE] {
        assert!(is_out_of_resources(&std::io::Error::from_raw_os_error(
            errno
        )));
    }
}

#[tokio::test]
async fn outgoing_connections_are_set_up() {
    let (acceptor, address) = listen("127.0.0.1:0", &ListenOptions::default());
    let options = ConnectOptions {
        keepalive: Some(Keepalive::default()),
    };
    let stream = connect(ConnectTarget::Ip(address), &options).await.unwrap();
    acceptor.accept().await.unwrap();
    let sockopt = rustix::net::sockopt::tcp_keepidle(&stream).unwrap();
    assert_eq!(sockopt, Keepalive::default().idle);
    assert!(rustix::net::sockopt::tcp_nodelay(&stream).unwrap());
    assert!(rustix::net::sockopt::socket_keepalive(&stream).unwrap());
}
