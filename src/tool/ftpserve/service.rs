//! Who may log in to ftpserve and what they may do there; and the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::task::block_in_place;

use super::record::{ClientMembers, LoginRecord, PathMembers, RenamedTo, ServedTransferRecord, TreeChangeRecord};
use crate::cli::login_gate::{LoginGate, TOO_MANY};
use crate::cli::output::Output;
use crate::cli::users::{User, UserFlag, Users};
use crate::fault::Kind;
use crate::ftp::server::{FinishedTransfer, FtpService, Happening, TransferDirection};
use crate::ftp::session::{Rights, is_anonymous};
use crate::ftp::store::FtpStore;
use crate::net::BoxFuture;
use crate::net::login::LoginVerdict;

/// The logins: the user file, anonymous, or both.
pub(super) struct Logins {
    /// The tree with the rights of the command line.
    pub(super) store: FtpStore,
    pub(super) users: Option<Arc<Users>>,
    pub(super) gate: LoginGate,
    pub(super) anonymous: bool,
    pub(super) out: Output,
}

impl FtpService for Logins {
    fn login<'a>(&'a self, peer: IpAddr, name: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<FtpStore>> {
        Box::pin(async move {
            let (user, rights) = match &self.users {
                // Beside named users, anonymous never writes.
                users if self.anonymous && is_anonymous(name.as_bytes()) => {
                    (None, if users.is_some() { Rights::READ_ONLY } else { self.store.rights() })
                }
                None => return LoginVerdict::Wrong,
                Some(users) => match self.gate.check(users, Some(peer), name, password).await {
                    LoginVerdict::Right(user) => {
                        let rights = rights_of(&user, self.store.rights());
                        (Some(user), rights)
                    }
                    LoginVerdict::Wrong => return LoginVerdict::Wrong,
                    LoginVerdict::TooMany => return LoginVerdict::TooMany,
                },
            };
            let home = user.as_ref().and_then(|user| user.home.as_deref());
            match block_in_place(|| self.store.login(home, rights)) {
                Ok(store) => LoginVerdict::Right(store),
                Err(refusal) => {
                    let (name, home) = (user.as_ref().map_or(name, |user| &user.name), home.unwrap_or_default());
                    self.out.warn(&format!("{name}: home {home}: {}", refusal.reply().text()));
                    LoginVerdict::Wrong
                }
            }
        })
    }

    fn happened(&self, what: &Happening<'_>) {
        // Output counts its own failures; a server goes on.
        let _ = match what {
            Happening::Login { peer, user, accepted, unseen, tls } => {
                let reason = unseen.then_some(TOO_MANY);
                self.out.emit(&LoginRecord { client: client(*peer, user, *tls), accepted: *accepted, reason })
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
