//! What was found out about a server. It is learned from what the server says and does, once a host, and `-v` says so.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use super::FtpClientOptions;
use super::list::ArgumentQuirk;
use crate::ftp::reply::FtpReply;

/// Files in a row whose time could not be set, for whatever reason, before no further one is tried.
const TIME_REFUSALS: usize = 8;

/// What was found out about a server; all connections to it share it.
#[derive(Debug, Default)]
pub struct ServerQuirks {
    /// One command at a time.
    pub(super) lock_step: AtomicBool,
    /// Several commands in one packet are known to be answered in order.
    pub(super) pipelines: AtomicBool,
    /// FEAT is not answered, or ends the connection.
    pub(super) no_feat: AtomicBool,
    /// Replies of several lines may end with another code than they began with.
    pub(super) any_code_ends: AtomicBool,
    pub(super) no_epsv: AtomicBool,
    pub(super) no_pasv: AtomicBool,
    pub(super) no_eprt: AtomicBool,
    /// A data connection has been opened in the way that is in use.
    pub(super) data_works: AtomicBool,
    pub(super) no_mlsd: AtomicBool,
    pub(super) no_list_options: AtomicBool,
    /// `LIST -a` has listed something: the option is understood.
    pub(super) list_options: AtomicBool,
    pub(super) mlsd_argument: ArgumentQuirk,
    pub(super) list_argument: ArgumentQuirk,
    pub(super) stat_argument: ArgumentQuirk,
    pub(super) no_set_time: AtomicBool,
    /// No data connection can be had; listings come by STAT.
    pub(super) no_data: AtomicBool,
    /// Transfers sent ahead went wrong.
    no_chain: AtomicBool,
    /// Whether byte 255 goes out twice (RFC 959, section 3.1): 0 unknown, 1 no, 2 yes.
    telnet: AtomicU8,
    time_refusals: AtomicUsize,
    /// Connections that the server allows; 0: it has not refused any.
    allowed: AtomicUsize,
}

impl ServerQuirks {
    pub(super) fn get(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    pub(super) fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// One command at a time from now on.
    pub fn use_lock_step(&self) {
        ServerQuirks::set(&self.lock_step);
    }

    /// The server refused a connection beyond this many.
    pub fn allows_only(&self, connections: usize) {
        self.allowed.store(connections.max(1), Ordering::Relaxed);
    }

    /// How many connections the server allows, if it ever refused one.
    pub fn allowed(&self) -> Option<usize> {
        Some(self.allowed.load(Ordering::Relaxed)).filter(|allowed| *allowed > 0)
    }

    /// Sends no more than one transfer ahead from now on.
    pub fn give_up_chains(&self) {
        ServerQuirks::set(&self.no_chain);
    }

    /// True where several transfers may be sent ahead, as far as is known.
    pub(super) fn chains(&self) -> bool {
        !ServerQuirks::get(&self.no_chain) && ServerQuirks::get(&self.data_works)
    }

    /// Whether the server takes TELNET's commands out of what it reads, if that is known.
    pub(super) fn telnet(&self) -> Option<bool> {
        match self.telnet.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 2),
        }
    }

    pub(super) fn speaks_telnet(&self, speaks: bool) {
        self.telnet.store(1 + u8::from(speaks), Ordering::Relaxed);
    }

    /// Whether the reply to setting a time says that no time will ever be set: the command is not known, or file after file
    /// is refused. One refusal may be that of one file.
    pub(super) fn never_sets_times(&self, reply: &FtpReply) -> bool {
        if reply.ok() {
            self.time_refusals.store(0, Ordering::Relaxed);
            return false;
        }
        reply.is_unsupported() || self.time_refusals.fetch_add(1, Ordering::Relaxed) + 1 >= TIME_REFUSALS
    }
}

impl FtpClientOptions {
    /// Remembers something of the server, and says so once.
    pub(super) fn learn(&self, quirk: &AtomicBool, what: &str) {
        if !quirk.swap(true, Ordering::Relaxed) {
            self.trace.note(&format!("server quirk: {what}"));
        }
    }
}
