//! The server's side of AUTH (RFC 4954): PLAIN (RFC 4616), LOGIN, and SCRAM-SHA-256 with and without channel binding (RFC
//! 5802, 7677, 9266).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{MAX_CREDENTIAL, ScramChallenge, ScramFirst, ScramProof, ScramVerifier};
use crate::secret::Secret;

/// What a client gives to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginProof {
    /// The password itself.
    Password(Secret),
    /// The proof that it knows the password.
    Scram(ScramProof),
}

/// The next step of a server in an AUTH exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum AuthStep {
    /// Send reply 334 with this text (already in base64).
    Challenge(Cow<'static, str>),
    /// Look up the verifier of this user for [`ServerLogin::verifier`].
    Verifier(String),
    /// Check these credentials. If they are right, [`ServerLogin::proved`] says what comes next.
    Credentials {
        /// The user name.
        user: String,
        /// The proof.
        proof: LoginProof,
    },
    /// The client took the proof of the server: this user is logged in.
    Done(String),
    /// The client cancelled with `*`.
    Cancelled,
    /// The response is invalid: not base64, not UTF-8, too long, or no message of the mechanism.
    Malformed,
}

/// The mechanisms of a server on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfferedLogins {
    /// SCRAM-SHA-256 is offered.
    pub scram: bool,
    /// The data of the channel binding `tls-exporter`, if the connection has it: SCRAM-SHA-256-PLUS is offered, too.
    pub binding: Option<Vec<u8>>,
}

impl OfferedLogins {
    const BOUND: &str = "SCRAM-SHA-256-PLUS";
    const SCRAM: &str = "SCRAM-SHA-256";

    /// The names for the EHLO reply, best first.
    pub fn names(&self) -> Vec<String> {
        let bound = (self.scram && self.binding.is_some()).then_some(Self::BOUND);
        let scram = self.scram.then_some(Self::SCRAM);
        bound.into_iter().chain(scram).chain(["PLAIN", "LOGIN"]).map(str::to_owned).collect()
    }

    /// Starts an exchange with the mechanism of this name (upper case); `None` for one that is not offered.
    pub fn start(&self, mechanism: &str) -> Option<ServerLogin> {
        match mechanism {
            "PLAIN" => Some(ServerLogin::Plain),
            "LOGIN" => Some(ServerLogin::Login(None)),
            Self::SCRAM if self.scram => {
                Some(ServerLogin::Scram { binding: None, offers_binding: self.binding.is_some() })
            }
            Self::BOUND if self.scram && self.binding.is_some() => {
                Some(ServerLogin::Scram { binding: self.binding.clone(), offers_binding: true })
            }
            _ => None,
        }
    }
}

/// The server's side of one AUTH exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerLogin {
    /// PLAIN
    Plain,
    /// LOGIN, with the user name once it is known.
    Login(Option<String>),
    /// SCRAM-SHA-256 before the client's first message.
    Scram {
        /// The data that a client of SCRAM-SHA-256-PLUS must prove to see.
        binding: Option<Vec<u8>>,
        /// SCRAM-SHA-256-PLUS is offered on this connection.
        offers_binding: bool,
    },
    /// SCRAM-SHA-256 after it.
    ScramTurn(ScramTurn),
}

/// The later turns of SCRAM-SHA-256.
#[derive(Debug, PartialEq, Eq)]
pub struct ScramTurn(Box<ScramStep>);

#[derive(Debug, PartialEq, Eq)]
enum ScramStep {
    /// The user's verifier is looked up.
    Named(ScramFirst),
    /// The client's proof is due.
    Challenged(ScramChallenge),
    /// The client's proof is being checked.
    Proving(ScramChallenge, ScramProof),
    /// The client is to take the proof of the server.
    Ending(String),
    /// A message was not what it must be.
    Broken,
}

/// `Username:` and `Password:` in base64.
const ASK_USER: AuthStep = AuthStep::Challenge(Cow::Borrowed("VXNlcm5hbWU6"));
const ASK_PASSWORD: AuthStep = AuthStep::Challenge(Cow::Borrowed("UGFzc3dvcmQ6"));

impl ServerLogin {
    /// The first step, with the initial response if the command had one.
    pub fn start(&mut self, initial: Option<&[u8]>) -> AuthStep {
        match (initial, &self) {
            (Some(b"="), _) => self.decoded(Vec::new()),
            (Some(initial), _) => self.response(initial),
            (None, ServerLogin::Login(_)) => ASK_USER,
            (None, _) => AuthStep::Challenge(Cow::Borrowed("")),
        }
    }

    /// The step after [`AuthStep::Verifier`], with the verifier of the user, or a decoy. `nonce`: fresh random text of printable
    /// ASCII without commas.
    pub fn verifier(&mut self, verifier: ScramVerifier, nonce: &str) -> AuthStep {
        match self.take_turn() {
            ScramStep::Named(first) => {
                let challenge = first.answer(nonce, verifier);
                let text = BASE64.encode(&challenge.text);
                *self = ServerLogin::ScramTurn(ScramTurn(Box::new(ScramStep::Challenged(challenge))));
                AuthStep::Challenge(text.into())
            }
            _ => AuthStep::Malformed,
        }
    }

    /// The challenge with the proof of the server, once the client has proved itself; `None` if the mechanism has none: the
    /// user is logged in.
    pub fn proved(&mut self) -> Option<AuthStep> {
        let ScramStep::Proving(challenge, proof) = self.take_turn() else { return None };
        *self = ServerLogin::ScramTurn(ScramTurn(Box::new(ScramStep::Ending(challenge.user().to_owned()))));
        Some(AuthStep::Challenge(BASE64.encode(proof.server_final(&challenge.verifier)).into()))
    }

    /// The current turn of SCRAM; nothing more follows it unless it is put back.
    fn take_turn(&mut self) -> ScramStep {
        match self {
            ServerLogin::ScramTurn(ScramTurn(turn)) => std::mem::replace(&mut **turn, ScramStep::Broken),
            _ => ScramStep::Broken,
        }
    }

    /// Takes the client's next line, in base64.
    pub fn response(&mut self, line: &[u8]) -> AuthStep {
        if line == b"*" {
            return AuthStep::Cancelled;
        }
        match BASE64.decode(line) {
            Ok(bytes) => self.decoded(bytes),
            Err(_) => AuthStep::Malformed,
        }
    }

    fn decoded(&mut self, bytes: Vec<u8>) -> AuthStep {
        let Some(text) = String::from_utf8(bytes).ok() else { return AuthStep::Malformed };
        let fits = |part: &str| !part.is_empty() && part.len() <= MAX_CREDENTIAL && !part.contains('\0');
        let credentials = |user: &str, password: &str| AuthStep::Credentials {
            user: user.to_owned(),
            proof: LoginProof::Password(Secret::new(password.to_owned())),
        };
        match self {
            ServerLogin::Plain => {
                let mut parts = text.splitn(3, '\0');
                let (Some(acting), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
                    return AuthStep::Malformed;
                };
                // Authorization as another user is not offered.
                if !fits(user) || !fits(password) || !(acting.is_empty() || acting == user) {
                    return AuthStep::Malformed;
                }
                credentials(user, password)
            }
            ServerLogin::Login(_) if !fits(&text) => AuthStep::Malformed,
            ServerLogin::Login(user) => match user.take() {
                None => {
                    *user = Some(text);
                    ASK_PASSWORD
                }
                Some(user) => credentials(&user, &text),
            },
            ServerLogin::Scram { binding, offers_binding } => {
                let Some(first) = ScramFirst::read(&text, binding.as_deref(), *offers_binding) else {
                    return AuthStep::Malformed;
                };
                let user = first.user.clone();
                *self = ServerLogin::ScramTurn(ScramTurn(Box::new(ScramStep::Named(first))));
                AuthStep::Verifier(user)
            }
            ServerLogin::ScramTurn(ScramTurn(turn)) => match std::mem::replace(&mut **turn, ScramStep::Broken) {
                ScramStep::Challenged(challenge) => match challenge.proof(&text) {
                    Some(proof) => {
                        let user = challenge.user().to_owned();
                        **turn = ScramStep::Proving(challenge, proof.clone());
                        AuthStep::Credentials { user, proof: LoginProof::Scram(proof) }
                    }
                    None => AuthStep::Malformed,
                },
                ScramStep::Ending(user) if text.is_empty() => AuthStep::Done(user),
                _ => AuthStep::Malformed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_side_plain_and_login() {
        let encode = |text: &str| BASE64.encode(text).into_bytes();
        let tim = |password: &str| AuthStep::Credentials {
            user: "tim".into(),
            proof: LoginProof::Password(Secret::new(password.into())),
        };
        let offered = OfferedLogins::default();
        let plain = |response: &[u8]| offered.start("PLAIN").unwrap().start(Some(response));
        assert_eq!(ServerLogin::Plain.start(None), AuthStep::Challenge("".into()));
        assert_eq!(plain(&encode("\0tim\0x y")), tim("x y"));
        assert_eq!(plain(&encode("tim\0tim\0x")), tim("x"));
        assert_eq!(plain(b"*"), AuthStep::Cancelled);
        let long = format!("\0tim\0{}", "x".repeat(MAX_CREDENTIAL + 1));
        for bad in ["", "tim", "\0tim", "\0tim\0", "\0\0x", "bob\0tim\0x", "\0tim\0x\0y", &long] {
            assert_eq!(plain(&encode(bad)), AuthStep::Malformed, "{bad:?}");
        }
        assert_eq!(plain(b"="), AuthStep::Malformed);
        assert_eq!(plain(b"!!"), AuthStep::Malformed);
        assert_eq!(plain(&BASE64.encode(b"\0\xff\0x").into_bytes()), AuthStep::Malformed);
        let mut login = offered.start("LOGIN").unwrap();
        assert_eq!(login.start(None), ASK_USER);
        assert_eq!(login.response(&encode("tim")), ASK_PASSWORD);
        assert_eq!(login.response(&encode("secret")), tim("secret"));
        let mut login = offered.start("LOGIN").unwrap();
        assert_eq!(login.start(Some(&encode("tim"))), ASK_PASSWORD);
        assert_eq!(login.response(&encode("")), AuthStep::Malformed);
        assert!(offered.start("CRAM-MD5").is_none());
    }

    #[test]
    fn server_side_scram_against_our_client() {
        use crate::smtp::auth::{ClientLogin, Credentials, Mechanism};
        let bound = OfferedLogins { scram: true, binding: Some(b"of this connection".to_vec()) };
        let unbound = OfferedLogins { scram: true, binding: None };
        let verifier = ScramVerifier::of("s\u{fc}cret", b"salt", 4096);
        let mut table = vec![("s\u{fc}cret", verifier.clone(), true), ("su\u{308}cret", verifier.clone(), true)];
        table.extend([("secret", verifier.clone(), false), ("s\u{fc}cret", verifier.decoy("tim"), false)]);
        let ways = [
            (Mechanism::ScramSha256, &unbound),
            (Mechanism::ScramSha256, &bound),
            (Mechanism::ScramSha256Plus, &bound),
        ];
        let table = ways.iter().flat_map(|way| table.iter().map(move |row| (way, row.clone())));
        for ((mechanism, offered), (password, stored, right)) in table {
            let binding = b"of this connection";
            let credentials = Credentials { user: "t,i=m", password, host: "h.test", port: 587, nonce: "abc", binding };
            let mut client = ClientLogin::new(*mechanism, credentials).unwrap();
            let mut server = offered.start(mechanism.as_str()).unwrap();
            assert_eq!(server.start(None), AuthStep::Challenge("".into()));
            let first = BASE64.encode(client.initial().unwrap());
            assert_eq!(server.response(first.as_bytes()), AuthStep::Verifier("t,i=m".to_owned()));
            let AuthStep::Challenge(text) = server.verifier(stored.clone(), "xyz") else { panic!() };
            let answer = client.respond(&BASE64.decode(&*text).unwrap()).unwrap();
            let step = server.response(BASE64.encode(answer).as_bytes());
            let AuthStep::Credentials { user, proof: LoginProof::Scram(proof) } = step else { panic!("{step:?}") };
            assert_eq!((user.as_str(), proof.fits(&stored)), ("t,i=m", right));
            if right {
                let Some(AuthStep::Challenge(text)) = server.proved() else { panic!() };
                assert_eq!(client.respond(&BASE64.decode(&*text).unwrap()), Ok(Vec::new()));
                assert!(client.server_proved());
                assert_eq!(server.response(b""), AuthStep::Done("t,i=m".to_owned()));
            }
            assert_eq!(server.response(b""), AuthStep::Malformed, "nothing follows");
        }
    }

    #[test]
    fn a_proof_for_another_connection_is_worth_nothing() {
        use crate::smtp::auth::{ClientLogin, Credentials, Mechanism};
        let offered = OfferedLogins { scram: true, binding: Some(b"ours".to_vec()) };
        let credentials =
            Credentials { user: "tim", password: "x", host: "h.test", port: 587, nonce: "abc", binding: b"theirs" };
        let mut client = ClientLogin::new(Mechanism::ScramSha256Plus, credentials).unwrap();
        let mut server = offered.start("SCRAM-SHA-256-PLUS").unwrap();
        server.start(Some(BASE64.encode(client.initial().unwrap()).as_bytes()));
        let AuthStep::Challenge(text) = server.verifier(ScramVerifier::of("x", b"s", 4096), "n") else { panic!() };
        let answer = client.respond(&BASE64.decode(&*text).unwrap()).unwrap();
        assert_eq!(server.response(BASE64.encode(answer).as_bytes()), AuthStep::Malformed);
    }

    #[test]
    fn scram_is_started_only_where_it_is_offered() {
        let none = OfferedLogins::default();
        let unbound = OfferedLogins { scram: true, binding: None };
        let bound = OfferedLogins { scram: true, binding: Some(vec![1]) };
        for (offered, names) in [
            (&none, "PLAIN LOGIN"),
            (&unbound, "SCRAM-SHA-256 PLAIN LOGIN"),
            (&bound, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
        ] {
            assert_eq!(offered.names().join(" "), names);
            for name in bound.names() {
                assert_eq!(offered.start(&name).is_some(), names.split(' ').any(|known| known == name), "{name}");
            }
        }
        // A message of the wrong turn ends the exchange.
        let mut login = unbound.start("SCRAM-SHA-256").unwrap();
        assert_eq!(login.verifier(ScramVerifier::of("x", b"s", 4096), "n"), AuthStep::Malformed);
        assert_eq!(login.proved(), None);
        assert_eq!(login.response(b"*"), AuthStep::Cancelled);
    }
}
