//! Zone files, good and bad, as a small grammar makes them: what BIND, NSD and Knot all refuse we refuse with its line, and
//! what they all read we read to the same records.

use std::collections::BTreeSet;
use std::path::Path;

use applayer::dns::record::Record;
use applayer::dns::zone::{Zone, ZoneLimits, ZoneReading, ZoneSource};

use crate::dns::data;
use crate::dns_types::{Chance, read};
use crate::harness::temp_dir;
use crate::peers::{Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] =
    &[trial("bind9", "generated zone files are read as by BIND, NSD and Knot", generated_zones)];

/// Zones of one run; `APPLAYER_ZONES` says another number, `APPLAYER_SEED` other ones.
const ZONES: usize = 300;
const ORIGIN: &str = "q.test.";
const HEAD: &str = "$TTL 1h\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// What BIND checks beyond the reading of a zone is not asked about.
const READ_ONLY: [&str; 16] = [
    "-i", "none", "-k", "ignore", "-m", "ignore", "-M", "ignore", "-n", "ignore", "-r", "ignore", "-S", "ignore", "-T",
    "ignore",
];

/// Types that BIND 9.18, NSD 4.6 and Knot 3.2 have no text for, or that they judge by more than their form.
const UNKNOWN_TO_SOME: &[&str] = &[
    "MD",
    "MF",
    "MB",
    "MG",
    "MR",
    "SOA",
    "X25",
    "GPOS",
    "NXT",
    "EID",
    "NIMLOC",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "NINFO",
    "RKEY",
    "TALINK",
    "AVC",
    "DOA",
    "AMTRELAY",
    "RESINFO",
    "TA",
    "DLV",
    "DSYNC",
    "WALLET",
    "CLA",
    "HHIT",
    "BRID",
    "SIG",
    "KEY",
    "CDS",
    "CDNSKEY",
    "ZONEMD",
    "DNAME",
    "CNAME",
    "SPF",
    "NSAP-PTR",
    "PX",
    "DNSKEY",
    "RRSIG",
    "DS",
    "HIP",
    "ISDN",
    "NID",
    "L64",
];

/// What the records of a zone are compared by.
type Records = BTreeSet<(String, u16, Vec<u8>)>;

fn generated_zones(bind: &Peer) -> Verdict {
    let found = (Peer::find("nsd"), Peer::find("kzonecheck"));
    let (nsd, knot) = match found {
        (Ok(nsd), Ok(knot)) => (nsd, knot),
        (nsd, knot) => {
            return Verdict::Skipped(nsd.err().or(knot.err()).unwrap_or_default());
        }
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("APPLAYER_SEED").unwrap_or(20_261_129);
    let zones = number("APPLAYER_ZONES").unwrap_or(ZONES as u64);
    let samples = samples();
    let dir = temp_dir();
    let (mut good, mut bad, mut split, mut wrong) = (0, 0, 0, Vec::new());
    for zone in 0..zones {
        let mut chance = Chance::seeded((seed + zone).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let text = make(&mut chance, &samples, dir.path());
        let file = dir.path().join("zone");
        std::fs::write(&file, &text).unwrap();
        let (file, compiled) = (file.to_str().unwrap(), dir.path().join("compiled"));
        let from_bind = bind
            .run("named-compilezone", READ_ONLY.into_iter().chain(["-o", compiled.to_str().unwrap(), ORIGIN, file]));
        let from_nsd = nsd.run("nsd-checkzone", [ORIGIN, file]);
        let from_knot = knot.run("kzonecheck", ["-o", ORIGIN, file]);
        let ours = examine(file, dir.path());
        let verdicts = [&from_bind, &from_nsd, &from_knot].map(|done| done.status == 0);
        let problem = match (verdicts, ours.zone) {
            ([true, true, true], Ok(zone)) => {
                good += 1;
                let theirs: Records = read(&std::fs::read_to_string(&compiled).unwrap()).into_iter().collect();
                let row = |record: Record| (record.name.to_string().to_lowercase(), record.rtype.0, record.rdata);
                let names = (0..).map_while(|place| zone.at(place));
                let records = names.flat_map(|(name, node)| node.sets().iter().flat_map(move |set| set.records(name)));
                let ours: Records = records.map(row).collect();
                let (more, less): (Vec<_>, Vec<_>) =
                    (ours.difference(&theirs).collect(), theirs.difference(&ours).collect());
                (!more.is_empty() || !less.is_empty()).then(|| format!("ours {more:?}\ntheirs {less:?}"))
            }
            ([true, true, true], Err(errors)) => Some(format!("refused: {errors:?}")),
            ([false, false, false], Ok(_)) => Some(format!("read; {}{}", from_bind.stderr, from_nsd.stderr)),
            ([false, false, false], Err(errors)) => {
                bad += 1;
                // Each of them names the line where the record begins or ends, and the first or the last error.
                let words = format!("{}{}{}{}", from_bind.text(), from_bind.stderr, from_nsd.stderr, from_knot.stderr);
                let numbers = words.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok());
                let numbers: Vec<usize> = numbers.collect();
                let near = errors.iter().any(|error| numbers.iter().any(|number| number.abs_diff(error.line) <= 2));
                (!near).then(|| format!("another line: {errors:?}\n{words}"))
            }
            _ => {
                split += 1;
                None
            }
        };
        if let Some(problem) = problem {
            wrong.push(format!("{problem}\nAPPLAYER_SEED={} APPLAYER_ZONES=1\n{text}", seed + zone));
        }
    }
    eprintln!("generated zones: {good} read alike, {bad} refused by all, {split} where they differ");
    assert!(wrong.is_empty(), "{} of {zones} zones:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(
        zones < 100 || (good > zones / 20 && bad > zones / 20),
        "the grammar makes too few of a kind: {good} {bad}"
    );
    Verdict::Ok
}

fn examine(file: &str, dir: &Path) -> ZoneReading {
    let source = ZoneSource { name: "zone".to_owned(), text: std::fs::read(file).unwrap() };
    let mut load = |path: &str| std::fs::read(dir.join(path)).map_err(|error| error.to_string());
    Zone::examine(source, Some(ORIGIN.parse().unwrap()), ZoneLimits::default(), &mut load)
}

/// Records that all three know, as words.
fn samples() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(data("rdata.txt")).unwrap();
    let lines = text.split("\n# dig 9.18 prints").next().unwrap().lines();
    let known = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    let known = known.filter(|line| !UNKNOWN_TO_SOME.contains(&line.split(' ').next().unwrap()));
    known.map(words).collect()
}

/// Words of a line, quoted ones whole.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(['\\', letters.next().unwrap()]),
            '"' => {
                quoted = !quoted;
                word.push('"');
            }
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
}

/// One zone: its head, and some entries, the last of which may be broken.
fn make(chance: &mut Chance, samples: &[Vec<String>], dir: &Path) -> String {
    let mut text = HEAD.to_owned();
    for number in 0..2 + chance.below(6) {
        text.push_str(&entry(chance, samples, dir, number));
    }
    if chance.below(2) == 0 {
        let mut line: Vec<char> = entry(chance, samples, dir, 9).chars().collect();
        for _ in 0..=chance.below(2) {
            let at = chance.below(line.len().max(1));
            line.resize(line.len().max(1), ' ');
            match chance.below(4) {
                0 => drop(line.remove(at)),
                1 => line.insert(
                    at,
                    *chance.pick(&['(', ')', '"', '\\', ';', '.', ' ', '\n', '\t', '@', '$', '*', '0', 'x']),
                ),
                2 => line[at] = *chance.pick(&['(', ')', '"', '\\', ' ', '.', '-', '9', 'z']),
                _ => line.truncate(at.max(1)),
            }
        }
        text.extend(line);
        text.push('\n');
        text.push_str("z0 A 192.0.2.9\n");
    }
    text
}

fn entry(chance: &mut Chance, samples: &[Vec<String>], dir: &Path, number: usize) -> String {
    match chance.below(14) {
        0 => "$ORIGIN sub.q.test.\n".to_owned(),
        1 => format!("$ORIGIN {ORIGIN}\n"),
        2 => format!("$TTL {}\n", chance.pick(&["60", "1h", "1d12h", "1W2D3H4M5S", "0", "2147483647", "4294967295"])),
        3 => {
            let file = dir.join(format!("included-{number}"));
            let inner = record(chance, samples, number + 10);
            let below = dir.join(format!("below-{number}"));
            std::fs::write(&below, record(chance, samples, number + 20)).unwrap();
            let (below, origin) = (below.display(), chance.pick(&["", " inc.q.test."]));
            std::fs::write(
                &file,
                format!("{inner}$ORIGIN deep.q.test.\n{inner}$INCLUDE {below}{origin}\ndeeper A 192.0.2.5\n"),
            )
            .unwrap();
            format!("$INCLUDE {}{}\n", file.display(), chance.pick(&["", " other.q.test. ; comment"]))
        }
        _ => record(chance, samples, number),
    }
}

/// A record in one of the many ways to write it.
fn record(chance: &mut Chance, samples: &[Vec<String>], number: usize) -> String {
    let mut fields: Vec<String> = Vec::new();
    let owner = match chance.below(10) {
        0 => format!("n{number}.q.test."),
        1 => format!("N{number}.Upper"),
        2 => format!("n{number}\\.dot"),
        3 => format!("\\110{number}"),
        4 => format!("*.w{number}"),
        5 => format!("_a{number}._tcp"),
        6 if number > 0 => String::new(),
        _ => format!("n{number}"),
    };
    let ttl = chance.pick(&["", "", "300", "1h", "2d", "4294967295", "0"]).to_string();
    let class = chance.pick(&["", "", "IN", "in", "In"]).to_string();
    fields.extend(if chance.below(2) == 0 { [ttl, class] } else { [class, ttl] });
    fields.extend(match chance.below(6) {
        0 => texts(chance),
        1 => {
            let bytes: Vec<String> = (0..1 + chance.below(9)).map(|_| format!("{:02x}", chance.byte())).collect();
            let mut rdata = vec!["TYPE65280".to_owned(), "\\#".to_owned(), bytes.len().to_string()];
            rdata.extend(bytes.chunks(1 + chance.below(4)).map(|chunk| chunk.concat()));
            rdata
        }
        2 => {
            ["MX", "10", one(chance, &["mx", "@", "mx.q.test.", ".", "a\\.b", "A.B\\065"])].map(str::to_owned).to_vec()
        }
        _ => chance.pick(samples).clone(),
    });
    layout(chance, &owner, fields.into_iter().filter(|field| !field.is_empty()).collect())
}

fn one<'a>(chance: &mut Chance, words: &[&'a str]) -> &'a str {
    words[chance.below(words.len())]
}

/// A TXT record: strings with and without quotes, glued and apart, with escapes.
fn texts(chance: &mut Chance) -> Vec<String> {
    let mut fields = vec!["TXT".to_owned()];
    for _ in 0..=chance.below(3) {
        let inside: String = (0..chance.below(8))
            .map(|_| {
                *chance.pick(&[
                    "a", "b", " ", ";", "\\\"", "\\\\", "\\000", "\\032", "\\255", "(", ")", "@", "$", "=", "\\;", "'",
                ])
            })
            .collect();
        let plain: String = (0..=chance.below(6))
            .map(|_| *chance.pick(&["a", "b", "\\032", "\\;", "\\\"", "=", "\\(", "@", "$", "\\065", "'", "*"]))
            .collect();
        fields.push(match chance.below(12) {
            0 => plain,
            1 => format!("\"{inside}\"\"{inside}\""),
            2 => format!("{plain}\"{inside}\""),
            _ => format!("\"{inside}\""),
        });
    }
    fields
}

/// Blanks, parentheses, lines and comments between the fields.
fn layout(chance: &mut Chance, owner: &str, fields: Vec<String>) -> String {
    let mut text = owner.to_owned();
    let mut open = false;
    let style = chance.below(4);
    // What follows the type may go over several lines.
    let first = fields.iter().position(|field| field.starts_with(|c: char| c.is_ascii_uppercase())).unwrap_or(0);
    for (at, field) in fields.iter().enumerate() {
        text.push_str(one(chance, &[" ", "\t", "  "]));
        if style == 0 && at > first && !open {
            text.push_str(one(chance, &["( ", "(", "(\n", "( ; comment ) \"\n\t"]));
            open = true;
        } else if open && chance.below(3) == 0 {
            text.push_str(one(chance, &["\n", "; comment (\n ", "\n\n\t"]));
        }
        text.push_str(field);
    }
    if open {
        text.push_str(one(chance, &[" )", "\n)", ")"]));
    }
    text.push_str(one(chance, &["", "", " ", " ; comment \" ("]));
    text.push('\n');
    text
}
