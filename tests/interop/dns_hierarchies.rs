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

use crate::dns_verdicts::{fault, play, verdict};
use crate::harness::{Done, Random, finish, first_seed, rounds, temp_dir};
use crate::hierarchy::Hierarchy;
use crate::peers::{LIMIT, Peer, Trial, Verdict, free_address, trial};

pub(crate) const TRIALS: &[Trial] = &[
    trial("unbound-host", "reaches dnsq's verdicts over hierarchies by chance, with lies", unbound_agrees),
    trial("delv", "reaches dnsq's verdicts over hierarchies by chance, with lies", delv_agrees),
];

/// Questions of one hierarchy, and lies about each.
const QUESTIONS_AND_LIES: (usize, usize) = (30, 2);

/// A difference that is understood: peer, kind of the lie (or `honest`), our verdict, theirs, and the reason.
type Excuse = (&'static str, &'static str, &'static str, &'static str, &'static str);

const EXCUSES: &[Excuse] = &[];

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

/// Our verdict in the words of the peers, which call secure or insecure what they know, and all else a failure.
fn in_words(verdict: &ValidationVerdict) -> &'static str {
    let unanswered = verdict.reason.as_ref().is_some_and(|reason| reason.is_unanswered());
    match verdict.security {
        Security::Indeterminate if unanswered => "failed",
        // Without an anchor there is nothing to check.
        Security::Indeterminate => "insecure",
        other => other.name(),
    }
}

/// Runs the peer: its verdict, and what it printed. None: it cannot be asked this.
type Ask<'a> = dyn Fn(&Hierarchy, &Path, SocketAddr, &Question) -> Option<(&'static str, Done)> + 'a;

/// Plays hierarchies by chance to both sides.
fn agree(peer: &'static str, ask: &Ask<'_>) -> Verdict {
    let mut differences: BTreeMap<String, (usize, String)> = BTreeMap::new();
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
            let story = format!(
                "seed {seed}: {} {}: {lie:?}\n{}{:?}\n{done}",
                question.name,
                question.rtype,
                hierarchy.text(),
                ours.reason
            );
            assert_eq!(fault(&ours, &truth, lie.map(|(_, lie)| lie)), None, "{story}");
            cases[usize::from(lie.is_some())] += 1;
            let words = (kind, in_words(&ours), theirs);
            let excused = |excuse: &&Excuse| excuse.0 == peer && (excuse.1, excuse.2, excuse.3) == words;
            if words.1 != theirs && !EXCUSES.iter().any(|excuse| excused(&excuse)) {
                let place = lie.map_or_else(String::new, |(about, lie)| {
                    format!(" ({} {}: {})", about.name, about.rtype, lie.place)
                });
                let line = format!("{kind}: we say {}, {peer} says {theirs}", words.1);
                differences
                    .entry(line)
                    .or_insert((0, format!("seed {seed} {} {}{place}", question.name, question.rtype)))
                    .0 += 1;
            }
        });
    }
    eprintln!("{peer}: {} honest answers, {} with a lie", cases[0], cases[1]);
    let lines: String =
        differences.iter().map(|(line, (count, first))| format!("{count} × {line}; {first}\n")).collect();
    assert!(differences.is_empty(), "differences:\n{lines}");
    Verdict::Ok
}

fn unbound_agrees(peer: &Peer) -> Verdict {
    agree("unbound-host", &|hierarchy, dir, addr, question| {
        let config = dir.join("unbound.conf");
        let anchors: String =
            hierarchy.anchor_text.lines().map(|line| format!(" trust-anchor: \"{line}\"\n")).collect();
        let text = format!(
            "server:\n do-not-query-localhost: no\n module-config: \"validator iterator\"\n{anchors} use-syslog: no\n chroot: \"\"\n \
             username: \"\"\nforward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{}\n",
            addr.port()
        );
        std::fs::write(&config, text.replace('\t', " ")).unwrap();
        let mut command = peer.command("unbound-host", dir);
        command.arg("-C").arg(&config).args(["-v", "-t", &question.rtype.to_string(), &question.name.to_string()]);
        let line = format!("{command:?}");
        let done = finish(command, line, None, LIMIT);
        let marks = [("(BOGUS", "bogus"), ("SERVFAIL", "failed"), ("(insecure)", "insecure"), ("(secure)", "secure")];
        let theirs =
            marks.iter().find(|(mark, _)| done.text().contains(mark)).map_or("failed", |(_, verdict)| *verdict);
        Some((theirs, done))
    })
}

fn delv_agrees(peer: &Peer) -> Verdict {
    agree("delv", &|hierarchy, dir, addr, question| {
        // It takes the anchors of one zone.
        let mut fields = hierarchy.anchor_text.split_whitespace();
        if hierarchy.anchor_text.lines().count() != 1 {
            return None;
        }
        let (zone, rtype) = (fields.next()?, fields.nth(2)?);
        let numbers: Vec<&str> = fields.by_ref().take(3).collect();
        let rest: String = fields.collect();
        let kind = if rtype == "DS" { "static-ds" } else { "static-key" };
        let keys = dir.join("bind.keys");
        std::fs::write(&keys, format!("trust-anchors {{ {zone} {kind} {} \"{rest}\"; }};\n", numbers.join(" ")))
            .unwrap();
        let mut command = peer.command("delv", dir);
        command.args(["@127.0.0.1", "-p", &addr.port().to_string(), "-a"]).arg(&keys).arg(format!("+root={zone}"));
        command.args([&question.name.to_string(), &question.rtype.to_string()]);
        let line = format!("{command:?}");
        let done = finish(command, line, None, LIMIT);
        let text = format!("{}{}", done.text(), done.stderr);
        // A denial "fails" by the name of its cache entry.
        let failed = text.lines().any(|line| line.contains("resolution failed") && !line.contains("ncache"));
        let marks = [("unsigned answer", "insecure"), ("fully validated", "secure")];
        let marked = marks.iter().find(|(mark, _)| text.contains(mark)).map_or("failed", |(_, verdict)| *verdict);
        Some((if failed { "bogus" } else { marked }, done))
    })
}
