//! The engine over real sockets on the loopback, with hostile guests, hostile clients and hostile peers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

mod bad_clients;
mod bad_guests;
mod client;
mod egress;
mod forwarding;
mod front_tls;
mod identities;
mod kept;
mod node;
mod p3;
mod pki;
mod repeats;
mod reuse;
mod scripted;
mod serving;
mod sight;
mod smuggling;
mod streams;
mod takeover;
mod tokens;
mod upstreams;
mod workers;
