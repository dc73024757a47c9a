//! The quirks of a server. They are learned from its replies and behaviour, once per host, and `-v` reports them.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use super::FtpClientOptions;
use super::list::ArgumentQuirk;
use crate::ftp::reply::FtpReply;

/// After this many failures in a row to set the time of a file, for any reason, no further time is set.
const TIME_REFUSALS: usize = 8;

/// The known quirks of a server; all connections to it share them.
#[derive(Debug, Default)]
pub struct ServerQuirks {
    /// Only one command at a time is sent.
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
    /// A data connection has been opened with the present set-up command.
    pub(super) data_works: AtomicBool,
    pub(super) no_mlsd: AtomicBool,
    pub(super) no_list_options: AtomicBool,
    /// `LIST -a` has listed something: the option is understood.
    pub(super) list_options: AtomicBool,
    pub(super) mlsd_argument: ArgumentQuirk,
    pub(super) list_argument: ArgumentQuirk,
    pub(super) stat_argument: ArgumentQuirk,
    pub(super) no_set_time: AtomicBool,
    /// No data connection is possible; listings use STAT.
    pub(super) no_data: AtomicBool,
    /// Transfers sent ahead have failed.
    no_chain: AtomicBool,
    /// Whether byte 255 goes out twice (RFC 959, section 3.1): 0 unknown, 1 no, 2 yes.
    telnet: AtomicU8,
    time_refusals: AtomicUsize,
    /// The number of connections that the server allows; 0: it has not refused any.
    allowed: AtomicUsize,
}

impl ServerQuirks {
    pub(super) fn get(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    pub(super) fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// Sends only one command at a time from now on.
    pub fn use_lock_step(&self) {
        ServerQuirks::set(&self.lock_step);
    }

    /// Records that the server refused a connection beyond this number.
    pub fn allows_only(&self, connections: usize) {
        self.allowed.store(connections.max(1), Ordering::Relaxed);
    }

    /// The number of connections that the server allows, if it ever refused one.
    pub fn allowed(&self) -> Option<usize> {
        Some(self.allowed.load(Ordering::Relaxed)).filter(|allowed| *allowed > 0)
    }

    /// Sends no more than one transfer ahead from now on.
    pub fn give_up_chains(&self) {
        ServerQuirks::set(&self.no_chain);
    }

    /// True when several transfers may be sent ahead, as far as is known.
    pub(super) fn chains(&self) -> bool {
        !ServerQuirks::get(&self.no_chain) && ServerQuirks::get(&self.data_works)
    }

    /// Whether the server interprets TELNET commands in its input; `None` if that is not known.
    pub(super) fn telnet(&self) -> Option<bool> {
        match self.telnet.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 2),
        }
    }

    pub(super) fn speaks_telnet(&self, speaks: bool) {
        self.telnet.store(1 + u8::from(speaks), Ordering::Relaxed);
    }

    /// True when the reply to setting a time shows that no time can be set: the command is unknown, or file after file is
    /// refused. A single refusal may concern that file only.
    pub(super) fn never_sets_times(&self, reply: &FtpReply) -> bool {
        if reply.ok() {
            self.time_refusals.store(0, Ordering::Relaxed);
            return false;
        }
        reply.is_unsupported() || self.time_refusals.fetch_add(1, Ordering::Relaxed) + 1 >= TIME_REFUSALS
    }
}

impl FtpClientOptions {
    /// Records a quirk of the server and writes it to the trace once.
    pub(super) fn learn(&self, quirk: &AtomicBool, what: &str) {
        if !quirk.swap(true, Ordering::Relaxed) {
            self.trace.note(&format!("server quirk: {what}"));
        }
    }
}
