//! The type bit map of a denial record, and its statements about the owner.

use crate::dns::name::Name;
use crate::dns::record::{Rtype, special};

/// A bit map of types (RFC 4034, section 4.1.2).
#[derive(Debug, Clone)]
pub(super) struct TypeBitmap(Vec<u8>);

impl TypeBitmap {
    pub(super) fn new(bitmap: &[u8]) -> TypeBitmap {
        TypeBitmap(bitmap.to_vec())
    }

    /// True if the type is in the map.
    pub(super) fn has(&self, rtype: Rtype) -> bool {
        special::types_contain(&self.0, rtype)
    }

    /// True if the record at this owner proves that the type does not exist: neither as data nor behind an alias, and
    /// from the side of the zone cut that has authority (RFC 6840, sections 4.1 and 4.3).
    pub(super) fn denies(&self, rtype: Rtype, owner: &Name) -> bool {
        let right_side = match rtype {
            Rtype::DS => !self.has(Rtype::SOA) || owner.is_root(),
            _ => !self.has(Rtype::NS) || self.has(Rtype::SOA),
        };
        right_side && !self.has(rtype) && !self.has(Rtype::CNAME)
    }

    /// True if names below the owner are outside the zone's authority: the owner is a delegation, or a DNAME renames them all.
    pub(super) fn end_authority(&self, owner: &Name, name: &Name) -> bool {
        let ends = self.has(Rtype::DNAME) || (self.has(Rtype::NS) && !self.has(Rtype::SOA));
        ends && name != owner && name.is_in(owner)
    }
}
