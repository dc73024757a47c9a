//! What a [`super::Session`] asks of its driver, and what the driver tells it.

use std::net::{IpAddr, SocketAddr};

use super::rights::Rights;
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::listing::{FactSet, ListingEntry};
use crate::ftp::reply::FtpReply;
use crate::net::login::LoginVerdict;
use crate::secret::Secret;

/// What the driver is to do. Those that say so are answered by one [`SessionEvent`]; until it comes the session takes no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAction {
    /// Send this reply.
    Reply(FtpReply),
    /// Begin TLS on the control connection, dropping what was read before; answered by [`SessionEvent::Secured`].
    StartTls,
    /// Check this login; answered by [`SessionEvent::Login`], late when it failed.
    Login {
        /// Who.
        user: Vec<u8>,
        /// The password as it came.
        password: Secret<Vec<u8>>,
    },
    /// Listen for a data connection, dropping an earlier listener; answered by [`SessionEvent::Listening`].
    Listen,
    /// Drop the data listener.
    DropListener,
    /// Do this to the tree; answered by [`SessionEvent::Stored`].
    Store(StoreOp),
    /// New files and directories get no permission bits of this mask any more.
    Umask(u32),
    /// Run a transfer; answered by [`SessionEvent::Opened`] (not when it is refused) and then [`SessionEvent::Ended`].
    Transfer(DataTransfer),
    /// Break off the transfer or the [`SessionAction::Store`] that runs; its event still comes.
    StopTransfer,
    /// Tell the log that a change of the tree was refused without asking the file system.
    Refused {
        /// The verb.
        verb: &'static str,
        /// What was to be changed.
        path: Vec<u8>,
        /// Why not.
        refusal: StoreRefusal,
    },
    /// Close the control connection after the replies are out.
    Close,
}

/// What the driver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The TLS handshake of the control connection is done.
    Secured,
    /// What came of the login; a good one is good for these rights.
    Login(LoginVerdict<Rights>),
    /// Where the data listener is to be reached, or nowhere.
    Listening(Option<SocketAddr>),
    /// What came of an [`SessionAction::Store`].
    Stored(Result<StoreAnswer, StoreRefusal>),
    /// The file or directory of a transfer is open; the data connection comes next.
    Opened {
        /// How many bytes a download will send, if known.
        size: Option<u64>,
        /// The name that STOU chose.
        name: Option<Vec<u8>>,
    },
    /// A transfer is over, with its bytes: sent, or received and stored.
    Ended(Result<u64, TransferFailure>),
    /// The server drains: no command follows the one that runs.
    Drain,
    /// No command came for too long.
    Idle,
    /// Another client gets this one's place.
    Lost,
}

/// How this server behaves to one client.
#[derive(Debug, Clone)]
pub struct SessionPolicy {
    /// The text of the 220 reply, perhaps of several lines.
    pub greeting: String,
    /// AUTH TLS is offered.
    pub tls: bool,
    /// Without TLS nothing but what leads to it, no data connection without PROT P.
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
    /// The permission bits that new files and directories do not get.
    pub umask: u32,
}

/// A single act on the tree. Paths are absolute and normal: `/`, `/a/b`; see [`super::path::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOp {
    /// Is it a directory?
    Directory(Vec<u8>),
    /// Is there such a name (RNFR)?
    Exists(Vec<u8>),
    /// Is there room in this directory for an upload of so many bytes (ALLO)?
    Room(Vec<u8>, u64),
    /// The facts of one name: [`StoreAnswer::Entry`].
    Facts(Vec<u8>),
    /// Set the modification time, in seconds since 1970, or the permission bits, or both.
    SetFacts {
        /// Whose.
        path: Vec<u8>,
        /// The time.
        modified: Option<i64>,
        /// The permission bits.
        mode: Option<u32>,
    },
    /// The free space, in bytes, where this file or directory is: [`StoreAnswer::Bytes`].
    Available(Vec<u8>),
    /// Delete a file.
    Delete(Vec<u8>),
    /// Make a directory.
    MakeDirectory(Vec<u8>),
    /// Remove an empty directory.
    RemoveDirectory(Vec<u8>),
    /// Rename; what is at the new name is replaced as by rename(2), or keeps it if the last is false.
    Rename(Vec<u8>, Vec<u8>, bool),
    /// The lines of a listing: [`StoreAnswer::Lines`].
    List(ListingRequest),
    /// The digest of a file's bytes: [`StoreAnswer::Digest`].
    Digest {
        /// Of what.
        of: DigestRange,
        /// What is meant where there is no such file: numbers after a name may be its last words or a range.
        or: Option<DigestRange>,
        /// By which function.
        algorithm: ChecksumAlgorithm,
    },
}

/// The bytes of a file that a digest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestRange {
    /// Which file.
    pub path: Vec<u8>,
    /// From this byte.
    pub from: u64,
    /// Up to and without this byte; the end of the file where it is `None`.
    pub to: Option<u64>,
}

/// The digest functions of HASH (draft-bryan-ftpext-hash-02, section 3), in the order in which FEAT names them.
pub(super) const DIGESTS: [ChecksumAlgorithm; 4] =
    [ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha512, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Crc32];

/// What [`StoreOp`]s give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAnswer {
    /// Done, nothing to say.
    Done,
    /// The facts of one name.
    Entry(Box<ListingEntry>),
    /// The lines of a listing.
    Lines(Vec<Vec<u8>>),
    /// A digest in hexadecimal, and the byte where its range ends.
    Digest(String, u64),
    /// A number of bytes.
    Bytes(u64),
}

/// A listing: of what, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingRequest {
    /// A directory or a file.
    pub path: Vec<u8>,
    /// The same as the client wrote it: NLST puts it before each name, and a file is listed under it.
    pub shown: Vec<u8>,
    /// Only names that match this (`*` and `?`).
    pub pattern: Option<Vec<u8>>,
    /// Names that begin with a dot too.
    pub hidden: bool,
    /// How each line is written.
    pub format: ListingFormat,
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingFormat {
    /// As `ls -l` does (LIST).
    Long,
    /// Names alone (NLST), as the client may use them: what it gave as directory stands before each.
    Names,
    /// Facts (MLSD).
    Facts(FactSet),
}

/// One transfer over a data connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataTransfer {
    /// What passes.
    pub task: TransferTask,
    /// Who connects to whom.
    pub via: DataMode,
    /// Line ends are changed on the way (TYPE A).
    pub ascii: bool,
    /// The data connection runs inside TLS (PROT P).
    pub protect: bool,
    /// The bytes of an upload, as ALLO said.
    pub announced: Option<u64>,
}

/// What a transfer moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTask {
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
        /// Which file; the directory for [`UploadMode::Unique`].
        path: Vec<u8>,
        /// Into what.
        mode: UploadMode,
        /// A file that exists may be changed.
        replace: bool,
    },
    /// A listing.
    List(ListingRequest),
}

/// How an upload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMode {
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
pub enum DataMode {
    /// The client to the listener.
    Passive,
    /// The server to this address.
    Active(SocketAddr),
}

/// Why the tree does not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreRefusal {
    /// No such file or directory, or none that may be seen.
    NotFound,
    /// The system or the policy forbids it.
    Denied,
    /// The name is taken.
    Exists,
    /// A directory is needed.
    NotDirectory,
    /// MLSD of what is no directory.
    NotListed,
    /// A plain file is needed.
    NotFile,
    /// The directory is not empty.
    NotEmpty,
    /// The name cannot be one.
    BadName,
    /// No space.
    Full,
    /// Over the size limit or the quota.
    TooLarge,
    /// The file is not what an upload of this user's left that broke off.
    NotBroken,
    /// An offset beyond the end of the file.
    BadOffset,
    /// Another upload into this file is running.
    Busy,
    /// As many transfers run as may run at once.
    Crowded,
    /// The system failed: what it said.
    Failed(String),
}

impl StoreRefusal {
    /// The reply (RFC 959, section 4.2).
    pub fn reply(&self) -> FtpReply {
        let (code, text) = match self {
            StoreRefusal::NotFound => (550, "No such file or directory."),
            StoreRefusal::Denied => (550, "Permission denied."),
            StoreRefusal::Exists => (550, "File exists."),
            StoreRefusal::NotDirectory => (550, "Not a directory."),
            // RFC 3659, section 7.2.1.
            StoreRefusal::NotListed => (501, "MLSD lists directories; MLST shows the facts of a file."),
            StoreRefusal::NotFile => (550, "Not a plain file."),
            StoreRefusal::NotEmpty => (550, "Directory not empty."),
            StoreRefusal::BadName => (553, "File name not allowed."),
            StoreRefusal::Full => (452, "Insufficient storage space."),
            StoreRefusal::TooLarge => (552, "Exceeded storage allocation: the file is too large."),
            StoreRefusal::NotBroken => {
                (554, "Not continued: the file is not what an upload of yours left that broke off.")
            }
            StoreRefusal::BadOffset => (554, "The restart point lies beyond the end of the file."),
            StoreRefusal::Busy => (450, "Another upload of this file is running."),
            StoreRefusal::Crowded => (450, "Too many transfers are running; try again later."),
            StoreRefusal::Failed(_) => (451, "Local error in processing."),
        };
        FtpReply::new(code, text)
    }
}

/// Why a transfer did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferFailure {
    /// The tree refused.
    Refused(StoreRefusal),
    /// No data connection came about.
    NoConnection,
    /// The TLS handshake of the data connection failed.
    Tls,
    /// The data connection did not resume the TLS session of the control connection.
    NotResumed,
    /// The data connection broke.
    Broken,
    /// Nothing moved for too long.
    Stalled,
    /// ABOR, or the control connection ended.
    Aborted,
}

impl TransferFailure {
    /// The reply (RFC 959, section 4.2; RFC 4217, section 9).
    pub fn reply(&self) -> FtpReply {
        match self {
            TransferFailure::Refused(refusal) => refusal.reply(),
            TransferFailure::NoConnection => FtpReply::new(425, "Can't open data connection."),
            TransferFailure::Tls => FtpReply::new(522, "TLS negotiation failed on the data connection."),
            TransferFailure::NotResumed => FtpReply::new(
                522,
                "The data connection must resume the TLS session of the control connection (the server's \
                 --no-require-tls-reuse allows a session of its own).",
            ),
            TransferFailure::Broken => FtpReply::new(426, "Data connection broken; transfer incomplete."),
            TransferFailure::Stalled => FtpReply::new(426, "Data connection timed out; transfer incomplete."),
            TransferFailure::Aborted => FtpReply::new(426, "Transfer aborted."),
        }
    }
}
