//! Transaction signatures (RFC 8945): keys, signing of queries, verification of answers and streams of answers. The time is
//! an argument.

use ring::hmac;

use super::message::{DnsMessageReader, Rcode};
use super::name::Name;
use super::record::atoms::from_base64;
use super::record::{Class, Rtype};
use super::wire::{Cursor, Malformed};
use crate::fault::{Fault, Kind, PeerCode};

/// The permitted clock difference between client and server, in seconds (section 10).
pub const FUDGE: u16 = 300;
/// The maximum number of consecutive messages without a signature in a stream (section 5.3.1).
pub const MAX_UNSIGNED: u32 = 99;
/// The error codes for a wrong signature, an unknown key, and a time too far from the server's (section 3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;

/// A shared key.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    algorithm: TsigAlgorithm,
    key: hmac::Key,
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} {} ***)", self.name, self.algorithm.0)
    }
}

/// Name and function of each algorithm (section 6).
#[derive(Debug, Clone, Copy)]
struct TsigAlgorithm(&'static str, hmac::Algorithm);

const ALGORITHMS: [TsigAlgorithm; 4] = [
    TsigAlgorithm("hmac-sha256", hmac::HMAC_SHA256),
    TsigAlgorithm("hmac-sha384", hmac::HMAC_SHA384),
    TsigAlgorithm("hmac-sha512", hmac::HMAC_SHA512),
    TsigAlgorithm("hmac-sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
];

impl TsigKey {
    /// Parses a key in the notation of dig's `-y`: `[ALGORITHM:]NAME:BASE64`, with hmac-sha256 as the default algorithm.
    ///
    /// # Errors
    /// The text is not a valid key.
    pub fn parse(text: &str) -> Result<TsigKey, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [name, secret] => TsigKey::new("hmac-sha256", name, secret),
            [algorithm, name, secret] => TsigKey::new(algorithm, name, secret),
            _ => Err("[ALGORITHM:]NAME:BASE64 expected".to_owned()),
        }
    }

    /// Reads the first key of a file in BIND's format: `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`.
    ///
    /// # Errors
    /// The key is malformed, or the file has none.
    pub fn from_file(text: &str) -> Result<TsigKey, String> {
        let words = config_words(text).ok_or("a comment or a string without an end")?;
        let key = words.iter().position(|word| *word == "key").and_then(|at| words.get(at + 1..));
        let Some([name, "{", settings @ ..]) = key else { return Err("no key in it".to_owned()) };
        let (mut algorithm, mut secret) = (None, None);
        for setting in settings.split(|word| *word == "}").next().unwrap_or_default().split(|word| *word == ";") {
            match setting {
                [] => {}
                ["algorithm", value] => algorithm = Some(*value),
                ["secret", value] => secret = Some(*value),
                // The message omits the word: it may be the secret.
                _ => return Err("something else than algorithm or secret, each with one value".to_owned()),
            }
        }
        match (algorithm, secret) {
            (Some(algorithm), Some(secret)) => TsigKey::new(algorithm, name, secret),
            _ => Err("no key with algorithm and secret in it".to_owned()),
        }
    }

    fn new(algorithm: &str, name: &str, secret: &str) -> Result<TsigKey, String> {
        let wanted = algorithm.trim_end_matches('.').to_ascii_lowercase();
        let algorithm = ALGORITHMS.into_iter().find(|known| known.0 == wanted);
        let algorithm = algorithm.ok_or_else(|| format!("unknown algorithm {wanted:?}"))?;
        let name = Name::parse(name).map_err(|error| format!("key name: {error}"))?;
        let secret = from_base64(secret.as_bytes()).map_err(|_| "the secret is not base64".to_owned())?;
        if secret.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        Ok(TsigKey { name, algorithm, key: hmac::Key::new(algorithm.1, &secret) })
    }

    fn algorithm_name(&self) -> Name {
        Name::parse(self.algorithm.0).unwrap_or_else(|_| Name::root())
    }

    /// The variables that are signed with the message (section 4.3.3). If `error` is `None`, only the timers.
    fn variables(&self, time: u64, fudge: u16, error: Option<(u16, &[u8])>) -> Vec<u8> {
        let mut out = Vec::new();
        if error.is_some() {
            out.extend_from_slice(self.name.to_lower().as_wire());
            out.extend([0, 255, 0, 0, 0, 0]);
            out.extend_from_slice(self.algorithm_name().as_wire());
        }
        out.extend(time.to_be_bytes().iter().skip(2));
        out.extend(fudge.to_be_bytes());
        if let Some((code, other)) = error {
            out.extend(code.to_be_bytes());
            out.extend(u16::try_from(other.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(other);
        }
        out
    }

    /// Appends the TSIG record with this MAC.
    fn append(&self, wire: &mut Vec<u8>, now: u64, mac: &[u8], (error, other): (u16, &[u8])) {
        let mut rdata = self.algorithm_name().as_wire().to_vec();
        rdata.extend(now.to_be_bytes().iter().skip(2));
        rdata.extend(FUDGE.to_be_bytes());
        rdata.extend(u16::try_from(mac.len()).unwrap_or_default().to_be_bytes());
        rdata.extend_from_slice(mac);
        rdata.extend_from_slice(wire.get(..2).unwrap_or(&[0, 0]));
        rdata.extend(error.to_be_bytes());
        rdata.extend(u16::try_from(other.len()).unwrap_or_default().to_be_bytes());
        rdata.extend_from_slice(other);
        append(wire, &self.name, &rdata);
    }

    /// Signs a query. Returns the signed message, and the session with its MAC, which the answer's signature covers.
    pub fn sign(&self, query: &[u8], now: u64) -> (Vec<u8>, TsigSession) {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(query);
        context.update(&self.variables(now, FUDGE, Some((0, &[]))));
        let mac = context.sign().as_ref().to_vec();
        let mut wire = query.to_vec();
        self.append(&mut wire, now, &mac, (0, &[]));
        let session = TsigSession { key: self.clone(), mac, pending: Vec::new(), unsigned: 0, first: true };
        (wire, session)
    }
}

/// The keys of a server.
#[derive(Debug, Clone, Default)]
pub struct TsigKeys(pub Vec<TsigKey>);

impl TsigKeys {
    /// Verifies the signature of a query. Returns the query without it and the signer of its answers, which holds the error to
    /// report if verification failed (RFC 8945, section 5.2). `None` if the query is unsigned or its key is unknown.
    ///
    /// # Errors
    /// The message or its TSIG record is malformed.
    pub fn open(&self, query: &[u8], now: u64) -> Result<Option<OpenedQuery>, Malformed> {
        let Some(found) = find(query)? else { return Ok(None) };
        let known = |key: &&TsigKey| key.name == found.name && key.algorithm_name() == found.algorithm;
        let Some(key) = self.0.iter().find(known) else { return Ok(None) };
        let bare = found.unsigned(query);
        let signed =
            [&bare[..], &key.variables(found.time, found.fudge, Some((found.error, found.other.as_slice())))].concat();
        let mut signer = TsigSigner { key: key.clone(), mac: found.mac.clone(), first: true, error: None };
        if hmac::verify(&key.key, &signed, &found.mac).is_err() {
            signer.error = Some((BADSIG, found.time));
        } else if now.abs_diff(found.time) > u64::from(found.fudge) {
            signer.error = Some((BADTIME, found.time));
        }
        Ok(Some(OpenedQuery { query: bare, signer }))
    }
}

/// A signed query with a known key.
#[derive(Debug)]
pub struct OpenedQuery {
    /// The query without its signature.
    pub query: Vec<u8>,
    /// The signer of its answers.
    pub signer: TsigSigner,
}

/// The signer of the answers to one query.
#[derive(Debug)]
pub struct TsigSigner {
    key: TsigKey,
    /// The MAC of the query, then of the previous answer.
    mac: Vec<u8>,
    first: bool,
    /// The error code for the query's signature, and the time in that signature.
    error: Option<(u16, u64)>,
}

impl TsigSigner {
    /// True if the query's signature is valid and recent, which proves that the client has the key.
    pub fn is_proven(&self) -> bool {
        self.error.is_none()
    }

    /// The maximum size of a signature in bytes.
    pub fn size(&self) -> usize {
        // Fields of fixed length (section 4.2), the longest MAC, and the server's time with BADTIME.
        self.key.name.as_wire().len() + self.key.algorithm_name().as_wire().len() + 26 + 64 + 6
    }

    /// Signs one answer; after the first, the next message of the stream (section 5.3.1).
    pub fn sign(&mut self, wire: &mut Vec<u8>, now: u64) {
        let ours = now.to_be_bytes();
        let (time, error, other) = match self.error {
            Some((BADTIME, theirs)) => (theirs, BADTIME, ours.get(2..).unwrap_or_default()),
            Some((error, theirs)) => return self.key.append(wire, theirs, &[], (error, &[])),
            None => (now, 0, &[][..]),
        };
        let mut context = hmac::Context::with_key(&self.key.key);
        context.update(&u16::try_from(self.mac.len()).unwrap_or_default().to_be_bytes());
        context.update(&self.mac);
        context.update(wire);
        context.update(&self.key.variables(time, FUDGE, self.first.then_some((error, other))));
        self.mac = context.sign().as_ref().to_vec();
        self.first = false;
        self.key.append(wire, time, &self.mac, (error, other));
    }
}

/// Appends the TSIG record for an unknown key: unsigned, with the key name and algorithm of the query (RFC 8945,
/// section 5.2.1).
///
/// # Errors
/// The data of the query's TSIG record is malformed.
pub fn append_bad_key(response: &mut Vec<u8>, key: &Name, rdata: &[u8]) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(rdata);
    let mut answer = cursor.name()?.as_wire().to_vec();
    let (time_and_fudge, length) = (cursor.take(8)?, cursor.u16()?);
    cursor.take(length.into())?;
    answer.extend_from_slice(time_and_fudge);
    answer.extend([0, 0]);
    answer.extend_from_slice(cursor.take(2)?);
    answer.extend(BADKEY.to_be_bytes());
    answer.extend([0, 0]);
    append(response, key, &answer);
    Ok(())
}

/// The words of a file in BIND's format, without its three kinds of comments. `None` for an unterminated comment or string.
fn config_words(text: &str) -> Option<Vec<&str>> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (word, after) = if first == '#' || rest.starts_with("//") {
            (None, rest.split_once('\n').map_or("", |(_, after)| after))
        } else if let Some(comment) = rest.strip_prefix("/*") {
            (None, comment.split_once("*/")?.1)
        } else if let Some(string) = rest.strip_prefix('"') {
            let (word, after) = string.split_once('"')?;
            (Some(word), after)
        } else {
            let end = rest.find(|letter: char| letter.is_whitespace() || "{};\"".contains(letter));
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()).max(first.len_utf8()));
            (Some(word), after)
        };
        words.extend(word);
        rest = after.trim_start();
    }
    Some(words)
}

/// Appends a TSIG record (section 4.2) and increments the additional count.
fn append(wire: &mut Vec<u8>, name: &Name, rdata: &[u8]) {
    wire.extend_from_slice(name.as_wire());
    wire.extend([0, 250, 0, 255, 0, 0, 0, 0]);
    wire.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
    wire.extend_from_slice(rdata);
    if let Some(count) = wire.get_mut(10..12) {
        let now = u16::from_be_bytes(count.try_into().unwrap_or_default());
        count.copy_from_slice(&now.saturating_add(1).to_be_bytes());
    }
}

/// The verifier of the answers to one query.
#[derive(Debug, Clone)]
pub struct TsigSession {
    key: TsigKey,
    /// The MAC of the query or of the last signed answer.
    mac: Vec<u8>,
    /// The bytes of the unsigned messages since then.
    pending: Vec<u8>,
    unsigned: u32,
    first: bool,
}

impl TsigSession {
    /// Verifies one answer. In a stream some messages may be unsigned; [`TsigSession::finish`] checks that the last is signed.
    ///
    /// # Errors
    /// [`Kind::AuthFailed`]: the signature is missing, wrong or too old, or the server reports a TSIG error.
    pub fn verify(&mut self, answer: &[u8], now: u64) -> Result<(), Fault> {
        let bad = |why: &str| Fault::new(Kind::AuthFailed, format!("TSIG: {why}"));
        let Some(found) = find(answer).map_err(Fault::from)? else {
            self.unsigned += 1;
            if self.first || self.unsigned > MAX_UNSIGNED {
                return Err(bad("the answer is not signed"));
            }
            self.pending.extend_from_slice(answer);
            return Ok(());
        };
        if found.name != self.key.name || found.algorithm != self.key.algorithm_name() {
            return Err(bad("signed with another key"));
        }
        if found.error != 0 {
            // Here 16 has another meaning than as a response code (RFC 8945, section 3).
            let says = if found.error == 16 { "BADSIG".to_owned() } else { Rcode(found.error).to_string() };
            return Err(bad(&format!("the server says {says}")).with_code(PeerCode::Rcode(found.error)));
        }
        let message = found.unsigned(answer);
        let mut signed = u16::try_from(self.mac.len()).unwrap_or_default().to_be_bytes().to_vec();
        signed.extend_from_slice(&self.mac);
        signed.append(&mut self.pending);
        signed.extend(message);
        let whole = self.first.then_some((found.error, found.other.as_slice()));
        signed.extend(self.key.variables(found.time, found.fudge, whole));
        // Truncated MACs are rejected (section 5.2.2.1 leaves that to policy): ring compares in constant time.
        hmac::verify(&self.key.key, &signed, &found.mac).map_err(|_| bad("the signature is wrong"))?;
        if now.abs_diff(found.time) > u64::from(found.fudge) {
            return Err(bad("signed too long ago, or a clock is wrong"));
        }
        (self.mac, self.unsigned, self.first) = (found.mac, 0, false);
        Ok(())
    }

    /// Checks at the end of a stream that its last message was signed (section 5.3.1).
    ///
    /// # Errors
    /// [`Kind::AuthFailed`]: the last message was not signed.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.first || self.unsigned > 0 {
            return Err(Fault::new(Kind::AuthFailed, "TSIG: the end of the transfer is not signed"));
        }
        Ok(())
    }
}

struct TsigRecord {
    begin: usize,
    name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: Vec<u8>,
    error: u16,
    other: Vec<u8>,
}

impl TsigRecord {
    /// The message before it was signed.
    fn unsigned(&self, message: &[u8]) -> Vec<u8> {
        let mut bare = message.get(..self.begin).unwrap_or_default().to_vec();
        if let Some(count) = bare.get_mut(10..12) {
            let less = u16::from_be_bytes(count.try_into().unwrap_or_default()).saturating_sub(1);
            count.copy_from_slice(&less.to_be_bytes());
        }
        if let (Some(id), [high, low]) = (bare.get_mut(..2), self.original_id.as_slice()) {
            id.copy_from_slice(&[*high, *low]);
        }
        bare
    }
}

/// The TSIG record, which must be the last record of the message; `None` if there is none.
fn find(message: &[u8]) -> Result<Option<TsigRecord>, Malformed> {
    let mut reader = DnsMessageReader::new(message)?;
    for _ in 0..reader.counts.question {
        reader.question()?;
    }
    let records =
        u32::from(reader.counts.answer) + u32::from(reader.counts.authority) + u32::from(reader.counts.additional);
    for number in 1..=records {
        let record = reader.record()?;
        if record.rtype != Rtype::TSIG {
            continue;
        }
        if number != records {
            return Err(Malformed("TSIG record that is not the last"));
        }
        if record.class != Class::ANY || record.ttl != 0 {
            return Err(Malformed("TSIG record of a wrong class or time to live"));
        }
        let mut cursor = Cursor::new(message.get(record.begin..record.end).unwrap_or_default());
        let algorithm = cursor.name()?;
        let (time, fudge) = (cursor.u48()?, cursor.u16()?);
        let length = cursor.u16()?;
        let mac = cursor.take(length.into())?.to_vec();
        let original_id = cursor.take(2)?.to_vec();
        let error = cursor.u16()?;
        let length = cursor.u16()?;
        let other = cursor.take(length.into())?.to_vec();
        cursor.finish()?;
        let begin = record.owner_begin;
        return Ok(Some(TsigRecord {
            begin,
            name: record.name,
            algorithm,
            time,
            fudge,
            mac,
            original_id,
            error,
            other,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::query::Query;

    const NOW: u64 = 1_800_000_000;

    /// The answer of a server that has the key: the signature covers the query's MAC, and in streams the previous MAC.
    fn answer(key: &TsigKey, query_mac: &[u8], first: bool, before: &[u8], body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut signed = (query_mac.len() as u16).to_be_bytes().to_vec();
        signed.extend_from_slice(query_mac);
        signed.extend_from_slice(before);
        signed.extend_from_slice(body);
        signed.extend(key.variables(NOW, FUDGE, first.then_some((0, &[]))));
        let mac = hmac::sign(&key.key, &signed).as_ref().to_vec();
        let mut wire = body.to_vec();
        key.append(&mut wire, NOW, &mac, (0, &[]));
        (wire, mac)
    }

    fn body() -> Vec<u8> {
        let mut wire = Query::new(Name::parse("a.test").unwrap(), Rtype::A).compose(5);
        wire[2] |= 0x80;
        wire
    }

    #[test]
    fn keys_in_both_forms() {
        let file = "key \"k.test\" {\n  algorithm hmac-sha512; // x\n  secret \"c2VjcmV0\";\n};\n";
        assert_eq!(format!("{:?}", TsigKey::from_file(file).unwrap()), "Key(k.test. hmac-sha512 ***)");
        assert_eq!(format!("{:?}", TsigKey::parse("k:c2VjcmV0").unwrap()), "Key(k. hmac-sha256 ***)");
        for bad in ["k", "md5:k:c2VjcmV0", "k:!", "k:", "hmac-sha256:k..a:c2VjcmV0", "a:b:c:d"] {
            assert!(TsigKey::parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "key k { };",
            "key k { algorithm hmac-sha256; } key l { secret c2VjcmV0; };",
            "key k { algorithm hmac-sha256; secret c2VjcmV0; expires never; };",
            "key k { algorithm hmac-sha256; secret c2Vj cmV0; };",
            "key k { algorithm hmac-sha256; secret \"c2VjcmV0; };",
            "/* key k { algorithm hmac-sha256; secret c2VjcmV0; };",
        ] {
            assert!(TsigKey::from_file(bad).is_err(), "{bad}");
        }
        let commented = "/* key old { algorithm hmac-sha1; secret b2xk; }; */ # key older\nkey k.test { secret \"AA//AA==\"; \
                         algorithm hmac-sha384; };";
        assert_eq!(format!("{:?}", TsigKey::from_file(commented).unwrap()), "Key(k.test. hmac-sha384 ***)");
    }

    #[test]
    fn answers_are_verified() {
        for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
            let key = TsigKey::parse(&format!("{algorithm}:k.test:c2VjcmV0")).unwrap();
            let (query, session) = key.sign(&body(), NOW);
            let own = find(&query).unwrap().unwrap();
            assert_eq!((own.time, own.mac.len()), (NOW, session.mac.len()));
            let (good, _) = answer(&key, &session.mac, true, &[], &body());
            session.clone().verify(&good, NOW + 299).unwrap();
            assert!(session.clone().verify(&good, NOW + 301).is_err(), "too late");
            assert!(session.clone().verify(&body(), NOW).is_err(), "not signed");
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 4;
                assert!(session.clone().verify(&bad, NOW).is_err() || at < 2, "changed byte {at}");
            }
            let other = TsigKey::parse("k.test:b3RoZXI=").unwrap();
            assert!(session.clone().verify(&answer(&other, &session.mac, true, &[], &body()).0, NOW).is_err());
        }
    }

    #[test]
    fn streams_may_leave_some_unsigned_but_not_the_last() {
        let key = TsigKey::parse("k.test:c2VjcmV0").unwrap();
        let (_, mut session) = key.sign(&body(), NOW);
        assert!(session.finish().is_err());
        let (first, mac) = answer(&key, &session.mac, true, &[], &body());
        session.verify(&first, NOW).unwrap();
        session.finish().unwrap();
        session.verify(&body(), NOW).unwrap();
        session.verify(&body(), NOW).unwrap();
        assert!(session.finish().is_err(), "the end is not signed");
        let mut cut = session.clone();
        let before = [body(), body()].concat();
        let (third, _) = answer(&key, &mac, false, &before, &body());
        session.verify(&third, NOW).unwrap();
        session.finish().unwrap();
        let (wrong, _) = answer(&key, &mac, false, &body(), &body());
        assert!(cut.verify(&wrong, NOW).is_err(), "a message is missing");
        let (_, mut long) = key.sign(&body(), NOW);
        long.verify(&answer(&key, &long.mac.clone(), true, &[], &body()).0, NOW).unwrap();
        for _ in 0..MAX_UNSIGNED {
            long.verify(&body(), NOW).unwrap();
        }
        assert!(long.verify(&body(), NOW).is_err());
    }

    /// A server's signatures as a client verifies them: of one answer, of a stream, and of errors about wrong signatures.
    #[test]
    fn a_server_signs() {
        let key = TsigKey::parse("k.test:c2VjcmV0").unwrap();
        let keys = TsigKeys(vec![TsigKey::parse("other:c2VjcmV0").unwrap(), key.clone()]);
        let query = Query::new(Name::parse("a.test").unwrap(), Rtype::AXFR).compose(5);
        let (signed, mut session) = key.sign(&query, NOW);
        let mut opened = keys.open(&signed, NOW).unwrap().unwrap();
        assert!(opened.query == query && opened.signer.is_proven());
        for _ in 0..3 {
            let mut wire = body();
            opened.signer.sign(&mut wire, NOW + 1);
            assert!(wire.len() <= body().len() + opened.signer.size());
            session.verify(&wire, NOW).unwrap();
        }
        session.finish().unwrap();
        // Another secret, another time, another name; and every byte changed.
        let forged = TsigKey::parse("k.test:YW5vdGhlcg==").unwrap().sign(&query, NOW).0;
        for (query, now, code) in [(&forged, NOW, BADSIG), (&signed, NOW + 301, BADTIME), (&signed, NOW - 301, BADTIME)]
        {
            let mut signer = keys.open(query, now).unwrap().unwrap().signer;
            assert!(!signer.is_proven());
            let mut wire = body();
            signer.sign(&mut wire, now);
            let fault = key.sign(&body(), NOW).1.verify(&wire, NOW).unwrap_err();
            assert_eq!(fault.code, Some(PeerCode::Rcode(code)), "{fault}");
        }
        assert!(keys.open(&query, NOW).unwrap().is_none());
        assert!(keys.open(&TsigKey::parse("none:c2VjcmV0").unwrap().sign(&query, NOW).0, NOW).unwrap().is_none());
        for place in 0..signed.len() {
            let mut changed = signed.clone();
            changed[place] ^= 1;
            // The signature covers the identifier in the TSIG record (section 4.3.2): a forwarder may change the one in the header.
            let proven = matches!(keys.open(&changed, NOW), Ok(Some(opened)) if opened.signer.is_proven());
            assert_eq!(proven, place < 2, "byte {place}");
        }
    }
}
