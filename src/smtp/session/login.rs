//! AUTH in a session (RFC 4954).

use crate::net::login::LoginVerdict;
use crate::smtp::auth::scram::ScramVerifier;
use crate::smtp::auth::server::AuthStep;
use crate::smtp::reply::SmtpReply;

use super::{Greeted, LoginQuestion, SessionMode, SmtpEvent, SmtpSession, VerifierQuestion};

impl SmtpSession {
    /// The data of the channel binding `tls-exporter` (RFC 9266), after the start of TLS; `None` if it has none.
    pub fn bind_to(&mut self, binding: Option<Vec<u8>>) {
        self.logins.binding = binding;
    }

    /// The answer to [`SmtpEvent::Verifier`]: the verifier of the user, or a decoy; `None` if no user has one. `nonce`: fresh
    /// random text of printable ASCII without commas.
    pub fn verifier_found(&mut self, question: VerifierQuestion, verifier: Option<ScramVerifier>, nonce: &str) {
        let VerifierQuestion { mut login, .. } = question;
        self.mode = SessionMode::Command;
        let Some(verifier) = verifier else { return self.say(&not_offered()) };
        let step = login.verifier(verifier, nonce);
        self.mode = SessionMode::Auth(login);
        self.auth_step(step);
    }

    /// The answer to [`SmtpEvent::Login`].
    pub fn login_verdict(&mut self, question: LoginQuestion, verdict: LoginVerdict<()>) {
        self.mode = SessionMode::Command;
        let LoginQuestion { user, mut login, .. } = question;
        match verdict {
            LoginVerdict::Right(()) => {
                return match login.proved() {
                    None => self.logged_in(user),
                    Some(step) => {
                        self.mode = SessionMode::Auth(login);
                        self.auth_step(step);
                    }
                };
            }
            LoginVerdict::Wrong | LoginVerdict::Barred(_) => {}
            LoginVerdict::TooMany => {
                return self.close(&SmtpReply::status(421, 7, 0, "too many failed logins; try again later"));
            }
        }
        if !self.budget.failed_login() {
            return self.close(&SmtpReply::status(421, 7, 0, "too many failed logins"));
        }
        self.say(&SmtpReply::status(535, 7, 8, "user name or password is wrong"));
    }

    fn logged_in(&mut self, user: String) {
        self.user = Some(user);
        self.budget.logged_in();
        self.say(&SmtpReply::status(235, 7, 0, "logged in"));
    }

    /// The names of the mechanisms for the EHLO reply; none if AUTH would not work now.
    pub(super) fn mechanisms(&self) -> Vec<String> {
        let in_clear = self.config.auth_in_clear && !self.config.tls_required;
        let works = self.config.auth && self.user.is_none() && (self.tls || in_clear);
        if works { self.logins.names() } else { Vec::new() }
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        let refusal = if !self.config.auth {
            Some(SmtpReply::status(502, 5, 1, "no logins here"))
        } else if matches!(self.greeted, Greeted::No) || self.user.is_some() || self.envelope.is_some() {
            Some(SmtpReply::status(503, 5, 1, "not now"))
        } else if !self.tls && !self.config.auth_in_clear {
            Some(SmtpReply::status(538, 7, 11, "start TLS first"))
        } else {
            None
        };
        match (refusal, self.logins.start(mechanism)) {
            (Some(refusal), _) => self.say(&refusal),
            (None, None) => self.say(&not_offered()),
            (None, Some(mut login)) => {
                let step = login.start(initial.map(str::as_bytes));
                self.mode = SessionMode::Auth(login);
                self.auth_step(step);
            }
        }
    }

    /// Carries out a step of the exchange in [`SessionMode::Auth`].
    pub(super) fn auth_step(&mut self, step: AuthStep) {
        if let AuthStep::Challenge(text) = step {
            return SmtpReply::new(334, None, text).wire(&mut self.output);
        }
        let SessionMode::Auth(login) = std::mem::replace(&mut self.mode, SessionMode::Command) else { return };
        match step {
            AuthStep::Challenge(_) => {}
            AuthStep::Verifier(user) => {
                self.mode = SessionMode::Ask(SmtpEvent::Verifier(VerifierQuestion { user, login }));
            }
            AuthStep::Credentials { user, proof } => {
                self.mode = SessionMode::Ask(SmtpEvent::Login(LoginQuestion { user, proof, login }));
            }
            AuthStep::Done(user) => self.logged_in(user),
            AuthStep::Cancelled => self.say(&SmtpReply::status(501, 7, 0, "login cancelled")),
            AuthStep::Malformed => self.say(&SmtpReply::status(501, 5, 2, "malformed login")),
        }
    }
}

fn not_offered() -> SmtpReply {
    SmtpReply::status(504, 5, 4, "mechanism not offered")
}
