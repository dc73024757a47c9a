//! The transports of DNS messages.

/// The transport of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP datagrams.
    Udp,
    /// A TCP connection with length-prefixed messages.
    Tcp,
    /// Length-prefixed messages inside TLS (RFC 7858).
    Tls,
    /// HTTP/2 inside TLS (RFC 8484).
    Https,
    /// One QUIC stream per query (RFC 9250).
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

    /// The standard server port.
    pub fn port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 53,
            Transport::Tls | Transport::Quic => 853,
            Transport::Https => 443,
        }
    }

    /// True if the transport is encrypted, so that observers see at most the length of messages.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }
}
