//! Logins as users of the system: the helper process that checks their passwords, and the worker that serves each of them.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::CapabilitySet;

use crate::cli::args::{ConfineArgs, only_root_writes_beside};
use crate::cli::system_users;
use crate::cli::users::{User, Users};
use crate::fault::{Fault, Kind};
use crate::ftp::session::{RightRule, Rights};
use crate::ftp::store::{FtpStore, StoreWorker};
use crate::net::clock::unix_seconds;
use crate::net::helper::{Helper, HelperAnswer, HelperTerms};
use crate::net::login::LoginVerdict;
use crate::net::privilege::{UnixAccount, UnixIdentity, become_keeping};
use crate::net::sandbox::Sandbox;

/// The reason for a login whose tree cannot be opened.
pub(super) const NO_DIRECTORY: &str = "the user's directory cannot be opened";
/// The reason for a login whose system user is refused.
const NO_USER: &str = "the user of as= is unknown, or below --min-uid";

/// Answers of the helper; those from 2 on are the index of a reason.
const RIGHT: u8 = 0;
const WRONG: u8 = 1;

/// The reasons that the helper gives.
fn reasons() -> impl Iterator<Item = (u8, &'static str)> {
    (WRONG + 1..).zip([NO_DIRECTORY, NO_USER].into_iter().chain(system_users::REASONS))
}

/// The rules of the helper, fixed before root is given up. The user file and the system's are read at each login.
#[derive(Debug)]
pub(super) struct LoginTable {
    /// The served directory, with the rights of the command line, the limits and the rules for names.
    pub(super) store: FtpStore,
    /// The rules of the command line.
    pub(super) rules: Vec<RightRule>,
    /// The user file, for lines with `as=`.
    pub(super) user_file: Option<PathBuf>,
    /// Users of the system log in with their own passwords.
    pub(super) system: bool,
    /// The lowest number of a user that logs in.
    pub(super) min_uid: u32,
    /// The directory of all users of the system, instead of their homes.
    pub(super) system_root: Option<PathBuf>,
    /// Each worker reaches the user's directory alone, by Landlock.
    pub(super) sandboxed: bool,
}

/// A login with the right password.
struct SystemLogin {
    identity: UnixIdentity,
    root: Option<PathBuf>,
    home: Option<String>,
    rights: Rights,
    rules: Vec<RightRule>,
}

/// A user file from which others than root cannot make themselves another user.
fn check_user_file(path: &Path) -> Result<(), Fault> {
    let found = path.metadata().map_err(|error| Fault::local(path.display(), &error))?;
    match found.uid() == 0 && found.mode() & 0o022 == 0 && only_root_writes_beside(path) {
        true => Ok(()),
        false => {
            let why = format!("{}: with as= only root may write the user file, and its directory", path.display());
            Err(Fault::new(Kind::Config, why))
        }
    }
}

impl LoginTable {
    /// Checks what can be known before a login. Returns the user who serves everybody else.
    ///
    /// # Errors
    /// [`Kind::Usage`] without root; [`Kind::Config`] for a line of the user file that lets nobody in, and missing password hashes.
    pub(super) fn check(
        &self,
        users: Option<&Users>,
        confine: &ConfineArgs,
        dir: &Path,
    ) -> Result<UnixIdentity, Fault> {
        let Some(server) = confine.successor(&[dir.to_owned()])? else {
            let why = "--system-users, and as= in the user file, need a start as root: only root becomes other users";
            return Err(Fault::new(Kind::Usage, why));
        };
        if self.system {
            system_users::check_files()?;
        }
        if let Some(root) = self.system_root.as_deref().filter(|root| !root.is_dir()) {
            return Err(Fault::new(Kind::Config, format!("--system-root {}: no such directory", root.display())));
        }
        let file = self.user_file.as_deref().unwrap_or(Path::new(""));
        for (user, named) in users.into_iter().flat_map(Users::of_the_system) {
            check_user_file(file)?;
            let config = |why: &str| Fault::new(Kind::Config, format!("{}: {}: as={why}", file.display(), user.name));
            let identity = UnixIdentity::parse(named).map_err(|fault| config(&fault.detail))?;
            if !identity.is_at_least(self.min_uid) {
                return Err(config(&format!("{named}: root, or below --min-uid {}", self.min_uid)));
            }
        }
        Ok(server)
    }

    /// Starts the helper for so many clients. It must start before keys are read, so that it never has them.
    ///
    /// # Errors
    /// Those of [`Helper::start`].
    pub(super) fn start(self, server: &UnixIdentity, clients: usize) -> Result<SystemLogins, Fault> {
        let system = self.system;
        let helper = Helper::start(server, HelperTerms::logins(clients), None, move |request| self.act(request))?;
        Ok(SystemLogins { helper: Arc::new(helper), system })
    }

    /// Carries out a request: this process, a worker, checks the password, becomes the user for good and serves the user's tree.
    fn act(&self, request: &[u8]) -> Result<HelperAnswer, Fault> {
        let refuse = |wanted: &str| {
            let found = reasons().find(|(_, reason)| *reason == wanted);
            Ok(HelperAnswer::new(vec![found.map_or(WRONG, |(code, _)| code)], None))
        };
        let (name, password) =
            system_users::parse_login(request).ok_or_else(|| Fault::new(Kind::Protocol, "no such request"))?;
        let login = match self.verdict(name, password)? {
            LoginVerdict::Right(login) => login,
            LoginVerdict::Barred(why) => return refuse(why),
            LoginVerdict::Wrong | LoginVerdict::TooMany => return Ok(HelperAnswer::new(vec![WRONG], None)),
        };
        become_keeping(&login.identity, CapabilitySet::empty())?;
        // For ps(1) and top(1).
        let _ = rustix::thread::set_name(c"ftp session");
        let store = self.store.login(login.root.as_deref(), login.home.as_deref(), login.rights);
        let Ok(store) = store else { return refuse(NO_DIRECTORY) };
        let changes = login.rights.changes() || !self.rules.is_empty() || !login.rules.is_empty();
        let store = store.with_rules(self.rules.iter().cloned().chain(login.rules));
        if self.sandboxed {
            let mut sandbox = Sandbox::default();
            match changes {
                true => sandbox.write(store.path()),
                false => sandbox.read(store.path()),
            }
            sandbox.close()?;
        }
        let worker = StoreWorker::new(store.owned_by(name));
        HelperAnswer::session(vec![RIGHT], move |socket| worker.serve(socket))
    }

    fn verdict(&self, name: &str, password: &str) -> Result<LoginVerdict<SystemLogin>, Fault> {
        let users = self.user_file.as_deref().map(Users::read).transpose()?;
        if let Some((users, file)) = users.as_ref().zip(self.user_file.as_deref())
            && let Some(User { home, account, .. }) = users.named(name)
        {
            check_user_file(file)?;
            let Some(named) = account.system_user.as_deref() else { return Ok(LoginVerdict::Wrong) };
            if users.verify(name, password).is_none() {
                return Ok(LoginVerdict::Wrong);
            }
            let identity = UnixIdentity::parse(named).ok().filter(|identity| identity.is_at_least(self.min_uid));
            return Ok(identity.map_or(LoginVerdict::Barred(NO_USER), |identity| {
                let (rights, rules) = (account.rights.unwrap_or(self.store.rights().base()), account.rules.clone());
                LoginVerdict::Right(SystemLogin {
                    identity,
                    root: account.root.clone(),
                    home: home.clone(),
                    rights,
                    rules,
                })
            }));
        }
        if !self.system {
            return Ok(LoginVerdict::Wrong);
        }
        let verdict = system_users::check(name, password, self.min_uid, unix_seconds())?;
        Ok(verdict.map(|UnixAccount { identity, home, .. }| {
            let root = Some(self.system_root.clone().unwrap_or(home));
            SystemLogin { identity, root, home: None, rights: self.store.rights().base(), rules: Vec::new() }
        }))
    }
}

/// The server's side of the logins that the helper checks.
#[derive(Debug)]
pub(super) struct SystemLogins {
    helper: Arc<Helper>,
    /// Users of the system log in with their own passwords.
    pub(super) system: bool,
}

impl SystemLogins {
    /// The helper.
    pub(super) fn helper(&self) -> &Arc<Helper> {
        &self.helper
    }

    /// Checks a password; with the right one, the socket of a worker that serves the user's tree.
    ///
    /// # Errors
    /// Those of [`LoginTable::act`] and [`Helper::ask`].
    pub(super) fn log_in(&self, name: &str, password: &str) -> Result<LoginVerdict<OwnedFd>, Fault> {
        let Some(request) = system_users::compose_login(name, password) else { return Ok(LoginVerdict::Wrong) };
        let answer = self.helper.ask(&request)?;
        match (answer.bytes.as_slice(), answer.file) {
            ([RIGHT], Some(socket)) => Ok(LoginVerdict::Right(socket)),
            ([WRONG], _) => Ok(LoginVerdict::Wrong),
            ([code], _) if let Some((_, why)) = reasons().find(|(number, _)| number == code) => {
                Ok(LoginVerdict::Barred(why))
            }
            _ => Err(Fault::new(Kind::Internal, "an answer of the helper process that is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::users::{HashKind, hash_password};
    use crate::ftp::store::UploadLimits;
    use crate::net::privilege;
    use crate::net::sys::in_child;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_reason_has_a_code() {
        let (codes, mut whys): (Vec<_>, Vec<_>) = reasons().unzip();
        whys.sort_unstable();
        whys.dedup();
        assert!(codes.len() == whys.len() && codes.iter().all(|code| ![RIGHT, WRONG].contains(code)));
    }

    /// A server that was broken into may ask for anything: without a right password it gets no session, and the helper goes on.
    #[test]
    fn nobody_is_named_without_a_password() {
        if !privilege::is_root() {
            return eprintln!("skipped: not root");
        }
        let place = tempfile::tempdir().unwrap();
        for (name, mode) in [("", 0o755), ("public", 0o755), ("private", 0o700)] {
            std::fs::create_dir_all(place.path().join(name)).unwrap();
            std::fs::set_permissions(place.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let file = place.path().join("users");
        let hash = hash_password("secret", HashKind::Argon2id).unwrap();
        let lines = ["joe:{}::as=54401:54401", "own:{}:", "low:{}::as=999:999", "lost:{}:private:as=54401:54401"];
        std::fs::write(&file, lines.map(|line| line.replace("{}", &hash)).join("\n")).unwrap();
        let said = in_child(|| {
            let limits = UploadLimits::default();
            let table = LoginTable {
                store: FtpStore::open(&place.path().join("public"), Rights::READ_ONLY, limits).unwrap(),
                rules: Vec::new(),
                user_file: Some(file.clone()),
                system: true,
                min_uid: 1000,
                system_root: None,
                sandboxed: true,
            };
            let logins = table.start(&UnixIdentity::parse("54321:54321").unwrap(), 8).unwrap();
            let right = || matches!(logins.log_in("joe", "secret"), Ok(LoginVerdict::Right(_)));
            assert!(right());
            let long = "x".repeat(5000);
            for (name, password) in [
                ("joe", "Secret"),
                ("joe", ""),
                ("own", "secret"),
                ("root", ""),
                ("root", "secret"),
                ("", ""),
                ("0", ""),
                ("54401", "secret"),
                ("joe:", "secret"),
                ("joe\n", "secret"),
                ("\0joe", "secret"),
                ("joe", &long),
                (&long, "secret"),
            ] {
                assert!(matches!(logins.log_in(name, password), Ok(LoginVerdict::Wrong)), "{name:?}");
            }
            for (name, why) in [("low", NO_USER), ("lost", NO_DIRECTORY)] {
                assert!(matches!(logins.log_in(name, "secret"), Ok(LoginVerdict::Barred(it)) if it == why), "{name}");
            }
            let none = |bytes: &[u8]| logins.helper.ask(bytes).map_or(true, |answer| answer.file.is_none());
            let joe = system_users::compose_login("joe", "secret").unwrap();
            for at in 1..joe.len() {
                let mut changed = joe.clone();
                changed[at] ^= 0x80;
                assert!(none(&joe[..at]) && none(&changed), "{at}");
            }
            assert!([1, 300, 9000].into_iter().all(|size| none(&vec![b'/'; size])));
            assert!(right() && !logins.helper.has_ended());
            // A user file that others may write to says nothing.
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
            assert_eq!(logins.log_in("joe", "secret").map(drop).unwrap_err().kind, Kind::Config);
            String::new()
        });
        assert_eq!(said, "");
    }
}
