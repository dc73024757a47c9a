//! dnsq against servers that lie, forge, flood and never end: a clear error, the status that says what to do next, in bounded
//! time and memory; and nothing that a server says reaches the terminal as it is.

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::harness::{Conn, Done, Peer, Run, peer, temp_dir, tool, udp_peer};

/// What an answer claims to hold, and what stands behind its question.
struct Claims {
    counts: [u16; 3],
    records: Vec<u8>,
}

fn claims(counts: [u16; 3], records: impl Into<Vec<u8>>) -> Claims {
    Claims { counts, records: records.into() }
}

/// Where the records of an answer to `x.test` begin.
const RECORDS: usize = 12 + 8 + 4;

/// The answer to a query for a name as long as `x.test`: header and question are right, the rest is as claimed.
fn answer(query: &[u8], claims: &Claims) -> Vec<u8> {
    let mut answer = query[..RECORDS].to_vec();
    answer[2] |= 0x80;
    for (place, count) in answer[6..12].chunks_exact_mut(2).zip(claims.counts) {
        place.copy_from_slice(&count.to_be_bytes());
    }
    answer.extend(&claims.records);
    answer
}

/// A record of the name that was asked for.
fn record(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut record = b"\xc0\x0c".to_vec();
    record.extend(rtype.to_be_bytes());
    record.extend(b"\0\x01\0\0\0\x3c");
    record.extend((rdata.len() as u16).to_be_bytes());
    record.extend(rdata);
    record
}

/// An address with this owner before it.
fn owned(owner: &[u8]) -> Vec<u8> {
    [owner, b"\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"].concat()
}

const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// A chain of pointers, each to the one before it, under records of a private type; then a record that follows them all.
fn pointer_chain() -> Vec<u8> {
    let mut chain = vec![0xc0, 0x0c];
    let mut at = RECORDS + 12;
    for _ in 0..1000 {
        chain.extend(((at as u16) | 0xc000).to_be_bytes());
        at += 2;
    }
    let mut all = record(65_280, &chain);
    all.extend(owned(&((at as u16) | 0xc000).to_be_bytes()));
    all
}

/// Labels that reach back again and again until the name is longer than names may be.
fn long_name() -> Vec<u8> {
    let label = [&[63][..], &[b'a'; 63]].concat();
    let mut rdata = [&label[..], b"\xc0\x0c"].concat();
    let mut at = RECORDS + 12;
    for _ in 0..4 {
        let next = RECORDS + 12 + rdata.len();
        rdata.extend(&label);
        rdata.extend((at as u16 | 0xc000).to_be_bytes());
        at = next;
    }
    [record(65_280, &rdata), owned(&(at as u16 | 0xc000).to_be_bytes())].concat()
}

/// What a server may claim, with the status of one question, of a run with `-f` and what is said about it.
fn lies() -> Vec<(&'static str, Claims, i32, &'static str)> {
    let place = |at: usize| (at as u16 | 0xc000).to_be_bytes();
    let options = |count: usize| OPT.repeat(count);
    let opt = |data: &[u8]| [&OPT[..9], &(data.len() as u16).to_be_bytes(), data].concat();
    vec![
        ("a pointer to itself", claims([1, 0, 0], owned(&place(RECORDS))), 76, ""),
        ("a pointer forward", claims([1, 0, 0], owned(&place(RECORDS + 2))), 76, ""),
        (
            "two pointers to each other",
            claims([1, 0, 0], owned(&[place(RECORDS + 2), place(RECORDS)].concat())),
            76,
            "",
        ),
        ("a pointer out of the message", claims([1, 0, 0], owned(b"\xff\xff")), 76, ""),
        (
            "labels and a pointer back to them",
            claims([1, 0, 0], owned(&[b"\x01a", &place(RECORDS)[..]].concat())),
            76,
            "",
        ),
        ("a chain of a thousand pointers", claims([2, 0, 0], pointer_chain()), 76, ""),
        ("a name too long", claims([2, 0, 0], long_name()), 76, ""),
        ("a label of a kind that is none", claims([1, 0, 0], owned(b"\x41a\0")), 76, ""),
        ("65535 answers, none there", claims([65_535, 0, 0], ""), 76, ""),
        ("65535 of everything, one there", claims([65_535; 3], record(1, &[192, 0, 2, 1])), 76, ""),
        ("one answer more than is there", claims([2, 0, 0], record(1, &[192, 0, 2, 1])), 76, ""),
        (
            "data beyond the end",
            claims([1, 0, 0], &b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\xff\xff\xc0\0\x02\x01"[..]),
            76,
            "",
        ),
        ("two OPT records", claims([0, 0, 2], options(2)), 76, ""),
        ("a hundred OPT records", claims([0, 0, 100], options(100)), 76, ""),
        ("an option beyond its record", claims([0, 0, 1], opt(b"\0\x03\xff\xff")), 76, ""),
        ("half an option", claims([0, 0, 1], opt(b"\0\x03\0")), 76, ""),
        ("an OPT record with an owner", claims([0, 0, 1], [b"\x01a", OPT].concat()), 76, ""),
        ("an address of three bytes", claims([1, 0, 0], record(1, &[192, 0, 2])), 0, "\\# 3 C00002"),
        ("an address of none", claims([1, 0, 0], record(1, &[])), 0, "\\# 0"),
        (
            "bytes behind the end",
            claims([1, 0, 0], [&record(1, &[192, 0, 2, 1])[..], b"tail"].concat()),
            0,
            "192.0.2.1",
        ),
        ("aliases in a circle", claims([1, 0, 0], record(5, b"\xc0\x0c")), 0, "x.test."),
    ]
}

/// One that answers every query with these claims, and one that does so over TCP.
fn liar(claims: Claims) -> SocketAddr {
    udp_peer(move |query| vec![answer(query, &claims)])
}

/// A name server over TCP: gets each query and the connection.
fn stream_peer(script: impl Fn(&[u8], &mut Conn) + Send + Sync + 'static) -> Peer {
    peer(move |mut conn| {
        loop {
            let mut length = [0; 2];
            if conn.stream().read_exact(&mut length).is_err() {
                return;
            }
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            if conn.stream().read_exact(&mut query).is_err() {
                return;
            }
            script(&query, &mut conn);
        }
    })
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

fn dnsq(server: SocketAddr, words: &[&str]) -> Run {
    let patience = ["--timeout", "0.4", "--tries", "1", "--max-time", "3"];
    tool("dnsq").arg(format!("@{server}")).args(patience).args(words).most_memory(1_000_000)
}

/// It ended by itself, in time, with a status that it means.
#[track_caller]
fn ends_well(what: &str, done: &Done, begun: Instant) {
    assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {done}");
    assert!([0, 1, 3, 64, 65, 69, 75, 76, 77].contains(&done.status), "{what}: {done}");
    assert!(!done.stderr.contains("panicked"), "{what}: {done}");
    assert!(matches!(done.status, 0 | 1) || done.stderr.starts_with("dnsq: "), "{what}: {done}");
}

#[test]
fn lies_are_found() {
    for (what, claims, status, says) in lies() {
        let server = liar(claims);
        let done = dnsq(server, &["--short", "x.test"]).run();
        done.exits(status).prints(says);
        assert_eq!(status == 0, done.stderr.is_empty(), "{what}: {done}");
        let json = dnsq(server, &["--json", "x.test"]).run();
        json.exits(status);
    }
}

/// Whatever else asks meets the same liars: one record for each name of a list, a step of a trace, a link of a chain of trust.
#[test]
fn lies_upset_nothing_that_asks() {
    std::thread::scope(|scope| {
        for (what, claims, ..) in lies() {
            scope.spawn(move || {
                let server = liar(claims);
                let port = server.port().to_string();
                for words in [&["--trace"][..], &["--validate"], &["--compare", "-p", &port], &["--search"], &["AXFR"]]
                {
                    let begun = Instant::now();
                    let done = dnsq(server, &[words, &["--json", "x.test"]].concat()).run();
                    ends_well(what, &done, begun);
                }
                let begun = Instant::now();
                let done = dnsq(server, &["-f", "-", "--json"]).stdin("x.test\ny.test\n").run();
                ends_well(what, &done, begun);
                let told = done.records_of("answer").len() + done.records_of("error").len();
                assert_eq!(told, 2, "{what}: one record for each name: {done}");
            });
        }
    });
}

/// Only what comes from the server's address and port, under the identifier and to the question, is believed.
#[test]
fn forgeries_are_waited_past() {
    let forger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let truth = claims([1, 0, 0], record(1, &[192, 0, 2, 1]));
    let lie = claims([1, 0, 0], record(1, &[203, 0, 113, 6]));
    // The right bytes from another port, before the right ones from the right port.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let forged = answer(query, &lie);
            forger.send_to(&forged, from).unwrap();
            let mut wrong = forged.clone();
            for id in 0..200u16 {
                let id = u16::from_be_bytes([query[0], query[1]]) ^ (id + 1);
                wrong[..2].copy_from_slice(&id.to_be_bytes());
                socket.send_to(&wrong, from).unwrap();
            }
            for place in [12 + 1, RECORDS - 3, RECORDS - 1] {
                let mut other = forged.clone();
                other[place] ^= 1; // name, type, class
                socket.send_to(&other, from).unwrap();
            }
            for cut in [0, 1, 2, 11] {
                socket.send_to(&wrong[..cut], from).unwrap();
            }
            // The truth, and it comes more than once.
            for _ in 0..100 {
                socket.send_to(&answer(query, &truth), from).unwrap();
            }
        }
    });
    let record = &dnsq(server, &["--json", "x.test"]).run().silent_success().records()[0];
    assert_eq!(record["answers"].as_array().unwrap().len(), 1);
    assert_eq!(record["answers"][0]["rdata"], "192.0.2.1");
    assert!(record["mismatches"].as_u64().is_some_and(|count| count > 100), "{record}");
    let bulk = dnsq(server, &["-f", "-", "--json"]).stdin("x.test\n").run();
    assert_eq!(bulk.silent_success().records_of("answer")[0]["answers"][0]["rdata"], "192.0.2.1");
    // Nothing but forgeries is silence.
    let only = udp_peer(|query| {
        let mut wrong = answer(query, &claims([0; 3], ""));
        wrong[0] ^= 0x55;
        vec![wrong; 50]
    });
    dnsq(only, &["x.test"]).run().exits(75).says("50 messages that were no answer");
}

/// An answer that comes after its query was sent again counts as well as the one to the second.
#[test]
fn late_answers_count() {
    let held = std::sync::Mutex::new(None::<Vec<u8>>);
    let server = udp_peer(move |query| {
        let now = answer(query, &claims([1, 0, 0], record(1, &[192, 0, 2, 1])));
        held.lock().unwrap().replace(now).into_iter().collect()
    });
    let args = [&format!("@{server}"), "--timeout", "0.3", "--tries", "2", "--json", "x.test"];
    let record = &tool("dnsq").args(args).run().silent_success().records()[0];
    assert_eq!((record["answers"][0]["rdata"].as_str(), record["sent"].as_u64()), (Some("192.0.2.1"), Some(2)));
}

/// What a server sends for a query over TCP.
type Script = fn(&[u8]) -> Vec<Vec<u8>>;

/// What it does then.
#[derive(Clone, Copy)]
enum Then {
    Wait,
    HangUp,
    /// The last piece again and again.
    GoOn,
    /// All of it goes out byte by byte, with so many milliseconds between.
    Drip(u64),
}

fn scripted(script: Script, then: Then) -> Peer {
    stream_peer(move |query, conn| {
        let pieces = script(query);
        if let Then::Drip(pause) = then {
            for byte in pieces.concat() {
                if !conn.send([byte]) {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(pause));
            }
        }
        if !matches!(then, Then::Drip(_)) {
            conn.send(pieces.concat());
        }
        match then {
            Then::GoOn => while conn.send(pieces.last().unwrap()) {},
            Then::HangUp => drop(conn.stream().get_ref().shutdown(std::net::Shutdown::Both)),
            Then::Wait | Then::Drip(_) => {}
        }
    })
}

/// The bytes with this one exchanged.
fn with(mut bytes: Vec<u8>, at: usize, change: fn(u8) -> u8) -> Vec<u8> {
    bytes[at] = change(bytes[at]);
    bytes
}

#[test]
fn broken_frames_end_their_connection() {
    use Then::{Drip, GoOn, HangUp, Wait};
    fn good(query: &[u8]) -> Vec<u8> {
        framed(&answer(query, &claims([1, 0, 0], record(1, &[192, 0, 2, 1]))))
    }
    fn stray(query: &[u8]) -> Vec<u8> {
        with(good(query), 2, |byte| byte ^ 0x55)
    }
    let table: &[(&str, Script, Then, i32)] = &[
        ("nothing", |_| vec![], HangUp, 75),
        ("silence", |_| vec![], Wait, 75),
        ("one byte", |_| vec![vec![0]], Wait, 75),
        ("one byte and the end", |_| vec![vec![0]], HangUp, 75),
        ("an empty frame", |_| vec![vec![0, 0]], Wait, 76),
        ("a frame shorter than a header", |_| vec![framed(b"\0\x01\x80")], Wait, 76),
        ("a frame that is cut short", |query| vec![good(query).split_last().unwrap().1.to_vec()], HangUp, 75),
        ("a frame longer than it says", |query| vec![with(good(query), 1, |byte| byte - 4)], Wait, 76),
        ("another question", |query| vec![with(good(query), 2 + 13, |byte| byte ^ 1)], Wait, 76),
        ("a query instead of an answer", |query| vec![framed(query)], Wait, 76),
        ("strays without end", |query| vec![stray(query)], GoOn, 76),
        ("byte after byte, but right", |query| vec![good(query)], Drip(0), 0),
        ("a stray first", |query| vec![stray(query), good(query)], Wait, 0),
        ("twice", |query| vec![good(query).repeat(2)], Wait, 0),
    ];
    for (what, script, then, status) in table {
        let server = scripted(*script, *then);
        let begun = Instant::now();
        let done = dnsq(server.addr, &["--tcp", "--short", "x.test"]).run();
        ends_well(what, &done, begun);
        assert_eq!(done.status, *status, "{what}: {done}");
        let bulk = dnsq(SocketAddr::from(([127, 0, 0, 1], server.addr.port())), &["-f", "-", "--tcp", "--json"]);
        let done = bulk.stdin("x.test\n").run();
        ends_well(what, &done, begun);
        assert_eq!(done.records_of("answer").len() + done.records_of("error").len(), 1, "{what}: {done}");
    }
}

/// A message of 64 KiB whose names all follow the longest way that pointers allow: it costs what its size costs.
#[test]
fn the_worst_message_takes_no_time() {
    let server = stream_peer(|query, conn| {
        let mut records = Vec::new();
        let mut count = 0u16;
        // A name of 126 labels of one letter, then thousands of records that have it.
        let name = [&b"\x01a".repeat(120)[..], b"\xc0\x0c"].concat();
        records.extend(record(5, &name));
        let place = ((RECORDS + 12) as u16 | 0xc000).to_be_bytes();
        while records.len() < 65_000 {
            records.extend([&place[..], b"\0\x05\0\x01\0\0\0\x3c\0\x02", &place].concat());
            count += 1;
        }
        conn.send(framed(&answer(query, &claims([count + 1, 0, 0], records))));
    });
    for words in [&["--short"][..], &["--json"], &[], &["--validate"]] {
        let begun = Instant::now();
        let done = dnsq(server.addr, &[words, &["--tcp", "x.test", "CNAME"]].concat()).run();
        ends_well("worst", &done, begun);
        assert!(words == ["--validate"] || done.stdout.len() > 1_000_000, "{words:?}");
    }
}

/// Transfers that never end, or go on with something else, leave no file and take no memory.
#[test]
fn endless_transfers_end() {
    use Then::{Drip, GoOn, Wait};
    const SOA: &[u8] = b"\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
    fn message(query: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
        framed(&answer(query, &claims([records.len() as u16, 0, 0], records.concat())))
    }
    fn soa() -> Vec<u8> {
        record(6, SOA)
    }
    fn address() -> Vec<u8> {
        record(1, &[192, 0, 2, 1])
    }
    fn many(query: &[u8]) -> Vec<u8> {
        message(query, &vec![address(); 4000])
    }
    fn other_soa() -> Vec<u8> {
        with(soa(), soa().len() - 1, |_| 9)
    }
    let table: &[(&str, Script, Then, i32, &str)] = &[
        ("records for ever", |query| vec![message(query, &[soa()]), many(query)], GoOn, 75, "time is up"),
        ("a byte now and then", |query| vec![many(query)], Drip(50), 75, "time is up"),
        ("no records", |query| vec![message(query, &[soa()]), message(query, &[])], GoOn, 76, "without records"),
        ("no SOA first", |query| vec![message(query, &[address(), soa()])], Wait, 76, "begin with the SOA"),
        ("elsewhere", |query| vec![message(query, &[soa(), owned(b"\x04else\0"), soa()])], Wait, 76, "not in the zone"),
        ("another SOA", |query| vec![message(query, &[soa(), address(), other_soa()])], Wait, 76, "differ"),
        ("more behind", |query| vec![message(query, &[soa(), address(), soa(), address()])], Wait, 76, "after its end"),
        ("OPT among the records", |query| vec![message(query, &[soa(), OPT.to_vec(), soa()])], Wait, 76, ""),
        (
            "another id",
            |query| vec![with(message(query, &[soa(), soa()]), 2, |b| b ^ 1)],
            Wait,
            76,
            "not to our question",
        ),
        (
            "refused in the middle",
            |query| vec![message(query, &[soa(), address()]), with(message(query, &[]), 5, |byte| byte | 5)],
            Wait,
            69,
            "REFUSED",
        ),
    ];
    std::thread::scope(|scope| {
        for (what, script, then, status, says) in table {
            scope.spawn(move || {
                let server = scripted(*script, *then);
                let dir = temp_dir();
                let target = dir.path().join("zone");
                let begun = Instant::now();
                let words = ["x.test", "AXFR", "--timeout", "2", "--max-time", "2", "-o", target.to_str().unwrap()];
                // Far less than what the endless ones send in that time.
                let done = tool("dnsq").arg(format!("@{}", server.addr)).args(words).most_memory(300_000).run();
                ends_well(what, &done, begun);
                assert_eq!(done.status, *status, "{what}: {done}");
                done.says(says);
                assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{what}: nothing is left behind");
            });
        }
    });
}

/// Every byte in every kind of string: no control byte comes out, JSON is JSON, and the text is read back as a zone.
#[test]
fn every_string_is_escaped() {
    let all: Vec<u8> = (0..=255).collect();
    let string = |bytes: &[u8]| [&[bytes.len() as u8][..], bytes].concat();
    let halves: Vec<u8> = all.chunks(128).flat_map(string).collect();
    let label: Vec<u8> = all.chunks(62).take(3).flat_map(string).chain([0]).collect();
    let rest: Vec<u8> = all.chunks(62).skip(3).flat_map(string).chain([0]).collect();
    let records: Vec<(&str, Vec<u8>)> = vec![
        ("TXT", record(16, &halves)),
        ("SPF", record(99, &halves)),
        ("HINFO", record(13, &halves)),
        ("CAA", record(257, &[b"\0\x05issue", &all[..]].concat())),
        ("URI", record(256, &[b"\0\x01\0\x01", &all[..]].concat())),
        (
            "NAPTR",
            record(
                35,
                &[b"\0\x01\0\x01", &string(b"\"\\;")[..], &string(&all[..40]), &string(&all[150..]), b"\0"].concat(),
            ),
        ),
        ("NS", record(2, &label)),
        ("MX", record(15, &[&[0, 10][..], &rest].concat())),
        ("SVCB", record(64, &[b"\0\x01\0\0\x01\0\x21", &string(&all[..32])[..]].concat())),
        ("HTTPS", record(65, &[&b"\0\x01\0\xff\x00\x01\x04"[..], &[0xffu8; 260]].concat())),
        ("owner", owned(&label)),
    ];
    let options = |data: &[u8]| [&OPT[..9], &(data.len() as u16).to_be_bytes(), data].concat();
    let option = |code: u8, data: &[u8]| [&[0, code][..], &(data.len() as u16).to_be_bytes(), data].concat();
    let edns = options(&[option(3, &all), option(15, &[b"\0\x16", &all[..]].concat()), option(77, &all)].concat());
    for (what, record) in records {
        let text = [&record[..], &edns].concat();
        let server = stream_peer(move |query, conn| {
            let mut all = answer(query, &claims([1, 0, 1], text.clone()));
            all[2] |= 4; // an authority, for the trace
            conn.send(framed(&all));
        });
        for words in
            [&["--short"][..], &[], &["--json"], &["--json-rfc8427"], &["--format", "{name} {rdata}"], &["--trace"]]
        {
            let done = dnsq(server.addr, &[words, &["--tcp", "x.test", "ANY"]].concat()).run();
            let shown = done.exits(0).text();
            let harmless = |c: char| !c.is_control() || c == '\n' || (c == '\t' && !words.contains(&"--json"));
            assert!(shown.chars().all(harmless) && !shown.is_empty(), "{what} {words:?}: {shown:?}");
            if words.first().is_some_and(|word| word.starts_with("--json")) {
                serde_json::from_str::<serde_json::Value>(shown).unwrap();
            }
        }
        if what == "owner" {
            continue; // not in the zone below
        }
        // What is printed is a zone file.
        let lines = dnsq(server.addr, &["--tcp", "x.test", "ANY", "+noall", "+answer"]).run();
        let dir = temp_dir();
        let zone = format!("x.test. 60 IN SOA a. b. 1 2 3 4 5\n{}", lines.silent_success().text());
        std::fs::write(dir.path().join("zone"), &zone).unwrap();
        let checked = tool("dnsserve").args(["--check", "-q", "zone"]).dir(dir.path()).run();
        assert_eq!(checked.silent_success().text(), "x.test.\t1\t2\n", "{what}: {zone}");
    }
    // Words of an error go to stderr: escaped as well.
    let refused = stream_peer(move |query, conn| {
        let mut all = answer(query, &claims([0, 0, 1], edns.clone()));
        all[3] |= 2;
        conn.send(framed(&all));
    });
    let done = dnsq(refused.addr, &["--tcp", "-v", "x.test"]).run();
    assert!(done.exits(75).stderr.chars().all(|c| !c.is_control() || c == '\n'), "{:?}", done.stderr);
    done.says("SERVFAIL");
}
