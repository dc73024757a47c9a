//! The walk from a trust anchor to the zone of a name: delegations with DS records, keys, and proofs that a delegation
//! is unsigned (RFC 4035, section 5.2).

use std::collections::HashMap;

use super::chain::{KeyInfo, Leaf, SignatureInfo, Tree, ZoneNode};
use super::crypto::knows_algorithm;
use super::denial::{Cut, DenialProof, Evidence};
use super::signature::{self, ZoneKey};
use super::{Budget, Doubt, Failure, FetchAnswer, Reason, ede};
use crate::dns::anchor::{Anchor, Anchors, Trusted};
use crate::dns::message::{Message, Question};
use crate::dns::name::{Name, NameRef};
use crate::dns::record::rdata::{Ds, Rrsig};
use crate::dns::record::{Record, Rtype};
use crate::fault::Fault;

/// The maximum number of keys used from one zone.
const MAX_KEYS: usize = 32;
/// The maximum number of DS records used from one zone.
const MAX_DS: usize = 16;
/// The maximum number of signers that one set may name.
const MAX_SIGNERS: usize = 2;
/// The maximum number of denial sets in one answer: two proofs of three NSEC3 records, and some to spare.
const MAX_DENIAL_SETS: usize = 10;

/// A set signed by its zone. Only the check of its signatures creates one.
#[derive(Debug, Clone)]
pub(super) struct SignedSet {
    zone: usize,
    signature: SignatureInfo,
    expanded: Option<usize>,
    ttl: u32,
}

impl SignedSet {
    /// The zone that signed it.
    pub(super) fn zone(&self) -> usize {
        self.zone
    }

    /// The valid signature.
    pub(super) fn signature(&self) -> &SignatureInfo {
        &self.signature
    }

    /// The label count of the wildcard's parent, if a wildcard made the set: it then needs a proof that no closer name exists.
    pub(super) fn expanded(&self) -> Option<usize> {
        self.expanded
    }

    /// The maximum time, in seconds, for which the set may be kept (RFC 4035, section 5.3.3).
    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }
}

/// The validly signed denial records of an answer, grouped by zone.
#[derive(Debug, Default)]
pub(super) struct ZoneEvidence {
    /// The evidence by zone, the deepest first.
    zones: Vec<(usize, Evidence)>,
    /// Their records.
    pub(super) sets: Vec<(Name, Rtype, u32)>,
    /// The failure of the last set without a valid signature.
    failure: Option<Failure>,
}

impl ZoneEvidence {
    /// True if no record is usable.
    fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Runs a proof on the evidence of the zone `of`, or of any zone; returns the zone that proves it.
    ///
    /// # Errors
    /// The reason why no zone proves it; `None` if there is no evidence at all.
    pub(super) fn prove(
        &self,
        of: Option<usize>,
        mut proof: impl FnMut(&Evidence) -> DenialProof,
    ) -> Result<usize, Option<Failure>> {
        let mut first = None;
        for (zone, evidence) in self.zones.iter().filter(|(zone, _)| of.is_none_or(|of| of == *zone)) {
            let failed = |doubt, reason| Failure::new(doubt, reason, Some(*zone));
            match proof(evidence) {
                DenialProof::Proven => return Ok(*zone),
                DenialProof::OptOut => {
                    let reason = Reason::plain("unsigned delegations may hide here (NSEC3 opt-out)".to_owned());
                    return Err(Some(failed(Doubt::Insecure, reason)));
                }
                DenialProof::Insecure(reason) => return Err(Some(failed(Doubt::Insecure, reason))),
                DenialProof::Unproven(reason) => _ = first.get_or_insert_with(|| failed(Doubt::Bogus, reason)),
            }
        }
        Err(first.or_else(|| self.failure.clone()))
    }
}

/// The state of a name as a delegation.
#[derive(Debug, Clone)]
enum Delegation {
    /// Signed DS records of a secure parent.
    Signed(usize, Vec<Vec<u8>>),
    /// Proven to have no DS.
    Unsigned(usize, Option<Reason>),
    /// Proven to be no delegation.
    None,
    /// The parent is not secure.
    Inherited(usize),
    /// The answer has no signatures.
    Silent,
    /// The answer is wrong.
    Bogus(Option<usize>, Reason),
    /// There was no answer.
    Unknown(Reason),
}

/// True if the DS record has the digest of this key.
fn is_digest_of(ds: &Ds<'_>, key: &ZoneKey, zone: &Name) -> bool {
    ds.key_tag == key.tag && ds.algorithm == key.algorithm && key.has_digest(zone, ds.digest_type, ds.digest)
}

/// The DS records that can be checked; those with SHA-1 only if there are no better ones (RFC 4509, section 3).
fn usable<'a>(all: &[Ds<'a>]) -> Result<Vec<Ds<'a>>, Reason> {
    let known: Vec<Ds<'a>> = all.iter().copied().filter(|ds| knows_algorithm(ds.algorithm)).collect();
    if known.is_empty() {
        let text = "no algorithm of its DS records is supported".to_owned();
        return Err(Reason::new(ede::UNSUPPORTED_ALGORITHM, text));
    }
    let of_types =
        |types: &[u8]| known.iter().copied().filter(|ds| types.contains(&ds.digest_type)).collect::<Vec<_>>();
    match (of_types(&[2, 4]), of_types(&[1])) {
        (strong, _) if !strong.is_empty() => Ok(strong),
        (_, weak) if !weak.is_empty() => Ok(weak),
        _ => Err(Reason::new(ede::UNSUPPORTED_DIGEST, "no digest of its DS records is supported".to_owned())),
    }
}

/// The walk through the zones. It keeps its findings, so that nothing is asked or checked twice.
pub(super) struct ZoneWalk<'a> {
    anchors: &'a Anchors,
    at: u64,
    ask: &'a mut FetchAnswer<'a>,
    budget: Budget,
    tree: Tree,
    /// The usable keys, by zone.
    keys: Vec<Vec<ZoneKey>>,
    zones: HashMap<Name, usize>,
    delegations: HashMap<Name, Delegation>,
    fault: Option<Fault>,
}

impl<'a> ZoneWalk<'a> {
    pub(super) fn new(anchors: &'a Anchors, at: u64, ask: &'a mut FetchAnswer<'_>) -> ZoneWalk<'a> {
        ZoneWalk {
            anchors,
            at,
            ask,
            budget: Budget::default(),
            tree: Tree::default(),
            keys: Vec::new(),
            zones: HashMap::new(),
            delegations: HashMap::new(),
            fault: None,
        }
    }

    pub(super) fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    pub(super) fn finish(self) -> (Tree, Option<Fault>) {
        (self.tree, self.fault)
    }

    pub(super) fn leaf(&mut self, zone: Option<usize>, leaf: Leaf) {
        self.tree.leaf(zone, leaf);
    }

    /// Asks a question that the walk needs answered.
    pub(super) fn fetch(&mut self, question: &Question) -> Result<Message, Reason> {
        self.budget.question()?;
        let what = format!("{} {}", question.name, question.rtype);
        match (self.ask)(question) {
            Ok(mut message) if message.rcode().is_answer() => {
                message.drop_other_classes(question.class);
                Ok(message)
            }
            Ok(message) => {
                let text = format!("{what}: the server says {}", message.rcode());
                Err(Reason::new(ede::NO_REACHABLE_AUTHORITY, text))
            }
            Err(fault) => {
                let text = format!("{what}: {}", fault.detail);
                self.fault.get_or_insert(fault);
                Err(Reason::new(ede::NO_REACHABLE_AUTHORITY, text))
            }
        }
    }

    /// Checks one set of a section. `None`: it has no signature that could count.
    pub(super) fn set(&mut self, section: &[Record], name: &Name, rtype: Rtype) -> Option<Result<SignedSet, Failure>> {
        let child = (rtype == Rtype::DS && !name.is_root()).then_some(name);
        self.set_above(section, name, rtype, child)
    }

    /// Like [`ZoneWalk::set`]; with a child zone, only signatures of a zone above it count.
    fn set_above(
        &mut self,
        section: &[Record],
        name: &Name,
        rtype: Rtype,
        child: Option<&Name>,
    ) -> Option<Result<SignedSet, Failure>> {
        let set: Vec<&Record> = section.iter().filter(|record| record.rtype == rtype && record.name == *name).collect();
        let above = |name: &Name| self.anchors.closest(&name.parent()?);
        let anchor = match child {
            // The child's own anchor does not cover records of the zone above.
            Some(child) => above(child)?,
            None => self.anchors.closest(name)?,
        };
        // The same holds for the NSEC record at the child's name that belongs to the zone above.
        let of_parent = if rtype == Rtype::NSEC && anchor == *name { above(name) } else { None };
        let is_anchored = |signer: NameRef<'_>| {
            signer.is_in(&anchor) || of_parent.as_ref().is_some_and(|anchor| signer.is_in(anchor))
        };
        let counts = |signature: &Rrsig<'_>| {
            signature.covered == rtype
                && name.is_in(signature.signer)
                && is_anchored(signature.signer)
                && child.is_none_or(|child| signature.signer != *child && child.is_in(signature.signer))
        };
        let signatures: Vec<Rrsig<'_>> = section
            .iter()
            .filter(|record| record.rtype == Rtype::RRSIG && record.name == *name)
            .filter_map(|record| Rrsig::parse(&record.rdata).ok())
            .filter(counts)
            .collect();
        let mut signers: Vec<NameRef<'_>> = signatures.iter().map(|signature| signature.signer).collect();
        signers.sort_by_key(|signer| std::cmp::Reverse(signer.label_count()));
        signers.dedup();
        let mut worst = None;
        for signer in signers.into_iter().take(MAX_SIGNERS) {
            let zone = self.zone(&signer.to_name());
            match self.tree.state(zone) {
                Ok(()) => {}
                Err(failure) if failure.doubt == Doubt::Insecure => return Some(Err(failure)),
                Err(failure) => {
                    worst = Some(failure);
                    continue;
                }
            }
            let own: Vec<Rrsig<'_>> =
                signatures.iter().filter(|signature| signature.signer == signer).copied().collect();
            let keys = self.keys.get(zone).map(Vec::as_slice).unwrap_or_default();
            match signature::check(&set, &own, keys, self.at, &mut self.budget) {
                Ok(right) => {
                    return Some(Ok(SignedSet {
                        zone,
                        expanded: signature::is_expanded(right, name).then_some(right.labels),
                        signature: SignatureInfo::of(right),
                        // The time is checked: the difference is one of serial numbers.
                        ttl: right.original_ttl.min(right.expiration.0.wrapping_sub(self.at as u32)),
                    }));
                }
                Err(reason) => {
                    let reason = Reason { text: format!("{name} {rtype}: {}", reason.text), ..reason };
                    worst = Some(Failure::new(Doubt::Bogus, reason, Some(zone)));
                }
            }
        }
        worst.map(Err)
    }

    /// The reason why an unsigned set is not secure: its chain ends in an unsigned delegation, or it should have a signature.
    pub(super) fn unsigned(&mut self, name: &Name, rtype: Rtype) -> Failure {
        // Records at a zone cut belong to the child, except DS.
        let holder = if rtype == Rtype::DS { name.parent() } else { Some(name.clone()) };
        let Some((holder, anchor)) = holder.and_then(|holder| Some((holder.clone(), self.anchors.closest(&holder)?)))
        else {
            let text = format!("no trust anchor for {name}");
            return Failure::new(Doubt::Indeterminate, Reason::new(ede::INDETERMINATE, text), None);
        };
        let mut zone = self.zone(&anchor);
        for labels in anchor.label_count()..=holder.label_count() {
            if labels > anchor.label_count() {
                let Some(here) = name.suffix(name.label_count() - labels) else { break };
                match self.delegation(&here) {
                    Delegation::Signed(..) | Delegation::Unsigned(..) => zone = self.zone(&here),
                    Delegation::Inherited(parent) => zone = parent,
                    Delegation::None => continue,
                    Delegation::Silent => {
                        let text = format!("nothing signed tells whether {here} is a delegation");
                        return Failure::new(Doubt::Bogus, Reason::new(ede::RRSIGS_MISSING, text), Some(zone));
                    }
                    Delegation::Bogus(_, reason) => return Failure::new(Doubt::Bogus, reason, Some(zone)),
                    Delegation::Unknown(reason) => return Failure::new(Doubt::Indeterminate, reason, Some(zone)),
                }
            }
            if let Err(failure) = self.tree.state(zone) {
                return failure;
            }
        }
        let text = format!("{name} {rtype}: no signature, though {} is signed", self.tree.name(zone));
        Failure::new(Doubt::Bogus, Reason::new(ede::RRSIGS_MISSING, text), Some(zone))
    }

    /// The validly signed denial records of an answer.
    pub(super) fn evidence(&mut self, message: &Message) -> ZoneEvidence {
        self.evidence_above(message, None)
    }

    fn evidence_above(&mut self, message: &Message, child: Option<&Name>) -> ZoneEvidence {
        let mut sets: Vec<(&Name, Rtype)> = Vec::new();
        for record in &message.authority {
            let key = (&record.name, record.rtype);
            if matches!(record.rtype, Rtype::NSEC | Rtype::NSEC3) && !sets.contains(&key) {
                sets.push(key);
            }
        }
        let mut found = ZoneEvidence::default();
        let mut good: Vec<(usize, &Name, Rtype)> = Vec::new();
        for (name, rtype) in sets.into_iter().take(MAX_DENIAL_SETS) {
            match self.set_above(&message.authority, name, rtype, child) {
                // A denial record applies to its signed owner name. One expanded from a wildcard has an owner name that
                // is not signed, and proves nothing (CVE-2017-15105).
                Some(Ok(signed)) if signed.expanded().is_none() => {
                    good.push((signed.zone(), name, rtype));
                    found.sets.push((name.clone(), rtype, signed.ttl()));
                }
                Some(Ok(signed)) => {
                    let text = format!("{name} {rtype}: a wildcard's record under another name denies nothing");
                    let failure = Failure::new(Doubt::Bogus, Reason::new(ede::NSEC_MISSING, text), Some(signed.zone()));
                    found.failure = Some(failure);
                }
                // Records of an unsigned zone are no evidence: they do not show which zone the name belongs to.
                Some(Err(failure)) if failure.doubt == Doubt::Insecure && child.is_none() => {}
                Some(Err(failure)) => found.failure = Some(failure),
                None => {}
            }
        }
        let mut zones: Vec<usize> = good.iter().map(|(zone, ..)| *zone).collect();
        zones.sort_unstable();
        zones.dedup();
        for zone in zones {
            let of_zone = |record: &&Record| good.contains(&(zone, &record.name, record.rtype));
            let evidence = Evidence::new(&self.tree.name(zone), message.authority.iter().filter(of_zone));
            if !evidence.is_empty() {
                found.zones.push((zone, evidence));
            }
        }
        found.zones.sort_by_key(|(zone, _)| std::cmp::Reverse(self.tree.name(*zone).label_count()));
        found
    }

    /// The zone of this name, with its state of trust.
    fn zone(&mut self, name: &Name) -> usize {
        if let Some(&zone) = self.zones.get(name) {
            return zone;
        }
        let anchors = self.anchors.of(name, self.at);
        let (node, keys) = if self.anchors.closest(name).as_ref() == Some(name) {
            self.anchored(name, &anchors)
        } else if self.anchors.closest(name).is_none() {
            let text = format!("no trust anchor for {name}");
            (ZoneNode::bad(name, None, Doubt::Indeterminate, Reason::new(ede::INDETERMINATE, text)), Vec::new())
        } else {
            self.delegated(name)
        };
        let zone = self.tree.zone(node);
        self.keys.push(keys);
        self.zones.insert(name.clone(), zone);
        zone
    }

    fn anchored(&mut self, name: &Name, anchors: &[&Anchor]) -> (ZoneNode, Vec<ZoneKey>) {
        let ds: Vec<Ds<'_>> = anchors
            .iter()
            .filter_map(|anchor| match &anchor.trusted {
                Trusted::Ds(rdata) => Ds::parse(rdata).ok(),
                Trusted::Key(_) => None,
            })
            .collect();
        let known: Vec<&[u8]> = anchors
            .iter()
            .filter_map(|anchor| match &anchor.trusted {
                Trusted::Key(rdata) => Some(rdata.as_slice()),
                Trusted::Ds(_) => None,
            })
            .collect();
        self.zone_keys(name, None, &ds, &known)
    }

    fn delegated(&mut self, name: &Name) -> (ZoneNode, Vec<ZoneKey>) {
        let bad = |parent, doubt, reason| (ZoneNode::bad(name, parent, doubt, reason), Vec::new());
        match self.delegation(name) {
            Delegation::Signed(parent, rdata) => {
                let ds: Vec<Ds<'_>> = rdata.iter().filter_map(|rdata| Ds::parse(rdata).ok()).collect();
                self.zone_keys(name, Some(parent), &ds, &[])
            }
            Delegation::Unsigned(parent, reason) => {
                let proven = || Reason::plain(format!("{} has no DS record for it", self.tree.name(parent)));
                let reason = reason.unwrap_or_else(proven);
                bad(Some(parent), Doubt::Insecure, reason)
            }
            Delegation::None => {
                let text = format!("{name} signs and is not a zone");
                bad(None, Doubt::Bogus, Reason::new(ede::BOGUS, text))
            }
            Delegation::Inherited(parent) => match self.tree.state(parent) {
                Err(failure) => bad(Some(parent), failure.doubt, failure.reason),
                Ok(()) => {
                    let text = format!("nothing shows how {name} is delegated");
                    bad(Some(parent), Doubt::Bogus, Reason::new(ede::BOGUS, text))
                }
            },
            Delegation::Bogus(parent, reason) => bad(parent, Doubt::Bogus, reason),
            Delegation::Unknown(reason) => bad(None, Doubt::Indeterminate, reason),
            Delegation::Silent => {
                let failure = self.unsigned(name, Rtype::DNSKEY);
                bad(failure.zone, failure.doubt, failure.reason)
            }
        }
    }

    /// The keys of a zone, trusted through DS records or because they are anchors.
    fn zone_keys(
        &mut self,
        name: &Name,
        parent: Option<usize>,
        all_ds: &[Ds<'_>],
        known: &[&[u8]],
    ) -> (ZoneNode, Vec<ZoneKey>) {
        let bad = |doubt, reason| (ZoneNode::bad(name, parent, doubt, reason), Vec::new());
        let bogus = |ede, text: String| bad(Doubt::Bogus, Reason::new(ede, text));
        let ds = match usable(all_ds) {
            Ok(ds) => ds,
            Err(_) if !known.is_empty() => Vec::new(),
            Err(_) if parent.is_none() => {
                let text = format!("no trust anchor of {name} is valid now and supported");
                return bad(Doubt::Indeterminate, Reason::new(ede::INDETERMINATE, text));
            }
            Err(reason) => return bad(Doubt::Insecure, reason),
        };
        let message = match self.fetch(&Question::new(name.clone(), Rtype::DNSKEY)) {
            Ok(message) => message,
            Err(reason) => return bad(Doubt::Indeterminate, reason),
        };
        let here = |record: &&Record| record.name == *name;
        let set: Vec<&Record> =
            message.answer.iter().filter(here).filter(|record| record.rtype == Rtype::DNSKEY).collect();
        if set.is_empty() {
            return bogus(ede::DNSKEY_MISSING, format!("{name} has no DNSKEY"));
        }
        let keys: Vec<ZoneKey> =
            set.iter().take(MAX_KEYS).filter_map(|record| ZoneKey::parse(&record.rdata).ok()).collect();
        if !keys.iter().any(ZoneKey::is_usable) {
            return bogus(ede::NO_ZONE_KEY, format!("{name} has no key that may sign a zone"));
        }
        let trusted: Vec<ZoneKey> = keys
            .iter()
            .filter(|key| {
                key.is_usable()
                    && (known.contains(&key.rdata()) || ds.iter().take(MAX_DS).any(|ds| is_digest_of(ds, key, name)))
            })
            .cloned()
            .collect();
        if trusted.is_empty() {
            let what = if parent.is_some() { "DS record" } else { "trust anchor" };
            return bogus(ede::DNSKEY_MISSING, format!("no key of {name} has a {what} that fits"));
        }
        let signatures: Vec<Rrsig<'_>> = message
            .answer
            .iter()
            .filter(here)
            .filter(|record| record.rtype == Rtype::RRSIG)
            .filter_map(|record| Rrsig::parse(&record.rdata).ok())
            .filter(|signature| signature.covered == Rtype::DNSKEY && signature.signer == *name)
            .collect();
        match signature::check(&set, &signatures, &trusted, self.at, &mut self.budget) {
            Ok(right) => {
                let info = |key: &ZoneKey| KeyInfo {
                    key_tag: key.tag,
                    algorithm: key.algorithm,
                    entry_point: key.is_entry_point(),
                    trusted: trusted.iter().any(|other| other.rdata() == key.rdata()),
                };
                let node = ZoneNode {
                    name: name.clone(),
                    parent,
                    doubt: None,
                    keys: keys.iter().map(info).collect(),
                    signature: Some(SignatureInfo::of(right)),
                };
                (node, keys)
            }
            Err(reason) => bad(Doubt::Bogus, Reason { text: format!("{name} DNSKEY: {}", reason.text), ..reason }),
        }
    }

    fn delegation(&mut self, child: &Name) -> Delegation {
        if let Some(known) = self.delegations.get(child) {
            return known.clone();
        }
        let found = self.find_delegation(child);
        self.delegations.insert(child.clone(), found.clone());
        found
    }

    fn find_delegation(&mut self, child: &Name) -> Delegation {
        let message = match self.fetch(&Question::new(child.clone(), Rtype::DS)) {
            Ok(message) => message,
            Err(reason) => return Delegation::Unknown(reason),
        };
        let stands = |name: &Name, rtype| message.answer.iter().any(|r| r.rtype == rtype && r.name == *name);
        if stands(child, Rtype::DS) {
            return self.by_set(&message, child, child, Rtype::DS, |zone, set| {
                Delegation::Signed(zone, set.iter().map(|record| record.rdata.clone()).collect())
            });
        }
        // An alias at the name, or one that renames all names below another: no delegation either way.
        let mut above = child.parent();
        while let Some(name) = above {
            if stands(&name, Rtype::DNAME) {
                return self.by_set(&message, child, &name, Rtype::DNAME, |_, _| Delegation::None);
            }
            above = name.parent();
        }
        if stands(child, Rtype::CNAME) {
            return self.by_set(&message, child, child, Rtype::CNAME, |_, _| Delegation::None);
        }
        let evidence = self.evidence_above(&message, Some(child));
        let mut cut = Cut::None;
        let proven = evidence.prove(None, |evidence| match evidence.no_ds(child, &mut self.budget) {
            Ok(found) => {
                cut = found;
                DenialProof::Proven
            }
            Err(proof) => proof,
        });
        match proven {
            Ok(zone) if cut == Cut::Unsigned => Delegation::Unsigned(zone, None),
            Ok(_) => Delegation::None,
            Err(Some(Failure { doubt: Doubt::Insecure, reason, zone: Some(zone) })) if !evidence.is_empty() => {
                if self.is_parent(zone, child) {
                    Delegation::Unsigned(zone, Some(reason))
                } else {
                    Delegation::Bogus(Some(zone), reason)
                }
            }
            Err(Some(failure)) => {
                let reason = Reason { text: format!("{child} DS: {}", failure.reason.text), ..failure.reason };
                ZoneWalk::not_secure(Failure { reason, ..failure })
            }
            Err(None) => Delegation::Silent,
        }
    }

    /// True if no signed delegation lies between a zone and a name. In that case records that need too many hashes to
    /// be checked may refer to the name.
    fn is_parent(&mut self, zone: usize, child: &Name) -> bool {
        let (top, depth) = (self.tree.name(zone).label_count(), child.label_count());
        let mut between = (top + 1..depth).filter_map(|labels| child.suffix(depth - labels));
        between.all(|name| !matches!(self.delegation(&name), Delegation::Signed(..)))
    }

    /// The delegation that a set of the answer section proves.
    fn by_set(
        &mut self,
        message: &Message,
        child: &Name,
        name: &Name,
        rtype: Rtype,
        secure: impl FnOnce(usize, &[&Record]) -> Delegation,
    ) -> Delegation {
        match self.set_above(&message.answer, name, rtype, Some(child)) {
            None => Delegation::Silent,
            Some(Ok(signed)) => {
                let set: Vec<&Record> =
                    message.answer.iter().filter(|record| record.rtype == rtype && record.name == *name).collect();
                secure(signed.zone(), &set)
            }
            Some(Err(failure)) => ZoneWalk::not_secure(failure),
        }
    }

    fn not_secure(failure: Failure) -> Delegation {
        match (failure.doubt, failure.zone) {
            (Doubt::Insecure, Some(zone)) => Delegation::Inherited(zone),
            (Doubt::Indeterminate, _) => Delegation::Unknown(failure.reason),
            (_, zone) => Delegation::Bogus(zone, failure.reason),
        }
    }
}
