//! dig's manner: `@server`, names, types and classes in any order, `+options`.

use std::collections::HashSet;

use super::{Args, class};
use crate::cli::units;
use crate::dns::exchange::MAX_TRIES;
use crate::dns::message::Question;
use crate::dns::name::Name;
use crate::dns::present::Show;
use crate::dns::record::{Class, Rtype};
use crate::dns::resolve::ascii_name;
use crate::fault::{Fault, Kind};

/// What is to be asked, where, and what of the answer is shown.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) servers: Vec<String>,
    pub(super) questions: Vec<Question>,
    pub(super) show: Show,
    /// The serial of `IXFR=SERIAL`.
    pub(super) serial: Option<u32>,
    /// The places of questions whose names were written with a final dot.
    absolute: HashSet<usize>,
}

impl Plan {
    fn empty() -> Plan {
        Plan {
            servers: Vec::new(),
            questions: Vec::new(),
            show: Show::all(true),
            serial: None,
            absolute: HashSet::new(),
        }
    }

    /// True for a question (by its place) whose name no search list completes.
    pub(super) fn is_absolute(&self, place: usize) -> bool {
        self.absolute.contains(&place)
    }
}

/// Reads the words; dig's options change the arguments.
pub(super) fn plan(args: &mut Args) -> Result<Plan, Fault> {
    let mut plan = Plan::empty();
    let mut default_types: Vec<Rtype> = Vec::new();
    for text in &args.types {
        default_types.push(Rtype::parse(text).ok_or_else(|| usage(format!("unknown type {text:?}")))?);
    }
    let mut default_class = class(&args.class)?;
    let mut names: Vec<(&str, Vec<Rtype>)> = Vec::new();
    let words = std::mem::take(&mut args.words);
    // `dnsq a` asks for the name "a": a type needs a name beside it.
    let has_name = !args.name.is_empty()
        || !args.reverse.is_empty()
        || words.iter().any(|word| !word.starts_with(['@', '+']) && mnemonic(word).is_none());
    for word in &words {
        if let Some(server) = word.strip_prefix('@') {
            plan.servers.push(server.to_owned());
        } else if let Some(option) = word.strip_prefix('+') {
            dig_option(option, args, &mut plan.show)?;
        } else {
            match mnemonic(word).filter(|_| has_name) {
                Some(Mnemonic::Type(rtype)) => match names.last_mut() {
                    Some((_, types)) => types.push(rtype),
                    None => default_types.push(rtype),
                },
                Some(Mnemonic::Class(class)) => default_class = class,
                Some(Mnemonic::Ixfr(serial)) => {
                    plan.serial = Some(serial);
                    match names.last_mut() {
                        Some((_, types)) => types.push(Rtype::IXFR),
                        None => default_types.push(Rtype::IXFR),
                    }
                }
                None => names.push((word, Vec::new())),
            }
        }
    }
    names.extend(args.name.iter().map(|name| (name.as_str(), Vec::new())));
    for (text, types) in names {
        let name = ascii_name(text).map_err(|error| usage(format!("{text:?}: {error}")))?;
        let fallback = if default_types.is_empty() { vec![Rtype::A] } else { default_types.clone() };
        for rtype in if types.is_empty() { fallback } else { types } {
            if text.ends_with('.') {
                plan.absolute.insert(plan.questions.len());
            }
            plan.questions.push(Question { name: name.clone(), rtype, class: default_class });
        }
    }
    for address in &args.reverse {
        let rtypes = if default_types.is_empty() { vec![Rtype::PTR] } else { default_types.clone() };
        for rtype in rtypes {
            plan.questions.push(Question { name: Name::reverse(*address), rtype, class: default_class });
        }
    }
    if plan.serial.is_none() && plan.questions.iter().any(|question| question.rtype == Rtype::IXFR) {
        return Err(usage("IXFR needs the serial that you have".to_owned()).with_hint("dnsq ZONE IXFR=SERIAL"));
    }
    if plan.questions.is_empty() {
        return Err(usage("no name to ask for".to_owned()).with_hint("dnsq [@SERVER] NAME [TYPE…]"));
    }
    Ok(plan)
}

/// Reads the words of a bulk run: servers, options, and the types and the class to ask for where a line names none.
pub(super) fn bulk_plan(args: &mut Args) -> Result<(Plan, Vec<Rtype>, Class), Fault> {
    let mut plan = Plan::empty();
    let mut types: Vec<Rtype> = Vec::new();
    for text in &args.types {
        types.push(Rtype::parse(text).ok_or_else(|| usage(format!("unknown type {text:?}")))?);
    }
    let mut asked_class = class(&args.class)?;
    for word in std::mem::take(&mut args.words) {
        if let Some(server) = word.strip_prefix('@') {
            plan.servers.push(server.to_owned());
        } else if let Some(option) = word.strip_prefix('+') {
            dig_option(option, args, &mut plan.show)?;
        } else {
            match mnemonic(&word) {
                Some(Mnemonic::Type(rtype)) => types.push(rtype),
                Some(Mnemonic::Class(class)) => asked_class = class,
                Some(Mnemonic::Ixfr(_)) | None => {
                    return Err(usage(format!("{word:?}: with -f the words are types; names come from the file")));
                }
            }
        }
    }
    if types.is_empty() {
        types.push(Rtype::A);
    }
    Ok((plan, types, asked_class))
}

enum Mnemonic {
    Type(Rtype),
    Class(Class),
    Ixfr(u32),
}

fn mnemonic(word: &str) -> Option<Mnemonic> {
    let serial = word.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("ixfr"));
    if let Some(serial) = serial.and_then(|(_, serial)| serial.parse().ok()) {
        return Some(Mnemonic::Ixfr(serial));
    }
    // ANY is a type before it is a class, as in dig.
    Rtype::parse(word).map(Mnemonic::Type).or_else(|| Class::parse(word).map(Mnemonic::Class))
}

fn usage(text: String) -> Fault {
    Fault::new(Kind::Usage, text)
}

/// One of dig's `+options`; the manual page lists those that are taken.
fn dig_option(option: &str, args: &mut Args, show: &mut Show) -> Result<(), Fault> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let (name, on) = match name.strip_prefix("no") {
        Some(rest) if rest != "de" => (rest, false),
        _ => (name, true),
    };
    let bad = || usage(format!("+{option}: bad value"));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok()).ok_or_else(bad);
    let (query, transport) = (&mut args.query, &mut args.transport);
    match name {
        "short" => args.short = on,
        "json" => args.json_rfc8427 = on,
        "tcp" | "vc" => transport.tcp = on,
        "ignore" => transport.ignore_truncation = on,
        "dnssec" | "do" => query.dnssec = on,
        "recurse" | "rec" | "rdflag" => query.no_recurse = !on,
        "cdflag" | "cd" | "cdflg" => query.cd = on,
        "adflag" | "ad" => query.ad = on,
        "idnout" => args.idn = on,
        "nsid" => query.nsid = on,
        "subnet" | "client" => query.subnet = value.filter(|_| on).map(str::to_owned),
        "bufsize" => query.bufsize = u16::try_from(number(value)?).map_err(|_| bad())?,
        "edns" => query.no_edns = !on,
        "cookie" => query.cookie = on.then(|| value.unwrap_or_default().to_owned()),
        "expire" => query.expire = on,
        "keepalive" => query.keepalive = on,
        "padding" => query.padding = Some(u16::try_from(number(value)?).map_err(|_| bad())?),
        "ednsopt" => match value {
            Some(text) => query.ednsopt.push(text.to_owned()),
            None => query.ednsopt.clear(),
        },
        "time" | "timeout" => {
            transport.timeout = Some(units::duration(value.ok_or_else(bad)?).map_err(|_| bad())?);
        }
        "tries" => transport.tries = Some(number(value)?.clamp(1, MAX_TRIES)),
        "retry" => transport.tries = Some((number(value)?.saturating_add(1)).clamp(1, MAX_TRIES)),
        "search" | "defname" => transport.search = on,
        "ndots" => {
            transport.search = true;
            transport.ndots = Some(u8::try_from(number(value)?).map_err(|_| bad())?);
        }
        "fail" => transport.no_failover = on,
        "trace" => args.trace.trace = on,
        "all" => *show = Show { style: show.style, ..Show::all(on) },
        "comments" => show.comments = on,
        "question" => show.question = on,
        "answer" => show.answer = on,
        "authority" => show.authority = on,
        "additional" => show.additional = on,
        "stats" => show.stats = on,
        "ttlid" | "ttl" => show.ttl = on,
        "class" | "cl" => show.class = on,
        "split" => show.style.split = if on { value.map_or(Ok(56), |_| number(value))? as usize / 4 * 4 } else { 0 },
        // Nothing of it is printed anyway, or it is always so.
        "cmd" | "idnin" | "besteffort" | "keepopen" | "qr" | "multiline"
            if !on || matches!(name, "cmd" | "idnin" | "besteffort" | "keepopen") => {}
        _ if super::servers::dig_option(name, value, on, &mut args.encryption)? => {}
        _ => {
            let hint = "dnsq(1) lists dig's options that are taken";
            return Err(usage(format!("+{option}: not taken")).with_hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;

    fn questions(line: &str) -> Result<String, Fault> {
        let mut args = Args::try_parse_from(std::iter::once("dnsq").chain(line.split_whitespace())).unwrap();
        let plan = plan(&mut args)?;
        let shown: Vec<String> = plan.questions.iter().map(|q| format!("{} {} {}", q.name, q.class, q.rtype)).collect();
        Ok(shown.join(", "))
    }

    #[test]
    fn words_in_any_order() {
        for (line, expected) in [
            ("a.test", "a.test. IN A"),
            ("@192.0.2.1 a.test mx +short", "a.test. IN MX"),
            ("mx a.test", "a.test. IN MX"),
            ("a.test mx txt b.test", "a.test. IN MX, a.test. IN TXT, b.test. IN A"),
            ("a.test b.test aaaa", "a.test. IN A, b.test. IN AAAA"),
            ("ch txt version.bind", "version.bind. CH TXT"),
            ("-c CH -t TXT version.bind", "version.bind. CH TXT"),
            ("a", "a. IN A"),
            ("mx. a.test", "mx. IN A, a.test. IN A"),
            ("--name mx txt", "mx. IN TXT"),
            ("-x 192.0.2.1", "1.2.0.192.in-addr.arpa. IN PTR"),
            ("a.test ixfr=7", "a.test. IN IXFR"),
            ("a.test TYPE65280 any", "a.test. IN TYPE65280, a.test. IN ANY"),
            ("bücher.example", "xn--bcher-kva.example. IN A"),
        ] {
            assert_eq!(questions(line).unwrap(), expected, "{line}");
        }
        for bad in [
            "",
            "@192.0.2.1",
            "a..test",
            "a.test +nosuch",
            "a.test +time=x",
            "-t nosuch a",
            "-c nosuch a",
            "a.test +multiline",
            "a.test ixfr",
        ] {
            assert_eq!(questions(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn dig_options_change_the_arguments() {
        let line = "dnsq x +tcp +norecurse +dnssec +nocomments +bufsize=4096 +retry=0 +time=2 +subnet=192.0.2.0/24 +noedns +edns";
        let mut args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let plan = plan(&mut args).unwrap();
        assert!(args.transport.tcp && args.query.no_recurse && args.query.dnssec && !args.query.no_edns);
        assert_eq!(
            (args.query.bufsize, args.transport.tries, args.transport.timeout),
            (4096, Some(1), Some(Duration::from_secs(2)))
        );
        assert_eq!(args.query.subnet.as_deref(), Some("192.0.2.0/24"));
        assert!(!plan.show.comments && plan.show.answer);
    }
}
