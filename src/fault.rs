//! The error vocabulary: every driver returns a [`Fault`]. Its [`Kind`] alone decides whether a retry makes sense, and sets
//! the exit status of the process and the JSON.

use std::borrow::Cow;
use std::fmt;

use crate::secret::without_url_password;

/// The kind of an error, from a closed list. The table in applayer(7) is generated from [`Kind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The command line cannot be carried out as written.
    Usage,
    /// Input from a file, a pipe or a mailbox is malformed.
    BadData,
    /// A local or remote input file does not exist (FTP 550 on RETR).
    NoInput,
    /// The recipient or login permanently does not exist (SMTP 550 5.1.1).
    NoUser,
    /// A host name needed for the task permanently does not exist.
    NoHost,
    /// The operation succeeded and the answer is "no": no data, no match.
    Negative,
    /// The peer refuses permanently (a 5xx without a more exact code, a verb unknown to the peer, DNS REFUSED).
    Refused,
    /// The peer lacks a feature that this task needs (5.6.3, no SMTPUTF8, no MLSD …).
    Unsupported,
    /// A bug in applayer.
    Internal,
    /// An output file cannot be created or written (permission, read-only file system).
    CannotCreate,
    /// The disk or a quota is full.
    StorageFull,
    /// A local read, write or flush failed.
    Io,
    /// No process listens: connection refused.
    ConnectRefused,
    /// No route, network down, or no common address family.
    Unreachable,
    /// A deadline passed, or the peer fell below the minimum rate.
    TimedOut,
    /// The connection ended in the middle of the dialogue.
    Disconnected,
    /// The peer says "later" (FTP and SMTP 4xx, 421, DNS SERVFAIL).
    PeerTemporary,
    /// A name could not be looked up now: the resolver failed, and the name may exist.
    LookupFailed,
    /// Another process of this host holds the lock.
    Locked,
    /// A transfer stopped half-way; the received part is kept for resuming.
    Incomplete,
    /// The peer broke the protocol.
    Protocol,
    /// The login failed, or the peer says that this user lacks the permission.
    AuthFailed,
    /// The peer's certificate is not trusted, or TLS was requested and is not offered.
    TlsUntrusted,
    /// DNSSEC: the data is bogus.
    Bogus,
    /// A configuration file is wrong, or the path of the queue is unusable.
    Config,
    /// No answer after the final dot or the last BDAT: the peer may have accepted the message. Never repeated automatically.
    Unknown,
    /// Stopped by the user or by a drain before it was done.
    Cancelled,
}

impl Kind {
    /// Every kind, in the order in which applayer(7) prints them.
    pub const ALL: [Kind; 27] = [
        Kind::Negative,
        Kind::Usage,
        Kind::BadData,
        Kind::NoInput,
        Kind::NoUser,
        Kind::NoHost,
        Kind::Refused,
        Kind::Unsupported,
        Kind::Internal,
        Kind::CannotCreate,
        Kind::Io,
        Kind::ConnectRefused,
        Kind::Unreachable,
        Kind::TimedOut,
        Kind::Disconnected,
        Kind::PeerTemporary,
        Kind::LookupFailed,
        Kind::Locked,
        Kind::StorageFull,
        Kind::Incomplete,
        Kind::Cancelled,
        Kind::Protocol,
        Kind::AuthFailed,
        Kind::TlsUntrusted,
        Kind::Bogus,
        Kind::Config,
        Kind::Unknown,
    ];

    /// The name used in JSON (`"kind"`).
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The exit status of a tool that ends with this kind (sysexits; applayer(7)).
    pub const fn exit(self) -> u8 {
        self.row().1
    }

    /// True if the same action may succeed later without any change, and repeats nothing that succeeded.
    pub const fn temporary(self) -> bool {
        self.exit() == 75
    }

    /// One row per kind: JSON name, exit status, and the meaning in a few words.
    const fn row(self) -> (&'static str, u8, &'static str) {
        match self {
            Kind::Negative => ("negative", 1, "it worked, and the answer is no"),
            Kind::Usage => ("usage", 64, "the command line cannot be carried out as written"),
            Kind::BadData => ("bad_data", 65, "input is malformed"),
            Kind::NoInput => ("no_input", 66, "the input file does not exist"),
            Kind::NoUser => ("no_user", 67, "no such mailbox or user, for good"),
            Kind::NoHost => ("no_host", 68, "no such host, for good"),
            Kind::Refused => ("refused", 69, "the peer refuses for good"),
            Kind::Unsupported => ("unsupported", 69, "the peer lacks a feature this needs"),
            Kind::Internal => ("internal", 70, "a bug in applayer"),
            Kind::CannotCreate => ("cannot_create", 73, "output cannot be created or written"),
            Kind::Io => ("io", 74, "a local read, write or flush failed"),
            Kind::ConnectRefused => ("connect_refused", 75, "nothing listens there"),
            Kind::Unreachable => ("unreachable", 75, "no route to the peer"),
            Kind::TimedOut => ("timed_out", 75, "a deadline passed"),
            Kind::Disconnected => ("disconnected", 75, "the connection ended half-way"),
            Kind::PeerTemporary => ("peer_temporary", 75, "the peer says: later"),
            Kind::LookupFailed => ("lookup_failed", 75, "a name could not be looked up now"),
            Kind::Locked => ("locked", 75, "another process holds the lock"),
            Kind::StorageFull => ("storage_full", 75, "the disk or a quota is full"),
            Kind::Incomplete => ("incomplete", 75, "a transfer stopped half-way, kept for resuming"),
            Kind::Cancelled => ("cancelled", 75, "stopped before it was done"),
            Kind::Protocol => ("protocol", 76, "the peer broke the protocol"),
            Kind::AuthFailed => ("auth_failed", 77, "login failed or not allowed"),
            Kind::TlsUntrusted => ("tls_untrusted", 77, "the certificate is not trusted, or TLS is missing"),
            Kind::Bogus => ("bogus", 77, "DNSSEC validation failed"),
            Kind::Config => ("config", 78, "a configuration is wrong"),
            Kind::Unknown => ("unknown", 3, "no answer after the final dot: may have been taken"),
        }
    }

    /// A few words for the table in applayer(7).
    pub const fn meaning(self) -> &'static str {
        self.row().2
    }

    /// The kind with this JSON name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An enhanced mail system status code, `class.subject.detail` (RFC 3463, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999: addressing, mailbox, system, network, protocol, content, policy.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// A code from its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Enhanced {
        Enhanced { class, subject, detail }
    }

    /// Parses `5.1.1` exactly: class 2, 4 or 5, one to three digits in the others, no other characters (RFC 3463, section 2).
    pub fn parse(text: &str) -> Option<Enhanced> {
        let mut parts = text.split('.');
        let number = |part: Option<&str>| -> Option<u16> {
            let part = part?;
            (matches!(part.len(), 1..=3) && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let class = u8::try_from(number(parts.next())?).ok()?;
        let code = Enhanced { class, subject: number(parts.next())?, detail: number(parts.next())? };
        (matches!(class, 2 | 4 | 5) && parts.next().is_none()).then_some(code)
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The status number of a peer's error. Each protocol has its own numbers, so 421 alone is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerCode {
    /// The three digits of an FTP or SMTP reply (RFC 959, section 4.2; RFC 5321, section 4.2).
    Reply(u16),
    /// A DNS response code (RFC 1035, section 4.1.1; RFC 6895, section 2.3).
    Rcode(u16),
    /// The status of an HTTP response (RFC 9110, section 15).
    Http(u16),
}

impl PeerCode {
    /// The bare number, for the JSON.
    pub const fn number(self) -> u16 {
        match self {
            PeerCode::Reply(code) | PeerCode::Rcode(code) | PeerCode::Http(code) => code,
        }
    }
}

/// One failure, as a driver reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of the error; decides retry, exit status and JSON.
    pub kind: Kind,
    /// The peer's status number, if it sent one.
    pub code: Option<PeerCode>,
    /// The peer's enhanced status code (SMTP).
    pub enhanced: Option<Enhanced>,
    /// One line for a person. It may hold bytes chosen by a peer: escape it when printing.
    pub detail: String,
    /// A possible remedy for the user, one line.
    pub hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A fault of this kind with its one-line explanation.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { kind, code: None, enhanced: None, detail: detail.into(), hint: None }
    }

    /// The same fault with the peer's number.
    #[must_use]
    pub fn with_code(mut self, code: PeerCode) -> Fault {
        self.code = Some(code);
        self
    }

    /// The same fault with the peer's enhanced status code.
    #[must_use]
    pub fn with_enhanced(mut self, enhanced: Option<Enhanced>) -> Fault {
        self.enhanced = enhanced;
        self
    }

    /// The same fault with a hint for the user.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with `what: ` before the detail.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Fault {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// The code of the FTP or SMTP reply that caused this fault, if there is one.
    pub fn reply_code(&self) -> Option<u16> {
        match self.code {
            Some(PeerCode::Reply(code)) => Some(code),
            _ => None,
        }
    }

    /// True if the same action may succeed later (see [`Kind::temporary`]).
    pub fn temporary(&self) -> bool {
        self.kind.temporary()
    }

    /// The exit status for this fault alone.
    pub fn exit(&self) -> u8 {
        self.kind.exit()
    }

    /// The fault of a failed local read or write: the kind follows from the system's error.
    pub fn local(what: impl fmt::Display, error: &std::io::Error) -> Fault {
        use std::io::ErrorKind as E;
        let kind = match error.kind() {
            E::NotFound | E::NotADirectory => Kind::NoInput,
            E::PermissionDenied | E::AlreadyExists | E::ReadOnlyFilesystem => Kind::CannotCreate,
            E::StorageFull | E::QuotaExceeded => Kind::StorageFull,
            // ENXIO: /dev/stdin with a closed stdin, or the name of a socket.
            _ if error.raw_os_error() == Some(6) => Kind::NoInput,
            E::WouldBlock => Kind::Locked,
            E::InvalidData => Kind::BadData,
            _ => Kind::Io,
        };
        let what = what.to_string();
        Fault::new(kind, format!("{}: {}", without_url_password(&what), plain(error)))
    }

    /// The fault of an output that cannot be created: a full disk, else [`Kind::CannotCreate`], since nothing was to be read.
    pub fn creating(what: impl fmt::Display, error: &std::io::Error) -> Fault {
        let fault = Fault::local(what, error);
        let kind = if fault.kind == Kind::StorageFull { fault.kind } else { Kind::CannotCreate };
        Fault { kind, ..fault }
    }

    /// The fault of a failed network connection: the kind follows from the system's error.
    pub fn network(what: impl fmt::Display, error: &std::io::Error) -> Fault {
        use std::io::ErrorKind as E;
        let kind = match error.kind() {
            E::ConnectionRefused => Kind::ConnectRefused,
            E::TimedOut | E::WouldBlock => Kind::TimedOut,
            E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof | E::NotConnected => {
                Kind::Disconnected
            }
            E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown | E::AddrNotAvailable => Kind::Unreachable,
            E::InvalidData => Kind::Protocol,
            E::PermissionDenied => Kind::Refused,
            _ => Kind::Unreachable,
        };
        // TLS has its own error text for an end without close_notify, with the address of a manual.
        let words = match error.kind() {
            E::UnexpectedEof => "the peer closed the connection".to_owned(),
            _ => plain(error),
        };
        Fault::new(kind, format!("{what}: {words}"))
    }
}

/// The text of a system error in words that users know.
pub fn plain(error: &std::io::Error) -> String {
    plain_words(&error.to_string())
}

/// Phrases of Rust's library, each with its replacement for users.
const LIBRARY_PHRASES: &[(&str, &str)] = &[
    ("failed to fill whole buffer", "it ends too early"),
    ("unexpected end of file", "it ends too early"),
    ("early eof", "it ends too early"),
    ("failed to write whole buffer", "no more could be written"),
    ("stream did not contain valid UTF-8", "not UTF-8"),
    ("invalid digit found in string", "not a number"),
    ("invalid float literal", "not a number"),
    ("cannot parse integer from empty string", "a number is missing"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("number would be zero for non-zero type", "the number is zero"),
    ("invalid IP address syntax", "not an IP address"),
    ("invalid IPv4 address syntax", "not an IPv4 address"),
    ("invalid IPv6 address syntax", "not an IPv6 address"),
    ("invalid socket address syntax", "not an address with a port"),
    ("deadline has elapsed", "time is up"),
];

/// The text without programmers' terms: the phrases of Rust's library and its ` (os error N)`.
pub fn plain_words(text: &str) -> String {
    let mut words = text.to_owned();
    for (phrase, plain) in LIBRARY_PHRASES {
        if words.contains(phrase) {
            words = words.replace(phrase, plain);
        }
    }
    while let Some((before, number)) = words.split_once(" (os error ")
        && let Some((_, after)) = number.split_once(')')
    {
        words = format!("{before}{after}");
    }
    words
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.as_str()), Some(kind));
            assert_eq!(Kind::ALL.iter().filter(|other| **other == kind).count(), 1, "{kind} stands once");
        }
    }

    #[test]
    fn temporary_is_exit_75_and_nothing_else() {
        for kind in Kind::ALL {
            assert_eq!(kind.temporary(), kind.exit() == 75, "{kind}");
            assert_ne!(kind.exit(), 2, "{kind}: 2 is clap's");
            assert_ne!(kind.exit(), 0, "{kind}: a fault never ends with 0");
        }
    }

    #[test]
    fn enhanced_codes_are_exact() {
        for good in ["2.0.0", "4.7.1", "5.1.1", "5.999.999"] {
            assert_eq!(Enhanced::parse(good).map(|code| code.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1000.1", "5..1", "5.1.1 ", "+5.1.1", "5.-1.1", "05.01.1.x"] {
            assert_eq!(Enhanced::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_reply_has_a_reply_code() {
        for (code, reply) in
            [(PeerCode::Reply(421), Some(421)), (PeerCode::Rcode(421), None), (PeerCode::Http(421), None)]
        {
            let fault = Fault::new(Kind::PeerTemporary, "later").with_code(code);
            assert_eq!((fault.reply_code(), code.number()), (reply, 421));
        }
    }

    #[test]
    fn system_errors_map_to_kinds() {
        let error = |kind| std::io::Error::from(kind);
        use std::io::ErrorKind as E;
        assert_eq!(Fault::network("x", &error(E::ConnectionRefused)).kind, Kind::ConnectRefused);
        let ended = Fault::network("x", &std::io::Error::new(E::UnexpectedEof, "see https://manual.test"));
        assert_eq!((ended.kind, ended.detail.as_str()), (Kind::Disconnected, "x: the peer closed the connection"));
        assert_eq!(Fault::local("x", &error(E::NotFound)).kind, Kind::NoInput);
        for full in [E::StorageFull, E::QuotaExceeded] {
            assert_eq!(Fault::local("x", &error(full)).exit(), 75);
            assert_eq!(Fault::creating("x", &error(full)).exit(), 75);
        }
        assert_eq!(Fault::creating("x", &error(E::NotFound)).kind, Kind::CannotCreate);
        let not_text = std::fs::read_to_string("/proc/self/exe").unwrap_err();
        let fault = Fault::local("x", &not_text);
        assert_eq!((fault.kind, fault.detail.as_str()), (Kind::BadData, "x: not UTF-8"));
        let short = std::io::Read::read_exact(&mut &b"x"[..], &mut [0; 2]).unwrap_err();
        assert_eq!(Fault::local("x", &short).detail, "x: it ends too early");
        let two = format!("{0}: {0}", std::io::Error::from_raw_os_error(13));
        assert_eq!(plain_words(&two), "Permission denied: Permission denied");
        let text = Fault::local("/x", &std::io::Error::from_raw_os_error(2)).detail;
        assert_eq!(text, "/x: No such file or directory");
    }
}
