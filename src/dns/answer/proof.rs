//! DNSSEC records in answers, for validating clients: signatures (RFC 4035, section 3.1.1) and proofs of nonexistence, by
//! NSEC (section 3.1.3) or NSEC3 (RFC 5155, section 7.2).

use super::ResponseBuilder;
use crate::dns::name::{Name, NameRef};
use crate::dns::record::Rtype;
use crate::dns::zone::{Denial, Hashes, NameNode, Zone, at_or_before};

impl ResponseBuilder<'_> {
    /// Proves that a name does not exist; `encloser` is its closest ancestor that exists.
    pub(super) fn prove_no_name(&mut self, zone: &Zone, name: NameRef<'_>, encloser: NameRef<'_>) {
        self.prove_no_closer(zone, name, encloser);
        // It always fits: no label is shorter than `*`, and the name has at least one label more than the encloser.
        let Ok(wildcard) = encloser.prepend(b"*") else { return };
        match self.denial(zone) {
            Denial::Nsec(names) => self.nsec(zone, at_or_before(names, wildcard.borrowed())),
            Denial::Nsec3(hashes) => {
                self.nsec3(zone, hashes.matching(encloser));
                self.nsec3(zone, hashes.covering(wildcard.borrowed()));
            }
            Denial::Unsigned => {}
        }
    }

    /// Proves that a name exists but has no data of the queried type.
    pub(super) fn prove_no_data(&mut self, zone: &Zone, name: NameRef<'_>) {
        match self.denial(zone) {
            Denial::Nsec(names) => self.nsec(zone, at_or_before(names, name)),
            Denial::Nsec3(hashes) => match hashes.matching(name) {
                Some(owner) => self.nsec3(zone, Some(owner)),
                // Opt-out omitted it, or everything below it: the gap proves that (RFC 5155, section 7.2.4).
                None => self.closest_provable(zone, hashes, name),
            },
            Denial::Unsigned => {}
        }
    }

    /// Proves that the wildcard below `encloser` matches the name and has no data of the queried type.
    pub(super) fn prove_no_wildcard_data(&mut self, zone: &Zone, name: NameRef<'_>, encloser: NameRef<'_>) {
        self.prove_no_closer(zone, name, encloser);
        // It is in the zone, so it fits.
        let Ok(wildcard) = encloser.prepend(b"*") else { return };
        if let Denial::Nsec3(hashes) = self.denial(zone) {
            self.nsec3(zone, hashes.matching(encloser));
        }
        self.prove_no_data(zone, wildcard.borrowed());
    }

    /// Proves that no name closer to `name` than `encloser` exists.
    pub(super) fn prove_no_closer(&mut self, zone: &Zone, name: NameRef<'_>, encloser: NameRef<'_>) {
        match self.denial(zone) {
            Denial::Nsec(names) => self.nsec(zone, at_or_before(names, name)),
            Denial::Nsec3(hashes) => {
                let surplus = name.label_count().saturating_sub(encloser.label_count() + 1);
                let next_closer = name.suffix(surplus);
                self.nsec3(zone, next_closer.and_then(|name| hashes.covering(name)));
            }
            Denial::Unsigned => {}
        }
    }

    /// Adds the NSEC3 record of the closest provable encloser, and the one that covers the next closer name.
    fn closest_provable(&mut self, zone: &Zone, hashes: &Hashes, name: NameRef<'_>) {
        let depth = name.label_count().saturating_sub(zone.origin().label_count());
        let closest = (1..=depth).find_map(|skip| Some((skip, hashes.matching(name.suffix(skip)?)?)));
        // A zone whose apex has no NSEC3 record can prove nothing: validators then consider the answer bogus.
        if let Some((skip, owner)) = closest {
            self.nsec3(zone, Some(owner));
            self.nsec3(zone, name.suffix(skip - 1).and_then(|next| hashes.covering(next)));
        }
    }

    fn denial<'z>(&self, zone: &'z Zone) -> Denial<'z> {
        if self.dnssec_ok { zone.denial() } else { Denial::Unsigned }
    }

    fn nsec(&mut self, zone: &Zone, owner: Option<&Name>) {
        if let Some((owner, node)) = owner.and_then(|owner| Some((owner, zone.node(owner)?))) {
            self.proof(owner, node, Rtype::NSEC);
        }
    }

    fn nsec3(&mut self, zone: &Zone, owner: Option<&Name>) {
        if let Some((owner, node)) = owner.and_then(|owner| Some((owner, zone.hashed_node(owner)?))) {
            self.proof(owner, node, Rtype::NSEC3);
        }
    }

    /// Adds one record with its signatures, unless it is present already.
    fn proof(&mut self, owner: &Name, node: &NameNode, rtype: Rtype) {
        let authority = &mut self.response.authority;
        if authority.iter().any(|record| record.rtype == rtype && record.name == *owner) {
            return;
        }
        let sets = node.set(rtype).into_iter().chain(node.signatures(rtype));
        authority.extend(sets.flat_map(|set| set.records(owner)));
    }
}
