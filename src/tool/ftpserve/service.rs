//! The logins and rights of ftpserve, and its log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::block_in_place;

use super::hook::UploadHook;
use super::record::{
    ArrivedRecord, BelowMembers, ClientMembers, FileMembers, LoginRecord, PathMembers, RefusedChangeRecord, RenamedTo,
    ServedTransferRecord, SessionRecord, TreeChangeRecord,
};
use super::system::{NO_DIRECTORY, SystemLogins};
use crate::cli::clock;
use crate::cli::login_gate::LoginGate;
use crate::cli::output::{FormLog, Output, SessionSpan};
use crate::cli::user_terms::UserTerms;
use crate::cli::users::{User, Users};
use crate::ftp::server::{FinishedTransfer, FtpPeer, FtpService, Happening, TransferDirection};
use crate::ftp::session::{RightRule, Rights, StoreRefusal, TreeRights, is_anonymous};
use crate::ftp::store::{FtpStore, FtpTree, StoreShare, TreeQuota, WorkerTree};
use crate::millis::millis;
use crate::net::BoxFuture;
use crate::net::certified::CertifiedUser;
use crate::net::clock::unix_seconds;
use crate::net::login::LoginVerdict;
use crate::net::reload::Reloaded;
use crate::secret::Secret;
use crate::smtp::auth::server::LoginProof;

/// The source of logins: the user file, anonymous, or both.
pub(super) struct Logins {
    /// The served tree with the rights of the command line.
    pub(super) store: FtpStore,
    /// The rules of the command line.
    pub(super) rules: Vec<RightRule>,
    pub(super) users: Option<Reloaded<Users>>,
    /// The logins as users of the system.
    pub(super) system: Option<Arc<SystemLogins>>,
    pub(super) gate: LoginGate,
    pub(super) anonymous: bool,
    pub(super) xferlog: Option<FormLog>,
    /// The rate limit of each login in each direction, in bytes per second.
    pub(super) rate: Option<NonZeroU64>,
    /// The state that the sessions of each user share, as long as there are any.
    pub(super) shares: Mutex<HashMap<String, (UserTerms, Weak<StoreShare>)>>,
    /// `--exec-upload`.
    pub(super) hook: Option<Arc<UploadHook>>,
    pub(super) out: Output,
}

impl Logins {
    /// The tree for a user who has just logged in, or for anonymous.
    fn tree(&self, name: &str, entrance: &mut Entrance, rights: Rights) -> Result<FtpTree, StoreRefusal> {
        let Entrance { user, socket } = entrance;
        let rules = self.rules.iter().cloned();
        // Of two rules for the same directory the user's own is the later one.
        let own = user.iter().flat_map(|user| user.account.rules.iter().cloned());
        let tree = match (socket.take(), &*user) {
            (Some(socket), _) => {
                let rights = TreeRights::new(rights, rules.chain(own));
                let worker = WorkerTree::new(socket, rights, self.store.limits());
                FtpTree::Worker(worker.map_err(|errno| StoreRefusal::Failed(errno.to_string()))?)
            }
            (None, Some(User { account, home, .. })) => {
                let store = self.store.login(account.root.as_deref(), home.as_deref(), rights)?;
                FtpTree::Local(store.with_rules(rules.chain(own)))
            }
            (None, None) => {
                let share = StoreShare::new(None, self.rate, self.rate);
                let store = self.store.login(None, None, rights)?.with_share(Arc::new(share));
                // Beside named users, anonymous never writes.
                return Ok(FtpTree::Local(match self.has_named() {
                    true => store.with_rules(rules.map(RightRule::read_only)),
                    false => store.with_rules(rules),
                }));
            }
        };
        let none = UserTerms::default();
        let account = user.as_ref().map_or(&none, |user| &user.account);
        let share = match self.share_of(name, account) {
            Some(share) => share,
            None => {
                let quota = account.quota.map(|limit| TreeQuota::count(&tree, limit)).transpose()?;
                let share = StoreShare::new(quota, account.up.or(self.rate), account.down.or(self.rate));
                self.first_share(name, account, Arc::new(share))
            }
        };
        Ok(tree.with_share(share))
    }

    /// The share of the user's other sessions. `None` if the user's terms have changed since then, because the file was read again.
    fn share_of(&self, name: &str, account: &UserTerms) -> Option<Arc<StoreShare>> {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.get(name).filter(|(terms, _)| terms == account).and_then(|(_, share)| share.upgrade())
    }

    /// Stores a new share and returns it. If another session has stored one in the meantime, returns that one.
    fn first_share(&self, name: &str, account: &UserTerms, share: Arc<StoreShare>) -> Arc<StoreShare> {
        if let Some(first) = self.share_of(name, account) {
            return first;
        }
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, (_, share)| share.strong_count() > 0);
        shares.insert(name.to_owned(), (account.clone(), Arc::downgrade(&share)));
        share
    }
}

/// What the right password opened.
#[derive(Debug, Default)]
struct Entrance {
    /// The user of the user file; `None` for anonymous and users of the system.
    user: Option<User>,
    /// The socket of the worker that serves a user of the system.
    socket: Option<OwnedFd>,
}

impl Logins {
    /// True if there are other users than anonymous.
    fn has_named(&self) -> bool {
        self.users.is_some() || self.system.is_some()
    }

    /// The login as a user of the system, for a user of the user file with `as=` or of the system.
    async fn log_in_as_system_user(
        &self,
        peer: IpAddr,
        name: &str,
        proof: &LoginProof,
        user: Option<User>,
    ) -> LoginVerdict<Entrance> {
        let (logins, out) = (self.system.clone(), self.out.clone());
        let verify = move |client, name: &str, proof: &LoginProof| {
            let Some(logins) = logins else {
                return LoginVerdict::Barred("as= in the user file is new: it takes a restart");
            };
            let LoginProof::Password(password) = proof else { return LoginVerdict::Wrong };
            match logins.log_in(name, password.expose()) {
                Ok(LoginVerdict::Right(socket)) => {
                    match user.as_ref().and_then(|user| user.account.barred(Some(client), unix_seconds())) {
                        Some(why) => LoginVerdict::Barred(why),
                        None => LoginVerdict::Right(Entrance { user, socket: Some(socket) }),
                    }
                }
                Ok(other) => other.map(|_| Entrance::default()),
                Err(fault) => {
                    out.error(name, &fault);
                    LoginVerdict::Barred("the user's process cannot be started")
                }
            }
        };
        self.gate.check_with(Some(peer), name, proof, verify).await
    }

    /// The verdict with the tree; a tree that cannot be opened bars the user.
    fn serve(&self, name: &str, verdict: LoginVerdict<Entrance>) -> LoginVerdict<FtpTree> {
        let mut entrance = match verdict {
            LoginVerdict::Right(entrance) => entrance,
            other => return other.map(|_| FtpTree::Local(self.store.clone())),
        };
        let rights = match &entrance {
            // Beside named users, anonymous never writes.
            Entrance { user: None, socket: None } if self.has_named() => Rights::READ_ONLY,
            Entrance { user, .. } => {
                user.as_ref().and_then(|user| user.account.rights).unwrap_or(self.store.rights().base())
            }
        };
        match block_in_place(|| self.tree(name, &mut entrance, rights)) {
            Ok(tree) => LoginVerdict::Right(tree),
            Err(refusal) => {
                let home = entrance.user.as_ref().and_then(|user| user.home.as_deref());
                self.out.warn(&format!("{name}: home {}: {}", home.unwrap_or("/"), refusal.reply().text()));
                LoginVerdict::Barred(NO_DIRECTORY)
            }
        }
    }
}

impl FtpService for Logins {
    fn login<'a>(&'a self, peer: IpAddr, name: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<FtpTree>> {
        let proof = LoginProof::Password(Secret::new(password.to_owned()));
        Box::pin(async move {
            let users = self.users.as_ref().map(Reloaded::now);
            let named = users.as_ref().and_then(|users| users.named(name)).cloned();
            let of_system = match &named {
                Some(user) => user.account.system_user.is_some(),
                None => self.system.as_ref().is_some_and(|logins| logins.system),
            };
            let verdict = if self.anonymous && is_anonymous(name.as_bytes()) {
                LoginVerdict::Right(Entrance::default())
            } else if of_system {
                self.log_in_as_system_user(peer, name, &proof, named).await
            } else if let Some(users) = &users {
                let verdict = self.gate.check(users, Some(peer), name, &proof).await;
                verdict.map(|user| Entrance { user: Some(user), socket: None })
            } else {
                LoginVerdict::Wrong
            };
            self.serve(name, verdict)
        })
    }

    fn certified<'a>(&'a self, proof: &'a CertifiedUser) -> BoxFuture<'a, LoginVerdict<FtpTree>> {
        Box::pin(async move {
            let Some(users) = &self.users else { return LoginVerdict::Wrong };
            let verdict = match users.now().certified(proof, unix_seconds()) {
                LoginVerdict::Right(user) if user.account.system_user.is_some() => {
                    LoginVerdict::Barred("only a password opens a login with as=")
                }
                verdict => verdict.map(|user| Entrance { user: Some(user), socket: None }),
            };
            self.serve(proof.name(), verdict)
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
            Happening::Login { accepted, reason, by_certificate } => {
                let method = by_certificate.then_some("certificate");
                self.out.emit(&LoginRecord { client, accepted: *accepted, reason: *reason, method })
            }
            Happening::Transfer(finished) => {
                if let Some((log, line)) = self.xferlog.as_ref().zip(xferlog_line(who, finished)) {
                    log.line(&self.out, &line);
                }
                self.out.emit(&transfer(client, finished))
            }
            Happening::Arrived { path, file } => {
                let told = self.out.emit(&ArrivedRecord {
                    client,
                    path: PathMembers::new(path),
                    below: BelowMembers::new(file.below.as_os_str().as_bytes()),
                    file: FileMembers::new(file.file.as_os_str().as_bytes()),
                    size_bytes: file.size,
                });
                if let Some(hook) = &self.hook {
                    hook.arrived(who, path, file);
                }
                told
            }
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

/// A line in the format of wu-ftpd's xferlog(5); `None` for listings. As there, blanks in names become underscores.
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
