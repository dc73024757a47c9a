//! One answer from the question to its data: every step is checked, and what was checked is kept.

use super::chain::{Leaf, SignatureInfo, Tree};
use super::zones::{ZoneEvidence, ZoneWalk};
use super::{Doubt, Failure, MAX_ALIASES, Reason, Security, ValidationVerdict, ede};
use crate::dns::message::{Message, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::record::rdata::Rrsig;
use crate::dns::record::{Record, Rtype};
use crate::fault::Fault;

/// The result of the check of one step.
type Checked = Result<(usize, Option<SignatureInfo>), Failure>;

pub(super) struct AnswerValidation<'q> {
    question: &'q Question,
    /// The name looked up, after the aliases so far.
    name: Name,
    message: Message,
    /// The denial records of `message`, once they were checked.
    evidence: Option<ZoneEvidence>,
    /// The message of the verdict.
    judged: Message,
    left_out: Vec<Record>,
    failure: Option<Failure>,
}

impl<'q> AnswerValidation<'q> {
    pub(super) fn new(question: &'q Question, mut message: Message) -> AnswerValidation<'q> {
        let left_out = message.drop_other_classes(question.class);
        let empty = Vec::new;
        let judged = Message { answer: empty(), authority: empty(), additional: empty(), ..message.clone() };
        let name = question.name.clone();
        AnswerValidation { question, name, message, evidence: None, judged, left_out, failure: None }
    }

    pub(super) fn verdict(self, tree: Tree, fault: Option<Fault>) -> ValidationVerdict {
        let (security, reason) = match self.failure {
            Some(failure) => (failure.doubt.into(), Some(failure.reason)),
            None => (Security::Secure, None),
        };
        let (name, message, left_out) = (self.name, self.judged, self.left_out);
        ValidationVerdict { security, reason, fault, name, message, left_out, tree }
    }

    /// Checks the whole answer.
    pub(super) fn follow(mut self, walk: &mut ZoneWalk<'_>) -> AnswerValidation<'q> {
        self.steps(walk);
        self.end_message();
        self
    }

    fn steps(&mut self, walk: &mut ZoneWalk<'_>) {
        let mut seen = vec![self.name.clone()];
        let mut aliases_here = false;
        for _ in 0..=MAX_ALIASES {
            let rcode = self.message.rcode();
            if !rcode.is_answer() {
                self.says(rcode);
                let reason = Reason::new(ede::NO_REACHABLE_AUTHORITY, format!("the server says {rcode}"));
                return self.worst(Failure::new(Doubt::Indeterminate, reason, None));
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
            if rcode == Rcode::YXDOMAIN {
                return self.overflown(walk);
            }
            if !aliases_here {
                return self.denied(walk);
            }
            // The answer was to the alias: its statement about the target counts if proved. Otherwise the target is a separate
            // question with its own answer.
            if let Ok((zone, gone)) = self.denial(walk) {
                return self.judge_denial(walk, gone, Ok((zone, None)));
            }
            let question = Question { name: self.name.clone(), ..self.question.clone() };
            match walk.fetch(&question) {
                Ok(message) => {
                    self.end_message();
                    (self.message, self.evidence, aliases_here) = (message, None, false);
                }
                Err(reason) => return self.worst(Failure::new(Doubt::Indeterminate, reason, None)),
            }
        }
        let reason = Reason::new(ede::BOGUS, format!("more than {MAX_ALIASES} aliases"));
        self.worst(Failure::new(Doubt::Bogus, reason, None));
    }

    /// Checks the record set that was asked for; false if the answer has none.
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
        self.says(Rcode::NOERROR);
        let name = self.name.clone();
        if self.question.rtype == Rtype::RRSIG {
            let own = |record: &Record| record.name == name && record.rtype == Rtype::RRSIG;
            self.judged.answer.extend(take(&mut self.message.answer, own));
            let text = "signatures are not signed themselves".to_owned();
            self.worst(Failure::new(Doubt::Indeterminate, Reason::new(ede::INDETERMINATE, text), None));
            return true;
        }
        for rtype in types {
            self.set(walk, &name, rtype);
        }
        true
    }

    /// Accepts YXDOMAIN if the checked DNAME above the name leads to a name that is too long (RFC 6672, section 2.2).
    /// Otherwise the code is unproven, since anyone can set it.
    fn overflown(&mut self, walk: &mut ZoneWalk<'_>) {
        self.says(Rcode::YXDOMAIN);
        let target = |dname: &Record| dname.target().map(|target| self.name.rebase(&dname.name, &target));
        if dname_above(&self.judged.answer, &self.name).is_some_and(|dname| matches!(target(dname), Some(Err(_)))) {
            return;
        }
        let failure = walk.unsigned(&self.name, self.question.rtype);
        let name = self.name.clone();
        self.judge(walk, name, Rcode::YXDOMAIN.to_string(), Err(failure));
    }

    /// Checks the CNAME of the name, or the DNAME above it, and returns the target.
    fn alias(&mut self, walk: &mut ZoneWalk<'_>) -> Option<Name> {
        let name = self.name.clone();
        let is_cname = |record: &Record| record.rtype == Rtype::CNAME && record.name == name;
        if let Some(dname) = dname_above(&self.message.answer, &name).cloned() {
            let target = name.rebase(&dname.name, &dname.target()?).ok();
            self.set(walk, &dname.name, Rtype::DNAME);
            // The CNAME with it is unsigned: it must be the one that the DNAME implies (RFC 6672, section 5.3.1).
            let mut cname = take(&mut self.message.answer, is_cname);
            cname.truncate(1);
            if cname.first().is_some_and(|cname| cname.target() != target) {
                let text = format!("the CNAME of {name} does not follow from the DNAME of {}", dname.name);
                self.worst(Failure::new(Doubt::Bogus, Reason::new(ede::BOGUS, text), None));
            }
            let ttl = self.judged.answer.last().map_or(0, |record| record.ttl);
            self.judged.answer.extend(cname.into_iter().map(|cname| Record { ttl: ttl.min(cname.ttl), ..cname }));
            return target;
        }
        let target = self.message.answer.iter().find(|record| is_cname(record))?.target()?;
        self.set(walk, &name, Rtype::CNAME);
        Some(target)
    }

    /// Checks one set of the answer and, if a wildcard made it, the proof for that; the set is kept.
    fn set(&mut self, walk: &mut ZoneWalk<'_>, name: &Name, rtype: Rtype) {
        let signed = walk.set(&self.message.answer, name, rtype).unwrap_or_else(|| Err(walk.unsigned(name, rtype)));
        let ttl = signed.as_ref().map_or(u32::MAX, |signed| signed.ttl());
        let checked = match signed {
            Ok(signed) => match signed.expanded() {
                None => Ok((signed.zone(), Some(signed.signature().clone()))),
                Some(labels) => self
                    .expansion(walk, name, labels, signed.zone())
                    .map(|zone| (zone, Some(signed.signature().clone()))),
            },
            Err(failure) => Err(failure),
        };
        let set = take_set(&mut self.message.answer, name, rtype, ttl);
        self.judged.answer.extend(set);
        self.judge(walk, name.clone(), rtype.to_string(), checked);
    }

    /// Checks that no name closer than the wildcard that made the set exists (RFC 4035, section 5.3.4).
    fn expansion(
        &mut self,
        walk: &mut ZoneWalk<'_>,
        name: &Name,
        labels: usize,
        zone: usize,
    ) -> Result<usize, Failure> {
        let evidence = self.evidence.take().unwrap_or_else(|| walk.evidence(&self.message));
        let proven = evidence.prove(Some(zone), |evidence| evidence.no_closer(name, labels, walk.budget()));
        self.evidence = Some(evidence);
        proven.map(|_| zone).map_err(|failure| {
            let text = format!("{name} came from a wildcard without a proof that it may");
            failure.unwrap_or_else(|| Failure::new(Doubt::Bogus, Reason::new(ede::NSEC_MISSING, text), Some(zone)))
        })
    }

    /// Checks the denial of the name, or of its data of this type: the answer was to a question for exactly this name.
    fn denied(&mut self, walk: &mut ZoneWalk<'_>) {
        let claimed = self.message.rcode() == Rcode::NXDOMAIN;
        let (gone, checked) = match self.denial(walk) {
            Ok((zone, gone)) => (gone, Ok((zone, None))),
            Err(Some(failure)) if failure.doubt == Doubt::Insecure && !failure.reason.is_excess() => {
                (claimed, Err(failure))
            }
            // Data of an unsigned zone needs no proof, and records of zones above cannot give one. Records that need too many
            // hashes excuse only their own zone.
            Err(failure) => {
                let unsigned = walk.unsigned(&self.name, self.question.rtype);
                let counts = |failure: &Failure| failure.doubt != Doubt::Insecure || failure.zone == unsigned.zone;
                let failure = failure.filter(|failure| unsigned.doubt != Doubt::Insecure && counts(failure));
                (claimed, Err(failure.unwrap_or(unsigned)))
            }
        };
        self.judge_denial(walk, gone, checked);
    }

    /// The zone whose records prove that the name does not exist (true) or has no such data (false). The claim of the
    /// answer is tried first, then the other, since the response code is not signed.
    fn denial(&mut self, walk: &mut ZoneWalk<'_>) -> Result<(usize, bool), Option<Failure>> {
        let (name, rtype) = (&self.name, self.question.rtype);
        let evidence = self.evidence.take().unwrap_or_else(|| walk.evidence(&self.message));
        let claimed = self.message.rcode() == Rcode::NXDOMAIN;
        let mut prove = |gone: bool| {
            let proof = evidence.prove(None, |evidence| match gone {
                true => evidence.no_name(name, walk.budget()),
                false => evidence.no_data(name, rtype, walk.budget()),
            });
            proof.map(|zone| (zone, gone))
        };
        let proven = prove(claimed).or_else(|failure| match failure {
            Some(Failure { doubt: Doubt::Bogus, .. }) => prove(!claimed).map_err(|_| failure),
            _ => Err(failure),
        });
        self.evidence = Some(evidence);
        proven
    }

    /// Records a denial and keeps its records: the SOA of the zone and the proof.
    fn judge_denial(&mut self, walk: &mut ZoneWalk<'_>, gone: bool, checked: Checked) {
        self.says(if gone { Rcode::NXDOMAIN } else { Rcode::NOERROR });
        let authority = &mut self.message.authority;
        let soa = authority.iter().find(|record| record.rtype == Rtype::SOA && self.name.is_in(&record.name));
        let mut checked = checked;
        if let Some(apex) = soa.map(|record| record.name.clone()) {
            let signed = walk.set(authority, &apex, Rtype::SOA);
            let ttl = match (&signed, &checked) {
                (Some(Ok(signed)), _) => Some(signed.ttl()),
                (_, Err(_)) => Some(u32::MAX),
                // A time to live that nobody signed.
                _ => None,
            };
            if let Some(ttl) = ttl {
                self.judged.authority.extend(take_set(authority, &apex, Rtype::SOA, ttl));
            }
            if let (Ok(_), Some(Err(failure))) = (&checked, signed) {
                checked = Err(failure);
            }
        }
        let what = if gone { "NXDOMAIN".to_owned() } else { format!("no {}", self.question.rtype) };
        self.judge(walk, self.name.clone(), what, checked);
    }

    /// Sets the response code of the verdict's message.
    fn says(&mut self, rcode: Rcode) {
        self.judged.flags.0 = self.judged.flags.0 & !15 | rcode.0 & 15;
    }

    /// Adds a finding to the tree; the verdict is as good as its worst part.
    fn judge(&mut self, walk: &mut ZoneWalk<'_>, name: Name, what: String, checked: Checked) {
        let (zone, leaf) = match &checked {
            Ok((zone, signature)) => {
                let signature = signature.clone();
                (Some(*zone), Leaf { name, what, security: Security::Secure, reason: None, signature })
            }
            Err(failure) => {
                let (security, reason) = (failure.doubt.into(), Some(failure.reason.clone()));
                (failure.zone, Leaf { name, what, security, reason, signature: None })
            }
        };
        walk.leaf(zone, leaf);
        if let Err(failure) = checked {
            self.worst(failure);
        }
    }

    /// Records a failure unless an earlier one was as bad: the first reason stays.
    fn worst(&mut self, failure: Failure) {
        let badness = |failure: &Failure| Security::from(failure.doubt);
        if self.failure.as_ref().is_none_or(|worst| badness(&failure) > badness(worst)) {
            self.failure = Some(failure);
        }
    }

    /// Ends a message: its proofs are kept, and the records left in its answer section belong to no judged set.
    fn end_message(&mut self) {
        for (name, rtype, ttl) in self.evidence.iter().flat_map(|evidence| &evidence.sets) {
            self.judged.authority.extend(take_set(&mut self.message.authority, name, *rtype, *ttl));
        }
        self.left_out.append(&mut self.message.answer);
    }
}

/// The DNAME above a name.
fn dname_above<'r>(records: &'r [Record], name: &Name) -> Option<&'r Record> {
    records.iter().find(|record| record.rtype == Rtype::DNAME && *name != record.name && name.is_in(&record.name))
}

/// Removes records from a section and returns them.
fn take(section: &mut Vec<Record>, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    section.extract_if(.., |record| wanted(record)).collect()
}

/// Removes a set with its signatures from a section and returns it, with a time to live of at most `ttl` seconds.
fn take_set(section: &mut Vec<Record>, name: &Name, rtype: Rtype, ttl: u32) -> Vec<Record> {
    let covers = |record: &Record| {
        record.rtype == Rtype::RRSIG && Rrsig::parse(&record.rdata).is_ok_and(|signature| signature.covered == rtype)
    };
    let mut set = take(section, |record| record.name == *name && (record.rtype == rtype || covers(record)));
    for record in &mut set {
        record.ttl = record.ttl.min(ttl);
    }
    set
}
