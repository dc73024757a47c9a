//! SASL over SMTP (RFC 4954), client and server, without sockets or randomness. The client knows PLAIN (RFC 4616),
//! LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, 7677), the latter also with channel binding (RFC
//! 9266), EXTERNAL (RFC 4422), OAUTHBEARER (RFC 7628) and XOAUTH2; the server ([`server`]) knows PLAIN, LOGIN and SCRAM-SHA-256.

pub mod scram;
pub mod server;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};

use crate::fault::{Fault, Kind};
use scram::{BINDING_TYPE, MAX_ITERATIONS, MIN_ITERATIONS, ScramHash, prepare, xor};

/// A SASL mechanism of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM-SHA-256-PLUS: bound to the TLS connection, so that nobody can pass the proof on.
    ScramSha256Plus,
    /// SCRAM-SHA-256
    ScramSha256,
    /// SCRAM-SHA-1
    ScramSha1,
    /// PLAIN
    Plain,
    /// LOGIN
    Login,
    /// CRAM-MD5
    CramMd5,
    /// EXTERNAL: the client certificate identifies the client.
    External,
    /// OAUTHBEARER: the password is an OAuth 2 access token.
    OauthBearer,
    /// XOAUTH2: the predecessor of OAUTHBEARER by Google and Microsoft.
    Xoauth2,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Mechanism; 9] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
        Mechanism::External,
        Mechanism::OauthBearer,
        Mechanism::Xoauth2,
    ];

    /// The mechanisms for a password, best first. CRAM-MD5 is no reason to avoid PLAIN inside TLS.
    const BY_PASSWORD: [Mechanism; 6] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
    ];

    /// Its registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::External => "EXTERNAL",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism with this name, in any case.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(name))
    }

    /// Parses the name of a mechanism from a command line.
    ///
    /// # Errors
    /// The list of known names.
    pub fn parse(name: &str) -> Result<Mechanism, String> {
        let names = || Mechanism::ALL.map(|it| it.as_str().to_lowercase()).join(", ");
        Mechanism::from_name(name).ok_or_else(names)
    }

    /// True if the mechanism is SCRAM.
    const fn is_scram(self) -> bool {
        matches!(self, Mechanism::ScramSha256Plus | Mechanism::ScramSha256 | Mechanism::ScramSha1)
    }

    /// True if the mechanism sends the password itself over the wire.
    pub const fn shows_secret(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login | Mechanism::OauthBearer | Mechanism::Xoauth2)
    }

    /// The mechanisms to try with a server that offers these (upper case), best first, at least one. `clear` allows the
    /// client to send the secret outside TLS.
    ///
    /// # Errors
    /// [`Kind::AuthFailed`] if no mechanism can be used.
    pub fn choose(
        offered: &[String],
        wanted: Option<Mechanism>,
        tls: bool,
        clear: bool,
    ) -> Result<Vec<Mechanism>, Fault> {
        let is_offered = |mechanism: &Mechanism| offered.iter().any(|name| name == mechanism.as_str());
        let allowed = |mechanism: &Mechanism| tls || clear || !mechanism.shows_secret();
        let refused = |detail: String| Err(Fault::new(Kind::AuthFailed, detail));
        match wanted {
            Some(mechanism) if !allowed(&mechanism) => {
                refused(format!("AUTH {} outside TLS would show the password", mechanism.as_str()))
            }
            Some(mechanism) if !is_offered(&mechanism) => {
                refused(format!("the server does not offer AUTH {}", mechanism.as_str()))
            }
            Some(mechanism) => Ok(vec![mechanism]),
            None if offered.is_empty() => refused("the server does not offer AUTH".to_owned()),
            None => {
                let usable: Vec<_> = Mechanism::BY_PASSWORD.into_iter().filter(is_offered).filter(allowed).collect();
                match usable.is_empty() {
                    false => Ok(usable),
                    true => refused(format!("no AUTH mechanism in common: the server offers {}", offered.join(" "))),
                }
            }
        }
    }
}

/// The consequence of a failed AUTH exchange for other mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No other mechanism may be tried: the connection is unusable, or the server is an impostor.
    Ends,
    /// The server could not carry out this mechanism. It did not check the password.
    Mechanism,
    /// The server checked user and password, or says so. Each such failure may count against the account.
    Judged,
}

/// The mechanisms left to try with one server. The server may judge a password twice at most: first by a mechanism that
/// hides it (a server that has only the hash may offer one that it cannot carry out), then by one that shows it.
#[derive(Debug)]
pub struct AuthAttempts {
    /// Best first.
    left: Vec<Mechanism>,
    judged: bool,
}

impl AuthAttempts {
    /// Starts with these mechanisms, best first.
    pub fn new(mechanisms: Vec<Mechanism>) -> AuthAttempts {
        AuthAttempts { left: mechanisms, judged: false }
    }

    /// The first mechanism, or the next one after `failed`. There is a next one inside TLS only: outside, an attacker
    /// on the path may have broken the first mechanism to see a weaker one.
    pub fn next(&mut self, failed: Option<(Mechanism, AuthFailure)>, tls: bool) -> Option<Mechanism> {
        match failed {
            None => {}
            Some(_) if !tls => return None,
            Some((_, AuthFailure::Ends)) => return None,
            Some((_, AuthFailure::Mechanism)) => {}
            Some((mechanism, AuthFailure::Judged)) => {
                if self.judged || mechanism.shows_secret() {
                    return None;
                }
                self.judged = true;
                if self.left.iter().any(|left| left.shows_secret()) {
                    self.left.retain(|left| left.shows_secret());
                }
            }
        }
        if self.left.is_empty() { None } else { Some(self.left.remove(0)) }
    }
}

/// The credentials of a client.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The user name.
    pub user: &'a str,
    /// The password or OAuth token.
    pub password: &'a str,
    /// The server's name and port, for OAUTHBEARER.
    pub host: &'a str,
    /// The server's port, for OAUTHBEARER.
    pub port: u16,
    /// Fresh random text of printable ASCII without commas, for SCRAM.
    pub nonce: &'a str,
    /// The data of the channel binding `tls-exporter`, for SCRAM-SHA-256-PLUS.
    pub binding: &'a [u8],
}

/// The client's side of one AUTH exchange. All data here is before base64.
pub struct ClientLogin<'a> {
    mechanism: Mechanism,
    credentials: Credentials<'a>,
    /// User name and password as SCRAM hashes them.
    prepared: (Cow<'a, str>, Cow<'a, str>),
    turn: u8,
    first_bare: String,
    /// The server signature that SCRAM expects at the end.
    server_signature: Option<Vec<u8>>,
    /// The server sent a proof, but it shows that the server does not know the password.
    impostor: bool,
}

impl<'a> ClientLogin<'a> {
    /// Starts an exchange with this mechanism.
    ///
    /// # Errors
    /// [`Kind::BadData`] for control characters in user name or password.
    pub fn new(mechanism: Mechanism, credentials: Credentials<'a>) -> Result<ClientLogin<'a>, Fault> {
        let forbidden = |text: &str| text.contains(['\0', '\u{1}', '\r', '\n']);
        if forbidden(credentials.user) || forbidden(credentials.password) {
            return Err(Fault::new(Kind::BadData, "control character in user name or password"));
        }
        let prepared = match mechanism {
            scram if scram.is_scram() => (prepare(credentials.user), prepare(credentials.password)),
            _ => Default::default(),
        };
        let first_bare = String::new();
        Ok(ClientLogin {
            mechanism,
            credentials,
            prepared,
            turn: 0,
            first_bare,
            server_signature: None,
            impostor: false,
        })
    }

    /// The initial response, if the mechanism begins with the client.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        let Credentials { user, password, host, port, nonce, .. } = self.credentials;
        let text = match self.mechanism {
            Mechanism::Login | Mechanism::CramMd5 => return None,
            Mechanism::Plain => format!("\0{user}\0{password}"),
            Mechanism::External => user.to_owned(),
            Mechanism::Xoauth2 => format!("user={user}\u{1}auth=Bearer {password}\u{1}\u{1}"),
            Mechanism::OauthBearer => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                format!("n,a={user},\u{1}host={host}\u{1}port={port}\u{1}auth=Bearer {password}\u{1}\u{1}")
            }
            Mechanism::ScramSha1 | Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let user = &self.prepared.0;
                self.first_bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
                format!("{}{}", self.scram_header(), self.first_bare)
            }
        };
        Some(text.into_bytes())
    }

    /// The response to a challenge (334).
    ///
    /// # Errors
    /// [`Kind::AuthFailed`] or [`Kind::Protocol`] for a challenge that the mechanism does not allow, and for a server
    /// that does not prove that it knows the password.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Fault> {
        self.turn = self.turn.saturating_add(1);
        let Credentials { user, password, .. } = self.credentials;
        match (self.mechanism, self.turn) {
            // A server that overlooked the initial response asks for it.
            (Mechanism::Plain, 1) if challenge.is_empty() => Ok(format!("\0{user}\0{password}").into_bytes()),
            (Mechanism::Login, 1) => Ok(user.as_bytes().to_vec()),
            (Mechanism::Login, 2) => Ok(password.as_bytes().to_vec()),
            (Mechanism::CramMd5, 1) => Ok(format!("{user} {}", cram(challenge, password.as_bytes())).into_bytes()),
            // The error document; the answer is empty and the refusal follows (RFC 7628, section 3.2.3).
            (Mechanism::OauthBearer, 1) => Ok(b"\x01".to_vec()),
            (Mechanism::Xoauth2, 1) => Ok(Vec::new()),
            (scram, 1) if scram.is_scram() => self.scram_final(challenge),
            (scram, 2) if scram.is_scram() => self.scram_verify(challenge),
            _ => Err(protocol("unexpected challenge")),
        }
    }

    /// Must be called after a reply 235. False if the server has not proved that it knows the password, but the mechanism requires it.
    pub fn server_proved(&self) -> bool {
        !self.mechanism.is_scram() || self.turn == 2
    }

    /// True if the server failed to prove that it knows the password: it must not receive the password by another mechanism.
    pub fn is_impostor(&self) -> bool {
        self.impostor
    }

    /// The GS2 header (RFC 5801, section 4).
    fn scram_header(&self) -> String {
        match self.mechanism {
            Mechanism::ScramSha256Plus => format!("p={BINDING_TYPE},,"),
            _ => "n,,".to_owned(),
        }
    }

    fn scram_final(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Fault> {
        let text = std::str::from_utf8(challenge).map_err(|_| protocol("challenge is not UTF-8"))?;
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i=")) else {
            return Err(protocol("malformed challenge"));
        };
        let ours = self.credentials.nonce;
        if !nonce.starts_with(ours) || nonce.len() == ours.len() {
            return Err(protocol("the server's nonce is not ours continued"));
        }
        let salt = BASE64.decode(salt).map_err(|_| protocol("malformed salt"))?;
        let rounds: u32 = rounds.parse().map_err(|_| protocol("malformed iteration count"))?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&rounds) {
            return Err(protocol("iteration count out of bounds"));
        }
        let hash = match self.mechanism {
            Mechanism::ScramSha1 => ScramHash::sha1(),
            _ => ScramHash::sha256(),
        };
        let (client_key, server_key) = hash.keys(&self.prepared.1, &salt, rounds);
        let binding = match self.mechanism {
            Mechanism::ScramSha256Plus => self.credentials.binding,
            _ => &[],
        };
        let binding = BASE64.encode([self.scram_header().as_bytes(), binding].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let message = format!("{},{text},{without_proof}", self.first_bare);
        let proof = xor(&client_key, &hash.hmac(&hash.digest(&client_key), message.as_bytes()));
        self.server_signature = Some(hash.hmac(&server_key, message.as_bytes()));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    fn scram_verify(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Fault> {
        // RFC 5802, section 7: the server's error in place of a proof.
        if let Some(error) = challenge.strip_prefix(b"e=") {
            let error: String = String::from_utf8_lossy(error).chars().take(80).collect();
            return Err(Fault::new(Kind::AuthFailed, format!("SCRAM: {error}")));
        }
        let signature = challenge.strip_prefix(b"v=").and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            BASE64.decode(rest.get(..end)?).ok()
        });
        match (signature, &self.server_signature) {
            (Some(theirs), Some(ours)) if theirs == *ours => Ok(Vec::new()),
            _ => {
                self.impostor = true;
                Err(Fault::new(
                    Kind::AuthFailed,
                    "the server's proof of the password is wrong: it is not the server that knows it",
                ))
            }
        }
    }
}

fn protocol(what: &str) -> Fault {
    Fault::new(Kind::Protocol, what)
}

/// HMAC-MD5 of the challenge in hexadecimal (RFC 2195, section 2). ring deliberately has no MD5.
fn cram(challenge: &[u8], password: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut key = [0u8; BLOCK];
    let hashed;
    let source = if password.len() > BLOCK {
        hashed = Md5::digest(password);
        hashed.as_slice()
    } else {
        password
    };
    for (slot, byte) in key.iter_mut().zip(source) {
        *slot = *byte;
    }
    let inner = Md5::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(challenge).finalize();
    let outer = Md5::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    crate::hex::lower(&outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials<'a>(user: &'a str, password: &'a str, nonce: &'a str) -> Credentials<'a> {
        Credentials { user, password, host: "server.example.com", port: 587, nonce, binding: b"" }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn cram_md5_of_rfc_2195() {
        let credentials = credentials("tim", "tanstaaftanstaaf", "");
        let mut login = ClientLogin::new(Mechanism::CramMd5, credentials).unwrap();
        assert_eq!(login.initial(), None);
        let response = login.respond(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
        assert_eq!(text(response), "tim b913a602c7eda7a495b4e6e7334d3890");
        assert!(login.respond(b"again").is_err());
        // RFC 2202, test case 6: a key longer than a block.
        let long = [0xaa; 80];
        assert_eq!(
            cram(b"Test Using Larger Than Block-Size Key - Hash Key First", &long),
            "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"
        );
    }

    #[test]
    fn scram_of_rfc_5802_and_rfc_7677() {
        let table = [
            (
                Mechanism::ScramSha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Mechanism::ScramSha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ];
        for (mechanism, nonce, first, last, proof) in table {
            let login = || {
                let mut login = ClientLogin::new(mechanism, credentials("user", "pencil", nonce)).unwrap();
                assert_eq!(text(login.initial().unwrap()), format!("n,,n=user,r={nonce}"));
                assert_eq!(text(login.respond(first.as_bytes()).unwrap()), last);
                login
            };
            let mut good = login();
            assert!(!good.server_proved(), "235 without proof is not enough");
            assert_eq!(good.respond(proof.as_bytes()), Ok(Vec::new()));
            assert!(good.server_proved());
            assert_eq!(login().respond(b"v=AAAA").map_err(|fault| fault.kind), Err(Kind::AuthFailed));
            assert_eq!(login().respond(b"e=invalid-proof").map_err(|fault| fault.kind), Err(Kind::AuthFailed));
            let bad = [
                "r=other,s=QSXCR+Q6sek8bf92,i=4096".to_owned(),
                format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096"),
                format!("r={nonce}x,s=!,i=4096"),
                format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=1"),
                format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=4000000000"),
                "m=ext,r=x".to_owned(),
                String::new(),
            ];
            for challenge in bad {
                let mut login = ClientLogin::new(mechanism, credentials("user", "pencil", nonce)).unwrap();
                login.initial();
                assert_eq!(login.respond(challenge.as_bytes()).map_err(|f| f.kind), Err(Kind::Protocol), "{challenge}");
            }
        }
    }

    #[test]
    fn scram_prepares_what_it_hashes() {
        // RFC 4013, section 3; then what has no preparation: a control character, letters of Unicode 6, nothing left.
        for (text, expected) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{a0}b", "a b"),
            ("u\u{308}", "ü"),
            ("\u{7}", "\u{7}"),
            ("\u{627}1", "\u{627}1"),
            ("\u{1f600}x", "\u{1f600}x"),
            ("\u{ad}", "\u{ad}"),
        ] {
            assert_eq!(prepare(text), expected, "{text:?}");
        }
        let initial = |mechanism| {
            let mut login = ClientLogin::new(mechanism, credentials("u\u{308}", "x", "n")).unwrap();
            login.initial().map(text)
        };
        assert_eq!(initial(Mechanism::ScramSha256).as_deref(), Some("n,,n=ü,r=n"));
        assert_eq!(initial(Mechanism::Plain).as_deref(), Some("\0u\u{308}\0x"), "the server prepares PLAIN (RFC 4616)");
    }

    #[test]
    fn initial_responses() {
        let initial = |mechanism, user| {
            let mut login = ClientLogin::new(mechanism, credentials(user, "tok", "nonce")).unwrap();
            login.initial().map(text)
        };
        assert_eq!(initial(Mechanism::Plain, "tim").as_deref(), Some("\0tim\0tok"));
        assert_eq!(initial(Mechanism::External, "").as_deref(), Some(""));
        assert_eq!(initial(Mechanism::Login, "tim"), None);
        assert_eq!(initial(Mechanism::Xoauth2, "u@x").as_deref(), Some("user=u@x\u{1}auth=Bearer tok\u{1}\u{1}"));
        let bearer = "n,a=a=2Cb=3Dc,\u{1}host=server.example.com\u{1}port=587\u{1}auth=Bearer tok\u{1}\u{1}";
        assert_eq!(initial(Mechanism::OauthBearer, "a,b=c").as_deref(), Some(bearer));
        assert_eq!(initial(Mechanism::ScramSha1, "a,b").as_deref(), Some("n,,n=a=2Cb,r=nonce"));
        for (user, password) in [("a\0b", "x"), ("a", "x\0y"), ("a\r\n", "x"), ("a", "x\u{1}")] {
            assert!(ClientLogin::new(Mechanism::Plain, credentials(user, password, "")).is_err());
        }
    }

    #[test]
    fn choice_of_mechanism() {
        let choose = |offered: &str, wanted, tls, clear| {
            let offered: Vec<String> = offered.split_whitespace().map(str::to_owned).collect();
            Mechanism::choose(&offered, wanted, tls, clear).map(|usable| usable[0]).map_err(|fault| fault.kind)
        };
        assert_eq!(
            choose("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", None, true, false),
            Ok(Mechanism::ScramSha256)
        );
        assert_eq!(choose("LOGIN PLAIN CRAM-MD5", None, true, false), Ok(Mechanism::Plain));
        assert_eq!(choose("LOGIN PLAIN CRAM-MD5", None, false, false), Ok(Mechanism::CramMd5));
        assert_eq!(choose("LOGIN PLAIN", None, false, false), Err(Kind::AuthFailed));
        assert_eq!(choose("LOGIN", None, false, true), Ok(Mechanism::Login));
        assert_eq!(choose("EXTERNAL XOAUTH2", None, true, false), Err(Kind::AuthFailed));
        assert_eq!(choose("PLAIN XOAUTH2", Some(Mechanism::Xoauth2), true, false), Ok(Mechanism::Xoauth2));
        assert_eq!(choose("PLAIN", Some(Mechanism::External), true, false), Err(Kind::AuthFailed));
        assert_eq!(choose("PLAIN", Some(Mechanism::Plain), false, false), Err(Kind::AuthFailed));
        assert_eq!(choose("", None, true, true), Err(Kind::AuthFailed));
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::from_name(&mechanism.as_str().to_lowercase()), Some(mechanism));
        }
    }

    #[test]
    fn a_password_is_judged_twice_at_most_and_never_again_outside_tls() {
        use AuthFailure::{Ends, Judged, Mechanism as Broken};
        // What is offered, inside TLS, how each attempt fails, and what is tried.
        let table: [(&str, bool, &[AuthFailure], &str); 12] = [
            ("SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5", true, &[Judged, Judged], "SCRAM-SHA-256 PLAIN"),
            ("SCRAM-SHA-256 SCRAM-SHA-1 LOGIN", true, &[Judged, Judged], "SCRAM-SHA-256 LOGIN"),
            ("SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5", true, &[Judged, Judged], "SCRAM-SHA-256 SCRAM-SHA-1"),
            ("SCRAM-SHA-1 PLAIN LOGIN", true, &[Judged, Broken, Judged], "SCRAM-SHA-1 PLAIN LOGIN"),
            ("SCRAM-SHA-256 SCRAM-SHA-1 PLAIN", true, &[Broken, Broken, Judged], "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"),
            ("SCRAM-SHA-256 SCRAM-SHA-1 PLAIN", true, &[Broken, Judged, Judged], "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"),
            ("PLAIN LOGIN CRAM-MD5", true, &[Judged], "PLAIN"),
            ("PLAIN LOGIN CRAM-MD5", true, &[Broken, Broken, Broken], "PLAIN LOGIN CRAM-MD5"),
            ("SCRAM-SHA-256 PLAIN", true, &[Ends], "SCRAM-SHA-256"),
            ("SCRAM-SHA-256 PLAIN", false, &[Judged], "SCRAM-SHA-256"),
            ("SCRAM-SHA-256 PLAIN", false, &[Broken], "SCRAM-SHA-256"),
            ("CRAM-MD5 LOGIN", false, &[Broken], "LOGIN"),
        ];
        for (offered, tls, failures, expected) in table {
            let offered: Vec<String> = offered.split_whitespace().map(str::to_owned).collect();
            let mut attempts = AuthAttempts::new(Mechanism::choose(&offered, None, tls, true).unwrap());
            let mut tried: Vec<Mechanism> = attempts.next(None, tls).into_iter().collect();
            for failure in failures {
                tried.extend(attempts.next(Some((*tried.last().unwrap(), *failure)), tls));
            }
            let tried: Vec<&str> = tried.into_iter().map(Mechanism::as_str).collect();
            assert_eq!(tried.join(" "), expected, "{offered:?} {failures:?}");
        }
    }
}
