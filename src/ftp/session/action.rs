//! The actions that a [`super::FtpSession`] requests of its driver, and the events that the driver reports.

use serde::{Deserialize, Serialize};

use std::net::{IpAddr, SocketAddr};

use super::rules::TreeRights;
use crate::ftp::charset::WireCharset;
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::listing::{FactSet, ListingEntry};
use crate::ftp::reply::FtpReply;
use crate::net::login::LoginVerdict;
use crate::secret::Secret;

/// An action for the driver. Actions that say so are answered by one [`SessionEvent`]; until it comes the session runs no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAction {
    /// Send this reply.
    Reply(FtpReply),
    /// Begin TLS on the control connection and discard earlier input; answered by [`SessionEvent::Secured`].
    StartTls,
    /// Check this login; answered by [`SessionEvent::Login`], with a delay after a failure.
    Login {
        /// The user name.
        user: Vec<u8>,
        /// The password as received.
        password: Secret<Vec<u8>>,
    },
    /// Check whether the client's certificate logs this user in; answered by [`SessionEvent::Certified`].
    CertificateLogin {
        /// The user name.
        user: Vec<u8>,
    },
    /// Listen for a data connection and close an earlier listener; answered by [`SessionEvent::Listening`].
    Listen,
    /// Close the data listener.
    DropListener,
    /// Run this operation on the tree; answered by [`SessionEvent::Stored`].
    Store(StoreOp),
    /// Clear the permission bits of this mask on new files and directories from now on.
    Umask(u32),
    /// Run a transfer; answered by [`SessionEvent::Opened`] (not if it is refused) and then [`SessionEvent::Ended`].
    Transfer(DataTransfer),
    /// Abort the running transfer or [`SessionAction::Store`]; its event still comes.
    StopTransfer,
    /// Log that the session refused a change of the tree without asking the file system.
    Refused {
        /// The verb.
        verb: &'static str,
        /// The path of the refused change.
        path: Vec<u8>,
        /// The reason.
        refusal: StoreRefusal,
    },
    /// Close the control connection after the replies are sent.
    Close,
}

/// A report of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The TLS handshake of the control connection is done.
    Secured,
    /// The verdict on the login; success carries the rights of the user.
    Login(LoginVerdict<TreeRights>),
    /// The verdict on the client's certificate; `Wrong` if it does not name the user, whose password decides then.
    Certified(LoginVerdict<TreeRights>),
    /// The address of the data listener, or `None` if there is no listener.
    Listening(Option<SocketAddr>),
    /// The result of a [`SessionAction::Store`].
    Stored(Result<StoreAnswer, StoreRefusal>),
    /// The file or directory of a transfer is open; the data connection follows.
    Opened {
        /// The number of bytes that a download will send, if known.
        size: Option<u64>,
        /// The name that STOU chose.
        name: Option<Vec<u8>>,
    },
    /// A transfer has ended, with the number of bytes sent, or received and stored.
    Ended(Result<u64, TransferFailure>),
    /// The server is shutting down: no command follows the running one.
    Drain,
    /// The idle timeout has expired.
    Idle,
    /// The place of this client goes to another client.
    Lost,
    /// The process that serves the user's tree has ended.
    TreeLost,
}

/// The policy of the server for one client.
#[derive(Debug, Clone)]
pub struct SessionPolicy {
    /// The text of the 220 reply, of one or more lines.
    pub greeting: String,
    /// AUTH TLS is offered.
    pub tls: bool,
    /// Without TLS only commands that lead to TLS are accepted, and data connections require PROT P.
    pub tls_required: bool,
    /// Passwords of named users are accepted without TLS too.
    pub clear_passwords: bool,
    /// TLS runs from the first byte (port 990), and PROT P is the default.
    pub tls_implicit: bool,
    /// The client's address on the control connection.
    pub peer: IpAddr,
    /// The address that PASV replies with instead of the listener's (behind NAT).
    pub pasv_address: Option<std::net::Ipv4Addr>,
    /// PORT and EPRT are allowed.
    pub active: bool,
    /// The permission bits to clear on new files and directories.
    pub umask: u32,
    /// A client's certificate may log its user in.
    pub certificates: bool,
    /// The charset of names on the wire, until the client asks for UTF-8.
    pub charset: Option<WireCharset>,
}

/// A single operation on the tree. Paths are absolute and normalized: `/`, `/a/b`; see [`super::path::resolve`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreOp {
    /// Check that the path is a directory.
    Directory(Vec<u8>),
    /// Check that the name exists (RNFR).
    Exists(Vec<u8>),
    /// Check that this directory has room for an upload of this many bytes (ALLO).
    Room(Vec<u8>, u64),
    /// The facts of one name: [`StoreAnswer::Entry`].
    Facts(Vec<u8>),
    /// Set the modification time, in seconds since 1970, or the permission bits, or both.
    SetFacts {
        /// The path of the file.
        path: Vec<u8>,
        /// The modification time.
        modified: Option<i64>,
        /// The permission bits.
        mode: Option<u32>,
    },
    /// The free space, in bytes, on the file system of this file or directory: [`StoreAnswer::Bytes`].
    Available(Vec<u8>),
    /// Delete a file.
    Delete(Vec<u8>),
    /// Make a directory.
    MakeDirectory(Vec<u8>),
    /// Remove an empty directory.
    RemoveDirectory(Vec<u8>),
    /// Rename from the first path to the second. `true`: an existing target is replaced as by rename(2); `false`: it is kept.
    Rename(Vec<u8>, Vec<u8>, bool),
    /// The lines of a listing: [`StoreAnswer::Lines`].
    List(ListingRequest),
    /// The digest of a file's bytes: [`StoreAnswer::Digest`].
    Digest {
        /// The file and the range.
        of: DigestRange,
        /// The file and range to use if the first file does not exist: numbers after a name may be part of it, or a range.
        or: Option<DigestRange>,
        /// The digest algorithm.
        algorithm: ChecksumAlgorithm,
    },
}

/// The bytes of a file that a digest covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRange {
    /// The path of the file.
    pub path: Vec<u8>,
    /// The offset of the first byte.
    pub from: u64,
    /// The offset after the last byte; `None` for the end of the file.
    pub to: Option<u64>,
}

/// The digest algorithms of HASH (draft-bryan-ftpext-hash-02, section 3), in the order in which FEAT lists them.
pub(super) const DIGESTS: [ChecksumAlgorithm; 4] =
    [ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha512, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Crc32];

/// The result of a [`StoreOp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreAnswer {
    /// Success without data.
    Done,
    /// The facts of one name.
    Entry(Box<ListingEntry>),
    /// The lines of a listing.
    Lines(Vec<Vec<u8>>),
    /// A digest in hexadecimal, and the offset at which its range ends.
    Digest(String, u64),
    /// A number of bytes.
    Bytes(u64),
}

/// A listing: the path and the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingRequest {
    /// A directory or a file.
    pub path: Vec<u8>,
    /// The path as the client wrote it: NLST puts it before each name, and a file is listed under it.
    pub shown: Vec<u8>,
    /// Only names that match this pattern (`*` and `?`).
    pub pattern: Option<Vec<u8>>,
    /// Names that begin with a dot are listed too.
    pub hidden: bool,
    /// The format of each line.
    pub format: ListingFormat,
}

/// The format of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingFormat {
    /// The format of `ls -l` (LIST).
    Long,
    /// Names alone (NLST), in a form that the client can use: each is prefixed with the directory that the client gave.
    Names,
    /// Facts (MLSD).
    Facts(FactSet),
}

/// One transfer over a data connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataTransfer {
    /// The object of the transfer.
    pub task: TransferTask,
    /// The side that opens the data connection.
    pub via: DataMode,
    /// Line ends are converted (TYPE A).
    pub ascii: bool,
    /// The data connection uses TLS (PROT P).
    pub protect: bool,
    /// The size of an upload in bytes, as announced by ALLO.
    pub announced: Option<u64>,
}

/// The object and direction of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTask {
    /// A download (RETR).
    Send {
        /// The path of the file.
        path: Vec<u8>,
        /// The offset of the first byte.
        from: u64,
        /// The offset after the last byte; `None` for the end of the file.
        to: Option<u64>,
    },
    /// An upload.
    Receive {
        /// The path of the file; of the directory for [`UploadMode::Unique`].
        path: Vec<u8>,
        /// The storage mode.
        mode: UploadMode,
        /// An existing file may be replaced or changed.
        replace: bool,
    },
    /// A listing.
    List(ListingRequest),
}

/// The storage mode of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadMode {
    /// As a complete new file that gets its name when it is complete (STOR).
    Whole,
    /// In place from this offset on (REST and STOR); data after the upload is truncated.
    At(u64),
    /// In place at the end (APPE).
    Append,
    /// As a complete new file under a unique name (STOU).
    Unique,
}

/// The side that opens the data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataMode {
    /// The client connects to the listener.
    Passive,
    /// The server connects to this address.
    Active(SocketAddr),
}

/// The reason for refusing an operation on the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreRefusal {
    /// No such file or directory, or none that is visible.
    NotFound,
    /// The system or the policy forbids it.
    Denied,
    /// The name exists.
    Exists,
    /// The path is not a directory.
    NotDirectory,
    /// MLSD of a path that is not a directory.
    NotListed,
    /// The path is not a plain file.
    NotFile,
    /// The directory is not empty.
    NotEmpty,
    /// The name is invalid.
    BadName,
    /// The file system has no free space.
    Full,
    /// The upload exceeds the size limit or the quota.
    TooLarge,
    /// The file is not the rest of an interrupted upload by this user.
    NotBroken,
    /// The offset lies beyond the end of the file.
    BadOffset,
    /// Another upload to this file is running.
    Busy,
    /// An upload of this name, or a rename to it, that started later is complete.
    Overtaken,
    /// The file that was written in place has lost its name meanwhile.
    Moved,
    /// Anything but a plain file cannot be moved to another file system.
    OtherFileSystem,
    /// The maximum number of transfers is running.
    Crowded,
    /// The system failed, with its message.
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
            StoreRefusal::Overtaken => (553, "Not stored: what was uploaded to this name started later."),
            StoreRefusal::Moved => (450, "Not stored: the file was replaced, renamed or deleted meanwhile."),
            StoreRefusal::OtherFileSystem => (553, "Only plain files can be moved to another file system."),
            StoreRefusal::Crowded => (450, "Too many transfers are running; try again later."),
            StoreRefusal::Failed(_) => (451, "Local error in processing."),
        };
        FtpReply::new(code, text)
    }
}

/// The reason for the failure of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferFailure {
    /// The tree refused the operation.
    Refused(StoreRefusal),
    /// No data connection was established.
    NoConnection,
    /// The TLS handshake of the data connection failed.
    Tls,
    /// The data connection did not resume the TLS session of the control connection.
    NotResumed,
    /// The data connection broke.
    Broken,
    /// No data moved within the time limit.
    Stalled,
    /// ABOR was received, or the control connection ended.
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
