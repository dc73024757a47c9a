//! The validator's verdicts beside those of unbound and delv, over hierarchies by chance (`tests/tools/hierarchy.rs`), honest
//! and with one lie in one place of one answer. Where they differ, a row of [`EXCUSES`] says why.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};

use applayer::dns::message::{Flags, Message, Question};
use applayer::dns::validate::lookup::now;
use applayer::dns::validate::{Security, ValidationVerdict};

use crate::dns_dnssec::{bind_anchor, delv_says, unbound_config, unbound_says};
use crate::dns_verdicts::{fault, play, verdict};
use crate::harness::{Done, finish, rounds, temp_dir};
use crate::hierarchy::Hierarchy;
use crate::peers::{LIMIT, Peer, Trial, Verdict, free_address, trial};
use crate::random::{Random, first_seed};

pub(crate) const TRIALS: &[Trial] = &[
    trial("unbound-host", "reaches dnsq's verdicts over hierarchies by chance, with lies", unbound_agrees),
    trial("delv", "reaches dnsq's verdicts over hierarchies by chance, with lies", delv_agrees),
];

/// Questions of one hierarchy, and lies about each.
const QUESTIONS_AND_LIES: (usize, usize) = (30, 2);

/// A difference that is understood: peers, kinds of the lie (or `honest`), our verdict, theirs, and the reason. What we say is
/// true by the plan in each of them.
type Excuse = (&'static [&'static str], &'static [&'static str], &'static str, &'static [&'static str], &'static str);

/// In the place of a kind: any lie, but not the honest answer.
const ANY_LIE: &str = "any lie";

const NOT_NEEDED: &str = "they refuse an answer for what was added, for a SOA record that is not signed rightly and for a code that is \
    not the one that was proved; we leave out what was not checked, print what was, and ask for an alias's target again";
const GAP: &str = "in a gap with opt-out there may be an unsigned delegation, whose answers need no signature; they check what \
    comes as an answer of the zone above";
const OPT_OUT: &str = "delv marks denials from a gap with opt-out as validated; RFC 5155, section 9.2 forbids it";
const REFERRAL: &str = "unbound takes a DS record, or its denial, from the authority section, where referrals have it";
const BESIDE_ALIAS: &str =
    "they take the alias and drop the forged record beside it; nothing may stand there (RFC 1034, 3.6.2)";

const EXCUSES: &[Excuse] = &[
    (&["unbound-host", "delv"], &[ANY_LIE], "secure", &["bogus"], NOT_NEEDED),
    (&["unbound-host", "delv"], &[ANY_LIE], "insecure", &["bogus"], GAP),
    (&["delv"], &[ANY_LIE, "honest"], "insecure", &["secure"], OPT_OUT),
    (&["unbound-host"], &["record moved", "sections swapped"], "bogus", &["secure", "insecure"], REFERRAL),
    (
        &["unbound-host", "delv"],
        &["unsigned record behind", "unsigned record in front"],
        "bogus",
        &["secure", "insecure"],
        BESIDE_ALIAS,
    ),
];

/// What the server of a hierarchy says, and the one answer that is a lie.
struct Stage {
    hierarchy: Arc<Hierarchy>,
    lie: Mutex<Option<(Question, Message)>>,
}

impl Stage {
    fn answer(&self, query: &[u8], limit: Option<usize>) -> Option<Vec<u8>> {
        let query = Message::parse(query).ok()?;
        let question = query.question.first()?;
        let mut message = match &*self.lie.lock().unwrap() {
            Some((about, lie)) if about == question => lie.clone(),
            _ => self.hierarchy.serve(question),
        };
        message.id = query.id;
        message.question.clone_from(&query.question);
        message.flags.set(Flags::RD, query.flags.has(Flags::RD));
        message.flags.set(Flags::RA, true);
        let size = query.edns.as_ref().map_or(512, |edns| usize::from(edns.udp_size));
        message.edns = message.edns.filter(|_| query.edns.is_some());
        Some(message.compose(limit.unwrap_or(size)))
    }
}

/// A server of what is on the stage, over UDP and TCP.
fn serve(stage: &Arc<Stage>) -> SocketAddr {
    let addr = free_address();
    let (socket, listener) = (UdpSocket::bind(addr).unwrap(), TcpListener::bind(addr).unwrap());
    let here = Arc::clone(stage);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = here.answer(&buffer[..length], None) {
                drop(socket.send_to(&answer, from));
            }
        }
    });
    let here = Arc::clone(stage);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let here = Arc::clone(&here);
            std::thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    if stream.read_exact(&mut query).is_err() {
                        break;
                    }
                    let Some(answer) = here.answer(&query, Some(65_535)) else { break };
                    let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                    if stream.write_all(&framed).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

/// Our verdict in the words of the peers, which call secure or insecure what they give, and bogus what they give not.
fn in_words(verdict: &ValidationVerdict) -> &'static str {
    let unanswered = verdict.reason.as_ref().is_some_and(|reason| reason.is_unanswered());
    match verdict.security {
        Security::Secure => "secure",
        Security::Bogus => "bogus",
        Security::Indeterminate if unanswered => "bogus",
        // Without an anchor there is nothing to check.
        Security::Indeterminate | Security::Insecure => "insecure",
    }
}

/// Runs the peer: its verdict, and what it printed. None: it cannot be asked this.
type Ask<'a> = dyn Fn(&Hierarchy, &Path, SocketAddr, &Question) -> Option<(&'static str, Done)> + 'a;

/// Plays hierarchies by chance to both sides.
fn agree(peer: &'static str, ask: &Ask<'_>) -> Verdict {
    let mut differences: BTreeMap<(Option<&'static str>, String), (usize, String)> = BTreeMap::new();
    let mut cases = [0, 0];
    for seed in rounds(6, 200).map(|round| first_seed() + round as u64) {
        let (mut random, dir, at) = (Random(seed), temp_dir(), now());
        let hierarchy = Arc::new(Hierarchy::new(&mut random, at, &[0, 0, 1, 7]));
        let stage = Arc::new(Stage { hierarchy: Arc::clone(&hierarchy), lie: Mutex::default() });
        let addr = serve(&stage);
        play(&mut random, &hierarchy, QUESTIONS_AND_LIES, at, |question, lie| {
            *stage.lie.lock().unwrap() = lie.map(|(about, lie)| (about.clone(), lie.message.clone()));
            let Some((theirs, done)) = ask(&hierarchy, dir.path(), addr, question) else { return };
            let (ours, truth) = (verdict(&hierarchy, question, lie, at).0, hierarchy.truth(question));
            let kind = lie.map_or("honest", |(_, lie)| lie.kind);
            if let Some(fault) = fault(&ours, &truth, lie.map(|(_, lie)| lie)) {
                let (name, rtype, plan, why) = (&question.name, question.rtype, hierarchy.text(), &ours.reason);
                panic!("seed {seed}: {name} {rtype}: {fault}: {lie:?}\n{plan}{why:?}\n{done}");
            }
            cases[usize::from(lie.is_some())] += 1;
            let ours = in_words(&ours);
            if ours == theirs {
                return;
            }
            let fits = |(peers, kinds, we, they, _): &&Excuse| {
                let kind = kinds.contains(&kind) || (lie.is_some() && kinds.contains(&ANY_LIE));
                kind && peers.contains(&peer) && *we == ours && they.contains(&theirs)
            };
            let excuse = EXCUSES.iter().find(fits);
            let place = lie.map(|(about, lie)| format!("{} {}: {}", about.name, about.rtype, lie.place));
            let first = format!("seed {seed} {} {} {place:?}", question.name, question.rtype);
            let line = format!("{kind}: we say {ours}, {peer} says {theirs}");
            let entry = differences.entry((excuse.map(|excuse| excuse.4), line)).or_insert((0, first));
            entry.0 += 1;
        });
    }
    eprintln!("{peer}: {} honest answers, {} with a lie", cases[0], cases[1]);
    let mut told = None;
    for ((why, line), (count, first)) in &differences {
        if told != Some(why) {
            eprintln!("{}:", why.unwrap_or("nobody knows why"));
            told = Some(why);
        }
        eprintln!("  {count} × {line}; {first}");
    }
    assert!(differences.keys().all(|(why, _)| why.is_some()), "verdicts that nobody explains");
    Verdict::Ok
}

fn unbound_agrees(peer: &Peer) -> Verdict {
    agree("unbound-host", &|hierarchy, dir, addr, question| {
        let config = dir.join("unbound.conf");
        std::fs::write(&config, unbound_config(&hierarchy.anchor_text, addr.port())).unwrap();
        let mut command = peer.command("unbound-host", dir);
        command.arg("-C").arg(&config).args(["-v", "-t", &question.rtype.to_string(), &question.name.to_string()]);
        let line = format!("{command:?}");
        let done = finish(command, line, None, LIMIT);
        Some((unbound_says(&done).unwrap_or("bogus"), done))
    })
}

fn delv_agrees(peer: &Peer) -> Verdict {
    agree("delv", &|hierarchy, dir, addr, question| {
        // It takes the anchors of one zone.
        let mut anchors = hierarchy.anchor_text.lines();
        let (Some(anchor), None) = (anchors.next(), anchors.next()) else { return None };
        let keys = dir.join("bind.keys");
        std::fs::write(&keys, bind_anchor(anchor)).unwrap();
        let mut command = peer.command("delv", dir);
        let zone = anchor.split_whitespace().next()?;
        command.args(["@127.0.0.1", "-p", &addr.port().to_string(), "-a"]).arg(&keys).arg(format!("+root={zone}"));
        command.args([&question.name.to_string(), &question.rtype.to_string()]);
        let line = format!("{command:?}");
        let done = finish(command, line, None, LIMIT);
        Some((delv_says(&done).unwrap_or("bogus"), done))
    })
}
