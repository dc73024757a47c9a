//! DNS (RFC 1035 and its extensions): pure core, client, server.
//!
//! ```text
//!  wire message edns   the wire: names, messages, EDNS options
//!  record              one table of field types: wire <-> text <-> JSON, for every type
//!  query transport exchange   the query and its transport; the client state machine (match, retransmit, truncation -> TCP)
//!  client resolve      the sockets of exchange; the stub resolver for the other protocols
//!  zone answer server  zone files; (zones, query bytes) -> response bytes; the server's sockets
//!  anchor validate     trust anchors; DNSSEC: validates from an anchor down to the data, with one verdict
//!  trace               follows delegations from the root servers to the answer
//!  present json template   text like dig's, JSON members, lines in the user's format
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
