//! What carries messages.

/// What carried a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection; length-prefixed messages.
    Tcp,
    /// The same inside TLS (RFC 7858).
    Tls,
    /// HTTP/2 inside TLS (RFC 8484).
    Https,
    /// A QUIC stream for each question (RFC 9250).
    Quic,
}

impl Transport {
    /// The name in JSON and URLs.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Https => "https",
            Transport::Quic => "quic",
        }
    }

    /// The port where servers listen for it.
    pub fn port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 53,
            Transport::Tls | Transport::Quic => 853,
            Transport::Https => 443,
        }
    }

    /// True if others on the way see the length of messages at most.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }
}
