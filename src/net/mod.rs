//! Sockets, TLS, deadlines, proxies and listeners; knows no protocol.

pub mod datagram;
pub mod deadline;
pub mod dial;
pub mod http;
pub mod listen;
pub mod login;
pub mod pace;
pub mod proxy;
pub mod quic;
pub mod random;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod trace;

mod verify;
