use std::time::{Duration, Instant};

use super::{Fault, FaultAction, FaultProxy, Place};
use crate::{EchoServer, End, Origin, PeerMode, RawClient, Script, StrictError};

fn fault(place: Place, action: FaultAction) -> Fault {
    Fault { place, action }
}

/// A client of an echo behind a fault.
fn echo(place: Place, action: FaultAction) -> (EchoServer, FaultProxy, RawClient) {
    let server = EchoServer::start(PeerMode::Echo);
    let proxy = FaultProxy::start(server.addr());
    proxy.begin([fault(place, action)]);
    let client = RawClient::connect(proxy.addr()).unwrap();
    (server, proxy, client)
}

#[test]
fn without_a_fault_everything_passes() {
    let server = EchoServer::start(PeerMode::Echo);
    let proxy = FaultProxy::start(server.addr());
    let mut client = RawClient::connect(proxy.addr()).unwrap();
    let sent = EchoServer::pattern(300_000);
    client.send(&sent).unwrap();
    client.half_close().unwrap();
    assert!(client.read_to_end().unwrap() == sent);
    proxy.wait_until_closed();
    let carried = proxy.carried();
    assert_eq!((carried.senders.as_slice(), carried.faults), (&[0][..], 0));
    assert!(carried.up == sent && carried.down == sent);
    assert_eq!(server.wait_for_ended(1)[0].end, Some(End::Fin));
}

#[test]
fn a_close_or_a_reset_comes_behind_exactly_so_many_bytes() {
    for at in 0..=5 {
        let (server, proxy, mut client) = echo(Place::Down(at), FaultAction::Close);
        client.send("hello").unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"hello"[..at as usize]);
        drop(client);
        proxy.wait_until_closed();
        assert_eq!(server.wait_for_ended(1)[0].end, Some(End::Fin));

        let (server, _proxy, mut client) = echo(Place::Up(at), FaultAction::Reset);
        client.send("hello").unwrap();
        assert_eq!(client.read_to_end(), Err(StrictError::Reset));
        let session = &server.wait_for_ended(1)[0];
        // What the target had not read when the reset came is lost to it.
        assert!(b"hello"[..at as usize].starts_with(&session.received));
        assert_eq!(session.end, Some(End::Reset));
    }
}

#[test]
fn a_connection_may_end_before_its_first_byte() {
    let (_server, proxy, mut client) = echo(Place::Accept, FaultAction::Close);
    assert_eq!(client.read_to_end().unwrap(), b"");
    drop(client);
    proxy.wait_until_closed();
    assert_eq!(proxy.carried().faults, 1);
}

#[test]
fn a_half_close_leaves_the_other_direction() {
    let (server, _proxy, mut client) = echo(Place::Down(2), FaultAction::HalfClose);
    client.send("hello").unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"he");
    client.send(" you").unwrap();
    client.half_close().unwrap();
    assert_eq!(server.wait_for_ended(1)[0].received, b"hello you");
}

#[test]
fn garbage_replaces_what_follows() {
    let (_server, _proxy, mut client) = echo(Place::Down(1), FaultAction::Garbage(b"??".to_vec()));
    client.send("hello").unwrap();
    assert_eq!(client.read_exact(3).unwrap(), b"h??");
    client.send("again").unwrap();
    client.half_close().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"");
}

#[test]
fn a_blackhole_says_nothing_and_a_stall_takes_nothing() {
    let (server, proxy, mut client) = echo(Place::Up(2), FaultAction::Blackhole);
    client.send("hello").unwrap();
    proxy.wait_for_faults(1);
    client.set_read_timeout(Duration::from_millis(50)).unwrap();
    assert_eq!(client.read_to_end(), Err(StrictError::TimedOut));
    // Nothing of the echo of its two bytes came back either.
    assert_eq!(server.wait_for(1)[0].end, None);
    drop(client);
    proxy.wait_until_closed();

    let (_server, _proxy, mut client) = echo(Place::Up(0), FaultAction::Stall);
    let timeout = Duration::from_millis(50);
    client.stream().set_write_timeout(Some(timeout)).unwrap();
    assert!(client.send(vec![0; 64 << 20]).is_err());
}

#[test]
fn delays_and_drips_take_their_time_and_lose_nothing() {
    let gap = Duration::from_millis(10);
    for action in [FaultAction::Delay(5 * gap), FaultAction::Drip(gap)] {
        let (_server, _proxy, mut client) = echo(Place::Down(1), action);
        let started = Instant::now();
        client.send("hello, you").unwrap();
        assert_eq!(client.read_exact(10).unwrap(), b"hello, you");
        assert!(started.elapsed() >= 5 * gap);
    }
}

#[test]
fn faults_strike_one_connection_each_and_idle_ones_too() {
    let origin = Origin::answering(Script::ok("here"));
    let proxy = FaultProxy::with_addresses(origin.addr(), 2);
    let get = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let mut idle = RawClient::connect(proxy.addr()).unwrap();
    assert_eq!(idle.exchange(get).unwrap().text(), "here");
    let close = || fault(Place::Down(0), FaultAction::Close);
    proxy.begin([close(), close()]);
    assert_eq!(idle.exchange(get), Err(StrictError::Closed));
    let mut second = RawClient::connect(proxy.addresses()[1]).unwrap();
    assert_eq!(second.exchange(get), Err(StrictError::Closed));
    let mut third = RawClient::connect(proxy.addr()).unwrap();
    assert_eq!(third.exchange(get).unwrap().text(), "here");
    assert_eq!(proxy.carried().senders, [0, 1, 2]);
    assert_eq!(origin.requests().len(), 4, "all of them were sent on");
}
