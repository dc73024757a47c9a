//! Trust anchors, the starting points of chains of trust. Those of the root are built in; others are read from DS and DNSKEY
//! records as in zone files and unbound's key files (RFC 5011 states included), from BIND's `trust-anchors { … }` and its
//! older forms, from `trust-anchor:` lines, and from root-anchors.xml (RFC 9718).

use super::name::Name;
use super::record::words::{RdataWords, ZoneWord};
use super::record::{Rtype, parse};
use super::zone::{ZoneReader, ZoneSource};

/// The maximum number of anchors in one file.
pub const MAX_ANCHORS: usize = 64;
/// The maximum size of a file, in bytes.
pub const MAX_ANCHOR_BYTES: usize = 1 << 20;

/// The root's keys since 2017 and 2024 (<https://data.iana.org/root-anchors/root-anchors.xml>).
const ROOT: &str = "\
. DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// A list of trust anchors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors {
    list: Vec<Anchor>,
}

/// One anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The zone of the anchor.
    pub zone: Name,
    /// The trusted digest or key.
    pub trusted: Trusted,
    /// The start of its validity, in seconds since 1970.
    pub from: Option<u64>,
    /// The end of its validity (exclusive), in seconds since 1970.
    pub until: Option<u64>,
}

/// The trusted object of an anchor: record data in wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// The digest of a key, as DS record data.
    Ds(Vec<u8>),
    /// A key, as DNSKEY record data.
    Key(Vec<u8>),
}

impl Anchors {
    /// The built-in anchors of the root.
    pub fn root() -> Anchors {
        Anchors::parse(ROOT.as_bytes()).unwrap_or_default()
    }

    /// Parses a file in any of the supported formats. Errors name the line if the format has lines.
    ///
    /// # Errors
    /// The file has none of the supported formats, or contains no anchor.
    pub fn parse(text: &[u8]) -> Result<Anchors, String> {
        if text.len() > MAX_ANCHOR_BYTES {
            return Err(format!("larger than {MAX_ANCHOR_BYTES} bytes"));
        }
        let text = std::str::from_utf8(text).map_err(|_| "not text".to_owned())?;
        let begin = text.trim_start_matches('\u{feff}').trim_start();
        let list = if begin.starts_with('<') {
            xml(text)?
        } else if ["trust-anchors", "trusted-keys", "managed-keys"].iter().any(|word| holds_block(text, word)) {
            bind(text)?
        } else {
            records(text)?
        };
        match list.len() {
            0 => Err("no trust anchor in it".to_owned()),
            count if count > MAX_ANCHORS => Err(format!("more than {MAX_ANCHORS} trust anchors")),
            _ => Ok(Anchors { list }),
        }
    }

    /// The closest zone with an anchor that contains this name.
    pub fn closest(&self, name: &Name) -> Option<Name> {
        let over = self.list.iter().map(|anchor| &anchor.zone).filter(|zone| name.is_in(*zone));
        over.max_by_key(|zone| zone.label_count()).cloned()
    }

    /// The anchors of a zone that are valid at this time, in seconds since 1970.
    pub fn of(&self, zone: &Name, at: u64) -> Vec<&Anchor> {
        let valid = |anchor: &&Anchor| {
            anchor.zone == *zone
                && anchor.from.is_none_or(|from| from <= at)
                && anchor.until.is_none_or(|until| at < until)
        };
        self.list.iter().filter(valid).collect()
    }

    /// All anchors.
    pub fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.list.iter()
    }
}

impl Anchor {
    fn of(zone: Name, rtype: Rtype, rdata: Vec<u8>) -> Option<Anchor> {
        let trusted = match rtype {
            Rtype::DS => Trusted::Ds(rdata),
            Rtype::DNSKEY => Trusted::Key(rdata),
            _ => return None,
        };
        Some(Anchor { zone, trusted, from: None, until: None })
    }
}

fn holds_block(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| text.get(at + word.len()..).is_some_and(|rest| rest.trim_start().starts_with('{')))
}

/// Parses one record per line, as in a zone file, in unbound's `auto-trust-anchor-file` and after its `trust-anchor:`.
fn records(text: &str) -> Result<Vec<Anchor>, String> {
    let mut plain = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        // States of RFC 5011 in which a key is not trusted: 1 waiting, 4 revoked, 5 removed.
        let dropped = [";;state=0", ";;state=1", ";;state=4", ";;state=5"].iter().any(|state| line.contains(state));
        let line = if dropped { "" } else { line };
        match line.trim().strip_prefix("trust-anchor:") {
            Some(quoted) => plain.push_str(quoted.trim().trim_matches('"')),
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    // The times to live do not matter here, but zone files need them.
    let text = format!("$TTL 0\n{plain}").into_bytes();
    let mut reader = ZoneReader::new(ZoneSource { name: "anchors".to_owned(), text }, Some(Name::root()));
    let mut list = Vec::new();
    loop {
        let entry = reader.next(&mut |_| Err("no files inside".to_owned()));
        let entry = entry.map_err(|error| format!("line {}: {}", error.line.saturating_sub(1), error.why))?;
        let Some(entry) = entry else { return Ok(list) };
        let (record, line) = (entry.record, entry.line.saturating_sub(1));
        let rtype = record.rtype;
        let anchor = Anchor::of(record.name, rtype, record.rdata);
        list.push(anchor.ok_or_else(|| format!("line {line}: a {rtype} record is not a trust anchor"))?);
        if list.len() > MAX_ANCHORS {
            return Ok(list);
        }
    }
}

/// Parses the statements of named.conf: `NAME [static-key|initial-key|static-ds|initial-ds] NUMBER NUMBER NUMBER "TEXT…";`.
fn bind(text: &str) -> Result<Vec<Anchor>, String> {
    let tokens = bind_tokens(text)?;
    let mut list = Vec::new();
    let mut inside = false;
    let mut statement: Vec<&str> = Vec::new();
    for token in &tokens {
        match token.as_str() {
            "{" => {
                inside = matches!(statement.as_slice(), ["trust-anchors" | "trusted-keys" | "managed-keys"]);
                statement.clear();
            }
            "}" => {
                inside = false;
                statement.clear();
            }
            ";" => {
                if inside && !statement.is_empty() {
                    list.push(bind_anchor(&statement)?);
                }
                statement.clear();
            }
            word => statement.push(word),
        }
        if list.len() > MAX_ANCHORS {
            break;
        }
    }
    Ok(list)
}

fn bind_anchor(statement: &[&str]) -> Result<Anchor, String> {
    let bad = || format!("trust anchor {:?} is incomplete", statement.join(" "));
    let (zone, rest) = statement.split_first().ok_or_else(bad)?;
    let zone = Name::parse(zone).map_err(|error| format!("{zone}: {error}"))?;
    let (rtype, rest) = match rest {
        ["static-key" | "initial-key", rest @ ..] => (Rtype::DNSKEY, rest),
        ["static-ds" | "initial-ds", rest @ ..] => (Rtype::DS, rest),
        rest => (Rtype::DNSKEY, rest),
    };
    let words: Vec<ZoneWord<'_>> =
        rest.iter().map(|word| ZoneWord { text: word.as_bytes(), quoted: false, glued: false }).collect();
    let rdata = parse::rdata(rtype, &mut RdataWords::new(&words, None)).map_err(|why| format!("{zone}: {why}"))?;
    Anchor::of(zone, rtype, rdata).ok_or_else(bad)
}

/// Splits named.conf into words, quoted strings without their blanks, and `{`, `}`, `;`; skips C, C++ and shell comments.
fn bind_tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
        } else if rest.starts_with('#') || rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").ok_or("comment without an end")?.1;
        } else if matches!(first, '{' | '}' | ';') {
            tokens.push(first.to_string());
            rest = rest.get(1..).unwrap_or_default();
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (inner, after) = quoted.split_once('"').ok_or("quote without an end")?;
            tokens.push(inner.split_whitespace().collect());
            rest = after;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            tokens.push(word.to_owned());
            rest = after;
        }
    }
    Ok(tokens)
}

/// Parses root-anchors.xml (RFC 9718, section 2).
fn xml(text: &str) -> Result<Vec<Anchor>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| format!("XML: {error}"))?;
    let root = document.root_element();
    if root.tag_name().name() != "TrustAnchor" {
        return Err("XML: the outermost element is not TrustAnchor".to_owned());
    }
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.has_tag_name(name));
        found.and_then(|child| child.text()).map(|text| text.trim().to_owned()).ok_or(format!("XML: {name} is missing"))
    };
    let zone = Name::parse(&child(root, "Zone")?).map_err(|error| format!("XML: Zone: {error}"))?;
    let mut list = Vec::new();
    for digest in root.children().filter(|node| node.has_tag_name("KeyDigest")).take(MAX_ANCHORS + 1) {
        let fields = ["KeyTag", "Algorithm", "DigestType", "Digest"];
        let texts = fields.map(|name| child(digest, name)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let words: Vec<ZoneWord<'_>> =
            texts.iter().map(|text| ZoneWord { text: text.as_bytes(), quoted: false, glued: false }).collect();
        let rdata = parse::rdata(Rtype::DS, &mut RdataWords::new(&words, None)).map_err(|why| format!("XML: {why}"))?;
        let time = |name: &str| {
            let parse = |text: &str| {
                let time: jiff::Timestamp = text.parse().map_err(|_| format!("XML: {name} is not a time"))?;
                Ok::<u64, String>(u64::try_from(time.as_second()).unwrap_or_default())
            };
            digest.attribute(name).map(parse).transpose()
        };
        list.push(Anchor {
            zone: zone.clone(),
            trusted: Trusted::Ds(rdata),
            from: time("validFrom")?,
            until: time("validUntil")?,
        });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3";

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let anchors = Anchors::parse(text.as_bytes())?;
        let one = |anchor: &Anchor| {
            let (rtype, rdata) = match &anchor.trusted {
                Trusted::Ds(rdata) => (Rtype::DS, rdata),
                Trusted::Key(rdata) => (Rtype::DNSKEY, rdata),
            };
            let style = crate::dns::record::text::Style::PLAIN;
            format!("{} {rtype} {}", anchor.zone, crate::dns::record::text::rdata(rtype, rdata, style))
        };
        Ok(anchors.iter().map(one).collect())
    }

    #[test]
    fn every_form_is_read() {
        let ds = ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
        let key = &format!(". DNSKEY 257 3 8 {KEY}");
        let digest = "E06D44B80B8F1D39A95C0B0D7C65D084 58E880409BBC683457104237C7F8EC8D";
        for (form, expected) in [
            (format!(". IN DS 20326 8 2 ( {digest}\n ) ; a comment\n"), ds),
            (
                format!(
                    "; autotrust trust anchor file\n;;id: . 1\n.\t86400\tIN\tDNSKEY\t257 3 8 {KEY} ;{{id = 1 (ksk)}} ;;state=2 [  VALID  ]\n.\t86400\tIN\tDNSKEY\t257 3 8 AAAA ;;state=1 [ ADDPEND ]\n"
                ),
                key,
            ),
            (format!("  trust-anchor: \". IN DS 20326 8 2 {}\"\n", digest.replace(' ', "")), ds),
            (
                format!(
                    "// bind.keys\ntrust-anchors {{\n /* a\n comment */ . initial-ds 20326 8 2 \"{}\n {}\"; # x\n}};\n",
                    &digest[..20],
                    digest[20..].replace(' ', "")
                ),
                ds,
            ),
            (
                format!("options {{ directory \"/x\"; }};\nmanaged-keys {{ \".\" initial-key 257 3 8 \"{KEY}\"; }};"),
                key,
            ),
            (format!("trusted-keys {{ . 257 3 8 \"{} {}\"; }};", &KEY[..8], &KEY[8..]), key),
            (
                format!(
                    "<?xml version=\"1.0\"?>\n<TrustAnchor id=\"x\"><Zone>.</Zone><KeyDigest id=\"a\" validFrom=\"2017-02-02T00:00:00+00:00\"><KeyTag>20326</KeyTag><Algorithm>8</Algorithm><DigestType>2</DigestType><Digest>{}</Digest></KeyDigest></TrustAnchor>",
                    digest.replace(' ', "")
                ),
                ds,
            ),
        ] {
            assert_eq!(shown(&form).unwrap_or_else(|why| panic!("{form}: {why}")), [expected], "{form}");
        }
    }

    #[test]
    fn validity_and_the_closest_zone() {
        let digest = "00".repeat(32);
        let xml = format!(
            "<TrustAnchor><Zone>.</Zone><KeyDigest validFrom=\"2010-07-15T00:00:00+00:00\" \
             validUntil=\"2019-01-11T00:00:00+00:00\"><KeyTag>1</KeyTag><Algorithm>8</Algorithm><DigestType>2</DigestType>\
             <Digest>{digest}</Digest></KeyDigest></TrustAnchor>"
        );
        let anchors = Anchors::parse(xml.as_bytes()).unwrap();
        let root = Name::root();
        for (at, count) in [(1_279_151_999, 0), (1_279_152_000, 1), (1_547_164_799, 1), (1_547_164_800, 0)] {
            assert_eq!(anchors.of(&root, at).len(), count, "{at}");
        }
        let both = Anchors::parse(format!(". DS 1 8 2 {digest}\nb.test. DS 2 8 2 {digest}\n").as_bytes()).unwrap();
        let closest = |name: &str| both.closest(&Name::parse(name).unwrap()).unwrap().to_string();
        assert_eq!((closest("x.b.test").as_str(), closest("c.test").as_str()), ("b.test.", "."));
        assert_eq!(Anchors::root().of(&root, 0).len(), 2);
    }

    #[test]
    fn what_is_no_anchor() {
        for (text, why) in [
            ("", "no trust anchor in it"),
            ("; nothing\n", "no trust anchor in it"),
            (". IN DS 1 8 2 zz\n", "line 1:"),
            ("\n. IN A 192.0.2.1\n", "line 2: a A record is not a trust anchor"),
            ("trust-anchors { . static-ds 1 8; };", ".:"),
            ("trust-anchors { . static-ds 1 8 2 \"00; };", "quote without an end"),
            ("trust-anchors { /* ", "comment without an end"),
            ("<TrustAnchor><Zone>.</Zone></TrustAnchor>", "no trust anchor in it"),
            ("<TrustAnchor>", "XML:"),
            ("<x/>", "not TrustAnchor"),
        ] {
            let error = Anchors::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many = format!(". DS 1 8 2 {}\n", "00".repeat(32)).repeat(MAX_ANCHORS + 1);
        assert!(Anchors::parse(many.as_bytes()).unwrap_err().contains("more than 64"));
        assert!(Anchors::parse(&vec![b' '; MAX_ANCHOR_BYTES + 1]).is_err());
    }
}
