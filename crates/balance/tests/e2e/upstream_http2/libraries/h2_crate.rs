//! HTTP/2 by the crate h2, which hyper and tonic are built on.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::LARGE_BYTES;

/// A running server; dropping it ends it.
pub(super) struct H2Server {
    address: SocketAddr,
    /// Dropped, it tells the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The connections that asked for something.
type Asked = Arc<Mutex<HashSet<u64>>>;

impl H2Server {
    pub(super) fn start() -> Self {
        let (stop, stopped) = oneshot::channel();
        let (told, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_io().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: address.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for H2Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn accept(listener: TcpListener) {
    let asked = Asked::default();
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, number, Arc::clone(&asked)));
    }
}

async fn serve(stream: TcpStream, number: u64, asked: Asked) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        asked.lock().unwrap().insert(number);
        let connections = asked.lock().unwrap().len();
        answers.spawn(async move {
            // A stream that is gone is a way to end.
            let _ = answer(request, respond, connections).await;
        });
    }
}

/// The paths: see [`super`].
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connections: usize,
) -> Result<(), h2::Error> {
    let status = |status: u16| {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().unwrap();
        response
    };
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/half" => {
            let mut stream = respond.send_response(status(200), false)?;
            stream.send_data(Bytes::from_static(b"half"), false)?;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        "/early" => {
            let mut stream = respond.send_response(status(403), false)?;
            stream.send_data(Bytes::from_static(b"early"), true)?;
        }
        "/connections" => {
            let mut stream = respond.send_response(status(200), false)?;
            stream.send_data(Bytes::from(connections.to_string()), true)?;
        }
        "/large" => {
            let mut stream = respond.send_response(status(200), false)?;
            stream.send_data(Bytes::from(vec![b'l'; LARGE_BYTES]), true)?;
        }
        "/echo" => {
            let content = read(&mut body).await?;
            let mut stream = respond.send_response(status(200), false)?;
            stream.send_data(content, true)?;
        }
        "/behind" => {
            let content = read(&mut body).await?;
            let sent = body.trailers().await?.unwrap_or_default();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", sent["x-sum"].clone());
            let mut stream = respond.send_response(status(200), false)?;
            stream.send_data(content, false)?;
            stream.send_trailers(trailers)?;
        }
        _ => {
            respond.send_response(status(404), true)?;
        }
    }
    Ok(())
}

async fn read(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut content = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}
