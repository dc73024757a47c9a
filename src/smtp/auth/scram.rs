//! SCRAM (RFC 5802, 7677): what both sides compute, the stored form of a password (RFC 5803), and the server's messages.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// The highest iteration count: more would be an attack on the time of the one who computes it.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The lowest iteration count that protects a password (RFC 5802, section 5.1).
pub const MIN_ITERATIONS: u32 = 4_096;

/// The iteration count of new verifiers: a login by PLAIN costs about as much processor time as with Argon2.
pub const NEW_ITERATIONS: u32 = 100_000;

/// The maximum length of a user name and of a password from a client.
pub const MAX_CREDENTIAL: usize = 1_024;

/// The maximum length of a client's nonce.
const MAX_NONCE: usize = 256;

/// The maximum length of a salt.
const MAX_SALT: usize = 64;

/// The length of a SHA-256 digest.
const SHA256_BYTES: usize = 32;

/// The only type of channel binding that is offered (RFC 9266).
pub const BINDING_TYPE: &str = "tls-exporter";

/// SASLprep (RFC 4013): different encodings of the same letters become equal, soft hyphens disappear, every kind of
/// space becomes a space. Text that it rejects stays unchanged, as in PostgreSQL: letters newer than Unicode 3.2 (which
/// RFC 8265 allows), and passwords that were set without this check.
pub(super) fn prepare(text: &str) -> Cow<'_, str> {
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(text),
    }
}

/// The hash functions of one SCRAM mechanism.
pub(super) struct ScramHash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

impl ScramHash {
    /// SHA-1, for the client alone.
    pub(super) fn sha1() -> ScramHash {
        ScramHash {
            digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA1,
        }
    }

    /// SHA-256.
    pub(super) fn sha256() -> ScramHash {
        ScramHash { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 }
    }

    pub(super) fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key), message).as_ref().to_vec()
    }

    /// `H()`
    pub(super) fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.digest, bytes).as_ref().to_vec()
    }

    /// ClientKey and ServerKey of a prepared password.
    pub(super) fn keys(&self, password: &str, salt: &[u8], iterations: u32) -> (Vec<u8>, Vec<u8>) {
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = vec![0; self.digest.output_len()];
        pbkdf2::derive(self.pbkdf2, iterations, salt, password.as_bytes(), &mut salted);
        (self.hmac(&salted, b"Client Key"), self.hmac(&salted, b"Server Key"))
    }
}

pub(super) fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

/// True for equal bytes; takes the same time wherever they differ.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right)) == 0
}

/// The stored form of a password for SCRAM-SHA-256: the password cannot be computed from it, and a client cannot log in with
/// it. Its text is `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` (RFC 5803, section 3), as in PostgreSQL.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(***)")
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt, &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "{}{}:{salt}${stored}:{server}", ScramVerifier::PREFIX, self.iterations)
    }
}

impl ScramVerifier {
    /// The start of the text of every verifier.
    pub const PREFIX: &'static str = "SCRAM-SHA-256$";

    /// Computes the verifier of a password. Takes time in proportion to the iterations.
    pub fn of(password: &str, salt: &[u8], iterations: u32) -> ScramVerifier {
        let hash = ScramHash::sha256();
        let (client_key, server_key) = hash.keys(&prepare(password), salt, iterations);
        ScramVerifier { iterations, salt: salt.to_vec(), stored_key: hash.digest(&client_key), server_key }
    }

    /// Parses the text of a verifier.
    ///
    /// # Errors
    /// A message if it is malformed, too weak or too expensive.
    pub fn parse(text: &str) -> Result<ScramVerifier, String> {
        let parts = || {
            let (numbers, keys) = text.strip_prefix(ScramVerifier::PREFIX)?.split_once('$')?;
            let ((iterations, salt), (stored, server)) = (numbers.split_once(':')?, keys.split_once(':')?);
            let bytes = |text: &str| BASE64.decode(text).ok();
            let iterations =
                iterations.parse().ok().filter(|_| iterations.bytes().all(|byte| byte.is_ascii_digit()))?;
            let verifier = ScramVerifier {
                iterations,
                salt: bytes(salt)?,
                stored_key: bytes(stored)?,
                server_key: bytes(server)?,
            };
            let is_whole = verifier.stored_key.len() == SHA256_BYTES && verifier.server_key.len() == SHA256_BYTES;
            (is_whole && (1..=MAX_SALT).contains(&verifier.salt.len())).then_some(verifier)
        };
        let form = "a SCRAM verifier is SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY";
        let verifier = parts().ok_or_else(|| form.to_owned())?;
        match verifier.iterations {
            MIN_ITERATIONS..=MAX_ITERATIONS => Ok(verifier),
            count => Err(format!("{count} iterations: {MIN_ITERATIONS} to {MAX_ITERATIONS} are allowed")),
        }
    }

    /// The iteration count.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// True if this is the password.
    pub fn matches(&self, password: &str) -> bool {
        let computed = ScramVerifier::of(password, &self.salt, self.iterations);
        is_same(&computed.stored_key, &self.stored_key)
    }

    /// A verifier for an unknown user, which no proof satisfies: the salt is the same for every attempt, and as long as that of
    /// this user, so that the answers do not tell which users exist.
    pub fn decoy(&self, user: &str) -> ScramVerifier {
        let hash = ScramHash::sha256();
        let mut salt = hash.hmac(&self.server_key, format!("salt of {user}").as_bytes());
        salt.extend(hash.hmac(&self.server_key, &salt));
        salt.truncate(self.salt.len());
        ScramVerifier { iterations: self.iterations, salt, stored_key: Vec::new(), server_key: Vec::new() }
    }
}

/// A client's proof that it knows a password, with the messages that it signs.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramProof {
    message: String,
    proof: Vec<u8>,
}

impl fmt::Debug for ScramProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramProof(***)")
    }
}

impl ScramProof {
    /// True if the client knows the password of this verifier (RFC 5802, section 3).
    pub fn fits(&self, verifier: &ScramVerifier) -> bool {
        let hash = ScramHash::sha256();
        let signature = hash.hmac(&verifier.stored_key, self.message.as_bytes());
        let client_key = xor(&self.proof, &signature);
        is_same(&hash.digest(&client_key), &verifier.stored_key)
    }

    /// The server's last message: the proof that it knows the verifier.
    pub(super) fn server_final(&self, verifier: &ScramVerifier) -> String {
        let signature = ScramHash::sha256().hmac(&verifier.server_key, self.message.as_bytes());
        format!("v={}", BASE64.encode(signature))
    }
}

/// The start of an exchange, once the client has named its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScramFirst {
    pub(super) user: String,
    /// The client's first message without its GS2 header.
    bare: String,
    nonce: String,
    /// What the client must repeat: GS2 header and channel binding, in base64.
    binding: String,
}

impl ScramFirst {
    /// Reads the client's first message. `binding` holds the data of the TLS connection for a mechanism with channel binding.
    /// `offers_binding`: such a mechanism was offered, so a client that binds but believes it was not is under attack.
    pub(super) fn read(message: &str, binding: Option<&[u8]>, offers_binding: bool) -> Option<ScramFirst> {
        let mut parts = message.splitn(3, ',');
        let (flag, acting, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let bound = flag.strip_prefix("p=");
        match (bound, binding) {
            (Some(BINDING_TYPE), Some(_)) => {}
            (None, None) if flag == "n" || (flag == "y" && !offers_binding) => {}
            _ => return None,
        }
        let mut fields = bare.split(',');
        let (user, nonce) = (fields.next()?.strip_prefix("n=")?, fields.next()?.strip_prefix("r=")?);
        let user = decode_name(user)?;
        // Authorization as another user is not offered.
        let acting = match acting {
            "" => None,
            named => Some(decode_name(named.strip_prefix("a=")?)?),
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if acting.is_some_and(|acting| acting != user)
            || nonce.is_empty()
            || nonce.len() > MAX_NONCE
            || !nonce.bytes().all(is_plain)
        {
            return None;
        }
        let header = message.get(..message.len() - bare.len()).unwrap_or_default();
        let binding = BASE64.encode([header.as_bytes(), binding.unwrap_or_default()].concat());
        Some(ScramFirst { user, bare: bare.to_owned(), nonce: nonce.to_owned(), binding })
    }

    /// The server's first message; `nonce` is fresh random text of printable ASCII without commas.
    pub(super) fn answer(self, nonce: &str, verifier: ScramVerifier) -> ScramChallenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let text = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        ScramChallenge { first: self, nonce, text, verifier }
    }
}

/// An exchange in which the client's proof is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScramChallenge {
    first: ScramFirst,
    nonce: String,
    /// The server's first message.
    pub(super) text: String,
    pub(super) verifier: ScramVerifier,
}

impl ScramChallenge {
    pub(super) fn user(&self) -> &str {
        &self.first.user
    }

    /// Reads the client's last message.
    pub(super) fn proof(&self, message: &str) -> Option<ScramProof> {
        let (signed, proof) = message.rsplit_once(",p=")?;
        let mut fields = signed.split(',');
        let (binding, nonce) = (fields.next()?.strip_prefix("c=")?, fields.next()?.strip_prefix("r=")?);
        let proof = BASE64.decode(proof).ok().filter(|proof| proof.len() == SHA256_BYTES)?;
        if binding != self.first.binding || nonce != self.nonce {
            return None;
        }
        Some(ScramProof { message: format!("{},{},{signed}", self.first.bare, self.text), proof })
    }
}

/// A user name as SCRAM writes it: `=2C` is a comma, `=3D` an equals sign.
fn decode_name(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut pieces = text.split('=');
    name.push_str(pieces.next()?);
    for piece in pieces {
        let (escaped, rest) = piece.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    let is_clean = !name.is_empty() && name.len() <= MAX_CREDENTIAL && !name.contains(['\0', '\r', '\n']);
    is_clean.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier() -> ScramVerifier {
        ScramVerifier::of("pencil", &BASE64.decode(SALT).unwrap(), 4096)
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let first = ScramFirst::read(FIRST, None, false).unwrap();
        assert_eq!(first.user, "user");
        let challenge = first.answer(SERVER_NONCE, verifier());
        assert_eq!(challenge.text, format!("r=rOprNGfwEbeRWgbNEkqO{SERVER_NONCE},s={SALT},i=4096"));
        let proof = challenge.proof(LAST).unwrap();
        assert!(proof.fits(&verifier()));
        assert_eq!(proof.server_final(&verifier()), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(!proof.fits(&ScramVerifier::of("pencil2", &verifier().salt, 4096)));
        assert!(!proof.fits(&verifier().decoy("user")));
        let swapped = LAST.replace("p=d", "p=e");
        assert!(!challenge.proof(&swapped).unwrap().fits(&verifier()));
        for bad in [
            LAST.replace("c=biws", "c=eSws"),
            LAST.replace("k0,p=", "k1,p="),
            LAST.replace(",p=", ",q="),
            LAST.replace("VQ=", "V"),
            format!("{LAST},p="),
            "c=biws".to_owned(),
            String::new(),
        ] {
            assert!(challenge.proof(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_first_message_is_exact() {
        let read = |text: &str| ScramFirst::read(text, None, false).map(|first| first.user);
        assert_eq!(read("n,a=us=2Cer,n=us=2Cer,r=x,ext=1").as_deref(), Some("us,er"));
        assert_eq!(read("y,,n=a=3Db,r=x").as_deref(), Some("a=b"));
        let long = format!("n,,n={},r=x", "u".repeat(MAX_CREDENTIAL + 1));
        let nonce = format!("n,,n=u,r={}", "r".repeat(MAX_NONCE + 1));
        for bad in [
            "",
            "n",
            "n,,",
            "x,,n=u,r=x",
            "p=tls-exporter,,n=u,r=x",
            "n,a=other,n=u,r=x",
            "n,b=u,n=u,r=x",
            "n,,m=ext,n=u,r=x",
            "n,,n=u",
            "n,,n=u,r=",
            "n,,n=u,r=a b",
            "n,,n=,r=x",
            "n,,n=a=2,r=x",
            "n,,n=a=2c,r=x",
            "n,,n=a=\u{fc}\u{fc},r=x",
            &long,
            &nonce,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_binding_is_demanded_and_checked() {
        let read = |flag: &str, binding, offers| ScramFirst::read(&format!("{flag},,n=u,r=x"), binding, offers);
        assert!(read("y", None, true).is_none(), "somebody hid the mechanism from the client");
        assert!(read("n", None, true).is_some() && read("n", Some(b"data"), true).is_none());
        assert!(read("p=tls-unique", Some(b"data"), true).is_none());
        let bound = |data: &'static [u8]| read("p=tls-exporter", Some(data), true).unwrap().answer("y", verifier());
        let last = |data: &[u8]| {
            let binding = BASE64.encode([b"p=tls-exporter,,", data].concat());
            format!("c={binding},r=xy,p={}", BASE64.encode([0; 32]))
        };
        assert!(bound(b"data").proof(&last(b"data")).is_some());
        assert!(bound(b"data").proof(&last(b"other connection")).is_none());
    }

    #[test]
    fn verifiers_are_text() {
        let text = verifier().to_string();
        assert_eq!(ScramVerifier::parse(&text), Ok(verifier()));
        assert!(verifier().matches("pencil") && !verifier().matches("Pencil"));
        assert!(!format!("{:?}", verifier()).contains('='));
        let salt = |length: usize| text.replace(SALT, &BASE64.encode(vec![1; length]));
        assert!(ScramVerifier::parse(&salt(MAX_SALT)).is_ok());
        for (bad, why) in [
            (text.replace("4096", "4095"), "4095 iterations"),
            (text.replace("4096", "1000001"), "1000001 iterations"),
            (text.replace("4096", "+4096"), "a SCRAM verifier is"),
            (text.replace("SHA-256", "SHA-1"), "a SCRAM verifier is"),
            (text.replace(SALT, ""), "a SCRAM verifier is"),
            (salt(MAX_SALT + 1), "a SCRAM verifier is"),
            (text.get(..text.len() - 4).unwrap().to_owned(), "a SCRAM verifier is"),
            (text.replace('$', ":"), "a SCRAM verifier is"),
        ] {
            let error = ScramVerifier::parse(&bad).unwrap_err();
            assert!(error.starts_with(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_decoy_is_stable_and_fits_nothing() {
        let decoy = verifier().decoy("nobody");
        assert_eq!((decoy.salt.len(), decoy.iterations), (16, 4096));
        assert_eq!(decoy, verifier().decoy("nobody"));
        assert_ne!(decoy.salt, verifier().decoy("nobody2").salt);
        assert!(!decoy.matches(""));
        let long = ScramVerifier::of("x", &[1; MAX_SALT], 4096);
        assert_eq!(long.decoy("nobody").salt.len(), MAX_SALT);
    }
}
