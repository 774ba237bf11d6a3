//! Whether the client came by TLS: what a workload is told, from the front to wherever it runs.
//!
//! Taken from the listener and not from the request, whose word a client could choose.

use http::{HeaderName, HeaderValue};

use crate::config::EngineConfig;

/// On a forwarded request: the scheme at the front.
pub(crate) const SCHEME: HeaderName = HeaderName::from_static("hanse-scheme");

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn of_front(config: &EngineConfig) -> Self {
        if config.front_tls { Self::Https } else { Self::Http }
    }

    /// What another node says; one that says nothing does not know yet.
    pub(crate) fn of_header(value: Option<&HeaderValue>) -> Self {
        match value.map(HeaderValue::as_bytes) {
            Some(b"https") => Self::Https,
            _ => Self::Http,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
