//! `GET /metrics`.

use std::{
    cell::RefCell, collections::VecDeque, convert::Infallible, net::SocketAddr, rc::Rc, str::FromStr, time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn_local},
    time::{sleep, timeout},
};

/// Most connections that are open at a time.
pub(crate) const AT_ONCE: usize = 16;
/// Longest time that a connection may take, from its beginning to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Path of the metrics.
const PATH: &str = "/metrics";
/// The content type.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Address to listen at: `9464`, `:9464` and `127.0.0.1:9464` all mean this machine only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
            return Ok(Self(SocketAddr::from(([127, 0, 0, 1], port))));
        }
        text.parse().map(Self).map_err(|_| format!("\"{text}\" is not an address; give a port, such as 9464, or an address with a port, such as 127.0.0.1:9464"))
    }
}

/// Answers every request with the text as it is at that time.
///
/// A client that connects and then says nothing, or reads nothing, keeps nobody else waiting: each connection has a task
/// of its own and `PATIENCE`, and where there are `AT_ONCE` of them, the oldest is closed for the next.
pub(crate) async fn serve(listener: TcpListener, text: Rc<RefCell<String>>) {
    let mut connections = VecDeque::with_capacity(AT_ONCE);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptor is left: one may be free later.
            sleep(PAUSE).await;
            continue;
        };
        connections.retain(|connection: &AbortHandle| !connection.is_finished());
        if connections.len() == AT_ONCE
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        // A scrape that fails is the scraper's to report.
        let exchange = timeout(PATIENCE, answer(stream, Rc::clone(&text)));
        connections.push_back(spawn_local(async move { drop(exchange.await) }).abort_handle());
    }
}

/// Answers one request on a connection.
async fn answer(stream: TcpStream, text: Rc<RefCell<String>>) -> hyper::Result<()> {
    let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let wanted = request.method() == Method::GET && request.uri().path() == PATH;
        let body = if wanted { text.borrow().clone() } else { format!("the metrics are at {PATH}\n") };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        if wanted {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    server.serve_connection(TokioIo::new(stream), answer).await
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        time::Instant,
    };

    use super::*;

    #[test]
    fn a_port_alone_means_this_machine() {
        let local: SocketAddr = "127.0.0.1:9464".parse().expect("an address");
        for text in ["9464", ":9464", "127.0.0.1:9464"] {
            assert_eq!(text.parse(), Ok(Address(local)), "{text}");
        }
        assert!("elsewhere".parse::<Address>().is_err());
    }
    /// Opens many connections that say nothing or half of a request, and then asks for the metrics. Returns the answer,
    /// and how long it took.
    fn scrape_behind_silent_clients(address: SocketAddr) -> (String, Duration) {
        let silent = (0..3 * AT_ONCE).map(|n| {
            let mut client = std::net::TcpStream::connect(address).expect("connected");
            if n % 2 == 0 {
                client.write_all(b"GET /metrics HTTP/1.1\r\n").expect("sent");
            }
            client
        });
        let silent: Vec<_> = silent.collect();
        let begun = Instant::now();
        let mut client = std::net::TcpStream::connect(address).expect("connected");
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("answered");
        let took = begun.elapsed();
        // The oldest were closed to make room, and the others are when their time is over.
        for mut client in silent {
            client.set_read_timeout(Some(PATIENCE * 4)).expect("set");
            let still_open = matches!(client.read(&mut [0; 64]), Err(e) if e.kind() == ErrorKind::WouldBlock);
            assert!(!still_open, "a client that says nothing is never closed");
        }
        (answer, took)
    }

    #[test]
    fn clients_that_say_nothing_keep_nobody_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (answer, took) = tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("its address");
            spawn_local(serve(listener, Rc::new(RefCell::new("mmtrace_info 1\n".to_owned()))));
            tokio::task::spawn_blocking(move || scrape_behind_silent_clients(address)).await.expect("no panic")
        });
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("mmtrace_info 1\n"), "{answer}");
        assert!(took < PATIENCE / 2, "{took:?}");
    }
}
