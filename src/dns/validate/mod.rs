//! DNSSEC validation (RFC 4033 to 4035, 5155, 6840): is an answer what the owner of its zone signed? The walk from a
//! trust anchor to the data is here, pure: answers come from a function, time is an argument, work has limits.
//!
//! ```text
//!  mod        the answer: aliases, wildcards, denial; one verdict
//!  zones      from the anchor down: DS, DNSKEY, insecure delegations
//!  signature  one set, its signatures and keys        denial nsec3   proofs that something is not there
//!  crypto     the algorithms, on ring
//!  chain      the whole chain as a tree: text, JSON   lookup         the call other rooms use (sockets)
//! ```

mod bitmap;
pub mod chain;
mod crypto;
pub mod denial;
pub mod lookup;
pub(crate) mod nsec3;
mod signature;
mod zones;

use std::fmt;
use std::rc::Rc;

use super::anchor::Anchors;
use super::message::{Message, Question, Rcode};
use super::name::Name;
use super::record::{Record, Rtype};
use crate::fault::Fault;
use chain::{Leaf, Tree};
use denial::{DenialProof, Evidence};
use zones::{CheckedSet, ZoneWalk};

pub use nsec3::MAX_ITERATIONS;
pub use signature::{MAX_CHECKS_PER_SET, MAX_KEYS_PER_TAG};

/// Aliases followed from the question to its data.
pub const MAX_ALIASES: usize = 12;
/// Questions asked for one validation.
pub const MAX_QUESTIONS: u32 = 128;
/// Signatures checked for one validation (KeyTrap, CVE-2023-50387).
pub const MAX_CHECKS: u32 = 160;
/// Wrong signatures met in one validation before it ends.
pub const MAX_FAILED_CHECKS: u32 = 16;
/// Rounds of hashing for NSEC3 in one validation (CVE-2023-50868): a few dozen names with 100 iterations each.
pub const MAX_HASH_ROUNDS: u32 = 10_000;

/// Codes of extended errors that validation gives (RFC 8914, section 4).
pub(crate) mod ede {
    pub(crate) const UNSUPPORTED_ALGORITHM: u16 = 1;
    pub(crate) const UNSUPPORTED_DIGEST: u16 = 2;
    pub(crate) const INDETERMINATE: u16 = 5;
    pub(crate) const BOGUS: u16 = 6;
    pub(crate) const EXPIRED: u16 = 7;
    pub(crate) const NOT_YET_VALID: u16 = 8;
    pub(crate) const DNSKEY_MISSING: u16 = 9;
    pub(crate) const RRSIGS_MISSING: u16 = 10;
    pub(crate) const NO_ZONE_KEY: u16 = 11;
    pub(crate) const NSEC_MISSING: u16 = 12;
    pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub(crate) const EXPIRED_BEFORE_VALID: u16 = 25;
    pub(crate) const NSEC3_ITERATIONS: u16 = 27;
}

/// What validation can find (RFC 4033, section 5), from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// Signed, with a chain of trust from an anchor.
    Secure,
    /// Proven to be unsigned.
    Insecure,
    /// Not known: no anchor, or the chain could not be fetched.
    Indeterminate,
    /// Should be signed and is not, or is signed wrongly.
    Bogus,
}

impl Security {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Security::Secure => "secure",
            Security::Insecure => "insecure",
            Security::Indeterminate => "indeterminate",
            Security::Bogus => "bogus",
        }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is not secure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Extended error code, if one fits (RFC 8914).
    pub ede: Option<u16>,
    /// In words.
    pub text: String,
}

impl Reason {
    pub(crate) fn new(ede: u16, text: String) -> Reason {
        Reason { ede: Some(ede), text }
    }

    /// True if somebody who should have answered did not, and may do so later.
    pub fn is_unanswered(&self) -> bool {
        self.ede == Some(ede::NO_REACHABLE_AUTHORITY)
    }

    /// A reason that is no error.
    pub(crate) fn plain(text: String) -> Reason {
        Reason { ede: None, text }
    }
}

/// Gives the answer to a question, with DNSSEC records and unchecked (DO and CD set).
pub type FetchAnswer<'a> = dyn FnMut(&Question) -> Result<Message, Fault> + 'a;

/// What came of a validation.
#[derive(Debug, Clone)]
pub struct ValidationVerdict {
    /// The worst that was found on the way.
    pub security: Security,
    /// Why it is not secure.
    pub reason: Option<Reason>,
    /// The failure that kept the chain from being fetched.
    pub fault: Option<Fault>,
    /// The name that the data belong to, after all aliases.
    pub name: Name,
    /// The answer; where aliases led elsewhere, with what was found there.
    pub message: Message,
    /// The chain of trust.
    pub tree: Tree,
}

impl ValidationVerdict {
    /// The data asked for: the set at the end of the aliases. Empty if there are none.
    pub fn records(&self) -> Vec<Record> {
        let rtype = self.message.question.first().map(|question| question.rtype);
        let wanted = |record: &&Record| record.name == self.name && Some(record.rtype) == rtype;
        self.message.answer.iter().filter(wanted).cloned().collect()
    }
}

/// Asks a question and validates the answer as of `at`, in seconds since 1970. An error: the question itself got no
/// answer.
///
/// # Errors
/// The question itself got no answer.
pub fn validate(
    question: &Question,
    anchors: &Anchors,
    at: u64,
    ask: &mut FetchAnswer<'_>,
) -> Result<ValidationVerdict, Fault> {
    let message = ask(question)?;
    let mut walk = ZoneWalk::new(anchors, at, ask);
    let mut answer = AnswerValidation {
        question,
        name: question.name.clone(),
        whole: message.clone(),
        message,
        evidence: None,
        security: Security::Secure,
        reason: None,
    };
    answer.follow(&mut walk);
    let (tree, fault) = walk.finish();
    Ok(ValidationVerdict {
        security: answer.security,
        reason: answer.reason,
        fault,
        name: answer.name,
        message: answer.whole,
        tree,
    })
}

/// What is left of the work that one validation may cost.
#[derive(Debug)]
pub struct Budget {
    questions: u32,
    checks: u32,
    failed: u32,
    rounds: u32,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { questions: MAX_QUESTIONS, checks: MAX_CHECKS, failed: MAX_FAILED_CHECKS, rounds: MAX_HASH_ROUNDS }
    }
}

impl Budget {
    fn spend(left: &mut u32, count: u32, ede: u16, what: &str) -> Result<(), Reason> {
        *left = left.checked_sub(count).ok_or_else(|| Reason::new(ede, format!("too much work: {what}")))?;
        Ok(())
    }

    fn question(&mut self) -> Result<(), Reason> {
        Budget::spend(&mut self.questions, 1, ede::INDETERMINATE, "questions")
    }

    fn check(&mut self) -> Result<(), Reason> {
        Budget::spend(&mut self.checks, 1, ede::BOGUS, "signatures to check")
    }

    fn failed(&mut self) -> Result<(), Reason> {
        Budget::spend(&mut self.failed, 1, ede::BOGUS, "wrong signatures")
    }

    fn hash(&mut self, rounds: u32) -> Result<(), Reason> {
        Budget::spend(&mut self.rounds, rounds, ede::BOGUS, "hashes of NSEC3")
    }
}

/// Denial records that are signed rightly, and the zone they are of.
type ZoneEvidence = (usize, Rc<Evidence>);

/// One answer on its way from the question to its data.
struct AnswerValidation<'q> {
    question: &'q Question,
    name: Name,
    message: Message,
    whole: Message,
    /// The denial records of `message`, once looked at.
    evidence: Option<Result<ZoneEvidence, Option<CheckedSet>>>,
    security: Security,
    reason: Option<Reason>,
}

impl AnswerValidation<'_> {
    fn follow(&mut self, walk: &mut ZoneWalk<'_>) {
        let mut seen = vec![self.name.clone()];
        let mut aliases_here = false;
        for _ in 0..=MAX_ALIASES {
            if !matches!(self.message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN) {
                let text = format!("the server says {}", self.message.rcode());
                return self.worst(Security::Indeterminate, Some(Reason::new(ede::NO_REACHABLE_AUTHORITY, text)));
            }
            if self.data(walk) {
                return;
            }
            if let Some(target) = self.alias(walk) {
                if seen.contains(&target) {
                    return; // a loop: what there is of it was checked
                }
                seen.push(target.clone());
                self.name = target;
                aliases_here = true;
                continue;
            }
            let denied = self.message.rcode() == Rcode::NXDOMAIN || has_denial(&self.message);
            if self.message.rcode() == Rcode::YXDOMAIN {
                return self.overflown(walk);
            }
            if denied || !aliases_here {
                return self.denied(walk);
            }
            // The server knows the alias and not its target: that is another question.
            let question = Question { name: self.name.clone(), ..self.question.clone() };
            match walk.fetch(&question) {
                Ok(message) => {
                    self.whole.answer.extend(message.answer.iter().cloned());
                    self.whole.authority.clone_from(&message.authority);
                    self.whole.flags.0 = self.whole.flags.0 & !15 | message.flags.0 & 15;
                    (self.message, self.evidence, aliases_here) = (message, None, false);
                }
                Err(reason) => return self.worst(Security::Indeterminate, Some(reason)),
            }
        }
        self.worst(Security::Bogus, Some(Reason::new(ede::BOGUS, format!("more than {MAX_ALIASES} aliases"))));
    }

    /// Checks the set that was asked for; false if it is not there.
    fn data(&mut self, walk: &mut ZoneWalk<'_>) -> bool {
        let mut types: Vec<Rtype> = Vec::new();
        for record in self.message.answer.iter().filter(|record| record.name == self.name) {
            let any = self.question.rtype == Rtype::ANY && record.rtype != Rtype::RRSIG;
            if (any || record.rtype == self.question.rtype) && !types.contains(&record.rtype) {
                types.push(record.rtype);
            }
        }
        if types.is_empty() {
            return false;
        }
        if self.question.rtype == Rtype::RRSIG {
            let text = "signatures are not signed themselves".to_owned();
            self.worst(Security::Indeterminate, Some(Reason::new(ede::INDETERMINATE, text)));
            return true;
        }
        let name = self.name.clone();
        for rtype in types {
            self.set(walk, &name, rtype);
        }
        true
    }

    /// Takes YXDOMAIN if the DNAME above the name, which was checked, leads to a name that is too long (RFC 6672, section 2.2).
    /// Anybody could say it otherwise.
    fn overflown(&mut self, walk: &mut ZoneWalk<'_>) {
        let target = |dname: &Record| dname.target().map(|target| self.name.rebase(&dname.name, &target));
        if self.dname().is_some_and(|dname| matches!(target(dname), Some(Err(_)))) {
            return;
        }
        let checked = walk.unsigned(&self.name, self.question.rtype);
        let leaf = Leaf {
            name: self.name.clone(),
            what: Rcode::YXDOMAIN.to_string(),
            security: checked.security,
            reason: checked.reason.clone(),
            signature: None,
        };
        walk.leaf(checked.zone, leaf);
        self.worst(checked.security, checked.reason);
    }

    /// The DNAME above the name.
    fn dname(&self) -> Option<&Record> {
        self.message
            .answer
            .iter()
            .find(|record| record.rtype == Rtype::DNAME && self.name != record.name && self.name.is_in(&record.name))
    }

    /// Checks the CNAME of the name, or the DNAME above it, and gives where it leads.
    fn alias(&mut self, walk: &mut ZoneWalk<'_>) -> Option<Name> {
        if let Some(dname) = self.dname().cloned() {
            let target = self.name.rebase(&dname.name, &dname.target()?).ok();
            self.set(walk, &dname.name, Rtype::DNAME);
            // The CNAME that comes with it has no signature: it must be what follows from the DNAME (RFC 6672, section 5.3.1).
            let cname = self.message.answer.iter().find(|record| self.is_cname(record)).and_then(Record::target);
            if cname.is_some() && cname != target {
                let text = format!("the CNAME of {} does not follow from the DNAME of {}", self.name, dname.name);
                self.worst(Security::Bogus, Some(Reason::new(ede::BOGUS, text)));
            }
            return target;
        }
        let target = self.message.answer.iter().find(|record| self.is_cname(record))?.target()?;
        let name = self.name.clone();
        self.set(walk, &name, Rtype::CNAME);
        Some(target)
    }

    fn is_cname(&self, record: &Record) -> bool {
        record.rtype == Rtype::CNAME && record.name == self.name
    }

    /// Checks one set of the answer, and if a wildcard made it, that it was allowed to.
    fn set(&mut self, walk: &mut ZoneWalk<'_>, name: &Name, rtype: Rtype) {
        let mut checked = match walk.set(&self.message.answer, name, rtype) {
            Some(checked) => checked,
            None => walk.unsigned(name, rtype),
        };
        if let (Security::Secure, Some(labels)) = (checked.security, checked.expanded) {
            let proof = match self.evidence(walk) {
                Ok((_, evidence)) => evidence.no_closer(name, labels, walk.budget()),
                Err(Some(bad)) => {
                    (checked.security, checked.reason) = (bad.security, bad.reason);
                    DenialProof::Proven
                }
                Err(None) => DenialProof::Unproven(Reason::new(
                    ede::NSEC_MISSING,
                    format!("{name} came from a wildcard without a proof that it may"),
                )),
            };
            checked.judge(proof);
        }
        let leaf = Leaf {
            name: name.clone(),
            what: rtype.to_string(),
            security: checked.security,
            reason: checked.reason.clone(),
            signature: checked.signature.clone(),
        };
        walk.leaf(checked.zone, leaf);
        self.worst(checked.security, checked.reason);
    }

    /// Checks that the name, or its data of this type, are not there.
    fn denied(&mut self, walk: &mut ZoneWalk<'_>) {
        let (name, rtype) = (self.name.clone(), self.question.rtype);
        let gone = self.message.rcode() == Rcode::NXDOMAIN;
        let mut checked = match self.evidence(walk) {
            Ok((zone, evidence)) => {
                let mut checked = CheckedSet { zone: Some(zone), ..CheckedSet::secure() };
                let proof = if gone {
                    evidence.no_name(&name, walk.budget())
                } else {
                    evidence.no_data(&name, rtype, walk.budget())
                };
                checked.judge(proof);
                checked
            }
            Err(Some(bad)) => bad,
            Err(None) => walk.unsigned(&name, rtype),
        };
        let soa = self.message.authority.iter().find(|record| record.rtype == Rtype::SOA);
        if let (Security::Secure, Some(soa)) = (checked.security, soa.map(|record| record.name.clone())) {
            let soa = walk.set(&self.message.authority, &soa, Rtype::SOA);
            if let Some(bad) = soa.filter(|soa| soa.security != Security::Secure) {
                (checked.security, checked.reason) = (bad.security, bad.reason);
            }
        }
        let what = if gone { "NXDOMAIN".to_owned() } else { format!("no {rtype}") };
        let leaf = Leaf {
            name,
            what,
            security: checked.security,
            reason: checked.reason.clone(),
            signature: checked.signature.clone(),
        };
        walk.leaf(checked.zone, leaf);
        self.worst(checked.security, checked.reason);
    }

    /// The signed denial records of the message. `Err(None)`: there are none; `Err(Some)`: none that is right.
    fn evidence(&mut self, walk: &mut ZoneWalk<'_>) -> Result<ZoneEvidence, Option<CheckedSet>> {
        if self.evidence.is_none() {
            let found = walk.evidence(&self.message).map(|(zone, evidence)| (zone, Rc::new(evidence)));
            self.evidence = Some(found);
        }
        self.evidence.clone().unwrap_or(Err(None))
    }

    /// The whole is as good as its worst part; the first reason for it stays.
    fn worst(&mut self, security: Security, reason: Option<Reason>) {
        if security > self.security {
            (self.security, self.reason) = (security, reason);
        }
    }
}

/// True if the authority section says that something is not there.
fn has_denial(message: &Message) -> bool {
    message.authority.iter().any(|record| matches!(record.rtype, Rtype::SOA | Rtype::NSEC | Rtype::NSEC3))
}

#[cfg(test)]
mod tests;
