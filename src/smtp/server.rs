//! What a server's owner decides: the [`Service`] behind a connection.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use crate::smtp::data::Content;
use crate::smtp::reply::Reply;
use crate::smtp::transaction::{Envelope, Recipient};

/// A boxed future, so that `dyn Service` works.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is at the other end, as far as it is known.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address; `None` on a UNIX socket.
    pub address: Option<SocketAddr>,
    /// The name from EHLO, HELO or LHLO.
    pub helo: String,
    /// True after EHLO or LHLO.
    pub extended: bool,
    /// Protocol version and cipher, if TLS is on.
    pub tls: Option<String>,
    /// The name that logged in.
    pub user: Option<String>,
    /// True if this is LMTP.
    pub lmtp: bool,
}

/// The answer to a whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The same for every recipient.
    All(Reply),
    /// One for each recipient, in the envelope's order. SMTP has one reply only: the first that is not positive, else
    /// the first; LMTP has them all (RFC 2033, section 4.2).
    Each(Vec<Reply>),
}

/// Policy and storage of a server: every decision that is not the protocol's own. A positive reply accepts, any other
/// refuses with just these words; 421 also ends the connection.
pub trait Service: Send + Sync {
    /// May this sender send from this peer? Called at MAIL.
    fn sender<'a>(&'a self, peer: &'a Peer, sender: &'a str) -> Later<'a, Reply>;

    /// Is mail for this recipient taken? Called at RCPT.
    fn recipient<'a>(&'a self, peer: &'a Peer, sender: &'a str, recipient: &'a Recipient) -> Later<'a, Reply>;

    /// Is this the user's password?
    fn login<'a>(&'a self, peer: &'a Peer, user: &'a str, password: &'a str) -> Later<'a, bool>;

    /// Takes responsibility for a complete message: a positive answer only when it is safe on disk.
    fn accept<'a>(&'a self, peer: &'a Peer, envelope: Envelope, content: Box<dyn Content>) -> Later<'a, Answer>;
}
