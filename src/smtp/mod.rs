//! SMTP (RFC 5321 and its extensions) and LMTP (RFC 2033): pure core, client, server.
//!
//! [`command`], [`reply`], [`address`], [`envelope`], [`extension`], [`auth`] and [`data`] turn wire text into types and back;
//! [`session`] is the server's state machine and [`transaction`] the client's, both without sockets or clock.
//! [`server`] and [`client`] drive them.
#![warn(clippy::indexing_slicing)]

pub mod address;
pub mod auth;
pub mod client;
pub mod command;
pub mod data;
pub mod envelope;
pub mod extension;
pub mod reply;
pub mod role;
pub mod server;
pub mod session;
pub mod transaction;
pub mod xtext;
