//! The server: sockets, TLS, data connections and timers for [`crate::ftp::session`]. The caller provides the trees and
//! checks the logins: see [`FtpService`].

mod control;
mod copy;
mod data;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::charset::WireCharset;
use super::session::StoreRefusal;
use super::store::{ArrivedFile, FtpTree};
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::admission::{Admission, AdmissionRefusal, ClientPlace};
use crate::net::certified::CertifiedUser;
use crate::net::counters::CountedConnection;
use crate::net::deadline::Limits;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::login::LoginVerdict;
use crate::net::session_id::SessionId;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::trace::ProtocolTrace;

/// The default of [`FtpServerOptions::login_limit`].
pub const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// The time limit for establishing a data connection, TLS included.
pub const DATA_CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// The maximum number of concurrent digests: each occupies a core for as long as reading the file takes.
const MAX_DIGESTS: usize = 2;

/// Checks logins and receives the events of sessions.
pub trait FtpService: Send + Sync + 'static {
    /// The tree for this login. A failure is delayed: guessing is slow, and a wrong name must take as long as a wrong
    /// password.
    fn login<'a>(&'a self, peer: IpAddr, user: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<FtpTree>>;

    /// The tree for a user whom the client's certificate names. [`LoginVerdict::Wrong`]: there is no such user.
    fn certified<'a>(&'a self, _user: &'a CertifiedUser) -> BoxFuture<'a, LoginVerdict<FtpTree>> {
        Box::pin(async { LoginVerdict::Wrong })
    }

    /// Reports an event of a session.
    fn happened(&self, who: &FtpPeer<'_>, what: &Happening<'_>);
}

/// The client of a session, as far as it is identified.
#[derive(Debug, Clone, Copy)]
pub struct FtpPeer<'a> {
    /// The id of the session.
    pub session: SessionId,
    /// The client's address.
    pub address: SocketAddr,
    /// The user name that was given or has logged in; empty before that.
    pub user: &'a str,
    /// The control connection uses TLS.
    pub tls: bool,
}

/// An event for the log.
#[derive(Debug)]
pub enum Happening<'a> {
    /// A client connected.
    Connected,
    /// A login succeeded or failed.
    Login {
        /// True if the login succeeded.
        accepted: bool,
        /// The reason for a failure other than a wrong password.
        reason: Option<&'static str>,
        /// The client's certificate was taken in place of a password.
        by_certificate: bool,
    },
    /// A transfer ended.
    Transfer(FinishedTransfer<'a>),
    /// A file is complete and has its final name: after an upload, or after a rename from the name of an unfinished file.
    Arrived {
        /// The path relative to the user's root.
        path: &'a [u8],
        /// The location of the file.
        file: ArrivedFile,
    },
    /// A command changed the tree, or was refused.
    Change {
        /// The verb: `DELE`, `MKD`, `RMD`, `RNTO`.
        verb: &'static str,
        /// The path relative to the user's root.
        path: &'a [u8],
        /// The new path of RNTO.
        to: Option<&'a [u8]>,
        /// The reason for the refusal.
        refusal: Option<&'a StoreRefusal>,
    },
    /// A session ended.
    Ended(&'a SessionTotals),
    /// A session ended with a fault, or showed abnormal behaviour.
    Fault(Fault),
}

/// The totals of a session at its end.
#[derive(Debug, Default)]
pub struct SessionTotals {
    /// The duration of the session.
    pub elapsed: Duration,
    /// The reason for the end: `quit`, `left` (the client closed), `idle`, `displaced` (its place went to another client),
    /// `shutdown`, `closed` (the server closed), `ended` (the server dropped the session without a reply), or the kind of a fault.
    pub why: &'static str,
    /// The number of completed transfers.
    pub transfers: u64,
    /// The bytes of files received.
    pub received: u64,
    /// The bytes of files and listings sent.
    pub sent: u64,
    /// The user name of the last login; empty if there was none.
    pub user: String,
    /// The control connection used TLS.
    pub tls: bool,
}

/// An ended transfer.
#[derive(Debug)]
pub struct FinishedTransfer<'a> {
    /// The direction.
    pub direction: TransferDirection,
    /// The path relative to the user's root.
    pub path: &'a [u8],
    /// The number of bytes transferred.
    pub bytes: u64,
    /// The offset from which it was resumed.
    pub from: u64,
    /// The duration of the transfer.
    pub elapsed: Duration,
    /// The data connection used TLS.
    pub tls: bool,
    /// Line ends were converted (TYPE A).
    pub ascii: bool,
    /// The location of the file, if it exists and [`FtpServerOptions::locate`] is set.
    pub file: Option<PathBuf>,
    /// The code of the final reply.
    pub code: u16,
    /// The reason for a failure.
    pub failure: Option<String>,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferDirection {
    /// To the client.
    Download,
    /// From the client.
    Upload,
    /// A listing to the client.
    Listing,
}

/// True for a name that a client gives to an incomplete upload: ftpput and browsers (`.part`), WinSCP (`.filepart`),
/// lftp (`.in.NAME`) and scripts.
fn is_unfinished(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b".in.")
        || [".part", ".filepart", ".partial", ".tmp"].iter().any(|end| name.ends_with(end.as_bytes()))
}

/// The options of the server.
#[derive(Debug, Clone)]
pub struct FtpServerOptions {
    /// The text of the 220 reply.
    pub greeting: String,
    /// The TLS configuration, if the server has a certificate.
    pub tls: Option<ServerTls>,
    /// Logins require TLS.
    pub tls_required: bool,
    /// Passwords of named users are accepted without TLS from all hosts, not only from loopback addresses.
    pub clear_passwords: bool,
    /// A data connection with TLS must resume the session of its control connection, so that nobody else can take it over.
    pub tls_reuse_required: bool,
    /// An upload over TLS that ends without close_notify counts as complete.
    pub tls_end_lenient: bool,
    /// PORT and EPRT are allowed.
    pub active: bool,
    /// The ports for passive data connections.
    pub passive_ports: RangeInclusive<u16>,
    /// The address that PASV replies with.
    pub passive_address: Option<Ipv4Addr>,
    /// The time limit for a client's login.
    pub login_limit: Duration,
    /// The idle timeout of a client.
    pub idle: Duration,
    /// The longest standstill and the lowest rate of a data connection.
    pub data_limits: Limits,
    /// Finished transfers carry the location of the file.
    pub locate: bool,
    /// The received part of an interrupted upload is kept under its name, if that was unused.
    pub keep_partial: bool,
    /// The permission bits to clear on new files and directories.
    pub umask: u32,
    /// A client's certificate may log its user in.
    pub certificates: bool,
    /// The charset of names on the wire.
    pub charset: Option<WireCharset>,
    /// The maximum number of concurrent transfers of all clients.
    pub max_transfers: u64,
    /// The protocol trace, for `-v`.
    pub trace: Option<ProtocolTrace>,
}

impl Default for FtpServerOptions {
    fn default() -> FtpServerOptions {
        FtpServerOptions {
            greeting: "ftpserve".to_owned(),
            tls: None,
            tls_required: false,
            clear_passwords: false,
            tls_reuse_required: false,
            tls_end_lenient: false,
            active: true,
            passive_ports: data::system_ports(),
            passive_address: None,
            login_limit: LOGIN_LIMIT,
            idle: Duration::from_secs(300),
            data_limits: Limits::default(),
            locate: false,
            keep_partial: false,
            umask: 0o022,
            certificates: false,
            charset: None,
            max_transfers: u64::MAX,
            trace: None,
        }
    }
}

/// The state that all connections share.
struct FtpServerState {
    options: FtpServerOptions,
    service: Arc<dyn FtpService>,
    shutdown: Shutdown,
    digests: Arc<Semaphore>,
    /// The number of running transfers.
    transfers: AtomicU64,
}

impl FtpServerState {
    /// Reserves a place for a transfer, if one is free.
    fn admit_transfer(self: &Arc<Self>) -> Option<TransferPlace> {
        let most = self.options.max_transfers;
        let one_more = |running| (running < most).then_some(running + 1);
        self.transfers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(TransferPlace(self.clone()))
    }
}

/// The place of a running transfer.
struct TransferPlace(Arc<FtpServerState>);

impl Drop for TransferPlace {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves until the shutdown. Listeners marked `implicit` begin TLS with the first byte.
///
/// # Errors
/// Those of [`Listeners::serve`].
pub async fn serve(
    listeners: Vec<(Listeners, bool)>,
    admission: &Arc<Admission>,
    shutdown: &Shutdown,
    options: FtpServerOptions,
    service: Arc<dyn FtpService>,
) -> Result<(), Fault> {
    let shared = Arc::new(FtpServerState {
        options,
        service,
        shutdown: shutdown.clone(),
        digests: Arc::new(Semaphore::new(MAX_DIGESTS)),
        transfers: AtomicU64::new(0),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for (listeners, implicit) in listeners {
        let (shared, admission, shutdown) = (shared.clone(), admission.clone(), shutdown.clone());
        tasks.spawn(async move {
            let handler = move |stream, peer, place| one(shared.clone(), stream, peer, place, implicit);
            listeners.serve(&admission, &shutdown, move |_, refusal| refuse(refusal, implicit), handler).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Fault::new(Kind::Internal, error.to_string()))??;
    }
    Ok(())
}

/// The reply to a refused client; inside TLS it is empty, since the client cannot read clear text there.
fn refuse(refusal: AdmissionRefusal, implicit: bool) -> &'static str {
    match refusal {
        _ if implicit => "",
        AdmissionRefusal::Full => "421 Too many clients.\r\n",
        AdmissionRefusal::Address => "421 Too many connections from your address.\r\n",
        AdmissionRefusal::Rate => "421 Your address connects too often.\r\n",
    }
}

async fn one(shared: Arc<FtpServerState>, stream: Stream, peer: SocketAddr, place: ClientPlace, implicit: bool) {
    // Clients send ABOR as urgent data (RFC 959, section 4.1.3).
    stream.keep_urgent();
    let mut ending = EndingSession::begin(shared.service.clone(), peer);
    ending.happened(&Happening::Connected);
    let ended = control::run(&shared, stream, (ending.session, peer), place, implicit, &mut ending.totals).await;
    if let Err(fault) = ended {
        ending.totals.why = fault.kind.as_str();
        ending.happened(&Happening::Fault(fault));
    }
}

/// A session whose end is reported in all cases.
struct EndingSession {
    service: Arc<dyn FtpService>,
    session: SessionId,
    peer: SocketAddr,
    started: Instant,
    totals: SessionTotals,
    _counted: CountedConnection,
}

impl EndingSession {
    fn begin(service: Arc<dyn FtpService>, peer: SocketAddr) -> EndingSession {
        let (session, started) = (SessionId::next(), Instant::now());
        EndingSession {
            service,
            session,
            peer,
            started,
            totals: SessionTotals::default(),
            _counted: CountedConnection::begin(),
        }
    }

    fn happened(&self, what: &Happening<'_>) {
        let SessionTotals { user, tls, .. } = &self.totals;
        self.service.happened(&FtpPeer { session: self.session, address: self.peer, user, tls: *tls }, what);
    }
}

impl Drop for EndingSession {
    fn drop(&mut self) {
        self.totals.elapsed = self.started.elapsed();
        if self.totals.why.is_empty() {
            self.totals.why = "ended";
        }
        self.happened(&Happening::Ended(&self.totals));
    }
}

#[cfg(test)]
mod tests;
