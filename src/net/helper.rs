//! A helper process that keeps the rights which a server gives up: for each request it starts a worker, a process that becomes the
//! owner of the named file, performs one action, answers and ends. So the kernel's permissions of that owner apply. A worker may
//! also stay, as the user of a login, and serve a socket until the server closes it.
//!
//! The helper itself does not parse requests, so that a compromised server cannot attack it by their content. A request is
//! one message on a socket, together with the socket for its answer.

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::process::{getpid, getppid, pidfd_open, set_parent_process_death_signal, waitid};
use rustix::thread::CapabilitySet;

use super::privilege::{UnixIdentity, become_keeping, gain_nothing};
use super::sandbox::{Sandbox, SandboxState};
use super::sys;
use crate::fault::{Fault, Kind};

/// The longest request or answer.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most descriptors of one message: the socket for the answer, and a file.
const MAX_FILES: usize = 2;
/// The most concurrent requests for mailboxes or programs; others wait.
const MAX_WORKERS: usize = 64;
/// The time after which a file system counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The terms of a helper.
#[derive(Debug, Clone, Copy)]
pub struct HelperTerms {
    /// The capabilities that it keeps.
    pub kept: CapabilitySet,
    /// The most workers at the same time; further requests wait.
    pub workers: usize,
    /// Workers may stay ([`HelperAnswer::session`]), so each begins without any descriptor of the helper.
    pub stay: bool,
}

/// The capabilities to become another user.
const BECOMING: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);

impl HelperTerms {
    /// For mailboxes: become an owner, and give him the directory made for him.
    pub const MAILBOXES: HelperTerms =
        HelperTerms { kept: BECOMING.union(CapabilitySet::CHOWN), workers: MAX_WORKERS, stay: false };

    /// For programs with the rights of the server.
    pub const PROGRAMS: HelperTerms = HelperTerms { kept: CapabilitySet::empty(), workers: MAX_WORKERS, stay: false };

    /// For logins of `clients` at the same time: read the users' password hashes, and become a user.
    pub fn logins(clients: usize) -> HelperTerms {
        let kept = BECOMING.union(CapabilitySet::DAC_READ_SEARCH);
        HelperTerms { kept, workers: clients.saturating_add(MAX_WORKERS), stay: true }
    }
}

/// The rights of a helper, and its name in the list of processes.
#[derive(Debug, Clone, Copy)]
pub struct HelperRights<'a> {
    /// The name.
    pub name: &'static CStr,
    /// The user that it becomes; `None` keeps that of the server.
    pub user: Option<&'a UnixIdentity>,
    /// Its terms.
    pub terms: HelperTerms,
}

/// The server's end of the helper. Dropping it ends the helper.
#[derive(Debug)]
pub struct Helper {
    control: OwnedFd,
}

/// The answer to one request.
#[derive(Debug, Default)]
pub struct HelperAnswer {
    /// The result.
    pub bytes: Vec<u8>,
    /// The opened file, or the server's end of a session.
    pub file: Option<OwnedFd>,
    /// The work of the worker after the answer.
    then: Option<SessionWork>,
}

/// The work of a worker that stays.
struct SessionWork(Box<dyn FnOnce()>);

impl std::fmt::Debug for SessionWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionWork")
    }
}

impl HelperAnswer {
    /// An answer, with a file.
    pub fn new(bytes: Vec<u8>, file: Option<OwnedFd>) -> HelperAnswer {
        HelperAnswer { bytes, file, then: None }
    }

    /// The answer of a worker that stays: it runs `work` with its end of a new socket, and the answer holds the other end. The
    /// worker outlives the helper; it has to end when that socket closes.
    ///
    /// # Errors
    /// The system has no more sockets.
    pub fn session(bytes: Vec<u8>, work: impl FnOnce(&OwnedFd) + 'static) -> Result<HelperAnswer, Fault> {
        let (ours, theirs) = pair().map_err(|errno| Fault::local("session worker", &errno.into()))?;
        let then = Some(SessionWork(Box::new(move || work(&ours))));
        Ok(HelperAnswer { bytes, file: Some(theirs), then })
    }
}

impl Helper {
    /// Starts a helper that runs as `user` with these terms and is restricted to `sandbox`, if there is one.
    /// Each worker runs `act` with its request. Call it as root, before the first thread.
    ///
    /// # Errors
    /// [`Kind::Internal`] if there are threads already; those of [`become_keeping`] and [`Sandbox::close`].
    pub fn start(
        user: &UnixIdentity,
        terms: HelperTerms,
        sandbox: Option<Sandbox>,
        act: impl Fn(&[u8]) -> Result<HelperAnswer, Fault>,
    ) -> Result<Helper, Fault> {
        let rights = HelperRights { name: c"owners", user: Some(user), terms };
        Helper::start_with(rights, sandbox, |request, _| act(request))
    }

    /// [`Helper::start`] with these rights. `act` gets the file that came with the request, too.
    ///
    /// # Errors
    /// Those of [`Helper::start`].
    pub fn start_with(
        rights: HelperRights<'_>,
        sandbox: Option<Sandbox>,
        act: impl Fn(&[u8], Option<OwnedFd>) -> Result<HelperAnswer, Fault>,
    ) -> Result<Helper, Fault> {
        let system = |errno: Errno| Fault::local("helper process", &errno.into());
        let (control, theirs) = pair().map_err(system)?;
        let server = getpid();
        sys::fork(move || {
            let begun = sys::close_all_but(&theirs).map_err(|error| Fault::local("helper process", &error));
            let begun = begun.and_then(|()| confine(&rights, sandbox, server));
            let serves = begun.is_ok();
            if answer(&theirs, begun.map(|()| HelperAnswer::default())).is_ok() && serves {
                serve(&theirs, rights.terms, &act);
            }
        })?;
        receive_answer(&control)?;
        Ok(Helper { control })
    }

    /// Sends a request and returns the answer of its worker.
    ///
    /// # Errors
    /// The worker's fault; [`Kind::Io`] if the helper has ended, [`Kind::TimedOut`] if no answer comes.
    pub fn ask(&self, request: &[u8]) -> Result<HelperAnswer, Fault> {
        self.ask_with(request, None, PATIENCE)
    }

    /// [`Helper::ask`] with a file, and with another limit for the time of the worker.
    ///
    /// # Errors
    /// Those of [`Helper::ask`].
    pub fn ask_with(
        &self,
        request: &[u8],
        file: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<HelperAnswer, Fault> {
        let system = |errno: Errno| Fault::local("helper process", &errno.into());
        let (ours, theirs) = pair().map_err(system)?;
        for (socket, which) in [(&self.control, Timeout::Send), (&ours, Timeout::Recv)] {
            set_socket_timeout(socket, which, Some(patience)).map_err(system)?;
        }
        let files: Vec<BorrowedFd<'_>> = std::iter::once(theirs.as_fd()).chain(file).collect();
        match send(&self.control, request, &files, SendFlags::NOSIGNAL) {
            Ok(()) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(gone()),
            Err(errno) => return Err(system(errno)),
        }
        drop(theirs);
        receive_answer(&ours)
    }

    /// Returns once the helper has ended.
    pub fn outlast(&self) {
        while !self.has_ended_within(None) {}
    }

    /// True if the helper has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended_within(Some(&Timespec::default()))
    }

    fn has_ended_within(&self, time: Option<&Timespec>) -> bool {
        let mut polled = [PollFd::new(&self.control, PollFlags::empty())];
        poll(&mut polled, time).is_ok_and(|count| count > 0)
    }
}

/// Becomes an owner in a worker, with these capabilities; the worker still ends with the helper.
///
/// # Errors
/// Those of [`become_keeping`].
pub fn become_owner(owner: &UnixIdentity, kept: CapabilitySet) -> Result<(), Fault> {
    let helper = getppid();
    become_keeping(owner, kept)?;
    end_with(helper)
}

/// Makes this process end with its parent. The kernel resets this when the user changes.
fn end_with(parent: Option<Pid>) -> Result<(), Fault> {
    let set = set_parent_process_death_signal(Some(Signal::KILL));
    set.map_err(|errno| Fault::local("helper process", &errno.into()))?;
    match getppid() == parent {
        true => Ok(()),
        false => Err(gone()),
    }
}

fn gone() -> Fault {
    Fault::new(Kind::Io, "the helper process has ended")
}

fn confine(rights: &HelperRights<'_>, sandbox: Option<Sandbox>, server: Pid) -> Result<(), Fault> {
    let system = |errno: std::io::Error| Fault::local("helper process", &errno);
    // Signals that a terminal or a service manager sends to all processes are handled by the server alone.
    SigSet::all().thread_block().map_err(|errno| system(errno.into()))?;
    rustix::thread::set_name(rights.name).map_err(|errno| system(errno.into()))?;
    rights.user.map_or(Ok(()), |user| become_keeping(user, rights.terms.kept))?;
    end_with(Some(server))?;
    gain_nothing()?;
    match sandbox.map(Sandbox::close).transpose()? {
        None | Some(SandboxState::Closed | SandboxState::Missing) => Ok(()),
    }
}

/// Serves requests until the server has ended.
fn serve(control: &OwnedFd, terms: HelperTerms, act: &impl Fn(&[u8], Option<OwnedFd>) -> Result<HelperAnswer, Fault>) {
    let mut workers: Vec<OwnedFd> = Vec::new();
    loop {
        let wanted = if workers.len() < terms.workers { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(control, wanted)];
        polled.extend(workers.iter().map(|worker| PollFd::new(worker, PollFlags::IN)));
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let mut seen = polled.iter().map(PollFd::revents).collect::<Vec<_>>().into_iter();
        let asked = seen.next().unwrap_or(PollFlags::empty());
        workers.retain(|worker| match seen.next().is_some_and(|seen| !seen.is_empty()) {
            true => waitid(WaitId::PidFd(worker.as_fd()), WaitIdOptions::EXITED).is_err(),
            false => true,
        });
        if asked.contains(PollFlags::IN) {
            let Ok(Some((request, files))) = receive(control, MAX_MESSAGE_BYTES) else { return };
            let mut files = files.into_iter();
            let Some(reply) = files.next() else { continue };
            let file = files.next();
            let worker = sys::fork(|| {
                // A worker that kept the helper's socket would hide the helper's end from the server.
                let bare = if terms.stay { sys::close_all_but(&reply) } else { Ok(()) };
                let bare = bare.map_err(|error| Fault::local("helper process", &error));
                let then = answer(&reply, bare.and(request).and_then(|request| act(&request, file)));
                drop(reply);
                if let Ok(Some(SessionWork(work))) = then {
                    work();
                }
            });
            // Without a worker the socket for the answer closes, which is an answer as well.
            workers.extend(worker.ok().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
        } else if !asked.is_empty() {
            return;
        }
    }
}

/// A socket for messages, and its peer.
///
/// # Errors
/// The system's error.
pub fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message, with descriptors.
///
/// # Errors
/// The system's error.
pub fn send(socket: &OwnedFd, bytes: &[u8], files: &[BorrowedFd<'_>], flags: SendFlags) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(drop)
}

/// A received message, or the fault of one that is too long; and its descriptors.
type ReceivedMessage = (Result<Vec<u8>, Fault>, Vec<OwnedFd>);

/// Receives one message of at most so many bytes. `None` at the end.
///
/// # Errors
/// The system's error.
pub fn receive(socket: &OwnedFd, most: usize) -> rustix::io::Result<Option<ReceivedMessage>> {
    let mut bytes = vec![0; most];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(got.bytes);
    let whole = !got.flags.contains(ReturnFlags::TRUNC);
    Ok(Some((whole.then_some(bytes).ok_or_else(|| Fault::new(Kind::Protocol, "too long a message")), files)))
}

/// Sends the result: the bytes of success, or kind and text of a fault. Returns the work that follows, if it was sent.
fn answer(socket: &OwnedFd, result: Result<HelperAnswer, Fault>) -> rustix::io::Result<Option<SessionWork>> {
    let (mut bytes, HelperAnswer { file, then, .. }) = match result {
        Ok(answer) => ([&[0], &*answer.bytes].concat(), answer),
        Err(fault) => ([fault.kind.as_str(), "\0", &fault.detail].concat().into_bytes(), HelperAnswer::default()),
    };
    bytes.truncate(MAX_MESSAGE_BYTES);
    // A fresh socket has room for one message; one without room would block the worker.
    let files: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
    send(socket, &bytes, &files, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(|()| then)
}

fn receive_answer(socket: &OwnedFd) -> Result<HelperAnswer, Fault> {
    let (bytes, file) = match receive(socket, MAX_MESSAGE_BYTES) {
        Ok(Some((bytes, files))) => (bytes?, files.into_iter().next()),
        Ok(None) | Err(Errno::CONNRESET) => {
            return Err(Fault::new(Kind::Io, "a worker of the helper process ended without an answer"));
        }
        Err(Errno::AGAIN) => return Err(Fault::new(Kind::TimedOut, "no answer of the helper process: its disk hangs")),
        Err(errno) => return Err(Fault::local("helper process", &errno.into())),
    };
    if let Some(words) = bytes.strip_prefix(&[0]) {
        return Ok(HelperAnswer::new(words.to_vec(), file));
    }
    let text = String::from_utf8_lossy(&bytes);
    let (kind, detail) = text.split_once('\0').unwrap_or_default();
    Err(Fault::new(Kind::from_name(kind).unwrap_or(Kind::Internal), detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::privilege;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Any request, and any end of a worker, leaves the next request answered.
    #[test]
    fn one_request_is_no_matter_for_the_next() {
        if !privilege::is_root() {
            return eprintln!("skipped: not root");
        }
        let said = sys::in_child(|| {
            let act = |request: &[u8]| match request {
                b"panic" => panic!("asked to"),
                b"die" => {
                    rustix::process::kill_process(getpid(), Signal::KILL).unwrap();
                    Err(gone())
                }
                b"refuse" => Err(Fault::new(Kind::StorageFull, "full")),
                b"who" => {
                    become_owner(&UnixIdentity::parse("54331:54331").unwrap(), CapabilitySet::empty())?;
                    let ids = [rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()];
                    let set = rustix::thread::capabilities(None).unwrap();
                    let file = Some(std::fs::File::open("/dev/null").unwrap().into());
                    let bytes = format!("{ids:?} {}", set.permitted.is_empty()).into_bytes();
                    Ok(HelperAnswer::new(bytes, file))
                }
                other => Ok(HelperAnswer::new(other.to_vec(), None)),
            };
            let user = UnixIdentity::parse("54321:54322").unwrap();
            let helper = Helper::start(&user, HelperTerms::MAILBOXES, None, act).unwrap();
            let check = || {
                let who = helper.ask(b"who").unwrap();
                assert_eq!(
                    (String::from_utf8(who.bytes).unwrap().as_str(), who.file.is_some()),
                    ("[54331, 54331] true", true)
                );
            };
            check();
            for (request, kind) in [(&b"panic"[..], Kind::Io), (b"die", Kind::Io), (b"refuse", Kind::StorageFull)] {
                assert_eq!(helper.ask(request).unwrap_err().kind, kind, "{}", request.escape_ascii());
                check();
            }
            assert_eq!(helper.ask(&[b'x'; MAX_MESSAGE_BYTES + 1]).unwrap_err().kind, Kind::Protocol);
            assert_eq!(helper.ask(&[b'x'; MAX_MESSAGE_BYTES - 1]).unwrap().bytes.len(), MAX_MESSAGE_BYTES - 1);
            // A request without a socket for the answer, and one with several.
            send(&helper.control, b"who", &[], SendFlags::NOSIGNAL).unwrap();
            let (ours, theirs) = pair().unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let both = [theirs.as_fd(), ours.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&both)));
            sendmsg(&helper.control, &[IoSlice::new(b"who")], &mut control, SendFlags::NOSIGNAL).unwrap();
            check();
            let answered = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..2 * MAX_WORKERS {
                    scope.spawn(|| answered.fetch_add(usize::from(helper.ask(b"x").is_ok()), Ordering::Relaxed));
                }
            });
            assert_eq!(answered.into_inner(), 2 * MAX_WORKERS);
            assert!(!helper.has_ended());
            "done".to_owned()
        });
        assert_eq!(said, "done");
    }
}
