//! Borrowed views of the data of single types, checked once when they are created. They have only the fields that other
//! modules read; text and JSON of every type come from [`super::table`].

use super::Rtype;
use crate::dns::name::NameRef;
use crate::dns::wire::{Cursor, Malformed};
use crate::serial::Serial;

/// A zone's start of authority (RFC 1035, section 3.3.13).
#[derive(Debug, Clone, Copy)]
pub struct Soa {
    /// The serial number of the zone's version.
    pub serial: Serial,
    /// The maximum time, in seconds, for which a negative answer may be kept (RFC 2308, section 4).
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
    /// Lower values are tried first.
    pub preference: u16,
    /// The host name.
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

/// The strings of a TXT record, joined (RFC 7208, section 3.3); a string that is cut short at the end is omitted.
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
    /// The type of the signed records.
    pub covered: Rtype,
    /// The signature algorithm.
    pub algorithm: u8,
    /// The number of labels of their owner, without the root and `*`.
    pub labels: usize,
    /// Their time to live in the zone, in seconds.
    pub original_ttl: u32,
    /// The end of the validity period.
    pub expiration: Serial,
    /// The start of the validity period.
    pub inception: Serial,
    /// The tag of the key that signed.
    pub key_tag: u16,
    /// The zone that owns the key.
    pub signer: NameRef<'a>,
    /// The fields before the signer, in the form in which they are signed.
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
    /// The purpose of the key.
    pub flags: u16,
    /// The protocol, always 3.
    pub protocol: u8,
    /// The signature algorithm.
    pub algorithm: u8,
    /// The public key, in the format of its algorithm.
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

/// The tag that identifies a key in signatures and digests (RFC 4034, appendix B).
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
    /// The tag of the key.
    pub key_tag: u16,
    /// The signature algorithm of the key.
    pub algorithm: u8,
    /// The digest algorithm.
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

/// The next name of a zone and the types of the owner (RFC 4034, section 4.1).
#[derive(Debug, Clone, Copy)]
pub struct Nsec<'a> {
    /// The next name.
    pub next: NameRef<'a>,
    /// A bit map: see `special::types_contain`.
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

/// The hash parameters of a zone (RFC 5155, section 4.1): the data of NSEC3PARAM, and the start of the data of NSEC3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsec3Param<'a> {
    /// The hash algorithm.
    pub algorithm: u8,
    /// The opt-out flag; always 0 in NSEC3PARAM.
    pub flags: u8,
    /// Additional rounds.
    pub iterations: u16,
    /// The salt, hashed with each name.
    pub salt: &'a [u8],
}

impl<'a> Nsec3Param<'a> {
    /// SHA-1, the only defined hash (RFC 5155, section 11).
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

/// The next hash of a zone and the types of the name with the owner's hash (RFC 5155, section 3.1).
#[derive(Debug, Clone, Copy)]
pub struct Nsec3<'a> {
    /// The hash parameters.
    pub param: Nsec3Param<'a>,
    /// The next hash.
    pub next: &'a [u8],
    /// A bit map: see `special::types_contain`.
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
