//! Sockets, TLS, deadlines, proxies and listeners; independent of any protocol.

pub mod activation;
pub mod admission;
pub mod asked;
pub mod certificate;
pub mod certified;
pub mod cidr;
pub mod clock;
pub mod counters;
pub mod datagram;
pub mod deadline;
pub mod dial;
pub mod file_work;
pub mod guess;
pub mod helper;
pub mod http;
pub mod listen;
pub mod literal;
pub mod local;
pub mod login;
pub mod metrics;
pub mod pace;
pub mod pin;
pub mod preference;
pub mod privilege;
pub mod program;
pub mod proxied;
pub mod proxy;
pub mod quic;
pub mod random;
pub mod rate;
pub mod reload;
pub mod sandbox;
pub mod session_id;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod tls_fault;
pub mod trace;
pub mod unix_socket;

mod sessions;
mod untrusted;
mod verify;

/// A boxed future, for traits with asynchronous methods.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
