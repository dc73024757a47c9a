//! Validated look-ups over the network, for `dnsq --validate` and other modules.

use std::sync::Arc;

use super::{Security, validate};
use crate::dns::anchor::Anchors;
use crate::dns::client::{DnsClient, ExchangeAnswer};
use crate::dns::edns::Edns;
use crate::dns::message::{Flags, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::query::Query;
use crate::dns::record::{Record, Rtype};
use crate::fault::{Fault, Kind, PeerCode};
use crate::net::clock::since_1970;

/// Looks records up and tells whether they are signed by their owner. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Validator {
    /// The client: it asks a resolver, or servers that know the whole chain.
    pub client: Arc<DnsClient>,
    /// The trust anchors.
    pub anchors: Arc<Anchors>,
    /// The validation time in seconds since 1970; `None`: now.
    pub at: Option<u64>,
}

/// Records, and whether they can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// The records at the end of the name's aliases; empty if there are none of this type.
    pub records: Vec<Record>,
    /// The name exists.
    pub exists: bool,
    /// The records are secure: signed, with a chain of trust from an anchor (RFC 4035, section 4.3). False: they are
    /// unsigned, or not known to be signed. Bogus data is never returned.
    pub secure: bool,
}

impl Validator {
    /// A validator with the root's anchors, for the present time.
    pub fn new(client: DnsClient) -> Validator {
        Validator { client: Arc::new(client), anchors: Arc::new(Anchors::root()), at: None }
    }

    /// Looks records up and tells whether they are secure, for TLSA and MX (RFC 7672, section 2). Bogus data is an
    /// error of kind [`Kind::Bogus`]; a chain that could not be fetched is one of kind [`Kind::LookupFailed`].
    ///
    /// # Errors
    /// [`Kind::Bogus`] and [`Kind::LookupFailed`].
    pub async fn records(&self, name: &Name, rtype: Rtype) -> Result<Validated, Fault> {
        let (validator, question) = (self.clone(), Question::new(name.clone(), rtype));
        let work = tokio::task::spawn_blocking(move || validator.blocking(&question));
        work.await.map_err(|error| Fault::new(Kind::Internal, format!("look-up: {error}")))?
    }

    /// The same as [`Validator::records`], for callers that may block.
    ///
    /// # Errors
    /// Those of [`Validator::records`].
    pub fn blocking(&self, question: &Question) -> Result<Validated, Fault> {
        let context = |fault: Fault| fault.context(format!("looking up {} of {}", question.rtype, question.name));
        let mut ask = |question: &Question| Ok(fetch(&self.client, question, &Edns::default(), true)?.message);
        let at = self.at.unwrap_or_else(now);
        let verdict = validate(question, &self.anchors, at, &mut ask).map_err(context)?;
        let rcode = verdict.message.rcode();
        if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            let fault = Fault::new(Kind::LookupFailed, rcode.to_string()).with_code(PeerCode::Rcode(rcode.0));
            return Err(context(fault));
        }
        let why = || verdict.reason.as_ref().map_or_else(String::new, |reason| reason.text.clone());
        match verdict.security {
            Security::Bogus => Err(context(Fault::new(Kind::Bogus, why()))),
            Security::Indeterminate if verdict.fault.is_some() => Err(context(Fault::new(Kind::LookupFailed, why()))),
            security => Ok(Validated {
                records: verdict.records(),
                exists: rcode != Rcode::NXDOMAIN,
                secure: security == Security::Secure,
            }),
        }
    }
}

/// Sends one question of a validation: with DNSSEC records, unchecked. `recursion`: sets RD, as in questions to a resolver.
///
/// # Errors
/// No server answered.
pub fn fetch(client: &DnsClient, question: &Question, edns: &Edns, recursion: bool) -> Result<ExchangeAnswer, Fault> {
    let mut flags = Flags(Flags::CD);
    flags.set(Flags::RD, recursion);
    let edns = Some(Edns { dnssec_ok: true, ..edns.clone() });
    client.ask(&Query { question: question.clone(), flags, edns, authority: None, padding: None, exact_case: false })
}

/// The default validation time, in seconds since 1970.
pub fn now() -> u64 {
    since_1970().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::answer::answer;
    use crate::dns::validate::tests::{AT, anchors, hierarchy};

    /// Starts a server of the signed hierarchy in a thread; it fails for names that begin with `broken`.
    fn server() -> std::net::SocketAddr {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let zones = hierarchy();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = &buffer[..length];
                let Some(mut response) = answer(&zones, query, true).response() else { continue };
                if query[12..].starts_with(b"\x06broken") {
                    response.wire[3] = response.wire[3] & 0xf0 | 2;
                }
                socket.send_to(&response.wire, from).unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn are_these_records_secure() {
        let client = DnsClient::new(vec![server()]);
        let validator = Validator { anchors: Arc::new(anchors()), at: Some(AT), ..Validator::new(client) };
        let look = async |name: &str, rtype: Rtype| validator.records(&Name::parse(name).unwrap(), rtype).await;
        for (name, rtype, count, exists, secure) in [
            ("_25._tcp.mail.example.test", Rtype::TLSA, 1, true, true),
            ("example.test", Rtype::MX, 1, true, true),
            ("alias.example.test", Rtype::A, 1, true, true),
            ("_25._tcp.www.example.test", Rtype::TLSA, 0, false, true),
            ("www.example.test", Rtype::TLSA, 0, true, true),
            ("www.insecure.test", Rtype::A, 1, true, false),
            ("_25._tcp.www.insecure.test", Rtype::TLSA, 0, false, false),
        ] {
            let found = look(name, rtype).await.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
            assert_eq!((found.records.len(), found.exists, found.secure), (count, exists, secure), "{name} {rtype}");
        }
        for (name, kind) in [
            ("www.bogus.test", Kind::Bogus),
            ("www.expired.test", Kind::Bogus),
            ("broken.example.test", Kind::LookupFailed),
        ] {
            let fault = look(name, Rtype::A).await.unwrap_err();
            assert_eq!(fault.kind, kind, "{name}: {fault:?}");
            assert!(fault.detail.starts_with(&format!("looking up A of {name}.: ")), "{fault:?}");
        }
    }
}
