//! Real connections on loopback: a client, a server, and the relay between them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{BufferSource, Operation, Relay, RelayError, RelayIo, RelayOptions, Side};
use crate::socket::set_linger_zero;
use crate::splice::{PipeCache, PipePool};
use crate::stream::Stream;

const SCRATCH_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
    taken: Cell<usize>,
    given: Cell<usize>,
    largest: Cell<usize>,
}

impl BufferSource for Buffers {
    fn take(&self) -> Vec<u8> {
        self.taken.set(self.taken.get() + 1);
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        self.given.set(self.given.get() + 1);
        self.largest.set(self.largest.get().max(buffer.len()));
        self.free.borrow_mut().push(buffer);
    }
}

/// A relay with what its worker would lend it.
struct Rig {
    relay: Relay,
    downstream: Stream,
    upstream: Stream,
    scratch: Vec<u8>,
    pool: PipePool,
    pipes: PipeCache,
    buffers: Buffers,
}

impl Rig {
    fn new(downstream: Stream, upstream: Stream, zero_copy: bool, pool: PipePool) -> Self {
        Self {
            relay: Relay::new(RelayOptions { zero_copy }),
            downstream,
            upstream,
            scratch: vec![0; SCRATCH_BYTES],
            pipes: pool.worker(),
            pool,
            buffers: Buffers::default(),
        }
    }

    /// A TCP client and server with a relay between them.
    async fn tcp(zero_copy: bool) -> (TcpStream, Self, TcpStream) {
        let (client, downstream) = tcp_pair().await;
        let (upstream, server) = tcp_pair().await;
        let rig = Self::new(
            downstream.into(),
            upstream.into(),
            zero_copy,
            PipePool::new(),
        );
        (client, rig, server)
    }

    async fn run(&mut self) -> Result<(), RelayError> {
        let mut io = RelayIo {
            scratch: &mut self.scratch,
            pipes: &self.pipes,
            buffers: &self.buffers,
        };
        let (relay, downstream, upstream) =
            (&mut self.relay, &mut self.downstream, &mut self.upstream);
        poll_fn(|cx| relay.poll(cx, downstream, upstream, &mut io)).await
    }

    /// Runs until the relay cannot go on without `other` doing something.
    async fn run_until(&mut self, other: impl Future<Output = ()>) {
        let mut other = pin!(other);
        tokio::select! {
            biased;
            () = &mut other => {}
            result = self.run() => panic!("the relay ended: {result:?}"),
        }
    }

    fn holds_nothing(&self) -> bool {
        self.buffers.taken == self.buffers.given && !self.relay.is_write_blocked()
    }
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// Bytes that betray a swap, a loss or a repetition: each place has its own.
fn pattern(bytes: usize) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(bytes + 4);
    let mut word = 0_u32;
    while pattern.len() < bytes {
        pattern.extend_from_slice(&word.to_le_bytes());
        word += 1;
    }
    pattern.truncate(bytes);
    pattern
}

async fn send_all(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn receive_all(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn the_client_may_close_its_half_first() {
    let (mut client, mut rig, mut server) = Rig::tcp(true).await;
    let client_part = async {
        send_all(&mut client, b"question").await;
        receive_all(&mut client).await
    };
    let server_part = async {
        let question = receive_all(&mut server).await;
        send_all(&mut server, b"answer").await;
        question
    };
    let (answer, question, result) = tokio::join!(client_part, server_part, rig.run());
    result.expect("both halves closed tidily");
    assert_eq!(
        (&question[..], &answer[..]),
        (&b"question"[..], &b"answer"[..])
    );
    assert_eq!(rig.relay.to_upstream().sent, 8);
    assert_eq!(rig.relay.to_downstream().sent, 6);
    assert_eq!(rig.relay.to_downstream().received, 6);
    assert_eq!(rig.relay.progress(), 2 * (8 + 6));
    assert_eq!(rig.buffers.taken.get(), 0, "small messages need no buffer");
}

#[tokio::test]
async fn the_server_may_close_its_half_first() {
    let (mut client, mut rig, mut server) = Rig::tcp(true).await;
    let server_part = async {
        send_all(&mut server, b"greeting").await;
        receive_all(&mut server).await
    };
    let client_part = async {
        let greeting = receive_all(&mut client).await;
        send_all(&mut client, b"thanks").await;
        greeting
    };
    let (greeting, thanks, result) = tokio::join!(client_part, server_part, rig.run());
    result.expect("both halves closed tidily");
    assert_eq!(
        (&greeting[..], &thanks[..]),
        (&b"greeting"[..], &b"thanks"[..])
    );
}

#[tokio::test]
async fn bulk_is_spliced_both_ways_at_once() {
    let (mut client, mut rig, mut server) = Rig::tcp(true).await;
    let bulk = pattern(16 * 1024 * 1024);
    let (mut client_read, mut client_write) = client.split();
    let (mut server_read, mut server_write) = server.split();
    let (result, (), (), down, up) = tokio::join!(
        rig.run(),
        send_all(&mut client_write, &bulk),
        send_all(&mut server_write, &bulk),
        receive_all(&mut client_read),
        receive_all(&mut server_read),
    );
    result.expect("both halves closed tidily");
    assert!(down == bulk && up == bulk, "every byte in its place");
    for bytes in [rig.relay.to_upstream(), rig.relay.to_downstream()] {
        assert_eq!(bytes.sent, bulk.len() as u64);
        assert!(bytes.spliced > bytes.sent / 2, "{bytes:?}");
    }
    assert!(rig.holds_nothing());
    drop(rig.pipes);
    assert_eq!(rig.pool.bytes(), 0);
}

async fn check_bulk_is_copied<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    mut rig: Rig,
    mut client: S,
    mut server: S,
) {
    let bulk = pattern(8 * 1024 * 1024);
    let server_part = async {
        send_all(&mut server, &bulk).await;
        receive_all(&mut server).await;
    };
    let client_part = async {
        let received = receive_all(&mut client).await;
        send_all(&mut client, b"").await;
        received
    };
    let (received, (), result) = tokio::join!(client_part, server_part, rig.run());
    result.expect("both halves closed tidily");
    assert!(received == bulk, "every byte in its place");
    assert_eq!(rig.relay.to_downstream().spliced, 0);
    assert!(rig.holds_nothing());
}

#[tokio::test]
async fn bulk_is_copied_when_splicing_is_off() {
    let (client, rig, server) = Rig::tcp(false).await;
    check_bulk_is_copied(rig, client, server).await;
}

#[tokio::test]
async fn bulk_is_copied_when_no_pipe_is_left() {
    let (client, mut rig, server) = Rig::tcp(true).await;
    rig.pool = PipePool::with_budget(0);
    rig.pipes = rig.pool.worker();
    check_bulk_is_copied(rig, client, server).await;
}

#[tokio::test]
async fn bulk_is_copied_on_unix_sockets() {
    let (client, downstream) = UnixStream::pair().unwrap();
    let (upstream, server) = UnixStream::pair().unwrap();
    let rig = Rig::new(downstream.into(), upstream.into(), true, PipePool::new());
    check_bulk_is_copied(rig, client, server).await;
}

/// Writes until `stream` has taken nothing for as long as the relay could move something.
async fn fill(rig: &mut Rig, stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    loop {
        let progress = rig.relay.progress();
        let before = written;
        rig.run_until(async {
            // The relay runs once after each of these.
            for _ in 0..4 {
                while let Ok(n) = stream.try_write(&bytes[written..]) {
                    written += n;
                    assert!(written < bytes.len(), "never blocked");
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        if rig.relay.progress() == progress && written == before && rig.relay.is_write_blocked() {
            return written;
        }
    }
}

#[tokio::test]
async fn a_slow_receiver_holds_one_buffer_until_it_reads_on() {
    let (mut client, mut rig, mut server) = Rig::tcp(false).await;
    let bulk = pattern(64 * 1024 * 1024);
    let written = fill(&mut rig, &mut server, &bulk).await;
    assert_eq!(rig.buffers.taken.get(), rig.buffers.given.get() + 1);

    let client_part = async {
        let received = receive_all(&mut client).await;
        client.shutdown().await.unwrap();
        received
    };
    let server_part = async {
        server.shutdown().await.unwrap();
        receive_all(&mut server).await;
    };
    let (received, (), result) = tokio::join!(client_part, server_part, rig.run());
    result.expect("both halves closed tidily");
    assert!(received == bulk[..written], "every byte in its place");
    assert!(rig.holds_nothing());
    assert!(rig.buffers.largest.get() <= SCRATCH_BYTES);
}

#[tokio::test]
async fn bytes_read_before_the_relay_come_first() {
    let (mut client, mut rig, mut server) = Rig::tcp(true).await;
    rig.relay.queue(Side::Upstream, b"early ", &rig.buffers);
    rig.relay.queue(Side::Downstream, b"before ", &rig.buffers);
    let client_part = async {
        send_all(&mut client, b"late").await;
        receive_all(&mut client).await
    };
    let server_part = async {
        send_all(&mut server, b"after").await;
        receive_all(&mut server).await
    };
    let (down, up, result) = tokio::join!(client_part, server_part, rig.run());
    result.expect("both halves closed tidily");
    assert_eq!(
        (&up[..], &down[..]),
        (&b"early late"[..], &b"before after"[..])
    );
    assert!(rig.holds_nothing());
}

#[tokio::test]
async fn a_clients_reset_ends_the_relay_at_once() {
    let (client, mut rig, _server) = Rig::tcp(true).await;
    set_linger_zero(&client).unwrap();
    drop(client);
    let error = rig.run().await.unwrap_err();
    assert_eq!(
        (error.side, error.operation),
        (Side::Downstream, Operation::Read)
    );
    assert!(error.is_truncated);
    assert_eq!(error.source.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_backends_reset_names_the_backend() {
    let (_client, mut rig, server) = Rig::tcp(true).await;
    set_linger_zero(&server).unwrap();
    drop(server);
    let error = rig.run().await.unwrap_err();
    assert_eq!(
        (error.side, error.operation),
        (Side::Upstream, Operation::Read)
    );
    assert!(error.is_truncated);
}

#[tokio::test]
async fn an_answer_before_a_failed_write_still_arrives() {
    // On a unix socket the write fails with EPIPE while the answer stays readable.
    let (mut client, downstream) = UnixStream::pair().unwrap();
    let (upstream, mut server) = UnixStream::pair().unwrap();
    let mut rig = Rig::new(downstream.into(), upstream.into(), true, PipePool::new());
    server.write_all(b"413").await.unwrap();
    drop(server);
    client.write_all(b"a body that nobody reads").await.unwrap();
    let (answer, result) = tokio::join!(receive_all(&mut client), rig.run());
    assert_eq!(answer, b"413");
    let error = result.unwrap_err();
    assert_eq!(
        (error.side, error.operation),
        (Side::Upstream, Operation::Write)
    );
    assert!(!error.is_truncated);
}

#[tokio::test]
async fn one_poll_leaves_others_their_turn() {
    let (_client, mut rig, server) = Rig::tcp(false).await;
    rig.scratch.truncate(1024);
    let bulk = pattern(512 * 1024);
    let _ = server.try_write(&bulk).unwrap();
    poll_fn(|cx| rig.upstream.poll_read_ready(cx))
        .await
        .unwrap();
    let polled = poll_fn(|cx| {
        let mut io = RelayIo {
            scratch: &mut rig.scratch,
            pipes: &rig.pipes,
            buffers: &rig.buffers,
        };
        let polled = rig
            .relay
            .poll(cx, &mut rig.downstream, &mut rig.upstream, &mut io);
        std::task::Poll::Ready(polled)
    });
    assert!(polled.await.is_pending());
    assert_eq!(rig.relay.to_downstream().received, 16 * 1024);
}

/// A small generator (xorshift), so that a failure is repeated by its seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Sends `bytes` in pieces of all sizes, sometimes letting everybody else run.
async fn send_in_pieces(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], seed: u64) {
    let mut random = Seeded(seed);
    let mut left = bytes;
    while !left.is_empty() {
        let limit = [64, 4 * 1024, 900 * 1024][random.below(3)];
        let (piece, rest) = left.split_at(left.len().min(1 + random.below(limit)));
        stream.write_all(piece).await.unwrap();
        left = rest;
        for _ in 0..random.below(4) {
            tokio::task::yield_now().await;
        }
    }
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn any_mix_of_sizes_arrives_in_order() {
    for seed in 1..=8 {
        let (mut client, mut rig, mut server) = Rig::tcp(seed % 2 == 0).await;
        let (up, down) = (pattern(1_500_000), pattern(2_500_000));
        let (mut client_read, mut client_write) = client.split();
        let (mut server_read, mut server_write) = server.split();
        let (result, (), (), got_down, got_up) = tokio::join!(
            rig.run(),
            send_in_pieces(&mut client_write, &up, seed),
            send_in_pieces(&mut server_write, &down, seed + 1_000),
            receive_all(&mut client_read),
            receive_all(&mut server_read),
        );
        result.expect("both halves closed tidily");
        assert!(got_up == up && got_down == down, "seed {seed}");
        assert!(rig.holds_nothing(), "seed {seed}");
    }
}
