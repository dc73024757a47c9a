//! What a [`super::Session`] asks of its driver, and what the driver tells it.

use std::net::{IpAddr, SocketAddr};

use crate::ftp::checksum::Algorithm;
use crate::ftp::listing::{Entry, FactSet};
use crate::ftp::reply::Reply;

/// What the driver is to do. Those that say so are answered by one [`Event`]; until it comes the session takes no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this reply.
    Reply(Reply),
    /// Begin TLS on the control connection, dropping what was read before; answered by [`Event::Secured`].
    StartTls,
    /// Check this login; answered by [`Event::Login`], late when it failed.
    Login {
        /// Who.
        user: Vec<u8>,
        /// The password as it came.
        password: Secret,
    },
    /// Listen for a data connection, dropping an earlier listener; answered by [`Event::Listening`].
    Listen,
    /// Drop the data listener.
    DropListener,
    /// Do this to the tree; answered by [`Event::Stored`].
    Store(Op),
    /// Run a transfer; answered by [`Event::Opened`] (not when it is refused) and then [`Event::Ended`].
    Transfer(Transfer),
    /// Break the transfer off; its [`Event::Ended`] still comes.
    StopTransfer,
    /// Close the control connection after the replies are out.
    Close,
}

/// Bytes that `Debug` shows as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What the driver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The TLS handshake of the control connection is done.
    Secured,
    /// The login is good for these rights, or for nothing.
    Login(Option<Rights>),
    /// Where the data listener is to be reached, or nowhere.
    Listening(Option<SocketAddr>),
    /// What came of an [`Action::Store`].
    Stored(Result<Answer, Refusal>),
    /// The file or directory of a transfer is open; the data connection comes next.
    Opened {
        /// How many bytes a download will send, if known.
        size: Option<u64>,
        /// The name that STOU chose.
        name: Option<Vec<u8>>,
    },
    /// A transfer is over, with its bytes: sent, or received and stored.
    Ended(Result<u64, Failure>),
    /// The server drains: no command follows the one that runs.
    Drain,
    /// No command came for too long.
    Idle,
}

/// What a login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// See names, sizes and times.
    pub list: bool,
    /// Download.
    pub read: bool,
    /// Upload files whose name is free.
    pub store: bool,
    /// Upload over files that exist, append, resume.
    pub replace: bool,
    /// Delete, rename, make directories, set times and modes.
    pub change: bool,
}

impl Rights {
    /// Look and download.
    pub const READ_ONLY: Rights = Rights { list: true, read: true, store: false, replace: false, change: false };
    /// Everything.
    pub const ALL: Rights = Rights { list: true, read: true, store: true, replace: true, change: true };
    /// All but download.
    pub const UPLOAD_ONLY: Rights = Rights { list: true, read: false, store: true, replace: true, change: true };
    /// New files go in; nothing is seen and nothing comes out.
    pub const DROP_BOX: Rights = Rights { list: false, read: false, store: true, replace: false, change: false };
}

/// How this server behaves to one client.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The text of the 220 reply.
    pub greeting: String,
    /// AUTH TLS is offered.
    pub tls: bool,
    /// No login without TLS, no data connection without PROT P.
    pub tls_required: bool,
    /// Passwords of named users are taken without TLS, too.
    pub clear_passwords: bool,
    /// TLS runs from the first byte (port 990): PROT P is the default then.
    pub tls_implicit: bool,
    /// Whom the control connection comes from.
    pub peer: IpAddr,
    /// The address that PASV shows instead of the listener's (behind NAT).
    pub pasv_address: Option<std::net::Ipv4Addr>,
    /// PORT and EPRT are allowed.
    pub active: bool,
}

/// A single act on the tree. Paths are absolute and normal: `/`, `/a/b`; see [`super::path::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Is it a directory?
    Directory(Vec<u8>),
    /// Is there such a name (RNFR)?
    Exists(Vec<u8>),
    /// The facts of one name: [`Answer::Entry`].
    Facts(Vec<u8>),
    /// Set the modification time, seconds since 1970.
    SetModified(Vec<u8>, i64),
    /// Set the permission bits.
    SetMode(Vec<u8>, u32),
    /// Delete a file.
    Delete(Vec<u8>),
    /// Make a directory.
    MakeDirectory(Vec<u8>),
    /// Remove an empty directory.
    RemoveDirectory(Vec<u8>),
    /// Rename; what is at the new name is replaced as by rename(2).
    Rename(Vec<u8>, Vec<u8>),
    /// The lines of a listing: [`Answer::Lines`].
    List(Listing),
    /// The digest of a file's bytes: [`Answer::Digest`].
    Digest {
        /// Which file.
        path: Vec<u8>,
        /// By which function.
        algorithm: Algorithm,
        /// From this byte.
        from: u64,
        /// Up to and without this byte; the end of the file where it is `None`.
        to: Option<u64>,
    },
}

/// The digest functions of HASH (draft-bryan-ftpext-hash-02, section 3), in the order in which FEAT names them.
pub(super) const DIGESTS: [Algorithm; 4] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha1, Algorithm::Crc32];

/// What [`Op`]s give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, nothing to say.
    Done,
    /// The facts of one name.
    Entry(Box<Entry>),
    /// The lines of a listing.
    Lines(Vec<Vec<u8>>),
    /// A digest in hexadecimal, and the byte where its range ends.
    Digest(String, u64),
}

/// A listing: of what, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// A directory or a file.
    pub path: Vec<u8>,
    /// The same as the client wrote it: NLST puts it before each name, and a file is listed under it.
    pub shown: Vec<u8>,
    /// Only names that match this (`*` and `?`).
    pub pattern: Option<Vec<u8>>,
    /// Names that begin with a dot too.
    pub hidden: bool,
    /// How each line is written.
    pub format: Format,
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `ls -l` does (LIST).
    Long,
    /// Names alone (NLST), as the client may use them: what it gave as directory stands before each.
    Names,
    /// Facts (MLSD).
    Facts(FactSet),
}

/// One transfer over a data connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What passes.
    pub what: What,
    /// Who connects to whom.
    pub via: Via,
    /// Line ends are changed on the way (TYPE A).
    pub ascii: bool,
    /// The data connection runs inside TLS (PROT P).
    pub protect: bool,
}

/// What a transfer moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A download (RETR).
    Send {
        /// Which file.
        path: Vec<u8>,
        /// From this byte.
        from: u64,
        /// Up to and without this byte.
        to: Option<u64>,
    },
    /// An upload.
    Receive {
        /// Which file; the directory for [`How::Unique`].
        path: Vec<u8>,
        /// Into what.
        how: How,
        /// A file that exists may be changed.
        replace: bool,
    },
    /// A listing.
    List(Listing),
}

/// How an upload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As a whole new file that takes its name when it is complete (STOR).
    Whole,
    /// In place from this byte on (REST and STOR); what was behind it is cut off.
    At(u64),
    /// In place at the end (APPE).
    Append,
    /// As a whole new file under a free name (STOU).
    Unique,
}

/// Who connects to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The client to the listener.
    Passive,
    /// The server to this address.
    Active(SocketAddr),
}

/// Why the tree does not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such file or directory, or none that may be seen.
    NotFound,
    /// The system or the policy forbids it.
    Denied,
    /// The name is taken.
    Exists,
    /// A directory is needed.
    NotDirectory,
    /// A plain file is needed.
    NotFile,
    /// The directory is not empty.
    NotEmpty,
    /// The name cannot be one.
    BadName,
    /// No space, or over the size limit.
    Full,
    /// An offset beyond the end of the file.
    BadOffset,
    /// Another upload into this file is running.
    Busy,
    /// The system failed: what it said.
    Failed(String),
}

impl Refusal {
    /// The reply (RFC 959, section 4.2).
    pub fn reply(&self) -> Reply {
        let (code, text) = match self {
            Refusal::NotFound => (550, "No such file or directory."),
            Refusal::Denied => (550, "Permission denied."),
            Refusal::Exists => (550, "File exists."),
            Refusal::NotDirectory => (550, "Not a directory."),
            Refusal::NotFile => (550, "Not a plain file."),
            Refusal::NotEmpty => (550, "Directory not empty."),
            Refusal::BadName => (553, "File name not allowed."),
            Refusal::Full => (452, "Insufficient storage space."),
            Refusal::BadOffset => (554, "The restart point lies beyond the end of the file."),
            Refusal::Busy => (450, "Another upload of this file is running."),
            Refusal::Failed(_) => (451, "Local error in processing."),
        };
        Reply::new(code, text)
    }
}

/// Why a transfer did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The tree refused.
    Refused(Refusal),
    /// No data connection came about.
    NoConnection,
    /// The TLS handshake of the data connection failed.
    Tls,
    /// The data connection broke.
    Broken,
    /// Nothing moved for too long.
    Stalled,
    /// ABOR, or the control connection ended.
    Aborted,
}

impl Failure {
    /// The reply (RFC 959, section 4.2; RFC 4217, section 9).
    pub fn reply(&self) -> Reply {
        match self {
            Failure::Refused(refusal) => refusal.reply(),
            Failure::NoConnection => Reply::new(425, "Can't open data connection."),
            Failure::Tls => Reply::new(522, "TLS negotiation failed on the data connection."),
            Failure::Broken => Reply::new(426, "Data connection broken; transfer incomplete."),
            Failure::Stalled => Reply::new(426, "Data connection timed out; transfer incomplete."),
            Failure::Aborted => Reply::new(426, "Transfer aborted."),
        }
    }
}
