//! Alone in its process, because the limit on descriptors is the process's.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use balance_core::ListenAddress;
use balance_net::{AcceptError, Acceptor, BindError, ListenOptions, bind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Uses up all descriptors but `left`.
fn exhaust(spare: &mut Vec<OwnedFd>, left: usize) {
    while let Ok(file) = std::fs::File::open("/dev/null") {
        spare.push(file.into());
    }
    spare.truncate(spare.len() - left);
}

#[tokio::test]
async fn a_process_without_descriptors_pauses_and_recovers() {
    let options = ListenOptions::default();
    let address = ListenAddress::parse("127.0.0.1:0").unwrap();
    let bound = bind(&address, 1, &options).unwrap();
    let port = bound.local_addr().unwrap();
    let acceptor = Acceptor::new(bound.into_sockets().pop().unwrap()).unwrap();

    let limit = Rlimit {
        current: Some(64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut spare = Vec::new();
    exhaust(&mut spare, 1);
    let _client = TcpStream::connect(port).unwrap();

    for _ in 0..2 {
        let error = acceptor.accept().await.unwrap_err();
        assert!(matches!(error, AcceptError::OutOfResources(_)), "{error}");
    }
    let error = bind(&address, 1, &options).unwrap_err();
    assert!(
        matches!(error, BindError::DescriptorsExhausted { limit: 64, .. }),
        "{error}"
    );

    spare.pop();
    acceptor.accept().await.expect("the connection waited");
}
