//! Logins by certificate (RFC 4217, section 10.1).

use super::{Awaited, FtpSession, LoginState, SessionAction, TreeRights};
use crate::net::login::LoginVerdict;

impl FtpSession {
    pub(super) fn ask_for_certificate(&mut self, user: Vec<u8>) {
        self.login = LoginState::None;
        self.actions.push_back(SessionAction::CertificateLogin { user: user.clone() });
        self.pending = Awaited::Certificate(user);
    }

    pub(super) fn certified(&mut self, user: Vec<u8>, verdict: LoginVerdict<TreeRights>) {
        match verdict {
            LoginVerdict::Right(rights) => {
                self.login_failures = 0;
                self.certified = true;
                self.login = LoginState::In(user, rights);
                self.reply(232, "Logged in by certificate.");
            }
            LoginVerdict::Wrong => self.want_password(user),
            LoginVerdict::Barred(_) | LoginVerdict::TooMany => self.login_failed(),
        }
    }
}
