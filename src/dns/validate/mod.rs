//! DNSSEC validation (RFC 4033 to 4035, 5155, 6840): it checks that an answer is signed by the owner of its zone. The
//! walk from a trust anchor to the data is pure: a function supplies answers, time is an argument, and work has limits.
//!
//! ```text
//!  mod        the results of a validation, and the limits of its work
//!  answer     the answer: aliases, wildcards, denial; one verdict, and the records that it covers
//!  zones      from the anchor down: DS, DNSKEY, insecure delegations
//!  signature  one set, its signatures and keys        denial nsec3   proofs of non-existence
//!  crypto     the algorithms, on ring
//!  chain      the whole chain as a tree: text, JSON   lookup         the call for other modules (sockets)
//! ```

mod answer;
mod bitmap;
pub mod chain;
mod crypto;
pub mod denial;
pub mod lookup;
pub(crate) mod nsec3;
mod signature;
mod zones;

use std::fmt;

use super::anchor::Anchors;
use super::message::{Message, Question};
use super::name::Name;
use super::record::Record;
use crate::fault::Fault;
use answer::AnswerValidation;
use chain::Tree;
use zones::ZoneWalk;

pub use nsec3::MAX_ITERATIONS;
pub use signature::{MAX_CHECKS_PER_SET, MAX_KEYS_PER_TAG};

/// The maximum number of aliases followed from the question to its data.
pub const MAX_ALIASES: usize = 12;
/// The maximum number of questions in one validation.
pub const MAX_QUESTIONS: u32 = 128;
/// The maximum number of signature checks in one validation (KeyTrap, CVE-2023-50387).
pub const MAX_CHECKS: u32 = 160;
/// The maximum number of failed signature checks in one validation.
pub const MAX_FAILED_CHECKS: u32 = 16;
/// The maximum number of NSEC3 hash rounds in one validation (CVE-2023-50868): a few dozen names with 100 iterations each.
pub const MAX_HASH_ROUNDS: u32 = 10_000;

/// The extended error codes of validation (RFC 8914, section 4).
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

/// The security states of a validation (RFC 4033, section 5), from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// Signed, with a chain of trust from an anchor.
    Secure,
    /// Proven to be unsigned.
    Insecure,
    /// Unknown: there is no anchor, or the chain could not be fetched.
    Indeterminate,
    /// It should be signed but is not, or its signature is wrong.
    Bogus,
}

impl Security {
    /// The name of the state.
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

/// The reason why data is not secure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The extended error code, if one fits (RFC 8914).
    pub ede: Option<u16>,
    /// The reason as a sentence.
    pub text: String,
}

impl Reason {
    pub(crate) fn new(ede: u16, text: String) -> Reason {
        Reason { ede: Some(ede), text }
    }

    /// True if a server that should have answered did not, and may do so later.
    pub fn is_unanswered(&self) -> bool {
        self.ede == Some(ede::NO_REACHABLE_AUTHORITY)
    }

    /// True if NSEC3 records need more hashes than the limit allows.
    pub(crate) fn is_excess(&self) -> bool {
        self.ede == Some(ede::NSEC3_ITERATIONS)
    }

    /// A reason that is not an error.
    pub(crate) fn plain(text: String) -> Reason {
        Reason { ede: None, text }
    }
}

/// The security states other than secure. None means "secure": that takes a [`zones::SignedSet`] or a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Insecure,
    Indeterminate,
    Bogus,
}

impl From<Doubt> for Security {
    fn from(doubt: Doubt) -> Security {
        match doubt {
            Doubt::Insecure => Security::Insecure,
            Doubt::Indeterminate => Security::Indeterminate,
            Doubt::Bogus => Security::Bogus,
        }
    }
}

/// The reason why data is not secure, with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) doubt: Doubt,
    pub(super) reason: Reason,
    /// The zone that caused it.
    pub(super) zone: Option<usize>,
}

impl Failure {
    pub(super) fn new(doubt: Doubt, reason: Reason, zone: Option<usize>) -> Failure {
        Failure { doubt, reason, zone }
    }
}

/// Fetches the answer to a question, with DNSSEC records and unchecked (DO and CD set).
pub type FetchAnswer<'a> = dyn FnMut(&Question) -> Result<Message, Fault> + 'a;

/// The result of a validation.
#[derive(Debug, Clone)]
pub struct ValidationVerdict {
    /// The worst state that was found.
    pub security: Security,
    /// The reason why the answer is not secure.
    pub reason: Option<Reason>,
    /// The fault that prevented the chain from being fetched.
    pub fault: Option<Fault>,
    /// The owner name of the data, after all aliases.
    pub name: Name,
    /// The answer with only the judged sets; the response code is the proven one. Times to live are cut to those of the
    /// signatures (RFC 4035, section 5.3.3).
    pub message: Message,
    /// Records of the answer section that belong to no judged set.
    pub left_out: Vec<Record>,
    /// The chain of trust.
    pub tree: Tree,
}

impl ValidationVerdict {
    /// The set that was asked for, at the end of the aliases; empty if there is none.
    pub fn records(&self) -> Vec<Record> {
        let rtype = self.message.question.first().map(|question| question.rtype);
        let wanted = |record: &&Record| record.name == self.name && Some(record.rtype) == rtype;
        self.message.answer.iter().filter(wanted).cloned().collect()
    }
}

/// Asks a question and validates the answer at the time `at`, in seconds since 1970.
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
    let answer = AnswerValidation::new(question, message).follow(&mut walk);
    let (tree, fault) = walk.finish();
    Ok(answer.verdict(tree, fault))
}

/// The remaining work that one validation may do.
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

#[cfg(test)]
mod tests;
