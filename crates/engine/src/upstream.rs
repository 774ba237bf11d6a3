//! Where a service listens: `"127.0.0.1:9000" or "https://board.example.org:8443" -> connection`.
//!
//! One that is reached by `https` proves who it is with a certificate of a public authority, or of those its node's owner names,
//! for the very name it is called by (RFC 9110 section 4.3.4). There is no way back to plain HTTP and none around the check.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::answer::Fault;
use crate::error::EngineError;
use crate::identity::{public_roots, roots, web_client};
use crate::kept::{Connection, Socket};

const SCHEME: &str = "https://";
const ALPN_HTTP1: &[u8] = b"http/1.1";
/// A program on the same machine refuses or accepts at once, or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One that is reached by its name may stand elsewhere, and has several round trips to make.
const SECURE_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One upstream.
pub(crate) struct Upstream {
    text: String,
    host: String,
    port: u16,
    tls: Option<(ServerName<'static>, TlsConnector)>,
}

impl Upstream {
    /// `text` is `ip:port`, or `https://` with a name or an address and a port; `authorities` (PEM) are believed instead of the
    /// public ones.
    ///
    /// # Errors
    /// `service.upstream_invalid`.
    pub(crate) fn new(text: &str, authorities: Option<&[u8]>) -> Result<Self, EngineError> {
        let Some(place) = text.strip_prefix(SCHEME) else {
            let address: SocketAddr = text
                .parse()
                .map_err(|_| invalid(text, "it is no address of a service"))?;
            if authorities.is_some() {
                return Err(invalid(
                    text,
                    "nobody shows a certificate there: it is reached in the clear",
                ));
            }
            return Ok(Self {
                text: text.to_owned(),
                host: address.ip().to_string(),
                port: address.port(),
                tls: None,
            });
        };
        let (host, port) = place
            .rsplit_once(':')
            .ok_or_else(|| invalid(text, "it names no port"))?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| invalid(text, "its port is no number up to 65535"))?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid(text, "it names no host"))?;
        let believed = match authorities {
            Some(pem) => roots(pem).map_err(|error| invalid(text, &error.message))?,
            None => public_roots(),
        };
        let mut config: ClientConfig = web_client(believed)?;
        config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
            tls: Some((name, TlsConnector::from(Arc::new(config)))),
        })
    }

    /// Name or address, without the port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connect, and have it prove who it is where it must.
    ///
    /// # Errors
    /// `service.unreachable`, `service.untrusted`.
    pub(crate) async fn connect(&self) -> Result<Connection, Fault> {
        let patience = match self.tls {
            None => CONNECT_TIMEOUT,
            Some(_) => SECURE_CONNECT_TIMEOUT,
        };
        let until = Instant::now() + patience;
        let late = |_| self.unreachable(&"it does not accept connections");
        let stream = timeout_at(until, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = stream.await.map_err(late)?;
        let stream = stream.map_err(|cause| self.unreachable(&cause))?;
        let _ = stream.set_nodelay(true);
        let (socket, ear) = Socket::new(stream);
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(socket),
            Some((name, connector)) => {
                let secured = timeout_at(until, connector.connect(name.clone(), socket));
                let secured = secured.await.map_err(late)?;
                Box::new(secured.map_err(|cause| self.untrusted(&cause))?)
            }
        };
        Connection::open(stream, ear)
            .await
            .map_err(|cause| self.unreachable(&cause))
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> Fault {
        Fault::new(
            "service.unreachable",
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the service does not listen at {}: {why}", self.text),
            "start the program, or correct the service's upstream",
        )
        .retry_after(1)
    }

    fn untrusted(&self, cause: &std::io::Error) -> Fault {
        Fault::new(
            "service.untrusted",
            StatusCode::BAD_GATEWAY,
            format!(
                "the service at {} does not prove that it is who it should be: {cause}",
                self.text
            ),
            "its certificate must name that host and come from a public authority, or from those given with --allow-upstream",
        )
    }
}

fn invalid(text: &str, why: &str) -> EngineError {
    EngineError::new(
        "service.upstream_invalid",
        format!("{text:?} cannot be the upstream of a service: {why}"),
        "write an IP address and a port, like 127.0.0.1:9000, or https://board.example.org:8443",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, u16, bool), String> {
        let upstream = Upstream::new(text, None).map_err(|error| error.message)?;
        Ok((upstream.host.clone(), upstream.port, upstream.tls.is_some()))
    }

    #[test]
    fn plain_ones_are_addresses_and_encrypted_ones_may_be_names() {
        for (text, host, port, is_tls) in [
            ("127.0.0.1:9000", "127.0.0.1", 9000, false),
            ("[::1]:9000", "::1", 9000, false),
            ("https://board.example.org:8443", "board.example.org", 8443, true),
            ("https://10.0.0.7:443", "10.0.0.7", 443, true),
            ("https://[::1]:443", "::1", 443, true),
        ] {
            assert_eq!(read(text), Ok((host.to_owned(), port, is_tls)), "{text}");
        }
    }

    #[test]
    fn what_is_half_an_upstream_is_none() {
        for text in [
            "",
            "localhost:80",
            "http://127.0.0.1:80",
            "https://board.example.org",
            "https://:443",
            "https://board.example.org:0",
            "https://board.example.org:65536",
            "https://board.example.org:443/path",
            "https://ada@board.example.org:443",
            "HTTPS://board.example.org:443",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn authorities_for_one_in_the_clear_are_a_mistake_that_is_told() {
        let error = Upstream::new("127.0.0.1:9000", Some(b"")).map(drop).unwrap_err();
        assert!(error.message.contains("in the clear"), "{}", error.message);
        let error = Upstream::new("https://127.0.0.1:9000", Some(b""))
            .map(drop)
            .unwrap_err();
        assert_eq!(
            (error.code, error.message.contains("empty")),
            ("service.upstream_invalid", true)
        );
    }
}
