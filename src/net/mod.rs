//! Sockets, TLS, deadlines, proxies and listeners; knows no protocol.

pub mod activation;
pub mod admission;
pub mod cidr;
pub mod clock;
pub mod datagram;
pub mod deadline;
pub mod dial;
pub mod guess;
pub mod http;
pub mod listen;
pub mod literal;
pub mod local;
pub mod login;
pub mod pace;
pub mod proxy;
pub mod quic;
pub mod random;
pub mod rate;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod trace;

mod sessions;
mod verify;

/// A future behind a pointer, for traits whose methods are asynchronous.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
