//! FTP (RFC 959 and its extensions): pure core, client, server.
//!
//! | file | role |
//! |---|---|
//! | [`command`], [`reply`], [`telnet`], [`address`], [`listing`], [`path`] | wire text ↔ types, pure |
//! | [`charset`] | file names in other charsets on the wire, pure |
//! | [`checksum`] | file checksums of servers, pure |
//! | [`glob`] | patterns of names and paths, pure |
//! | [`session`] | server state machine: command → actions, pure |
//! | [`store`] | the served tree: confined below its root, atomic uploads |
//! | [`server`] | sockets, data streams and TLS for [`session`] |
//! | [`client`] | control connection: queue of expected replies, pipelining |
//! | [`transfer`], [`mirror`] | data connections; walks over both trees |
#![warn(clippy::indexing_slicing)]

pub mod address;
pub mod charset;
pub mod checksum;
pub mod client;
pub mod command;
pub mod glob;
pub mod listing;
pub mod mirror;
pub mod part;
pub mod path;
pub mod reply;
pub mod server;
pub mod session;
pub mod store;
pub mod telnet;
pub mod transfer;
