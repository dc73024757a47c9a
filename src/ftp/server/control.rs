//! One control connection: reads input, passes it to the session, and carries out the session's actions.

mod conclude;
mod ending;
mod logins;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::copy::{self, FileToSend, ListingToSend, TransferLimits};
use super::data::{self, DataEndpoint, Stop};
use super::{FtpPeer, FtpServerState, Happening, SessionTotals, TransferDirection, TransferPlace, is_unfinished};
use crate::fault::{Fault, Kind};
use crate::ftp::reply::FtpReply;
use crate::ftp::session::{
    DataMode, DataTransfer, FtpSession, SessionAction, SessionEvent, SessionPolicy, StoreAnswer, StoreOp, StoreRefusal,
    TransferFailure, TransferTask, UploadMode, is_anonymous,
};
use crate::ftp::store::{FtpTree, TreeUpload};
use crate::ftp::telnet;
use crate::net::admission::{ClientPlace, Standing};
use crate::net::clock::unix_seconds;
use crate::net::counters::Counter;
use crate::net::file_work::{self, ClosedAside};
use crate::net::session_id::SessionId;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::trace::ProtocolTrace;
use crate::scope::on_the_link;

/// The most bytes of replies that are sent together.
const MAX_REPLIES: usize = 64 << 10;
/// The time limit for closing the connection after the last reply.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A client may send commands that do not use the tree (NOOP, PWD) for this many idle timeouts, and a single transfer
/// of an anonymous user may hold a place that others need for as long.
const MAX_TALK_IDLES: u32 = 12;

/// The number of tickets per TLS 1.3 session that rustls clients keep.
const MAX_TICKETS: usize = 8;

/// The future of a transfer: its upload is committed here, given the proof that its client stayed to the end.
type Running = Pin<Box<dyn Future<Output = Result<(u64, Option<ClosedAside<TreeUpload>>), TransferFailure>> + Send>>;

struct ControlDriver<'a> {
    shared: &'a Arc<FtpServerState>,
    stream: Stream,
    session: FtpSession,
    id: SessionId,
    totals: &'a mut SessionTotals,
    trace: Option<ProtocolTrace>,
    place: ClientPlace,
    peer: SocketAddr,
    local: SocketAddr,
    out: Vec<u8>,
    store: Option<FtpTree>,
    listener: Option<TcpListener>,
    /// The mask of SITE UMASK.
    umask: Option<u32>,
    /// TLS with a session store of this connection alone, for its data connections.
    tls: Option<ServerTls>,
    running: Option<(Running, Started)>,
    /// The running transfer takes longer than [`MAX_TALK_IDLES`] allows.
    long: bool,
    /// The client has closed its side.
    ended: bool,
    /// The connection can no longer be written to.
    gone: bool,
}

/// A running transfer, for the log.
struct Started {
    stop: Stop,
    at: Instant,
    direction: TransferDirection,
    path: Vec<u8>,
    from: u64,
    tls: bool,
    ascii: bool,
    /// The size of an upload in bytes, as announced by ALLO.
    announced: Option<u64>,
    /// The number of names that cannot be written in the charset of the wire.
    unlisted: Arc<AtomicUsize>,
    _place: Option<TransferPlace>,
}

impl Drop for Started {
    /// The transfer does not outlive the connection, however that ends, and its thread is woken.
    fn drop(&mut self) {
        self.stop.stop();
    }
}

enum ControlEvent {
    Input(std::io::Result<usize>),
    Ended(Result<(u64, Option<ClosedAside<TreeUpload>>), TransferFailure>),
    Idle,
    Long,
    Lost,
    Drain,
}

/// Serves one connection to its end.
pub(super) async fn run(
    shared: &Arc<FtpServerState>,
    stream: Stream,
    (id, peer): (SessionId, SocketAddr),
    place: ClientPlace,
    implicit: bool,
    totals: &mut SessionTotals,
) -> Result<(), Fault> {
    let options = &shared.options;
    let tls = match &options.tls {
        // Some clients use a ticket once: where each data connection needs one, they get as many as they can keep.
        Some(tls) if options.tls_reuse_required => Some(tls.own_sessions()?.with_tickets(MAX_TICKETS)),
        Some(tls) => Some(tls.own_sessions()?),
        None => None,
    };
    let stream = match &tls {
        Some(tls) if implicit => tls.accept(stream).await?,
        _ => stream,
    };
    totals.tls = stream.is_tls();
    let local = stream.local_addr().unwrap_or(peer);
    let mut session = FtpSession::new(SessionPolicy {
        greeting: options.greeting.clone(),
        tls: tls.is_some(),
        tls_required: options.tls_required,
        clear_passwords: options.clear_passwords || peer.ip().is_loopback(),
        tls_implicit: implicit && tls.is_some(),
        peer: peer.ip(),
        pasv_address: options.passive_address,
        active: options.active,
        umask: options.umask,
        certificates: options.certificates,
        charset: options.charset,
    });
    let trace = options.trace.as_ref().map(|trace| trace.of(peer));
    if trace.is_some() {
        session.keep_heard();
    }
    let control = ControlDriver {
        shared,
        stream,
        session,
        id,
        totals,
        trace,
        place,
        peer,
        local,
        out: Vec::new(),
        store: None,
        listener: None,
        umask: None,
        tls,
        running: None,
        long: false,
        ended: false,
        gone: false,
    };
    control.serve().await
}

impl ControlDriver<'_> {
    async fn serve(mut self) -> Result<(), Fault> {
        let result = self.dialogue().await;
        if let Some((running, started)) = self.running.take() {
            // The transfer must not outlive its client; its thread is woken and ends by itself.
            started.stop.stop();
            let result = running.await;
            let _ = self.conclude(&started, result, None);
        }
        result
    }

    async fn dialogue(&mut self) -> Result<(), Fault> {
        let begin = Instant::now();
        let (mut heard_at, mut worked_at) = (begin, begin);
        let mut buffer = vec![0; 4096];
        let mut draining = false;
        let (mut commands, mut work) = (0, 0);
        loop {
            while let Some(action) = self.session.poll() {
                self.trace_heard();
                if action == SessionAction::Close {
                    self.totals.why = match self.totals.why {
                        "idle" | "displaced" | "shutdown" | "io" => self.totals.why,
                        _ if self.session.has_said_quit() => "quit",
                        _ => "closed",
                    };
                    return self.close().await;
                }
                self.act(action).await?;
                if self.out.len() > MAX_REPLIES {
                    self.flush().await?;
                }
            }
            self.trace_heard();
            // Whole commands count: a drip of bytes keeps nobody alive.
            let heard = self.session.commands() != std::mem::replace(&mut commands, self.session.commands());
            if heard {
                heard_at = Instant::now();
            }
            if self.session.work() != work {
                work = self.session.work();
                worked_at = Instant::now();
                self.long = false;
            }
            if let Some(fault) = self.tree_lost() {
                self.totals.why = fault.kind.as_str();
                self.happened(&Happening::Fault(fault));
                self.session.event(SessionEvent::TreeLost);
                continue;
            }
            self.place.stands(self.standing(), heard);
            // Who hears a reply has the place already.
            self.flush().await?;
            if self.ended && self.running.is_none() {
                self.totals.why = "left";
                return Ok(());
            }
            let long = worked_at + self.shared.options.idle * MAX_TALK_IDLES;
            let limit = match self.session.is_logged_in() {
                true => (heard_at + self.shared.options.idle).min(long),
                // However much it says: it has to log in by then.
                false => begin + self.shared.options.login_limit,
            };
            let next = self.next(&mut buffer, (limit, long), draining).await;
            match next {
                ControlEvent::Input(Ok(0)) => self.client_ended(),
                ControlEvent::Input(Ok(count)) => {
                    self.session.input(buffer.get(..count).unwrap_or_default());
                }
                // A reset, or an end of TLS without notice: nothing more comes.
                ControlEvent::Input(Err(_)) => self.client_ended(),
                ControlEvent::Ended(result) => {
                    heard_at = Instant::now();
                    self.transfer_ended(result).await;
                }
                ControlEvent::Idle => {
                    self.totals.why = "idle";
                    self.session.event(SessionEvent::Idle);
                }
                ControlEvent::Long => self.long = true,
                ControlEvent::Lost => {
                    self.totals.why = "displaced";
                    self.session.event(SessionEvent::Lost);
                }
                ControlEvent::Drain => {
                    draining = true;
                    self.totals.why = "shutdown";
                    self.session.event(SessionEvent::Drain);
                }
            }
        }
    }

    /// Anonymous users share the unused places: they have no right to a place, except during a transfer that ends in time.
    fn standing(&self) -> Standing {
        match self.session.user() {
            None => Standing::Idle,
            Some(user) if is_anonymous(user) && (self.session.is_idle() || self.long) => Standing::Idle,
            Some(_) => Standing::Busy,
        }
    }

    /// Waits for the next event.
    async fn next(&mut self, buffer: &mut [u8], (limit, long): (Instant, Instant), draining: bool) -> ControlEvent {
        let reading = self.session.wants_input() && !self.ended;
        let idle = self.session.is_idle();
        let running = async {
            match &mut self.running {
                Some((running, _)) => running.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = self.stream.read_with_urgent(buffer), if reading => ControlEvent::Input(result),
            result = running => ControlEvent::Ended(result),
            () = self.shared.shutdown.draining(), if !draining => ControlEvent::Drain,
            () = tokio::time::sleep_until(limit), if idle => ControlEvent::Idle,
            () = tokio::time::sleep_until(long), if !idle && !self.long => ControlEvent::Long,
            () = self.place.lost() => ControlEvent::Lost,
        }
    }

    async fn act(&mut self, action: SessionAction) -> Result<(), Fault> {
        match action {
            SessionAction::Reply(reply) => {
                self.write(&reply);
            }
            SessionAction::StartTls => self.start_tls().await?,
            SessionAction::Login { user, password } => {
                self.flush().await?;
                let verdict = self.login(&user, password).await;
                self.session.event(SessionEvent::Login(verdict));
            }
            SessionAction::CertificateLogin { user } => {
                let verdict = self.certified(&user).await;
                self.session.event(SessionEvent::Certified(verdict));
            }
            SessionAction::Listen => {
                self.listener = None;
                let listener = data::listen(self.local, &self.shared.options.passive_ports).ok();
                let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
                self.listener = listener;
                self.session.event(SessionEvent::Listening(address));
            }
            SessionAction::DropListener => self.listener = None,
            SessionAction::Store(op) => {
                let result = self.store_op(op).await;
                self.session.event(SessionEvent::Stored(result));
            }
            SessionAction::Umask(mask) => {
                self.umask = Some(mask);
                self.store = self.store.take().map(|store| store.with_umask(mask));
            }
            SessionAction::Transfer(transfer) => self.start(transfer),
            SessionAction::StopTransfer => self.stop_transfer(),
            SessionAction::Refused { verb, path, refusal } => {
                self.happened(&Happening::Change { verb, path: &path, to: None, refusal: Some(&refusal) });
            }
            SessionAction::Close => {}
        }
        Ok(())
    }

    // TLS

    async fn start_tls(&mut self) -> Result<(), Fault> {
        self.flush().await?;
        let Some(tls) = &self.tls else { return Ok(()) };
        let plain = std::mem::replace(&mut self.stream, Stream::Plain(dead_stream()?));
        self.stream = tls.accept(plain).await?;
        self.totals.tls = true;
        self.session.event(SessionEvent::Secured);
        Ok(())
    }

    // The tree

    async fn store_op(&mut self, op: StoreOp) -> Result<StoreAnswer, StoreRefusal> {
        let Some(store) = self.store.clone() else { return Err(StoreRefusal::Denied) };
        let change = match &op {
            StoreOp::Delete(path) => Some(("DELE", path.clone(), None)),
            StoreOp::MakeDirectory(path) => Some(("MKD", path.clone(), None)),
            StoreOp::RemoveDirectory(path) => Some(("RMD", path.clone(), None)),
            StoreOp::Rename(from, to, _) => Some(("RNTO", from.clone(), Some(to.clone()))),
            _ => None,
        };
        let result = match op {
            StoreOp::Digest { .. } | StoreOp::List(_) | StoreOp::Rename(..) => self.on_thread(store, op).await,
            op => file_work::run(|| store.run(op, unix_seconds(), &|| true)),
        };
        if let Some((verb, path, to)) = &change {
            let (to, refusal) = (to.as_deref(), result.as_ref().err());
            self.happened(&Happening::Change { verb, path, to, refusal });
            if let Some(to) = to.filter(|_| result.is_ok() && is_unfinished(path)) {
                self.arrived(to);
            }
        }
        result
    }

    /// The fault that ends the session because nobody serves its tree, once no transfer runs.
    fn tree_lost(&self) -> Option<Fault> {
        self.store.as_ref().filter(|_| self.running.is_none())?.lost()
    }

    fn happened(&self, what: &Happening<'_>) {
        let SessionTotals { user, tls, .. } = &*self.totals;
        let who = FtpPeer { session: self.id, address: self.peer, user, tls: *tls };
        self.shared.service.happened(&who, what);
    }

    /// Reports a complete file, unless its name is that of an unfinished one.
    fn arrived(&self, path: &[u8]) {
        let store = self.store.as_ref().filter(|_| !is_unfinished(path));
        let file = store.and_then(|store| file_work::run(|| store.arrived(path)));
        if let Some(file) = file {
            self.happened(&Happening::Arrived { path, file });
        }
    }

    /// Runs an operation that may take long on a thread; it ends when the client sends ABOR or disconnects.
    async fn on_thread(&mut self, store: FtpTree, op: StoreOp) -> Result<StoreAnswer, StoreRefusal> {
        let (shared, stop) = (self.shared, Stop::default());
        let _guard = StopOnDrop(stop.clone());
        let is_digest = matches!(op, StoreOp::Digest { .. });
        let (go_on, given_up) = (stop.clone(), stop.clone());
        let work = async {
            let permit = tokio::select! {
                permit = shared.digests.clone().acquire_owned(), if is_digest => Some(permit),
                () = given_up.stopped(), if is_digest => None,
                else => None,
            };
            tokio::task::spawn_blocking(move || {
                // Given back there: see file_work::run.
                let _permit = permit;
                store.run(op, unix_seconds(), &|| !go_on.is_stopped())
            })
            .await
        };
        let failed = |why: &str| Err(StoreRefusal::Failed(why.to_owned()));
        let mut work = std::pin::pin!(work);
        let mut buffer = [0; 4096];
        loop {
            if self.hear() || self.ended && !self.session.has_said_quit() {
                stop.stop();
            }
            let reading = self.session.wants_input() && !self.ended;
            tokio::select! {
                biased;
                result = &mut work => return result.unwrap_or_else(|_| failed("a bug")),
                read = self.stream.read_with_urgent(&mut buffer), if reading => match read {
                    Ok(count @ 1..) => self.session.input(buffer.get(..count).unwrap_or_default()),
                    _ => self.ended = true,
                },
                () = shared.shutdown.ended() => return failed("the server ends"),
            }
        }
    }

    // Transfers

    fn stop_transfer(&self) {
        if let Some((_, started)) = &self.running {
            started.stop.stop();
        }
    }

    fn start(&mut self, transfer: DataTransfer) {
        let (direction, path, from) = match &transfer.task {
            TransferTask::Send { path, from, .. } => (TransferDirection::Download, path.clone(), *from),
            TransferTask::Receive { path, mode: UploadMode::At(from), .. } => {
                (TransferDirection::Upload, path.clone(), *from)
            }
            TransferTask::Receive { path, .. } => (TransferDirection::Upload, path.clone(), 0),
            TransferTask::List(listing) => (TransferDirection::Listing, listing.path.clone(), 0),
        };
        let stop = Stop::default();
        let unlisted = Arc::default();
        let (tls, ascii, announced) = (transfer.protect, transfer.ascii, transfer.announced);
        let place = self.shared.admit_transfer();
        let crowded = place.is_none();
        let mut started = Started {
            stop: stop.clone(),
            at: Instant::now(),
            direction,
            path,
            from,
            tls,
            ascii,
            announced,
            unlisted: Arc::clone(&unlisted),
            _place: place,
        };
        let opened =
            if crowded { Err(StoreRefusal::Crowded) } else { file_work::run(|| self.open(transfer, stop, unlisted)) };
        match opened {
            Ok((running, size, name)) => {
                if let Some(name) = &name {
                    // STOU: the name beside the one that was suggested.
                    let slash = started.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                    started.path.splice(slash.., name.iter().copied());
                }
                Counter::TransfersBegun.add(1);
                self.running = Some((running, started));
                self.session.event(SessionEvent::Opened { size, name });
            }
            Err(refusal) => {
                self.listener = None;
                let failure = TransferFailure::Refused(refusal);
                self.log(&started, 0, Some(&failure));
                self.session.event(SessionEvent::Ended(Err(failure)));
            }
        }
    }

    /// Opens the file or directory and prepares the transfer; it blocks only on the file system.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn open(
        &mut self,
        transfer: DataTransfer,
        stop: Stop,
        unlisted: Arc<AtomicUsize>,
    ) -> Result<(Running, Option<u64>, Option<Vec<u8>>), StoreRefusal> {
        let store = self.store.as_ref().ok_or(StoreRefusal::Denied)?;
        let options = self.shared.options.clone();
        let charset = self.session.charset();
        let terms = TransferLimits {
            ascii: transfer.ascii,
            limits: options.data_limits,
            lenient_end: options.tls_end_lenient,
            stop: stop.clone(),
            pace: match &transfer.task {
                TransferTask::Receive { .. } => store.share().up(),
                TransferTask::Send { .. } => store.share().down(),
                TransferTask::List(_) => None,
            },
        };
        let endpoint = match transfer.via {
            DataMode::Passive => DataEndpoint::Passive(
                self.listener.take().ok_or_else(|| StoreRefusal::Failed("no listener".to_owned()))?,
            ),
            DataMode::Active(target) => DataEndpoint::Active(on_the_link(target, self.local), self.local),
        };
        let tls = match (&transfer.task, &self.tls) {
            _ if !transfer.protect => None,
            // A client that uploads may never read. Tickets that lie unread when it closes make its system reset the
            // connection and forget the end of the file (curl 7.88 with TLS 1.3).
            (TransferTask::Receive { .. }, Some(tls)) => Some(tls.with_tickets(0)),
            (_, tls) => tls.clone(),
        };
        if transfer.protect && tls.is_none() {
            return Err(StoreRefusal::Denied);
        }
        let peer = self.peer.ip();
        let keep_partial = options.keep_partial;
        let connect = async move {
            tokio::select! {
                biased;
                () = stop.stopped() => Err(TransferFailure::Aborted),
                stream = data::connect(endpoint, peer, tls.as_ref(), &options) => stream,
            }
        };
        Ok(match transfer.task {
            TransferTask::Send { path, from, to } => {
                let (file, size) = store.send(&path)?;
                if from > size {
                    return Err(StoreRefusal::BadOffset);
                }
                let end = to.map_or(size, |to| to.min(size)).max(from);
                let file = FileToSend::new(file, from, end)?;
                let run = async move { Ok((copy::send(connect.await?, file, terms).await?, None)) };
                (Box::pin(run), Some(end - from), None)
            }
            TransferTask::Receive { path, mode, replace } => {
                let (upload, name) = store.receive(&path, mode, replace)?;
                let upload = ClosedAside::new(upload);
                let run = async move {
                    let (upload, bytes) = copy::receive(connect.await?, upload, keep_partial, terms).await?;
                    Ok((bytes, Some(upload)))
                };
                (Box::pin(run), None, name)
            }
            TransferTask::List(listing) => {
                let lines = ListingToSend::new(store.list(listing, unix_seconds())?)?;
                let names = copy::ListedNames { charset, missing: unlisted };
                let run = async move { Ok((copy::list(connect.await?, lines, names, terms).await?, None)) };
                (Box::pin(run), None, None)
            }
        })
    }

    async fn transfer_ended(&mut self, mut result: Result<(u64, Option<ClosedAside<TreeUpload>>), TransferFailure>) {
        let seen = match &mut result {
            Ok((bytes, Some(upload))) => {
                let (bytes, ended) = (*bytes, Instant::now());
                // The disk and the client are waited for at the same time.
                let waits = upload.get().is_some_and(TreeUpload::waits_for_disk);
                let settled = if waits { upload.with_long(TreeUpload::settle) } else { None };
                match settled.unwrap_or(Ok(())) {
                    Ok(()) => self.seen_to_its_end(bytes, ended).await,
                    Err(refusal) => {
                        result = Err(TransferFailure::Refused(refusal));
                        None
                    }
                }
            }
            _ => None,
        };
        // A transfer ends once: nobody waits for a second end.
        let Some((_, started)) = self.running.take() else { return };
        let result = self.conclude(&started, result, seen);
        self.session.event(SessionEvent::Ended(result));
    }

    // The wire

    /// Appends a reply. The control connection uses TELNET: byte 255 of a name is sent twice (RFC 959, sections 3.1 and 5.3).
    fn write(&mut self, reply: &FtpReply) {
        let from = self.out.len();
        reply.write_to(&mut self.out);
        if let Some(trace) = &self.trace {
            trace.sent(self.out.get(from..).unwrap_or_default());
        }
        if self.out.get(from..).is_some_and(|reply| reply.contains(&telnet::IAC)) {
            let reply = self.out.split_off(from);
            self.out.extend(telnet::doubled(&reply));
        }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        if !self.out.is_empty() && !self.gone {
            let limit = self.shared.options.data_limits.idle;
            let write = async {
                self.stream.write_all(&self.out).await?;
                self.stream.flush().await
            };
            match tokio::time::timeout(limit, write).await {
                Err(_) => return Err(Fault::new(Kind::TimedOut, "control connection: replies are not read")),
                // The next read says so too; what runs is stopped there.
                Ok(Err(_)) => self.gone = true,
                Ok(Ok(())) => {}
            }
        }
        self.out.clear();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Fault> {
        self.flush().await?;
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.stream.shutdown()).await;
        Ok(())
    }

    fn trace_heard(&mut self) {
        if let Some(trace) = &self.trace {
            for line in self.session.heard() {
                trace.received(line.as_bytes());
            }
        }
    }
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// An unconnected socket, which replaces the stream during a handshake.
fn dead_stream() -> Result<tokio::net::TcpStream, Fault> {
    let failed = |error: std::io::Error| Fault::local("socket", &error);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None);
    tokio::net::TcpStream::from_std(socket.map_err(failed)?.into()).map_err(failed)
}
