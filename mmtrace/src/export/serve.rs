//! `GET /metrics`.

use std::{cell::RefCell, convert::Infallible, net::SocketAddr, rc::Rc, str::FromStr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode, body::Bytes, header::CONTENT_TYPE, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

/// Scrapes at once; more wait.
const AT_ONCE: usize = 8;
/// Who sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// What Prometheus is told that this is.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where to listen: `9464`, `:9464` and `127.0.0.1:9464` all mean this machine only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
            return Ok(Self(SocketAddr::from(([127, 0, 0, 1], port))));
        }
        text.parse().map(Self).map_err(|_| format!("\"{text}\" is no address; 9464 and 127.0.0.1:9464 are"))
    }
}

/// Answers with the text as it is at the time, for as long as it is awaited.
pub async fn serve(listener: TcpListener, text: Rc<RefCell<String>>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let text = Rc::clone(&text);
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let wanted = request.method() == Method::GET && request.uri().path() == "/metrics";
                let body = if wanted { text.borrow().clone() } else { "there is /metrics\n".to_owned() };
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let status = if wanted { StatusCode::OK } else { StatusCode::NOT_FOUND };
                *response.status_mut() = status;
                if wanted {
                    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(FORMAT));
                }
                async move { Ok::<_, Infallible>(response) }
            });
            // A scrape that fails is the scraper's to report.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_means_this_machine() {
        let local: SocketAddr = "127.0.0.1:9464".parse().expect("an address");
        for text in ["9464", ":9464", "127.0.0.1:9464"] {
            assert_eq!(text.parse(), Ok(Address(local)), "{text}");
        }
        assert!("elsewhere".parse::<Address>().is_err());
    }
}
