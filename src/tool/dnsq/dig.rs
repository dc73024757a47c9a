//! dig's `+options`, and kdig's for encryption. The manual page lists the supported ones.

use super::{Args, foreign, servers};
use crate::cli::foreign::meant;
use crate::cli::units;
use crate::dns::exchange::MAX_TRIES;
use crate::dns::message::{self, Flags};
use crate::dns::present::Show;
use crate::fault::{Fault, Kind};

/// The names of the supported options. As in dig, an abbreviation is enough if it fits only one of them.
pub(super) const NAMES: &str = "+aaflag +aaonly +additional +adflag +all +answer +authority +badcookie +besteffort +bufsize +cdflag +class \
    +cmd +comments +cookie +crypto +defname +dnssec +do +edns +ednsflags +ednsnegotiation +ednsopt +expandaaaa +expire \
    +fail +https +https-get +https-post +identify +idnin +idnout +ignore +json +keepalive +keepopen +multiline \
    +ndots +nsid +nssearch +onesoa +opcode +padding +qid +qr +question +quic +raflag +rdflag +recurse +retry \
    +rrcomments +search +short +showbadcookie +showsearch +split +stats +subnet +tcflag +tcp +time +timeout +tls \
    +tls-ca +tls-certfile +tls-hostname +tls-keyfile +tls-pin +tls-sni +trace +tries +ttlid +ttlunits \
    +unknownformat +vc +yaml +zflag";

/// Applies one option to the arguments and to the display settings.
pub(super) fn option(option: &str, args: &mut Args, show: &mut Show) -> Result<(), Fault> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let (name, on) = match name.strip_prefix("no") {
        Some(rest) if rest != "de" => (rest, false),
        _ => (name, true),
    };
    let name = in_full(name);
    let bad = || usage(format!("+{option}: bad value"));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok()).ok_or_else(bad);
    let (query, transport) = (&mut args.query, &mut args.transport);
    match name {
        "short" => args.short = on,
        "json" => args.json_rfc8427 = on,
        "tcp" | "vc" => transport.tcp = on,
        "ignore" => transport.ignore_truncation = on,
        "dnssec" | "do" => query.dnssec = on,
        "recurse" | "rdflag" => query.no_recurse = !on,
        "cdflag" | "cd" => query.cd = on,
        "adflag" | "ad" => query.no_ad = !on,
        "qid" if on => query.qid = Some(u16::try_from(number(value)?).map_err(|_| bad())?),
        "qid" => query.qid = None,
        "idnout" => args.idn = on,
        "nsid" => query.nsid = on,
        "subnet" | "client" => query.subnet = value.filter(|_| on).map(str::to_owned),
        "bufsize" => query.bufsize = u16::try_from(number(value)?).map_err(|_| bad())?,
        "edns" => {
            query.no_edns = !on;
            query.edns_version = value.map_or(Ok(0), |_| number(value)?.try_into().map_err(|_| bad()))?;
        }
        "ednsflags" => {
            query.edns_flags = value.map_or(Ok(0), |text| hexadecimal(text).ok_or_else(bad))?;
        }
        "aaflag" | "aaonly" => query.flags.set(Flags::AA, on),
        "raflag" => query.flags.set(Flags::RA, on),
        "tcflag" => query.flags.set(Flags::TC, on),
        "zflag" => query.flags.set(Flags::Z, on),
        "opcode" => {
            let opcode = if on { message::opcode(value.ok_or_else(bad)?).ok_or_else(bad)? } else { 0 };
            query.flags = query.flags.with_opcode(opcode);
        }
        "badcookie" => transport.no_bad_cookie = !on,
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
        "nssearch" => args.compare.compare = on,
        "identify" => show.identify = on,
        "onesoa" => show.one_soa = on,
        "ttlunits" => show.ttl_units = on,
        "unknownformat" => show.style.unknown = on,
        "expandaaaa" => show.style.expand_ipv6 = on,
        "all" => {
            let every = Show::all(on);
            (show.comments, show.question, show.stats) = (on, on, on);
            (show.answer, show.authority, show.additional) = (every.answer, every.authority, every.additional);
        }
        "comments" => show.comments = on,
        "question" => show.question = on,
        "answer" => show.answer = on,
        "authority" => show.authority = on,
        "additional" => show.additional = on,
        "stats" => show.stats = on,
        "ttlid" | "ttl" => show.ttl = on,
        "class" | "cl" => show.class = on,
        "multiline" => show.style.multiline = on,
        "rrcomments" => show.rr_comments = Some(on),
        "crypto" => show.style.crypto = on,
        "qr" => show.query = on,
        "yaml" => show.yaml = on,
        "split" => show.split = Some(if on { value.map_or(Ok(56), |_| number(value))? as usize / 4 * 4 } else { 0 }),
        // Nothing of it is printed anyway, or it is always so.
        "cmd" | "idnin" | "besteffort" | "keepopen" | "showbadcookie" => {}
        "ednsnegotiation" | "showsearch" if !on => {}
        _ if servers::dig_option(name, value, on, &mut args.encryption)? => {}
        _ => {
            let meant = meant(&format!("+{name}"), &[foreign::WORDS], NAMES.split(' '));
            let hint = "dnsq(1) lists dig's options that are taken";
            return Err(usage(format!("+{option}: unknown or unsupported dig option{meant}")).with_hint(hint));
        }
    }
    Ok(())
}

/// The full form of an abbreviated name, if it is unambiguous; else the name itself.
fn in_full(name: &str) -> &str {
    let bare = NAMES.split(' ').filter_map(|full| full.strip_prefix('+'));
    let mut fitting = bare.filter(|full| full.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(full), None) => full,
        _ => name,
    }
}

/// A flags value in dig's notation: decimal, or hexadecimal after 0x.
fn hexadecimal(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn usage(text: String) -> Fault {
    Fault::new(Kind::Usage, text)
}

#[cfg(test)]
mod tests {
    use super::super::words::plan;
    use super::*;
    use clap::Parser;
    use std::time::Duration;

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

    #[test]
    fn what_is_not_taken_is_a_usage_error() {
        for option in [
            "nosuch",
            "header-only",
            "qid",
            "qid=65536",
            "time=x",
            "opcode",
            "opcode=16",
            "opcode=x",
            "ednsflags=x",
            "edns=256",
        ] {
            let mut args = Args::try_parse_from(["dnsq", "a.test", &format!("+{option}")]).unwrap();
            assert_eq!(plan(&mut args).unwrap_err().kind, Kind::Usage, "{option}");
        }
    }

    #[test]
    fn every_name_is_taken_and_abbreviations_that_fit_one() {
        for name in NAMES.split(' ').map(|name| name.trim_start_matches('+')) {
            let value = match name {
                "opcode" => "=query",
                "tls-pin" => "=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "tls-ca" | "tls-certfile" | "tls-keyfile" | "tls-hostname" | "tls-sni" => "=x",
                "bufsize" | "ndots" | "padding" | "qid" | "retry" | "time" | "timeout" | "tries" => "=1",
                _ => "",
            };
            let no = if matches!(name, "ednsnegotiation" | "showsearch") { "no" } else { "" };
            let mut args = Args::try_parse_from(["dnsq", "a.test", &format!("+{no}{name}{value}")]).unwrap();
            plan(&mut args).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        }
        for (short, full) in
            [("rec", "recurse"), ("ans", "answer"), ("cd", "cdflag"), ("edns", "edns"), ("t", "t"), ("sho", "sho")]
        {
            assert_eq!(
                in_full(short),
                if NAMES.split(' ').any(|name| name.strip_prefix('+') == Some(short)) { short } else { full }
            );
        }
    }

    #[test]
    fn header_bits_and_edns_fields() {
        let line = "dnsq x +aaonly +zflag +opcode=notify +edns=3 +ednsflags=0x41 +nobadcookie +ttlunits +noall +answer";
        let mut args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let plan = plan(&mut args).unwrap();
        assert_eq!((args.query.flags, args.query.edns_version, args.query.edns_flags), (Flags(0x2440), 3, 0x41));
        assert!(args.transport.no_bad_cookie && plan.show.ttl_units && plan.show.answer && !plan.show.question);
    }
}
