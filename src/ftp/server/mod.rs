//! The server: sockets, TLS, data connections and time for [`crate::ftp::session`]. What is served and who may log in is
//! the caller's: see [`FtpService`].

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

use super::session::StoreRefusal;
use super::store::{ArrivedFile, FtpStore};
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::admission::{Admission, AdmissionRefusal, ClientPlace};
use crate::net::counters::CountedConnection;
use crate::net::deadline::Limits;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::login::LoginVerdict;
use crate::net::session_id::SessionId;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::trace::ProtocolTrace;

/// [`FtpServerOptions::login_limit`] unless it is set.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a data connection may take to come about, TLS included.
pub const DATA_CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Files whose digests are worked on at once: each takes a core for as long as it takes to read the file.
const MAX_DIGESTS: usize = 2;

/// Who may log in, and who hears what happens.
pub trait FtpService: Send + Sync + 'static {
    /// The tree for this login. It takes its time where it fails: guessing is slow, and a wrong name must take as long as a
    /// wrong password.
    fn login<'a>(&'a self, peer: IpAddr, user: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<FtpStore>>;

    /// Something happened in a session.
    fn happened(&self, who: &FtpPeer<'_>, what: &Happening<'_>);
}

/// The client of a session, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct FtpPeer<'a> {
    /// The session.
    pub session: SessionId,
    /// From where.
    pub address: SocketAddr,
    /// The name that was given or logged in; empty before that.
    pub user: &'a str,
    /// The control connection runs inside TLS.
    pub tls: bool,
}

/// What the log tells.
#[derive(Debug)]
pub enum Happening<'a> {
    /// A client connected.
    Connected,
    /// A login succeeded or failed.
    Login {
        /// Whether it was let in.
        accepted: bool,
        /// Why it failed, if it was no wrong password.
        reason: Option<&'static str>,
    },
    /// A transfer ended.
    Transfer(FinishedTransfer<'a>),
    /// A file is whole and has its final name: after an upload, or after it was renamed from the name of an unfinished one.
    Arrived {
        /// Its path, seen from the user's root.
        path: &'a [u8],
        /// Where it is.
        file: ArrivedFile,
    },
    /// The tree was changed by a command, or was not.
    Change {
        /// The verb: `DELE`, `MKD`, `RMD`, `RNTO`.
        verb: &'static str,
        /// What it was done to, seen from the user's root.
        path: &'a [u8],
        /// Where RNTO moved it.
        to: Option<&'a [u8]>,
        /// Why not.
        refusal: Option<&'a StoreRefusal>,
    },
    /// A session ended.
    Ended(&'a SessionTotals),
    /// A session ended with a fault, or did something that it should not.
    Fault(Fault),
}

/// A session at its end.
#[derive(Debug, Default)]
pub struct SessionTotals {
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended: `quit`, `left` (the client closed), `idle`, `displaced` (its place went to another client), `shutdown`, `closed` (we closed),
    /// `ended` (by us, without a word), or the kind of a fault.
    pub why: &'static str,
    /// Transfers that were complete.
    pub transfers: u64,
    /// Bytes of files that were received.
    pub received: u64,
    /// Bytes of files and listings that were sent.
    pub sent: u64,
    /// The name that logged in last; empty if none did.
    pub user: String,
    /// The control connection ran inside TLS.
    pub tls: bool,
}

/// A transfer that ended.
#[derive(Debug)]
pub struct FinishedTransfer<'a> {
    /// What was moved.
    pub direction: TransferDirection,
    /// Its path, seen from the user's root.
    pub path: &'a [u8],
    /// Bytes that passed.
    pub bytes: u64,
    /// From which byte it was resumed.
    pub from: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The data connection ran inside TLS.
    pub tls: bool,
    /// Line ends were changed on the way (TYPE A).
    pub ascii: bool,
    /// Where the file is, if it is there and [`FtpServerOptions::locate`] is set.
    pub file: Option<PathBuf>,
    /// The reply that ended it.
    pub code: u16,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferDirection {
    /// To the client.
    Download,
    /// From the client.
    Upload,
    /// Names to the client.
    Listing,
}

/// How uploads are called that will be renamed when they are whole: by ftpput and browsers (`.part`), WinSCP (`.filepart`),
/// lftp (`.in.NAME`) and scripts.
fn is_unfinished(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b".in.")
        || [".part", ".filepart", ".partial", ".tmp"].iter().any(|end| name.ends_with(end.as_bytes()))
}

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct FtpServerOptions {
    /// The text of the 220 reply.
    pub greeting: String,
    /// TLS, if there is a certificate.
    pub tls: Option<ServerTls>,
    /// No login without TLS.
    pub tls_required: bool,
    /// Passwords of named users are taken without TLS, even from other hosts than this.
    pub clear_passwords: bool,
    /// A data connection inside TLS must resume the session of its control connection: nobody else can take it then.
    pub tls_reuse_required: bool,
    /// An upload inside TLS that ends without close_notify is complete all the same.
    pub tls_end_lenient: bool,
    /// PORT and EPRT are allowed.
    pub active: bool,
    /// Ports for passive data connections; any free one where it is `None`.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// The address that PASV shows.
    pub passive_address: Option<Ipv4Addr>,
    /// How long a client may take until it is logged in.
    pub login_limit: Duration,
    /// How long a client may say nothing.
    pub idle: Duration,
    /// How long a data connection may stand still, and how slow it may be.
    pub data_limits: Limits,
    /// Finished transfers say where the file is.
    pub locate: bool,
    /// What came of an upload that broke off stays under its name, if that was free.
    pub keep_partial: bool,
    /// The permission bits that new files and directories do not get.
    pub umask: u32,
    /// Transfers that may run at once, of all clients.
    pub max_transfers: u64,
    /// The dialogue, for `-v`.
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
            passive_ports: None,
            passive_address: None,
            login_limit: LOGIN_LIMIT,
            idle: Duration::from_secs(300),
            data_limits: Limits::default(),
            locate: false,
            keep_partial: false,
            umask: 0o022,
            max_transfers: u64::MAX,
            trace: None,
        }
    }
}

/// What all connections share.
struct FtpServerState {
    options: FtpServerOptions,
    service: Arc<dyn FtpService>,
    shutdown: Shutdown,
    digests: Semaphore,
    /// Transfers that run.
    transfers: AtomicU64,
}

impl FtpServerState {
    /// A place for a transfer, if one is free.
    fn admit_transfer(self: &Arc<Self>) -> Option<TransferPlace> {
        let most = self.options.max_transfers;
        let one_more = |running| (running < most).then_some(running + 1);
        self.transfers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(TransferPlace(self.clone()))
    }
}

/// The place of a transfer that runs.
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
        digests: Semaphore::new(MAX_DIGESTS),
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

/// The words for a client without a place; inside TLS there is no word yet that it would understand.
fn refuse(refusal: AdmissionRefusal, implicit: bool) -> &'static str {
    match refusal {
        _ if implicit => "",
        AdmissionRefusal::Full => "421 Too many clients.\r\n",
        AdmissionRefusal::Address => "421 Too many connections from your address.\r\n",
        AdmissionRefusal::Rate => "421 Your address connects too often.\r\n",
    }
}

async fn one(shared: Arc<FtpServerState>, stream: Stream, peer: SocketAddr, place: ClientPlace, implicit: bool) {
    // Clients send ABOR so (RFC 959, section 4.1.3).
    stream.keep_urgent();
    let mut ending = EndingSession::begin(shared.service.clone(), peer);
    ending.happened(&Happening::Connected);
    let ended = control::run(&shared, stream, (ending.session, peer), place, implicit, &mut ending.totals).await;
    if let Err(fault) = ended {
        ending.totals.why = fault.kind.as_str();
        ending.happened(&Happening::Fault(fault));
    }
}

/// A session that is told of when it ends, whichever way.
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
