//! A TCP session that outlives the configuration it began with.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use balance_testkit::{EchoServer, PATIENCE, PeerMode, TempDir};

use crate::subject::{Config, cause, metric, reload, wait_until};

/// Positions of pools and listeners mean nothing in another snapshot than their own: here the pool of the
/// session is the second of two, and then the only one.
#[test]
fn a_session_is_logged_under_its_pool_after_a_reload_without_the_others() {
    let server = EchoServer::start(PeerMode::Echo);
    let folder = TempDir::new("log").unwrap();
    let file = folder.path().join("access.log");
    let one_pool = Config::tcp(&[server.addr()])
        .with(&format!("logging: {{ access_log: '{}' }}", file.display()));
    let two_pools = Config {
        pools: format!("  q: {{ backends: [ '{}' ] }}\n", server.addr()),
        listener: "pool: q".to_owned(),
        ..one_pool.clone()
    };
    let process = two_pools.start();
    let mut client = TcpStream::connect(process.listener("web")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    echo(&mut client);

    reload(&process, &one_pool);
    echo(&mut client);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "its end comes back");

    wait_until(
        || cause(&process, "completed") > 0.0,
        "the end of the session",
    );
    wait_until(
        || fs::read_to_string(&file).is_ok_and(|text| text.contains(" pool=q ")),
        "its line in the access log",
    );
    assert_eq!(metric(&process, "balance_panics_total"), 0.0);
}

fn echo(client: &mut TcpStream) {
    let mut answer = [0; 4];
    client.write_all(b"ping").unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}
