//! Every record type in random forms: foreign servers hold them, foreign tools print them, and ours says the same.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use applayer::dns::name::Name;
use applayer::dns::record::table::{self, RdataField};
use applayer::dns::record::text::{Style, generic};
use applayer::dns::record::{Record, Rtype};
use applayer::dns::zone::{ZoneReader, ZoneSource};

use crate::dns::{data, knot_with, named, nsd_with, sample_zone};
use crate::harness::{temp_dir, tool};
use crate::peers::{Daemon, Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("nsd", "every type in random forms, as dig prints it", from_nsd),
    trial("knot", "every type in random forms, as dig prints it", from_knot),
    trial("bind9", "every type in random forms, as dig prints it", from_bind),
    trial("kdig", "every type in random forms reads back to the same bytes", kdig_reads_back),
    trial("bind9", "named-compilezone reads zone files as we do", compiled_zones),
];

/// How many records of each type.
const FORMS: usize = 12;

/// Types that a peer knows no text or no data for: they are left out of what it is asked about.
const NEW_FOR_DIG: &[&str] = &["DSYNC", "HHIT", "BRID", "CLA", "AMTRELAY", "RESINFO", "WALLET"];

/// A small generator whose seed is printed, so that a failure can be had again.
pub(crate) struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let seed = std::env::var("APPLAYER_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
        });
        eprintln!("APPLAYER_SEED={seed}");
        Chance(seed)
    }

    /// The same each time; not 0.
    pub(crate) fn seeded(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `most`.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn bytes(&mut self, least: usize, most: usize) -> Vec<u8> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| self.byte()).collect()
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A name, mostly of letters, sometimes of anything.
    fn name(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        for _ in 0..self.below(5) {
            let label = match self.below(6) {
                // Servers may read names in lower case.
                0 => self.bytes(1, 20).to_ascii_lowercase(),
                _ => (0..=self.below(20)).map(|_| *self.pick(b"abcxyz019-_")).collect(),
            };
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        wire
    }

    fn string(&mut self) -> Vec<u8> {
        let text = match self.below(4) {
            0 => self.bytes(0, 255),
            1 => b"with \"quotes\", \\ and ; in it".to_vec(),
            _ => (0..self.below(30)).map(|_| *self.pick(b"abc DEF 123 ;\\\"@$().")).collect(),
        };
        counted(&text)
    }

    fn types(&mut self) -> Vec<u8> {
        let known: Vec<u16> = table::TABLE.iter().map(|row| row.rtype.0).filter(|number| *number > 0).collect();
        let mut types = BTreeSet::new();
        for _ in 0..=self.below(8) {
            // Types that one of the peers names and the other does not would differ in the text of the list.
            let number = if self.below(3) == 0 { 1000 + self.below(30_000) as u16 } else { *self.pick(&known) };
            let new = NEW_FOR_DIG.iter().any(|name| Rtype::parse(name) == Some(Rtype(number)));
            if !new && !Rtype(number).is_meta() && number != 41 && !(264..=300).contains(&number) {
                types.insert(number);
            }
        }
        types.insert(1);
        let mut wire = Vec::new();
        for window in 0..=255u8 {
            let inside: Vec<u16> = types.iter().copied().filter(|number| number >> 8 == u16::from(window)).collect();
            let Some(last) = inside.last() else { continue };
            let mut map = vec![0u8; usize::from(last & 255) / 8 + 1];
            inside.iter().for_each(|number| map[usize::from(number & 255) / 8] |= 0x80 >> (number & 7));
            wire.extend([window, map.len() as u8]);
            wire.extend(map);
        }
        wire
    }

    fn address_of(&mut self, kind: u8) -> Vec<u8> {
        match kind {
            1 => self.bytes(4, 4),
            2 => self.bytes(16, 16),
            3 => self.name(),
            _ => Vec::new(),
        }
    }
}

fn counted(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

/// Valid data of one type; every form that its fields can take.
fn rdata(row: &table::TypeRow, chance: &mut Chance) -> Vec<u8> {
    let mut wire = Vec::new();
    for (name, kind) in row.fields {
        field(row, name, *kind, chance, &mut wire);
    }
    wire
}

fn field(row: &table::TypeRow, name: &str, kind: RdataField, chance: &mut Chance, wire: &mut Vec<u8>) {
    match kind {
        RdataField::Name | RdataField::OldName | RdataField::PlainName => wire.extend(chance.name()),
        // Hash and digest types fix lengths of what follows; unknown ones do not.
        RdataField::U8 if matches!(name, "digest_type" | "fingerprint_type" | "scheme" | "hash_algorithm") => {
            wire.push(if row.name.starts_with("NSEC3") { 1 } else { 200 + chance.below(40) as u8 });
        }
        RdataField::U8 if name == "gateway_type" => wire.push(chance.below(4) as u8),
        RdataField::U8 if name == "protocol" => wire.push(3),
        // dig now and then refuses few labels, kdig an IPSECKEY with a key and no algorithm.
        RdataField::U8 if name == "labels" => wire.push(5 + chance.below(200) as u8),
        RdataField::Algorithm | RdataField::U8 if name == "algorithm" && row.name == "IPSECKEY" => wire.push(2),
        RdataField::U8 => wire.push(chance.byte()),
        // 253 and 254 have names or object identifiers in the key.
        RdataField::Algorithm | RdataField::AlgorithmName => {
            wire.push(*chance.pick(&[3, 5, 7, 8, 10, 13, 14, 15, 16, 100]))
        }
        RdataField::SyncScheme => wire.push(1),
        RdataField::U16 if name == "flags" && matches!(row.name, "KEY" | "RKEY") => wire.extend([0, 0]),
        RdataField::U16 if name == "flags" => wire.extend([1, chance.below(2) as u8]),
        RdataField::U16 | RdataField::CertType => wire.extend(chance.bytes(2, 2)),
        // Servers may take it for the record's own time to live, whose highest bit means 0.
        RdataField::U32 if name == "original_ttl" => wire.extend((chance.next() as u32 >> 1).to_be_bytes()),
        RdataField::U32 => wire.extend(chance.bytes(4, 4)),
        RdataField::Ttl => wire.extend((chance.next() as u32 >> 1).to_be_bytes()),
        RdataField::Time => wire.extend((chance.next() as u32 >> 1).to_be_bytes()),
        // BIND has rules of its own for what covers keys.
        RdataField::Type => wire.extend([0, *chance.pick(&[1u8, 2, 6, 15, 16, 28])]),
        RdataField::Ipv4 => wire.extend(chance.bytes(4, 4)),
        RdataField::Ipv6 if chance.below(3) == 0 => wire.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]),
        RdataField::Ipv6 => wire.extend(chance.bytes(16, 16).iter().map(|byte| if byte & 1 == 0 { 0 } else { *byte })),
        RdataField::Text if row.name == "GPOS" => {
            wire.extend(counted(chance.pick(&["-22.6882", "0", "45.25"]).as_bytes()))
        }
        RdataField::Text if row.name == "X25" => wire.extend(counted(b"311061700956")),
        RdataField::Text if name == "regexp" => {
            wire.extend(counted(chance.pick(&["", "!^.*$!sip:a@b.test!"]).as_bytes()))
        }
        RdataField::Text if name == "flags" => wire.extend(counted(chance.pick(&["", "U", "s"]).as_bytes())),
        RdataField::Text => wire.extend(chance.string()),
        RdataField::Tag => wire.extend(counted(chance.pick(&["issue", "issuewild", "iodef", "X1"]).as_bytes())),
        RdataField::Texts if row.name == "ISDN" => wire.extend(counted(b"150862028003217")),
        RdataField::Texts => (0..=chance.below(4)).for_each(|_| wire.extend(chance.string())),
        RdataField::LongText => wire.extend(&chance.string()[1..]),
        // No digest of a zone is shorter (RFC 8976, section 2.2.4).
        RdataField::Hex if row.name == "ZONEMD" => wire.extend(chance.bytes(12, 64)),
        RdataField::Hex | RdataField::Base64 | RdataField::Base64OrNone | RdataField::Base64OrDash => {
            wire.extend(chance.bytes(1, 120))
        }
        RdataField::HexCounted => wire.extend(counted(&chance.bytes(0, 20))),
        // SHA-1, the one hash that NSEC3 has.
        RdataField::Base32Counted => wire.extend(counted(&chance.bytes(20, 20))),
        RdataField::Types => wire.extend(chance.types()),
        RdataField::OldTypes => wire.extend([0x62, 0x01, 0x00, 0x02]),
        RdataField::Eui48 => wire.extend(chance.bytes(6, 6)),
        RdataField::Eui64 | RdataField::Nid => wire.extend(chance.bytes(8, 8)),
        RdataField::Loc => {
            let size = |chance: &mut Chance| (chance.below(9) as u8 + 1) << 4 | chance.below(9) as u8;
            wire.extend([0, size(chance), size(chance), size(chance)]);
            for half in [90, 180] {
                let most = half * 3_600_000 * 2;
                let angle = (1u64 << 31) - most / 2 + chance.next() % most;
                wire.extend((angle as u32).to_be_bytes());
            }
            wire.extend((chance.next() as u32).to_be_bytes());
        }
        RdataField::Apl => {
            for _ in 0..chance.below(4) {
                let (family, most) = *chance.pick(&[(1u8, 4usize), (2, 16)]);
                let mut part = chance.bytes(0, most);
                while part.last() == Some(&0) {
                    part.pop();
                }
                let negated = if chance.below(2) == 0 { 0x80 } else { 0 };
                wire.extend([0, family, (most * 8) as u8, negated | part.len() as u8]);
                wire.extend(part);
            }
        }
        RdataField::Gateway => {
            // The gateway's type stands one byte before the algorithm.
            let kind = wire[wire.len() - 2];
            wire.extend(chance.address_of(kind));
            wire.extend(chance.bytes(1, 60));
        }
        RdataField::Relay => {
            let kind = 1 + chance.below(3) as u8;
            wire.push(kind | if chance.below(2) == 0 { 0x80 } else { 0 });
            wire.extend(chance.address_of(kind));
        }
        RdataField::Hip => {
            let (tag, key) = (chance.bytes(1, 32), chance.bytes(1, 90));
            wire.extend([tag.len() as u8, chance.byte(), 0, key.len() as u8]);
            wire.extend([tag, key].concat());
            (0..chance.below(3)).for_each(|_| wire.extend(chance.name()));
        }
        RdataField::SvcParams => {
            // An alias (priority 0) has none.
            if wire[..2] == [0, 0] {
                return;
            }
            let mut put = |key: u16, value: Vec<u8>| {
                wire.extend(key.to_be_bytes());
                wire.extend((value.len() as u16).to_be_bytes());
                wire.extend(value);
            };
            if chance.below(2) == 0 {
                put(0, vec![0, 1, 0, 4]);
                put(1, [counted(b"h2"), counted(b"f\\oo,bar")].concat());
                put(4, chance.bytes(4, 4));
            }
            if chance.below(2) == 0 {
                put(5, chance.bytes(1, 40));
                put(6, [chance.bytes(16, 16), chance.bytes(16, 16)].concat());
                put(667, chance.bytes(1, 40));
            }
        }
    }
}

/// Every type with text, some unknown ones, several times, at names of its own; the wire forms and the zone's text, in
/// which all of them stand as RFC 3597 writes unknown ones: no peer's reader takes part.
fn random_zone(chance: &mut Chance, left_out: &[&str]) -> (Vec<Record>, String) {
    let mut text = String::from("$ORIGIN t.test.\n$TTL 300\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n");
    let mut records = Vec::new();
    for row in table::TABLE.iter().filter(|row| !row.fields.is_empty() && !left_out.contains(&row.name)) {
        if matches!(row.name, "SOA" | "NS" | "DNAME" | "CNAME") {
            continue; // by hand below: they shape the zone
        }
        for form in 0..FORMS {
            let label = match row.name {
                "NSEC3" => format!("{:0>32}", format!("{:o}{form:o}", row.rtype.0)),
                name => format!("{name}-{form}"),
            };
            let rdata = rdata(row, chance);
            add(&label, row.rtype, rdata, &mut records, &mut text);
        }
    }
    for (at, rtype) in [Rtype::CNAME, Rtype::DNAME, Rtype(65280), Rtype(65281)].into_iter().enumerate() {
        let rdata = if at < 2 { chance.name() } else { chance.bytes(0, 80) };
        add(&format!("more-{at}"), rtype, rdata, &mut records, &mut text);
    }
    (records, text)
}

fn add(label: &str, rtype: Rtype, rdata: Vec<u8>, records: &mut Vec<Record>, text: &mut String) {
    let name = Name::parse(&format!("{label}.t.test.")).unwrap();
    let mut data = String::new();
    generic(&rdata, Style::PLAIN, &mut data);
    text.push_str(&format!("{label} TYPE{} {data}\n", rtype.0));
    records.push(Record { name, rtype, class: applayer::dns::record::Class::IN, ttl: 300, rdata });
}

/// Records that text holds, sorted; the zone's own (SOA, NS) left out.
pub(crate) fn read(text: &str) -> Vec<(String, u16, Vec<u8>)> {
    let source = ZoneSource { name: "text".to_owned(), text: text.as_bytes().to_vec() };
    let mut reader = ZoneReader::new(source, Some(Name::root()));
    let mut found = Vec::new();
    while let Some(entry) = reader.next(&mut |_| Err(String::new())).unwrap_or_else(|error| panic!("{error}")) {
        let record = entry.record;
        found.push((record.name.to_string().to_lowercase(), record.rtype.0, record.rdata));
    }
    found.sort();
    found.dedup();
    found
}

fn wires(records: &[Record]) -> Vec<(String, u16, Vec<u8>)> {
    let mut wires: Vec<_> = records
        .iter()
        .map(|record| (record.name.to_string().to_lowercase(), record.rtype.0, record.rdata.clone()))
        .collect();
    wires.sort();
    wires
}

/// The records of the zone by themselves: everything but SOA, NS and the address of the name server.
fn content(text: &str) -> Vec<(String, u16, Vec<u8>)> {
    read(text).into_iter().filter(|(name, _, _)| name != "t.test." && name != "a.t.test.").collect()
}

fn dnsq_zone(addr: SocketAddr) -> String {
    let done = tool("dnsq").arg(format!("@{addr}")).args(["t.test", "AXFR", "+nostats"]).run();
    done.silent_success().text().to_owned()
}

/// Question by question the same text, full and short; and the whole zone reads back to the bytes that were put in.
fn as_dig_prints(start: impl Fn(&Path, &str) -> Daemon, left_out: &[&str]) {
    let mut chance = Chance::new();
    let dir = temp_dir();
    let (records, text) = random_zone(&mut chance, &[NEW_FOR_DIG, left_out].concat());
    let zone = dir.path().join("t.zone");
    std::fs::write(&zone, &text).unwrap();
    let server = start(dir.path(), zone.to_str().unwrap());
    let dig = Peer::find("dig").unwrap();
    let port = server.addr.port().to_string();
    for options in [&["+noall", "+answer"][..], &["+short"]] {
        let questions: Vec<String> =
            records.iter().flat_map(|record| [record.name.to_string(), record.rtype.to_string()]).collect();
        let words: Vec<&str> = questions.iter().map(String::as_str).collect();
        // dig takes options before the first question for all of them. Over UDP it would pick the server's own port for one
        // of so many, and hear itself.
        let alike = ["@127.0.0.1", "-p", &port, "+nocookie", "+tcp", "+keepopen"];
        let theirs = dig.run("dig", [&alike, options, &words].concat());
        let ours = tool("dnsq").arg(format!("@{}", server.addr)).args([options, &words].concat()).run();
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let (ours, theirs) = (lines(ours.exits(0).text()), lines(theirs.exits(0).text()));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
    }
    let (expected, found) = (wires(&records), content(&dnsq_zone(server.addr)));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "type {}", Rtype(expected.1));
    }
    assert_eq!(expected.len(), found.len());
    assert!(records.len() > 61 * FORMS);
}

fn from_nsd(peer: &Peer) -> Verdict {
    as_dig_prints(|dir, zone| nsd_with(peer, dir, &[("t.test", zone)], ""), &[]);
    Verdict::Ok
}

fn from_knot(peer: &Peer) -> Verdict {
    as_dig_prints(|dir, zone| knot_with(peer, dir, &[("t.test", zone)]), &[]);
    Verdict::Ok
}

/// BIND takes two obsolete types for errors.
fn from_bind(peer: &Peer) -> Verdict {
    as_dig_prints(|dir, zone| named(peer, dir, &[("t.test", zone)], ("", "")), &["MD", "MF"]);
    Verdict::Ok
}

/// Whatever kdig prints of our server's zone is read back to the same bytes.
fn kdig_reads_back(peer: &Peer) -> Verdict {
    let mut chance = Chance::new();
    let dir = temp_dir();
    let (records, text) = random_zone(&mut chance, &[]);
    std::fs::write(dir.path().join("t.zone"), text).unwrap();
    let args = ["--listen", "127.0.0.1:0", "--allow-transfer", "127.0.0.1", "t.zone"];
    let server = crate::harness::server("dnsserve").args(args).dir(dir.path()).start();
    let address = format!("@127.0.0.1#{}", server.port());
    let theirs = peer.run("kdig", [&address, "+noall", "+answer", "t.test", "AXFR"]);
    let (expected, found) = (wires(&records), content(theirs.exits(0).text()));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "type {}", Rtype(expected.1));
    }
    assert_eq!(expected.len(), found.len());
    assert_eq!(content(&dnsq_zone(server.addr)), expected, "and ours");
    Verdict::Ok
}

/// Zone files in all their liberties, as named-compilezone and as our reader understand them: the same records.
fn compiled_zones(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    // BIND takes two obsolete types for errors.
    let samples: String = sample_zone()
        .1
        .lines()
        .filter(|line| !line.contains(" MD ") && !line.contains(" MF "))
        .map(|line| format!("{line}\n"))
        .collect();
    let zones = [
        ("example.test", std::fs::read_to_string(data("example.test.zone")).unwrap()),
        ("other.test", std::fs::read_to_string(data("other.test.zone")).unwrap()),
        ("t.test", format!("{samples}@ NS b\nb A 192.0.2.1\n")),
        ("liberties.test", std::fs::read_to_string(data("liberties.test.zone")).unwrap()),
    ];
    for (origin, text) in zones {
        let (source, compiled) = (dir.path().join(origin), dir.path().join(format!("{origin}.out")));
        std::fs::write(&source, &text).unwrap();
        let checks = [
            "-i", "none", "-k", "ignore", "-m", "ignore", "-M", "ignore", "-n", "ignore", "-r", "ignore", "-S",
            "ignore", "-T", "ignore",
        ];
        let done = peer.run(
            "named-compilezone",
            checks.into_iter().chain(["-o", compiled.to_str().unwrap(), origin, source.to_str().unwrap()]),
        );
        done.exits(0);
        let theirs = read(&std::fs::read_to_string(&compiled).unwrap());
        let text = format!("$ORIGIN {origin}.\n{text}");
        let ours = read(&text);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{origin}");
        }
        assert_eq!(ours.len(), theirs.len(), "{origin}");
    }
    Verdict::Ok
}
