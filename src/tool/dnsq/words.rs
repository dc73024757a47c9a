//! dig's argument syntax: `@server`, names, types and classes in any order, `+options`.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Args, class, dig};
use crate::cli::words::meant;
use crate::dns::bulk::question::LineDefaults;
use crate::dns::message::Question;
use crate::dns::name::Name;
use crate::dns::present::Show;
use crate::dns::record::{Class, Rtype};
use crate::dns::resolve::ascii_name;
use crate::fault::{Fault, Kind};

/// The questions, the servers to ask, and the parts of the answer to show.
#[derive(Debug)]
pub(super) struct QueryPlan {
    pub(super) servers: Vec<String>,
    pub(super) questions: Vec<Question>,
    pub(super) show: Show,
    /// An address that the user wrote in place of a name.
    pub(super) address: Option<IpAddr>,
    /// The serial of `IXFR=SERIAL`.
    pub(super) serial: Option<u32>,
    /// The indexes of questions whose names were written with a final dot.
    absolute: HashSet<usize>,
}

impl QueryPlan {
    /// True if the question is a zone transfer.
    pub(super) fn transfers(&self) -> bool {
        self.questions.iter().any(|question| matches!(question.rtype, Rtype::AXFR | Rtype::IXFR))
    }

    /// True for a question (by index) whose name is absolute, so that no search list completes it.
    pub(super) fn is_absolute(&self, place: usize) -> bool {
        self.absolute.contains(&place)
    }
}

/// Reads the arguments; dig's options change `args`.
pub(super) fn plan(args: &mut Args) -> Result<QueryPlan, Fault> {
    let (mut plan, words) = servers_and_options(args)?;
    let mut default_types = rtypes(&args.types, &mut plan)?;
    let mut default_class = class(&args.class)?;
    let mut names: Vec<(&str, Vec<Rtype>)> = Vec::new();
    // `dnsq a` asks for the name "a": a type needs a name beside it.
    let has_name =
        !args.name.is_empty() || !args.reverse.is_empty() || words.iter().any(|word| mnemonic(word).is_none());
    for word in &words {
        let types = names.last_mut().map_or(&mut default_types, |(_, types)| types);
        match mnemonic(word).filter(|_| has_name) {
            Some(Mnemonic::Type(rtype)) => types.push(rtype),
            Some(Mnemonic::Class(class)) => default_class = class,
            Some(Mnemonic::Ixfr(serial)) => {
                plan.serial = Some(serial);
                types.push(Rtype::IXFR);
            }
            None => names.push((word, Vec::new())),
        }
    }
    names.extend(args.name.iter().map(|name| (name.as_str(), Vec::new())));
    for (text, types) in names {
        let fallback = if default_types.is_empty() { vec![Rtype::A] } else { default_types.clone() };
        let types = if types.is_empty() { fallback } else { types };
        let name = match text.parse() {
            Ok(address) if types.contains(&Rtype::PTR) => Name::reverse(address),
            address => {
                plan.address = plan.address.or(address.ok());
                ascii_name(text).map_err(|error| usage(format!("{text:?}: {error}")))?
            }
        };
        for rtype in types {
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
    if plan.questions.is_empty() && args.probe.probe {
        plan.questions.push(Question { name: Name::root(), rtype: Rtype::NS, class: default_class });
    }
    if plan.questions.is_empty() {
        return Err(usage("no name to ask for".to_owned()).with_hint("dnsq [@SERVER] NAME [TYPE…]"));
    }
    Ok(plan)
}

/// Reads the arguments of a bulk run: servers, options, and the default types and class for lines without their own.
pub(super) fn bulk_plan(args: &mut Args) -> Result<(QueryPlan, LineDefaults), Fault> {
    let (mut plan, words) = servers_and_options(args)?;
    let mut types = rtypes(&args.types, &mut plan)?;
    let mut asked_class = class(&args.class)?;
    for word in words {
        match mnemonic(&word) {
            Some(Mnemonic::Type(rtype)) => types.push(rtype),
            Some(Mnemonic::Class(class)) => asked_class = class,
            Some(Mnemonic::Ixfr(_)) | None => {
                return Err(usage(format!("{word:?}: with -f the words are types; names come from the file")));
            }
        }
    }
    if plan.serial.is_some() {
        return Err(usage("with -f no zones are transferred".to_owned()));
    }
    Ok((plan, LineDefaults { types, class: asked_class }))
}

/// Separates the servers and dig's options from the other words, which are returned in their order.
fn servers_and_options(args: &mut Args) -> Result<(QueryPlan, Vec<String>), Fault> {
    let (show, absolute) = (Show::all(true), HashSet::new());
    let mut plan =
        QueryPlan { servers: Vec::new(), questions: Vec::new(), show, address: None, serial: None, absolute };
    let mut others = Vec::new();
    for word in std::mem::take(&mut args.words) {
        // A probe has no use for names that look like URLs.
        let url = Some(word.as_str()).filter(|word| args.probe.probe && word.contains("://"));
        if let Some(server) = word.strip_prefix('@').or(url) {
            plan.servers.push(server.to_owned());
        } else if let Some(option) = word.strip_prefix('+') {
            dig::option(option, args, &mut plan.show)?;
        } else {
            others.push(word);
        }
    }
    plan.show.usec = args.usec;
    plan.show.settle();
    Ok((plan, others))
}

/// The words for shell completions: types, classes, and dig's options.
pub(super) fn offer() -> impl Iterator<Item = &'static str> {
    Rtype::mnemonics().chain(Class::mnemonics()).chain(dig::NAMES.split(' '))
}

/// The types of `-t`, including IXFR with its serial.
fn rtypes(texts: &[String], plan: &mut QueryPlan) -> Result<Vec<Rtype>, Fault> {
    let rtype = |text: &String| match mnemonic(text) {
        Some(Mnemonic::Type(rtype)) => Ok(rtype),
        Some(Mnemonic::Ixfr(serial)) => {
            plan.serial = Some(serial);
            Ok(Rtype::IXFR)
        }
        _ => {
            let meant = meant(&text.to_ascii_uppercase(), Rtype::mnemonics());
            Err(usage(format!("unknown type {text:?}{meant}")))
        }
    };
    texts.iter().map(rtype).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

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
            ("-t ixfr=7 a.test", "a.test. IN IXFR"),
            ("192.0.2.1 ptr", "1.2.0.192.in-addr.arpa. IN PTR"),
            ("192.0.2.1", "192.0.2.1. IN A"),
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
            "a.test ixfr",
        ] {
            assert_eq!(questions(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }
}
