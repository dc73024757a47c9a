//! Options of dig, kdig, host, drill and massdns that dnsq does not have, and their equivalents.

use crate::cli::foreign::{ForeignMeaning, ForeignWords};

/// For [`crate::cli::Tool::FOREIGN_WORDS`].
pub(in crate::tool) const WORDS: ForeignWords = &[
    // dig and kdig
    ("+header-only", "nothing: a query has a question"),
    ("+domain", "--resolv-conf FILE with --search"),
    ("+sigchase +topdown", "--validate"),
    ("+trusted-key", "--validate with --anchor FILE"),
    ("+http-plain +http-plain-get +http-plain-post", "@https://SERVER/PATH"),
    ("+proxy +proxy-plain", "--proxy URL; the PROXY protocol is not spoken"),
    ("+mapped", "-4 or -6"),
    ("+dns64prefix", "dnsq ipv4only.arpa AAAA"),
    (
        "+coflag +co +dscp +fuzztime +fastopen +tls-ocsp-stapling +showallmessages +showbadvers +showtruncated",
        "nothing: there is no such setting",
    ),
    ("+generic", "+unknownformat"),
    ("+header +opt +opttext +optpresent", "+comments"),
    ("+alignment", "--padding BYTES"),
    ("+tsig", "-k (--key-file) FILE"),
    ("-d --debug", "-v"),
    ("-E -G", "nothing: dnstap is not written; --json prints records"),
    // host
    ("-a --any", "the type ANY after the name"),
    ("-C --nssearch", "--compare"),
    ("-l --axfr --xfr", "the type AXFR after the name"),
    ("-N", "--search with --ndots N"),
    ("-R --retry --retries", "--tries N"),
    ("-s", "--no-failover"),
    ("-T --vc", "--tcp"),
    ("-U --udp", "nothing: UDP is the default"),
    ("-w -W --wait --interval", "--timeout TIME; the output file is -o FILE"),
    // drill
    ("-D --do", "--dnssec"),
    ("-S --sigchase", "--validate"),
    ("-Q", "--short"),
    ("-I --bindto --source", "-b (--bind) ADDR"),
    ("-i", "--timeout TIME; a file of names is -f FILE"),
    ("-z", "nothing: answers keep the server's order; --ordered keeps that of the names"),
    // massdns
    ("--resolvers -F", "--servers FILE"),
    ("--hashmap-size --socket-count", "--concurrency N"),
    ("--processes", "--threads N"),
    ("--resolve-count", "--tries N"),
    ("--output --outfile", "-o FILE, with --short, --format or --json for the form"),
    ("--error-log", "2> FILE"),
    ("--norecurse", "--no-recurse"),
    ("--verify-ip", "done anyway: an answer comes from the server that was asked"),
    ("--drop-user --drop-group", "nothing: run as that user"),
    ("--predictable --sticky --flush --filter --ignore --extended-input --status-format --recycle", "--json and jq(1)"),
    ("--busy-poll --rcvbuf --sndbuf --rand-src-ipv6 --root", "nothing: the defaults fit a bulk run"),
    // dog, doggo, kdig's long words
    ("-n --nameserver --name-server --server", "@SERVER"),
    ("-H --https --doh", "@https://SERVER/PATH"),
    ("--tls --dot", "@tls://SERVER"),
    ("--quic --doq", "@quic://SERVER"),
    ("--query", "the name as an argument"),
];

/// Options that have another meaning in massdns.
pub(super) const MEANINGS: &[ForeignMeaning] = &[
    (
        |word, next| word == "-r" && (next.ends_with(".txt") || next.starts_with(['/', '.'])),
        "--servers FILE; -r is dig's",
    ),
    (
        |word, next| word == "-o" && matches!(next, "S" | "F" | "B" | "J" | "L"),
        "--short, --format or --json; -o FILE names the output",
    ),
    (|word, next| word == "-c" && next.len() < 5 && next.parse::<u32>().is_ok(), "--tries N; -c is the class"),
];
