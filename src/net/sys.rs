//! System calls and a copy that need `unsafe`: this module alone uses it in this crate.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::net::SocketType;
use rustix::process::Pid;
use rustls::client::Tls13ClientSessionValue;

use super::privilege::alone;
use crate::fault::Fault;

/// The first descriptor of socket activation (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;
/// The most passed descriptors that are plausible.
const MAX_PASSED: RawFd = 64;

/// The loader calls this function before `main`, and so before Rust's runtime, which opens /dev/null for each closed
/// descriptor of 0 to 2: its input ends at once, and its output always succeeds.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = keep_closed_streams_closed;

/// Replaces each closed standard stream by a socket without a peer. It keeps the number from any file that is opened later;
/// reading, writing and reopening it (/dev/stdin) fail, in this process and in programs that inherit it.
extern "C" fn keep_closed_streams_closed() {
    for number in 0..=2 {
        // SAFETY: both calls take numbers only, no other thread runs yet, and socket(2) takes the lowest number that is free.
        // The descriptor belongs to the process as a standard stream, as if it had been inherited.
        unsafe {
            if libc::fcntl(number, libc::F_GETFD) == -1 {
                // A failure leaves the number to Rust's runtime.
                let _ = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
            }
        }
    }
}

/// True if a standard stream was open at the start of the process, in the wanted direction. False for a descriptor in the
/// mode `unfit` ([`OFlags::WRONLY`] for a reader), which the standard library takes for an end or a success.
pub fn stream_is_open(stream: impl AsFd, unfit: OFlags) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(&stream) else { return false };
    let connects = rustix::net::sockopt::socket_type(&stream) == Ok(SocketType::STREAM);
    let without_peer = connects && rustix::net::getpeername(&stream).is_err_and(|errno| errno == Errno::NOTCONN);
    !without_peer && !flags.contains(OFlags::PATH) && flags & OFlags::ACCMODE != unfit
}

/// A descriptor announced by `LISTEN_FDS`.
#[derive(Debug)]
pub struct Inherited {
    /// Its number.
    pub number: RawFd,
    /// The descriptor; `None` if it is closed or was opened by this process.
    pub fd: Option<OwnedFd>,
}

/// The descriptors that the service manager passed to this process. Only the first call returns any.
///
/// # Errors
/// The reason why `LISTEN_FDS` is not a count.
pub fn inherited() -> Result<Vec<Inherited>, String> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let count = passed_count(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), std::process::id())?;
    if count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    Ok((FIRST_PASSED..FIRST_PASSED + count).map(|number| Inherited { number, fd: adopt(number) }).collect())
}

/// The number of bytes written to a TCP socket that the peer's system has not acknowledged (SIOCOUTQ, tcp(7)).
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and SIOCOUTQ writes one int, to one that outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A second value of a TLS 1.3 ticket, so that it can be used again. `None` if the type's layout is not the known one.
///
/// rustls 0.23 offers nothing else: the type is not `Clone`, cannot be made, read or written from outside, and a store must
/// give each value out once. Without a copy, every two files to a server that sends two tickets (proftpd) would need a new
/// control connection, with its full handshake and login. A later rustls with such a copy replaces this.
pub(super) fn copy_of_ticket(ticket: &Tls13ClientSessionValue) -> Option<Tls13ClientSessionValue> {
    /// Key, ticket and certificates: all parts of the value that own memory, except the parameters of QUIC.
    type Common = <Tls13ClientSessionValue as Deref>::Target;
    /// True for the known layout: the suite (a static reference), two numbers, the common part, a byte vector for QUIC, nothing else.
    const KNOWN: bool = size_of::<Tls13ClientSessionValue>()
        == size_of::<&()>() + 2 * size_of::<u32>() + size_of::<Common>() + size_of::<Vec<u8>>();
    let common: &Common = ticket;
    let offset = std::ptr::from_ref(common).addr().checked_sub(std::ptr::from_ref(ticket).addr())?;
    let inside = offset + size_of::<Common>() <= size_of::<Tls13ClientSessionValue>();
    if !KNOWN || !inside || !ticket.quic_params().is_empty() {
        return None;
    }
    let common = common.clone();
    let mut copy = MaybeUninit::<Tls13ClientSessionValue>::uninit();
    // SAFETY: the bytes of a valid value make `copy` a valid one that shares what the original owns. That is the common part,
    // which lies in the value at `offset` (its reference came from there) and is replaced, without a drop, by a clone; and
    // the parameters of QUIC, a vector that never held anything and so owns no memory. The size shows that there is no more.
    unsafe {
        std::ptr::copy_nonoverlapping(ticket, copy.as_mut_ptr(), 1);
        copy.as_mut_ptr().byte_add(offset).cast::<Common>().write(common);
        Some(copy.assume_init())
    }
}

/// Takes ownership of a descriptor that was open when this process started.
fn adopt(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the borrow ends with the next line, and fcntl(2) answers EBADF for a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(borrowed).ok()?;
    // A descriptor passed through exec has no FD_CLOEXEC; the standard library and every crate here open with it.
    let passed = !flags.contains(FdFlags::CLOEXEC);
    // SAFETY: the descriptor is open, nobody in this process opened it, and `inherited` takes each number once; the
    // service manager promises, by LISTEN_PID naming this process, that it is meant for it.
    passed.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

fn passed_count(listen_pid: Option<&str>, listen_fds: Option<&str>, own_pid: u32) -> Result<RawFd, String> {
    match (listen_pid.and_then(|pid| pid.parse::<u32>().ok()), listen_fds) {
        (Some(pid), Some(count)) if pid == own_pid => (count.parse().ok())
            .filter(|count| (0..=MAX_PASSED).contains(count))
            .ok_or_else(|| format!("{count:?} is not a number from 0 to {MAX_PASSED}")),
        _ => Ok(0),
    }
}

/// Runs `act` in a child process, which ends after it.
///
/// # Errors
/// The kinds of [`Fault::local`] if no further process can be started; [`Kind::Internal`](crate::fault::Kind::Internal) if
/// this one has several threads.
pub(super) fn fork(act: impl FnOnce()) -> Result<Pid, Fault> {
    alone()?;
    // SAFETY: no other thread runs, so no lock is held that the child would wait for; and the child ends without running what
    // the parent would run at its end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        // SAFETY: it does not return.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 70 }) }
    }
    Pid::from_raw(pid.max(0)).ok_or_else(|| Fault::local("fork", &io::Error::last_os_error()))
}

/// Closes every descriptor of this process except one. The standard streams become /dev/null, so that no other file gets
/// their numbers.
///
/// # Errors
/// The system's error: /dev/null or /proc is missing.
pub(super) fn close_all_but(kept: impl AsFd) -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let numbers: io::Result<Vec<RawFd>> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| entry?.file_name().to_string_lossy().parse().map_err(io::Error::other))
        .collect();
    let others = numbers?.into_iter().filter(|number| *number > 2 && *number != kept.as_fd().as_raw_fd());
    for number in 0..=2 {
        // SAFETY: open numbers are passed, and nothing owns the standard streams.
        if unsafe { libc::dup2(null.as_raw_fd(), number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    std::mem::forget(null);
    for number in others {
        // SAFETY: the process is a child that runs one function to its end: what its parent's values own is never used or
        // dropped here, `null` is forgotten, and the directory that was read is closed already.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// The result of `act` in a child process, which has one thread.
#[cfg(test)]
pub(crate) fn in_child(act: impl FnOnce() -> String) -> String {
    use std::io::{Read as _, Write as _};
    let (mut reader, mut writer) = io::pipe().unwrap();
    // SAFETY: the child has this thread alone. Of the locks that others may have held it takes the allocator's, which
    // fork(3) sets free; and it ends without running what the parent would run at its end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or_else(|_| "panic".to_owned());
        let _ = writer.write_all(said.as_bytes());
        // SAFETY: it does not return.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
    said
}

/// The reason why the system's resolver has no addresses for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAddresses {
    /// True if the name does not exist or has no address; false if it may have one later.
    pub for_good: bool,
    /// The system's message.
    pub reason: String,
}

/// The addresses of a host, in the system's order, with port 0 (getaddrinfo(3)). Blocks.
///
/// # Errors
/// [`NoAddresses`] with the meaning of getaddrinfo's number.
pub fn addresses(host: &str) -> Result<Vec<SocketAddr>, NoAddresses> {
    let Ok(name) = CString::new(host) else { return Err(no_addresses(libc::EAI_NONAME)) };
    let hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_UNSPEC,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: std::ptr::null_mut(),
        ai_canonname: std::ptr::null_mut(),
        ai_next: std::ptr::null_mut(),
    };
    let mut list = std::ptr::null_mut();
    // SAFETY: the pointers are to values that outlive the call; `list` is set if the result is 0.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    if code != 0 {
        return Err(no_addresses(code));
    }
    let (mut found, mut next) = (Vec::new(), list);
    // SAFETY: the list ends with a null pointer and lives until freeaddrinfo(3).
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: ai_addr points to the structure that ai_family names.
        found.extend(unsafe { socket_address(entry) });
        next = entry.ai_next;
    }
    // SAFETY: `list` came from getaddrinfo(3), is given back once, and nothing borrows from it any more.
    unsafe { libc::freeaddrinfo(list) };
    Ok(found)
}

/// # Safety
/// `ai_addr` points to a structure of the family that `ai_family` names.
unsafe fn socket_address(entry: &libc::addrinfo) -> Option<SocketAddr> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: the caller's promise.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in>() };
            Some(SocketAddrV4::new(Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)), 0).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the caller's promise.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in6>() };
            Some(SocketAddrV6::new(Ipv6Addr::from(address.sin6_addr.s6_addr), 0, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn no_addresses(code: c_int) -> NoAddresses {
    let reason = if code == libc::EAI_SYSTEM {
        io::Error::last_os_error().to_string()
    } else {
        // SAFETY: gai_strerror(3) returns a static string for every number.
        unsafe { CStr::from_ptr(libc::gai_strerror(code)) }.to_string_lossy().into_owned()
    };
    NoAddresses { for_good: matches!(code, libc::EAI_NONAME | libc::EAI_NODATA), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_addresses_is_for_good() {
        for (code, for_good) in [
            (libc::EAI_NONAME, true),
            (libc::EAI_NODATA, true),
            (libc::EAI_AGAIN, false),
            (libc::EAI_FAIL, false),
            (libc::EAI_MEMORY, false),
            (libc::EAI_SYSTEM, false),
        ] {
            let error = no_addresses(code);
            assert!(error.for_good == for_good && !error.reason.is_empty(), "{code} {error:?}");
        }
    }

    #[test]
    fn the_system_knows_addresses_and_names() {
        assert!(addresses("a\0b").unwrap_err().for_good);
        assert_eq!(addresses("127.0.0.9"), Ok(vec![SocketAddr::from(([127, 0, 0, 9], 0))]));
        assert_eq!(addresses("::1"), Ok(vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]));
        let [SocketAddr::V6(scoped)] = addresses("fe80::1%1").unwrap()[..] else { panic!("one IPv6 address") };
        assert_eq!(scoped.scope_id(), 1);
    }

    #[test]
    fn sockets_for_somebody_else_are_left_alone() {
        assert_eq!(passed_count(None, Some("1"), 7), Ok(0));
        assert_eq!(passed_count(Some("8"), Some("x"), 7), Ok(0));
        assert_eq!(passed_count(Some("7"), None, 7), Ok(0));
        assert_eq!(passed_count(Some("7"), Some("0"), 7), Ok(0));
        assert_eq!(passed_count(Some("7"), Some("64"), 7), Ok(64));
        for bad in ["-1", "65", "", "one"] {
            assert!(passed_count(Some("7"), Some(bad), 7).is_err(), "{bad}");
        }
    }
}
