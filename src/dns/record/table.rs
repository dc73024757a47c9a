//! The table of record types: mnemonic, number, and the fields of the data in wire order with their JSON names.

use super::Rtype;

/// The kind of one data field: it sets the field's form on the wire, in text and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RdataField {
    /// A name that may be compressed when sent: only in the types of RFC 1035.
    Name,
    /// A name that is read compressed but never sent compressed (RFC 3597, section 4).
    OldName,
    /// A name that is never compressed.
    PlainName,
    /// A number of 8 bits.
    U8,
    /// A number of 16 bits.
    U16,
    /// A number of 32 bits.
    U32,
    /// Seconds; zone files may use units (`1h30m`).
    Ttl,
    /// A point in time in text as `YYYYMMDDHHmmSS` (RFC 4034, section 3.2).
    Time,
    /// A DNSSEC algorithm of 8 bits, printed as a number; a mnemonic is accepted too.
    Algorithm,
    /// A DNSSEC algorithm printed by its mnemonic (CERT).
    AlgorithmName,
    /// A certificate type (RFC 4398, section 2.1).
    CertType,
    /// A scheme of DSYNC (RFC 9859, section 2.1).
    SyncScheme,
    /// A record type.
    Type,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// One character-string (RFC 1035, section 3.3), quoted.
    Text,
    /// One character-string printed without quotes (CAA's tag).
    Tag,
    /// One or more character-strings up to the end.
    Texts,
    /// The rest as one quoted string without a length (CAA's value, URI's target).
    LongText,
    /// The remaining bytes in hexadecimal.
    Hex,
    /// Bytes with a length of 8 bits, in hexadecimal, `-` if empty (NSEC3's salt).
    HexCounted,
    /// Bytes with a length of 8 bits, in base32hex (NSEC3's next owner).
    Base32Counted,
    /// The remaining bytes in base64, at least one.
    Base64,
    /// The remaining bytes in base64, possibly none: a KEY may state that no key exists (RFC 2535, section 3.1.2).
    Base64OrNone,
    /// The remaining bytes in base64, `-` if empty (DOA).
    Base64OrDash,
    /// A list of types as a bit map (RFC 4034, section 4.1.2).
    Types,
    /// The old bit map of NXT (RFC 2535, section 5.2).
    OldTypes,
    /// A 48-bit MAC address (RFC 7043).
    Eui48,
    /// A 64-bit MAC address (RFC 7043).
    Eui64,
    /// A 64-bit node identifier or locator (RFC 6742).
    Nid,
    /// Location (RFC 1876).
    Loc,
    /// Address prefixes (RFC 3123).
    Apl,
    /// A gateway of the type in the second byte, then the key (IPSECKEY, RFC 4025).
    Gateway,
    /// Discovery bit, relay type and relay (RFC 8777).
    Relay,
    /// All data of a HIP record (RFC 8005).
    Hip,
    /// Service parameters (RFC 9460).
    SvcParams,
}

impl RdataField {
    /// True if the field is one name.
    pub fn is_name(self) -> bool {
        matches!(self, RdataField::Name | RdataField::OldName | RdataField::PlainName)
    }

    /// True if the field may contain names, alone or among other data.
    pub fn may_hold_names(self) -> bool {
        self.is_name() || matches!(self, RdataField::Gateway | RdataField::Relay | RdataField::Hip)
    }

    /// True if the field is a name that a sender may have compressed.
    pub fn may_be_compressed(self) -> bool {
        matches!(self, RdataField::Name | RdataField::OldName)
    }
}

/// One record type.
#[derive(Debug)]
pub struct TypeRow {
    /// Its number.
    pub rtype: Rtype,
    /// Its mnemonic.
    pub name: &'static str,
    /// The fields of its data, each with its JSON name; empty for types without a presentation format.
    pub fields: &'static [(&'static str, RdataField)],
}

/// The row of a type.
pub fn row(rtype: Rtype) -> Option<&'static TypeRow> {
    // The table is sorted by number: a test says so.
    let at = TABLE.binary_search_by_key(&rtype, |row| row.rtype).ok()?;
    TABLE.get(at)
}

const fn r(number: u16, name: &'static str, fields: &'static [(&'static str, RdataField)]) -> TypeRow {
    TypeRow { rtype: Rtype(number), name, fields }
}

use RdataField::*;

const HOST: &[(&str, RdataField)] = &[("host", Name)];
const TEXTS: &[(&str, RdataField)] = &[("text", Texts)];
const HEX: &[(&str, RdataField)] = &[("data", Hex)];
const DIGEST: &[(&str, RdataField)] =
    &[("key_tag", U16), ("algorithm", Algorithm), ("digest_type", U8), ("digest", Hex)];
pub(super) const KEY: &[(&str, RdataField)] =
    &[("flags", U16), ("protocol", U8), ("algorithm", Algorithm), ("public_key", Base64)];
const OLD_KEY: &[(&str, RdataField)] =
    &[("flags", U16), ("protocol", U8), ("algorithm", Algorithm), ("public_key", Base64OrNone)];
const ASSOCIATION: &[(&str, RdataField)] =
    &[("certificate_usage", U8), ("selector", U8), ("matching_type", U8), ("certificate_association", Hex)];
const SERVICE: &[(&str, RdataField)] = &[("priority", U16), ("target", PlainName), ("params", SvcParams)];
const SIGNATURE: &[(&str, RdataField)] = &[
    ("type_covered", Type),
    ("algorithm", Algorithm),
    ("labels", U8),
    ("original_ttl", U32),
    ("expiration", Time),
    ("inception", Time),
    ("key_tag", U16),
    ("signer", OldName),
    ("signature", Base64),
];
const NONE: &[(&str, RdataField)] = &[];

/// Every type of the IANA registry, sorted by number. Types that have been unused for twenty years and have a special
/// format (WKS, NSAP, ATMA, A6) are written as unknown types (RFC 3597).
pub static TABLE: &[TypeRow] = &[
    r(1, "A", &[("address", Ipv4)]),
    r(2, "NS", HOST),
    r(3, "MD", HOST),
    r(4, "MF", HOST),
    r(5, "CNAME", HOST),
    r(
        6,
        "SOA",
        &[
            ("mname", Name),
            ("rname", Name),
            ("serial", U32),
            ("refresh", Ttl),
            ("retry", Ttl),
            ("expire", Ttl),
            ("minimum", Ttl),
        ],
    ),
    r(7, "MB", HOST),
    r(8, "MG", HOST),
    r(9, "MR", HOST),
    r(10, "NULL", NONE),
    r(11, "WKS", NONE),
    r(12, "PTR", HOST),
    r(13, "HINFO", &[("cpu", Text), ("os", Text)]),
    r(14, "MINFO", &[("rmailbx", Name), ("emailbx", Name)]),
    r(15, "MX", &[("preference", U16), ("exchange", Name)]),
    r(16, "TXT", TEXTS),
    r(17, "RP", &[("mbox", OldName), ("txt", OldName)]),
    r(18, "AFSDB", &[("subtype", U16), ("host", OldName)]),
    r(19, "X25", &[("address", Text)]),
    r(20, "ISDN", &[("address", Texts)]),
    r(21, "RT", &[("preference", U16), ("host", OldName)]),
    r(22, "NSAP", NONE),
    r(23, "NSAP-PTR", &[("host", OldName)]),
    r(24, "SIG", SIGNATURE),
    r(25, "KEY", OLD_KEY),
    r(26, "PX", &[("preference", U16), ("map822", OldName), ("mapx400", OldName)]),
    r(27, "GPOS", &[("longitude", Text), ("latitude", Text), ("altitude", Text)]),
    r(28, "AAAA", &[("address", Ipv6)]),
    r(29, "LOC", &[("location", Loc)]),
    r(30, "NXT", &[("next", OldName), ("types", OldTypes)]),
    r(31, "EID", HEX),
    r(32, "NIMLOC", HEX),
    r(33, "SRV", &[("priority", U16), ("weight", U16), ("port", U16), ("target", OldName)]),
    r(34, "ATMA", NONE),
    r(
        35,
        "NAPTR",
        &[
            ("order", U16),
            ("preference", U16),
            ("flags", Text),
            ("services", Text),
            ("regexp", Text),
            ("replacement", OldName),
        ],
    ),
    r(36, "KX", &[("preference", U16), ("exchange", OldName)]),
    r(37, "CERT", &[("cert_type", CertType), ("key_tag", U16), ("algorithm", AlgorithmName), ("certificate", Base64)]),
    r(38, "A6", NONE),
    r(39, "DNAME", &[("target", OldName)]),
    r(40, "SINK", NONE),
    r(41, "OPT", NONE),
    r(42, "APL", &[("prefixes", Apl)]),
    r(43, "DS", DIGEST),
    r(44, "SSHFP", &[("algorithm", U8), ("fingerprint_type", U8), ("fingerprint", Hex)]),
    r(45, "IPSECKEY", &[("precedence", U8), ("gateway_type", U8), ("algorithm", U8), ("gateway", Gateway)]),
    r(46, "RRSIG", SIGNATURE),
    r(47, "NSEC", &[("next", PlainName), ("types", Types)]),
    r(48, "DNSKEY", KEY),
    r(49, "DHCID", &[("data", Base64)]),
    r(
        50,
        "NSEC3",
        &[
            ("hash_algorithm", U8),
            ("flags", U8),
            ("iterations", U16),
            ("salt", HexCounted),
            ("next", Base32Counted),
            ("types", Types),
        ],
    ),
    r(51, "NSEC3PARAM", &[("hash_algorithm", U8), ("flags", U8), ("iterations", U16), ("salt", HexCounted)]),
    r(52, "TLSA", ASSOCIATION),
    r(53, "SMIMEA", ASSOCIATION),
    r(55, "HIP", &[("identity", Hip)]),
    r(56, "NINFO", TEXTS),
    r(57, "RKEY", KEY),
    r(58, "TALINK", &[("previous", PlainName), ("next", PlainName)]),
    r(59, "CDS", DIGEST),
    r(60, "CDNSKEY", KEY),
    r(61, "OPENPGPKEY", &[("public_key", Base64)]),
    r(62, "CSYNC", &[("serial", U32), ("flags", U16), ("types", Types)]),
    r(63, "ZONEMD", &[("serial", U32), ("scheme", U8), ("hash_algorithm", U8), ("digest", Hex)]),
    r(64, "SVCB", SERVICE),
    r(65, "HTTPS", SERVICE),
    r(66, "DSYNC", &[("rtype", Type), ("scheme", SyncScheme), ("port", U16), ("target", PlainName)]),
    r(67, "HHIT", &[("data", Base64)]),
    r(68, "BRID", &[("data", Base64)]),
    r(99, "SPF", TEXTS),
    r(100, "UINFO", NONE),
    r(101, "UID", NONE),
    r(102, "GID", NONE),
    r(103, "UNSPEC", NONE),
    r(104, "NID", &[("preference", U16), ("node_id", Nid)]),
    r(105, "L32", &[("preference", U16), ("locator", Ipv4)]),
    r(106, "L64", &[("preference", U16), ("locator", Nid)]),
    r(107, "LP", &[("preference", U16), ("fqdn", PlainName)]),
    r(108, "EUI48", &[("address", Eui48)]),
    r(109, "EUI64", &[("address", Eui64)]),
    r(128, "NXNAME", NONE),
    r(249, "TKEY", NONE),
    r(250, "TSIG", NONE),
    r(251, "IXFR", NONE),
    r(252, "AXFR", NONE),
    r(253, "MAILB", NONE),
    r(254, "MAILA", NONE),
    r(255, "ANY", NONE),
    r(256, "URI", &[("priority", U16), ("weight", U16), ("target", LongText)]),
    r(257, "CAA", &[("flags", U8), ("tag", Tag), ("value", LongText)]),
    r(258, "AVC", TEXTS),
    r(
        259,
        "DOA",
        &[("enterprise", U32), ("doa_type", U32), ("location", U8), ("media_type", Text), ("data", Base64OrDash)],
    ),
    r(260, "AMTRELAY", &[("precedence", U8), ("relay", Relay)]),
    r(261, "RESINFO", TEXTS),
    r(262, "WALLET", TEXTS),
    r(263, "CLA", TEXTS),
    r(264, "IPN", NONE),
    r(32768, "TA", DIGEST),
    r(32769, "DLV", DIGEST),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].rtype < pair[1].rtype));
        assert!(TABLE.iter().filter(|row| !row.fields.is_empty()).count() >= 61);
        for row in TABLE {
            let mut names: Vec<_> = row.fields.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), row.fields.len(), "{}: JSON names are unique", row.name);
        }
    }
}
