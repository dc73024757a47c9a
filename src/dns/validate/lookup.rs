//! Validated look-ups over the network: what `dnsq --validate` and other rooms call.

use std::sync::Arc;

use super::{Security, validate};
use crate::dns::anchor::Anchors;
use crate::dns::client::{Answer, Client};
use crate::dns::edns::Edns;
use crate::dns::message::{Flags, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::query::Query;
use crate::dns::record::{Record, Rtype};
use crate::dns::transfer::unix_time;
use crate::fault::{Fault, Kind};

/// Looks records up and says whether they are what their owner signed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Validator {
    /// Who is asked: a resolver, or servers that know the whole chain.
    pub client: Arc<Client>,
    /// Where trust begins.
    pub anchors: Arc<Anchors>,
    /// The time to validate for, in seconds since 1970; none: now.
    pub at: Option<u64>,
}

/// Records, and whether they may be relied upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// The records at the end of the name's aliases; empty if there are none of this type.
    pub records: Vec<Record>,
    /// The name exists.
    pub exists: bool,
    /// They are secure: signed, with a chain of trust from an anchor (RFC 4035, section 4.3). False: unsigned, or not
    /// known to be signed. Data that is wrong never comes this far.
    pub secure: bool,
}

impl Validator {
    /// A validator with the root's anchors, as of now.
    pub fn new(client: Client) -> Validator {
        Validator { client: Arc::new(client), anchors: Arc::new(Anchors::root()), at: None }
    }

    /// These records, and are they secure? The call for TLSA and MX (RFC 7672, section 2). Bogus data is an error of kind
    /// [`Kind::Bogus`], a chain that could not be fetched one of kind [`Kind::LookupFailed`].
    pub async fn records(&self, name: &Name, rtype: Rtype) -> Result<Validated, Fault> {
        let (validator, question) = (self.clone(), Question::new(name.clone(), rtype));
        let work = tokio::task::spawn_blocking(move || validator.blocking(&question));
        work.await.map_err(|error| Fault::new(Kind::Internal, format!("look-up: {error}")))?
    }

    /// The same for callers that may block.
    pub fn blocking(&self, question: &Question) -> Result<Validated, Fault> {
        let context = |fault: Fault| fault.context(format!("looking up {} of {}", question.rtype, question.name));
        let mut ask = |question: &Question| Ok(fetch(&self.client, question, &Edns::default(), true)?.message);
        let at = self.at.unwrap_or_else(now);
        let verdict = validate(question, &self.anchors, at, &mut ask).map_err(context)?;
        let rcode = verdict.message.rcode();
        if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            let fault = Fault::new(Kind::LookupFailed, rcode.to_string()).with_code(rcode.0);
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

/// Asks one of the questions of a validation: with DNSSEC records, unchecked. `recursion`: as one asks a resolver.
pub fn fetch(client: &Client, question: &Question, edns: &Edns, recursion: bool) -> Result<Answer, Fault> {
    let mut flags = Flags(Flags::CD);
    flags.set(Flags::RD, recursion);
    let edns = Some(Edns { dnssec_ok: true, ..edns.clone() });
    client.ask(&Query { question: question.clone(), flags, edns, authority: None, padding: None })
}

/// The time to validate for unless another is named: seconds since 1970.
pub fn now() -> u64 {
    unix_time()
}
