//! Who may log in to ftpserve and what they may do there; and the log.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use tokio::task::block_in_place;

use super::record::{
    ArrivedRecord, BelowMembers, ClientMembers, FileMembers, LoginRecord, PathMembers, RefusedChangeRecord, RenamedTo,
    ServedTransferRecord, SessionRecord, TreeChangeRecord,
};
use crate::cli::clock;
use crate::cli::login_gate::{LoginGate, TOO_MANY};
use crate::cli::output::{FormLog, Output, SessionSpan};
use crate::cli::users::{User, UserFlag, Users};
use crate::ftp::server::{FinishedTransfer, FtpPeer, FtpService, Happening, TransferDirection};
use crate::ftp::session::{Rights, StoreRefusal, is_anonymous};
use crate::ftp::store::FtpStore;
use crate::millis::millis;
use crate::net::BoxFuture;
use crate::net::login::LoginVerdict;
use crate::net::reload::Reloaded;

/// The logins: the user file, anonymous, or both.
pub(super) struct Logins {
    /// The tree with the rights of the command line.
    pub(super) store: FtpStore,
    pub(super) users: Option<Reloaded<Users>>,
    pub(super) gate: LoginGate,
    pub(super) anonymous: bool,
    pub(super) xferlog: Option<FormLog>,
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
                Some(users) => match self.gate.check(&users.now(), Some(peer), name, password).await {
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

    fn happened(&self, who: &FtpPeer<'_>, what: &Happening<'_>) {
        let (client, session, peer) = (ClientMembers::from(who), Some(who.session), who.address);
        // Output counts its own failures; a server goes on.
        let _ = match what {
            Happening::Connected => {
                self.out.note(&format!("{peer}: connected, session {}", who.session));
                Ok(())
            }
            Happening::Login { accepted, unseen } => {
                let reason = unseen.then_some(TOO_MANY);
                self.out.emit(&LoginRecord { client, accepted: *accepted, reason })
            }
            Happening::Transfer(finished) => {
                if let Some((log, line)) = self.xferlog.as_ref().zip(xferlog_line(who, finished)) {
                    log.line(&self.out, &line);
                }
                self.out.emit(&transfer(client, finished))
            }
            Happening::Arrived { path, file } => self.out.emit(&ArrivedRecord {
                client,
                path: PathMembers::new(path),
                below: BelowMembers::new(file.below.as_os_str().as_bytes()),
                file: FileMembers::new(file.file.as_os_str().as_bytes()),
                size_bytes: file.size,
            }),
            Happening::Change { verb, path, to, refusal } => {
                let (path, to) = (PathMembers::new(path), to.map(RenamedTo::new));
                let change = TreeChangeRecord { client, verb, path, to };
                match refusal.map(StoreRefusal::reply) {
                    None => self.out.emit(&change),
                    Some(reply) => {
                        let (code, detail) = (reply.code, reply.text());
                        self.out.emit(&RefusedChangeRecord { change, code, detail })
                    }
                }
            }
            Happening::Ended(totals) => self.out.emit(&SessionRecord {
                client,
                span: SessionSpan::ending_now(totals.elapsed),
                why: totals.why,
                transfers: totals.transfers,
                received_bytes: totals.received,
                sent_bytes: totals.sent,
            }),
            Happening::Fault(fault) => {
                self.out.of_client(session, &peer.to_string(), fault);
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

/// A line of wu-ftpd's xferlog(5); listings have none. Blanks of names become underscores, as they do there.
fn xferlog_line(who: &FtpPeer<'_>, finished: &FinishedTransfer<'_>) -> Option<String> {
    let direction = match finished.direction {
        TransferDirection::Download => 'o',
        TransferDirection::Upload => 'i',
        TransferDirection::Listing => return None,
    };
    let word = |bytes: &[u8]| {
        let plain = |byte: &u8| if byte.is_ascii_graphic() || *byte >= 0x80 { *byte } else { b'_' };
        String::from_utf8_lossy(&bytes.iter().map(plain).collect::<Vec<u8>>()).into_owned()
    };
    let path = finished.file.as_ref().map_or(finished.path, |file| file.as_os_str().as_bytes());
    let anonymous = matches!(who.user, "anonymous" | "ftp");
    Some(format!(
        "{} {} {} {} {} {} _ {direction} {} {} ftp 0 * {}",
        clock::now().strftime("%a %b %e %H:%M:%S %Y"),
        finished.elapsed.as_secs().max(1),
        who.address.ip(),
        finished.bytes,
        word(path),
        if finished.ascii { 'a' } else { 'b' },
        if anonymous { 'a' } else { 'r' },
        word(who.user.as_bytes()),
        if finished.failure.is_none() { 'c' } else { 'i' },
    ))
}

fn transfer<'a>(client: ClientMembers<'a>, finished: &FinishedTransfer<'a>) -> ServedTransferRecord<'a> {
    let resumed_from = (finished.from > 0).then_some(finished.from);
    ServedTransferRecord {
        client: ClientMembers { tls: finished.tls, ..client },
        direction: match finished.direction {
            TransferDirection::Download => "download",
            TransferDirection::Upload => "upload",
            TransferDirection::Listing => "listing",
        },
        path: PathMembers::new(finished.path),
        size_bytes: finished.bytes,
        resumed_from_bytes: resumed_from,
        resumed_from,
        elapsed_ms: millis(finished.elapsed),
        code: finished.code,
        complete: finished.failure.is_none(),
        detail: finished.failure.clone(),
    }
}
