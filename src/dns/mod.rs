//! DNS (RFC 1035 and its extensions): pure core, client, server.
//!
//! ```text
//!  wire message edns   the wire: names, messages, EDNS options
//!  record              one table of field types: wire <-> text <-> JSON, for every type
//!  query transport exchange   what to ask, over what; the client state machine (match, retransmit, truncation -> TCP)
//!  client resolve      sockets for exchange; the stub resolver that other rooms use
//!  zone answer server  zone files, (zones, query bytes) -> response bytes, sockets for it
//!  anchor validate     trust anchors; DNSSEC: the walk from an anchor to the data, one verdict
//!  trace              from the root's servers to the answer, step by step
//!  present json template   dig-like text, JSON members, lines as the user wants them
//! ```
#![warn(clippy::indexing_slicing)]

pub mod anchor;
pub mod answer;
pub mod bulk;
pub mod client;
pub mod edns;
pub mod exchange;
pub mod forward;
pub mod json;
pub mod message;
pub mod present;
pub mod query;
pub mod rcode;
pub mod record;
pub mod resolve;
pub mod server;
pub mod template;
pub mod trace;
pub mod transfer;
pub mod transport;
pub mod tsig;
pub mod validate;
pub mod wire;
pub mod yaml;
pub mod zone;

pub use wire::name;
