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

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::super::{Rights, SessionEvent, SessionPolicy};
    use super::*;

    /// The codes of the replies to a line; `verdict` answers the question about the certificate.
    fn codes(session: &mut FtpSession, line: &str, verdict: &LoginVerdict<TreeRights>) -> Vec<u16> {
        session.input(format!("{line}\r\n").as_bytes());
        let mut codes = Vec::new();
        while let Some(action) = session.poll() {
            match action {
                SessionAction::Reply(reply) => codes.push(reply.code),
                SessionAction::CertificateLogin { .. } => session.event(SessionEvent::Certified(verdict.clone())),
                SessionAction::Login { .. } => session.event(SessionEvent::Login(LoginVerdict::Wrong)),
                _ => {}
            }
        }
        codes
    }

    #[test]
    fn a_certificate_is_asked_for_inside_tls_and_by_name() {
        let right = LoginVerdict::Right(TreeRights::from(Rights::ALL));
        let session = |certificates, tls_implicit| {
            let mut session = FtpSession::new(SessionPolicy { tls: true, tls_implicit, certificates, ..policy() });
            assert_eq!(codes(&mut session, "NOOP", &LoginVerdict::Wrong), [220, 200]);
            session
        };
        for (certificates, tls, user, verdict, expected) in [
            (true, true, "joe", &right, [232, 202, 257]),
            (true, true, "anonymous", &right, [331, 530, 530]),
            (true, true, "joe", &LoginVerdict::Wrong, [331, 530, 530]),
            (true, true, "joe", &LoginVerdict::Barred("late"), [530, 503, 530]),
            (true, false, "joe", &right, [331, 530, 530]),
            (false, true, "joe", &right, [331, 530, 530]),
        ] {
            let mut session = session(certificates, tls);
            let said = [&*format!("USER {user}"), "PASS x", "PWD"].map(|line| codes(&mut session, line, verdict));
            assert_eq!(said.concat(), expected, "{certificates} {tls} {user} {verdict:?}");
        }
        // Another USER ends the login, and so does REIN.
        let mut session = session(true, true);
        for (line, verdict, expected) in [
            ("USER joe", &right, 232),
            ("USER ann", &LoginVerdict::Wrong, 331),
            ("PWD", &right, 530),
            ("USER joe", &right, 232),
            ("REIN", &right, 220),
            ("PASS x", &right, 503),
            ("PWD", &right, 530),
        ] {
            assert_eq!(codes(&mut session, line, verdict), [expected], "{line}");
        }
        for expected in [530, 530, 530] {
            assert_eq!(codes(&mut session, "USER late", &LoginVerdict::Barred("late")), [expected]);
        }
        assert_eq!(session.poll(), None, "closed at the third");
    }
}
