//! Logins, by a password or by a certificate.

use super::ControlDriver;
use crate::ftp::server::Happening;
use crate::ftp::session::{TreeRights, is_anonymous};
use crate::ftp::store::FtpTree;
use crate::net::certified::VerifiedCertificate;
use crate::net::counters::Counter;
use crate::net::login::LoginVerdict;
use crate::secret::Secret;

impl ControlDriver<'_> {
    pub(super) async fn login(&mut self, user: &[u8], password: Secret<Vec<u8>>) -> LoginVerdict<TreeRights> {
        // What is not UTF-8 is nobody's.
        let asked = std::str::from_utf8(user).unwrap_or_default();
        let password = String::from_utf8(password.into_exposed()).unwrap_or_else(|_| "\0".to_owned());
        let password = Secret::new(password);
        let verdict = self.shared.service.login(self.peer.ip(), asked, password.expose()).await;
        self.logged_in(user, verdict, false)
    }

    /// The login of a user whom the certificate of the client names. `Wrong` if there is none, which is no failure.
    pub(super) async fn certified(&mut self, user: &[u8]) -> LoginVerdict<TreeRights> {
        let name = std::str::from_utf8(user).ok();
        let certificate = VerifiedCertificate::of(&self.stream);
        let proof = certificate.zip(name).and_then(|(it, name)| it.certifies(name, self.peer.ip()));
        let Some(proof) = proof else { return LoginVerdict::Wrong };
        match self.shared.service.certified(&proof).await {
            LoginVerdict::Wrong => LoginVerdict::Wrong,
            verdict => self.logged_in(user, verdict, true),
        }
    }

    /// Tells of a login, and takes its tree.
    fn logged_in(
        &mut self,
        user: &[u8],
        verdict: LoginVerdict<FtpTree>,
        by_certificate: bool,
    ) -> LoginVerdict<TreeRights> {
        let name = String::from_utf8_lossy(user).into_owned();
        // Whoever is anonymous is the same from the same address.
        let owner = if is_anonymous(user) { format!("{name}@{}", self.peer.ip()) } else { name.clone() };
        let (accepted, reason) = (matches!(verdict, LoginVerdict::Right(_)), verdict.reason());
        if accepted { Counter::LoginsDone } else { Counter::LoginsFailed }.add(1);
        self.totals.user = name;
        self.happened(&Happening::Login { accepted, reason, by_certificate });
        if !accepted {
            self.totals.user.clear();
        }
        self.store = None;
        verdict.map(|store| {
            let rights = store.rights().clone();
            let store = store.owned_by(&owner);
            self.store = Some(match self.umask {
                Some(mask) => store.with_umask(mask),
                None => store,
            });
            rights
        })
    }
}
