//! Who may log in to ftpserve and what they may do there; and the log.

use std::net::SocketAddr;

use super::record::{ClientMembers, LoginRecord, PathMembers, RenamedTo, ServedTransferRecord, TreeChangeRecord};
use crate::cli::output::Output;
use crate::cli::users::{User, UserFlag, Users};
use crate::fault::Kind;
use crate::ftp::server::{FinishedTransfer, FtpService, Happening, TransferDirection};
use crate::ftp::session::Rights;
use crate::ftp::store::FtpStore;

/// The logins: the user file, anonymous, or both.
pub(super) struct Logins {
    /// The tree with the rights of the command line.
    pub(super) store: FtpStore,
    pub(super) users: Option<Users>,
    pub(super) anonymous: bool,
    pub(super) out: Output,
}

impl FtpService for Logins {
    fn login(&self, user: &str, password: &str) -> Option<FtpStore> {
        if self.anonymous && matches!(user, "anonymous" | "ftp") {
            // Beside named users, anonymous never writes.
            let rights = if self.users.is_some() { Rights::READ_ONLY } else { self.store.rights() };
            return self.store.login(None, rights).ok();
        }
        let user = self.users.as_ref()?.verify(user, password)?;
        let rights = rights_of(&user, self.store.rights());
        match self.store.login(user.home.as_deref(), rights) {
            Ok(store) => Some(store),
            Err(refusal) => {
                let home = user.home.unwrap_or_default();
                self.out.warn(&format!("{}: home {home}: {}", user.name, refusal.reply().text()));
                None
            }
        }
    }

    fn happened(&self, what: &Happening<'_>) {
        // Output counts its own failures; a server goes on.
        let _ = match what {
            Happening::Login { peer, user, accepted, tls } => {
                self.out.emit(&LoginRecord { client: client(*peer, user, *tls), accepted: *accepted })
            }
            Happening::Transfer(finished) => self.out.emit(&transfer(finished)),
            Happening::Change { peer, user, tls, verb, path, to } => self.out.emit(&TreeChangeRecord {
                client: client(*peer, user, *tls),
                verb,
                path: PathMembers::new(path),
                to: to.map(RenamedTo::new),
            }),
            Happening::Fault { peer, fault } => {
                match fault.kind {
                    // A client that vanishes is everyday life; what went wrong on our side is not.
                    Kind::Disconnected | Kind::TimedOut | Kind::Protocol | Kind::TlsUntrusted => {
                        self.out.note(&format!("{peer}: {fault}"));
                    }
                    _ => self.out.error(&peer.to_string(), fault),
                }
                Ok(())
            }
        };
    }
}

/// The rights that a user's flag names, else those of the command line.
fn rights_of(user: &User, default: Rights) -> Rights {
    match user.flag {
        Some(UserFlag::Read) => Rights::READ_ONLY,
        Some(UserFlag::Write) => Rights::ALL,
        Some(UserFlag::Upload) => Rights::UPLOAD_ONLY,
        Some(UserFlag::Drop) => Rights::DROP_BOX,
        None => default,
    }
}

fn client(peer: SocketAddr, user: &str, tls: bool) -> ClientMembers<'_> {
    ClientMembers { ip: peer.ip().to_string(), port: peer.port(), user, tls }
}

fn transfer<'a>(finished: &FinishedTransfer<'a>) -> ServedTransferRecord<'a> {
    ServedTransferRecord {
        client: client(finished.peer, finished.user, finished.tls),
        direction: match finished.direction {
            TransferDirection::Download => "download",
            TransferDirection::Upload => "upload",
            TransferDirection::Listing => "listing",
        },
        path: PathMembers::new(finished.path),
        size_bytes: finished.bytes,
        resumed_from: (finished.from > 0).then_some(finished.from),
        elapsed_ms: u64::try_from(finished.elapsed.as_millis()).unwrap_or(u64::MAX),
        code: finished.code,
        complete: finished.failure.is_none(),
        detail: finished.failure.clone(),
    }
}
