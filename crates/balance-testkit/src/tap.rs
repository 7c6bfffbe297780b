//! A wire-tap: passes bytes in both directions and keeps what each connection sent to the target.
//!
//! It breaks nothing and parses nothing; [`FaultProxy`](crate::FaultProxy) does the former.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::PATIENCE;

/// A running tap. Dropping it closes its connections.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    is_stopping: AtomicBool,
    links: Mutex<Vec<Link>>,
}

#[derive(Debug)]
struct Link {
    near: TcpStream,
    far: TcpStream,
    sent: Vec<u8>,
}

impl Tap {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `target`.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            is_stopping: AtomicBool::new(false),
            links: Mutex::default(),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all(&listener)
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What each connection has sent so far, in the order of accepting.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        let links = self.shared.links.lock();
        let links = links.unwrap_or_else(PoisonError::into_inner);
        links.iter().map(|link| link.sent.clone()).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        // Wakes accept(); when nobody listens any more there is nothing to wake.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn change<T>(&self, act: impl FnOnce(&mut Vec<Link>) -> T) -> T {
        act(&mut self.links.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        for near in listener.incoming() {
            if self.is_stopping.load(Ordering::Acquire) {
                break;
            }
            // A connection that cannot be passed on is closed, as by a target that is gone.
            if let Ok(near) = near {
                threads.extend(self.serve(near).into_iter().flatten());
            }
        }
        self.change(|links| {
            for stream in links.iter().flat_map(|link| [&link.near, &link.far]) {
                let _ = stream.shutdown(Shutdown::Both); // wakes its thread, if it still has one
            }
        });
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn serve(self: &Arc<Self>, near: TcpStream) -> std::io::Result<[JoinHandle<()>; 2]> {
        let far = TcpStream::connect_timeout(&self.target, PATIENCE)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
        let link = Link {
            near: near.try_clone()?,
            far: far.try_clone()?,
            sent: Vec::new(),
        };
        let number = self.change(|links| {
            links.push(link);
            links.len() - 1
        });
        let shared = Arc::clone(self);
        let keep = move |bytes: &[u8]| {
            shared.change(|links| links[number].sent.extend_from_slice(bytes));
        };
        Ok([
            std::thread::spawn(move || pass(near, far, keep)),
            std::thread::spawn(move || pass(far_again, near_again, |_| {})),
        ])
    }
}

/// Until FIN, which is passed on, or an error, which ends both directions.
fn pass(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut block = [0; 16 * 1024];
    loop {
        match from.read(&mut block) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write); // it may be closed already
                return;
            }
            Ok(length) => {
                // Kept first: what the target has seen is always here.
                keep(&block[..length]);
                if to.write_all(&block[..length]).is_ok() {
                    continue;
                }
            }
            Err(_) => {}
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
        return;
    }
}
