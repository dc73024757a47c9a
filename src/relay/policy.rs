//! The trust in a next server. DANE (RFC 7672) and MTA-STS (RFC 8461) belong here: each maps one domain and one host to a
//! [`TlsPolicy`].

use crate::net::tls::TlsMode;

/// The requirements for the connection to one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Whether TLS is used.
    pub tls: TlsMode,
    /// Whether the certificate must be valid for the host's name.
    pub verify: bool,
}

impl TlsPolicy {
    /// True if a failure of TLS does not defer the message (RFC 7435): TLS is opportunistic, and no certificate is
    /// required.
    pub const fn may_do_without(self) -> bool {
        matches!(self.tls, TlsMode::Try) && !self.verify
    }
}

/// For a host found by MX: usually TLS if it is offered, with any certificate (RFC 7435). Without a secure MX look-up a
/// valid certificate proves nothing, since an attacker can redirect the look-up.
pub const fn for_mx(tls: TlsMode) -> TlsPolicy {
    TlsPolicy { tls, verify: false }
}

/// For a host that the user named: its name is checked whenever TLS is used, and a password is never sent without TLS.
pub const fn for_named(tls: TlsMode, login: bool) -> TlsPolicy {
    match (tls, login) {
        (TlsMode::Try, true) => TlsPolicy { tls: TlsMode::Starttls, verify: true },
        (tls, _) => TlsPolicy { tls, verify: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_asks_for_tls() {
        assert_eq!(for_named(TlsMode::Try, true).tls, TlsMode::Starttls);
        assert_eq!(for_named(TlsMode::Try, false).tls, TlsMode::Try);
        assert_eq!(for_named(TlsMode::Implicit, true).tls, TlsMode::Implicit);
        assert!(for_named(TlsMode::Try, false).verify && !for_mx(TlsMode::Try).verify);
    }

    #[test]
    fn only_opportunistic_tls_is_done_without() {
        for mode in [TlsMode::None, TlsMode::Try, TlsMode::Starttls, TlsMode::Implicit] {
            assert_eq!(for_mx(mode).may_do_without(), mode == TlsMode::Try);
            assert!(!for_named(mode, false).may_do_without() && !for_named(mode, true).may_do_without());
        }
    }
}
