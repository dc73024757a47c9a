//! Views over the data of single types: borrowed, checked once when they are made. They have the fields that somebody
//! reads; text and JSON of every type come from [`super::table`].

use super::Rtype;
use crate::dns::name::NameRef;
use crate::dns::wire::{Cursor, Malformed};
use crate::serial::Serial;

/// A zone's start of authority (RFC 1035, section 3.3.13).
#[derive(Debug, Clone, Copy)]
pub struct Soa {
    /// The version of the zone.
    pub serial: Serial,
    /// The longest time for which a negative answer may be kept (RFC 2308, section 4).
    pub minimum: u32,
}

impl Soa {
    /// # Errors
    /// The data is not that of an SOA record.
    pub fn parse(rdata: &[u8]) -> Result<Soa, Malformed> {
        let mut cursor = Cursor::new(rdata);
        let (_mname, _rname) = (cursor.name_ref()?, cursor.name_ref()?);
        let serial = Serial(cursor.u32()?);
        let (_refresh, _retry, _expire) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let minimum = cursor.u32()?;
        cursor.finish()?;
        Ok(Soa { serial, minimum })
    }
}

/// A mail exchanger (RFC 1035, section 3.3.9).
#[derive(Debug, Clone, Copy)]
pub struct Mx<'a> {
    /// Lower ones are tried first.
    pub preference: u16,
    /// The host.
    pub exchange: NameRef<'a>,
}

impl<'a> Mx<'a> {
    /// # Errors
    /// The data is not that of an MX record.
    pub fn parse(rdata: &'a [u8]) -> Result<Mx<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        let mx = Mx { preference: cursor.u16()?, exchange: cursor.name_ref()? };
        cursor.finish()?;
        Ok(mx)
    }
}

/// The host of an SRV record (RFC 2782).
///
/// # Errors
/// The data is not that of an SRV record.
pub fn srv_target(rdata: &[u8]) -> Result<NameRef<'_>, Malformed> {
    const PRIORITY_WEIGHT_PORT: usize = 6;
    let mut cursor = Cursor::new(rdata);
    cursor.take(PRIORITY_WEIGHT_PORT)?;
    let target = cursor.name_ref()?;
    cursor.finish()?;
    Ok(target)
}

/// The strings of a TXT record, joined (RFC 7208, section 3.3); what is cut short at the end is left out.
pub fn joined_txt(rdata: &[u8]) -> Vec<u8> {
    let mut cursor = Cursor::new(rdata);
    let mut text = Vec::new();
    while let Ok(string) = cursor.string() {
        text.extend_from_slice(string);
    }
    text
}

/// A signature (RFC 4034, section 3.1).
#[derive(Debug, Clone, Copy)]
pub struct Rrsig<'a> {
    /// The type of the records that are signed.
    pub covered: Rtype,
    /// How they are signed.
    pub algorithm: u8,
    /// Labels of their owner, the root and `*` not counted.
    pub labels: usize,
    /// Their time to live in the zone.
    pub original_ttl: u32,
    /// Valid until then.
    pub expiration: Serial,
    /// Valid from then on.
    pub inception: Serial,
    /// Which key signed.
    pub key_tag: u16,
    /// The zone whose key that is.
    pub signer: NameRef<'a>,
    /// The fields before the signer, as they are signed.
    pub head: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Rrsig<'a> {
    /// # Errors
    /// The data is not that of an RRSIG record.
    pub fn parse(rdata: &'a [u8]) -> Result<Rrsig<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        Ok(Rrsig {
            covered: Rtype(cursor.u16()?),
            algorithm: cursor.u8()?,
            labels: usize::from(cursor.u8()?),
            original_ttl: cursor.u32()?,
            expiration: Serial(cursor.u32()?),
            inception: Serial(cursor.u32()?),
            key_tag: cursor.u16()?,
            head: rdata.get(..cursor.position()).unwrap_or_default(),
            signer: cursor.name_ref()?,
            signature: cursor.rest(),
        })
    }
}

/// A key of a zone (RFC 4034, section 2.1).
#[derive(Debug, Clone, Copy)]
pub struct Dnskey<'a> {
    /// What it is for.
    pub flags: u16,
    /// 3.
    pub protocol: u8,
    /// What it signs with.
    pub algorithm: u8,
    /// The key in the form of its algorithm.
    pub public_key: &'a [u8],
}

impl<'a> Dnskey<'a> {
    /// # Errors
    /// The data is not that of a DNSKEY record.
    pub fn parse(rdata: &'a [u8]) -> Result<Dnskey<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        Ok(Dnskey { flags: cursor.u16()?, protocol: cursor.u8()?, algorithm: cursor.u8()?, public_key: cursor.rest() })
    }
}

/// The tag that signatures and digests name a key by (RFC 4034, appendix B).
pub fn key_tag(rdata: &[u8]) -> u16 {
    let sum: u32 = rdata
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .fold(0, u32::wrapping_add);
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// The digest of a key (RFC 4034, section 5.1).
#[derive(Debug, Clone, Copy)]
pub struct Ds<'a> {
    /// Which key it is of.
    pub key_tag: u16,
    /// What that key signs with.
    pub algorithm: u8,
    /// What the digest was made with.
    pub digest_type: u8,
    /// The digest.
    pub digest: &'a [u8],
}

impl<'a> Ds<'a> {
    /// # Errors
    /// The data is not that of a DS record.
    pub fn parse(rdata: &'a [u8]) -> Result<Ds<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        Ok(Ds { key_tag: cursor.u16()?, algorithm: cursor.u8()?, digest_type: cursor.u8()?, digest: cursor.rest() })
    }
}

/// The next name of a zone and the types of this one (RFC 4034, section 4.1).
#[derive(Debug, Clone, Copy)]
pub struct Nsec<'a> {
    /// The next name.
    pub next: NameRef<'a>,
    /// A bit map: see [`super::special::types_contain`].
    pub types: &'a [u8],
}

impl<'a> Nsec<'a> {
    /// # Errors
    /// The data is not that of an NSEC record.
    pub fn parse(rdata: &'a [u8]) -> Result<Nsec<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        Ok(Nsec { next: cursor.name_ref()?, types: cursor.rest() })
    }
}

/// How the names of a zone are hashed (RFC 5155, section 4.1): the data of NSEC3PARAM, and the start of that of NSEC3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsec3Param<'a> {
    /// The hash.
    pub algorithm: u8,
    /// Opt-out; in NSEC3PARAM always 0.
    pub flags: u8,
    /// Additional rounds.
    pub iterations: u16,
    /// What is hashed with each name.
    pub salt: &'a [u8],
}

impl<'a> Nsec3Param<'a> {
    /// SHA-1, the only hash there is (RFC 5155, section 11).
    pub const SHA1: u8 = 1;

    /// # Errors
    /// The data is not that of an NSEC3PARAM record.
    pub fn parse(rdata: &'a [u8]) -> Result<Nsec3Param<'a>, Malformed> {
        Nsec3Param::read(&mut Cursor::new(rdata))
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Nsec3Param<'a>, Malformed> {
        Ok(Nsec3Param {
            algorithm: cursor.u8()?,
            flags: cursor.u8()?,
            iterations: cursor.u16()?,
            salt: cursor.string()?,
        })
    }
}

/// The next hash of a zone and the types of the name with this one (RFC 5155, section 3.1).
#[derive(Debug, Clone, Copy)]
pub struct Nsec3<'a> {
    /// How the names are hashed.
    pub param: Nsec3Param<'a>,
    /// The next hash.
    pub next: &'a [u8],
    /// A bit map: see [`super::special::types_contain`].
    pub types: &'a [u8],
}

impl<'a> Nsec3<'a> {
    /// # Errors
    /// The data is not that of an NSEC3 record.
    pub fn parse(rdata: &'a [u8]) -> Result<Nsec3<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        Ok(Nsec3 { param: Nsec3Param::read(&mut cursor)?, next: cursor.string()?, types: cursor.rest() })
    }
}
