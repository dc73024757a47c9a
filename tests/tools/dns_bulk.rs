//! `dnsq -f`: one record for every question, whatever comes in and whatever comes back.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use applayer::dns::edns::EdnsOption;
use applayer::dns::message::{Flags, Message};

use crate::dns::example;
use crate::harness::{Done, Server, binary, rounds, temp_dir, tool, udp_peer};

fn bulk(server: &Server, names: impl Into<Vec<u8>>, args: &[&str]) -> Done {
    tool("dnsq").arg(format!("@{}", server.addr)).args(["-f", "-"]).args(args).stdin(names).run()
}

/// Names of every kind, each many times under another label where the zone allows it.
fn names(count: usize) -> String {
    let kinds = ["www.example.test", "alias.example.test", "nothere{}.example.test", "{}.wild.example.test"];
    (0..count).map(|n| kinds[n % kinds.len()].replace("{}", &format!("n{n}")) + "\n").collect()
}

#[test]
fn every_question_has_one_record() {
    let server = example();
    let done = bulk(&server, names(2_000), &["--json"]);
    done.silent_success();
    let mut asked = BTreeMap::<String, usize>::new();
    for record in done.records_of("answer") {
        *asked.entry(record["question"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut expected = BTreeMap::<String, usize>::new();
    for name in names(2_000).lines() {
        *expected.entry(format!("{name}.")).or_default() += 1;
    }
    assert_eq!(asked, expected);
    let summary = &done.records_of("summary")[0];
    assert_eq!((summary["asked"].as_u64(), summary["failed"].as_u64()), (Some(2_000), Some(0)));
    assert_eq!((summary["answered"].as_u64(), summary["negative"].as_u64()), (Some(1_000), Some(1_000)));
    assert_eq!(summary["servers"][0]["answered"], 2_000);
}

#[test]
fn text_short_and_formats_in_order() {
    let server = example();
    let names =
        "www.example.test\nalias.example.test\nnothere.example.test\nexample.test MX\nwww.example.test MX AAAA\n";
    let text = bulk(&server, names, &["--ordered"]);
    assert_eq!(
        text.silent_success().text(),
        "www.example.test.\tA\tNOERROR\t192.0.2.10\n\
         alias.example.test.\tA\tNOERROR\tCNAME www.example.test.\t192.0.2.10\n\
         nothere.example.test.\tA\tNXDOMAIN\n\
         example.test.\tMX\tNOERROR\t10 mail.example.test.\n\
         www.example.test.\tMX\tNODATA\n\
         www.example.test.\tAAAA\tNODATA\n"
    );
    let short = bulk(&server, "nothere.example.test\nwww.example.test\r\n", &["--ordered", "--short"]);
    assert_eq!(short.silent_success().text(), "nothere.example.test.\nwww.example.test.\t192.0.2.10\n");
    let format = bulk(&server, "alias.example.test", &["--format", "{name} {ttl} {rtype} {rdata}"]);
    let lines = "alias.example.test. 3600 CNAME www.example.test.\nwww.example.test. 3600 A 192.0.2.10\n";
    assert_eq!(format.silent_success().text(), lines);
    let format = bulk(&server, "example.test", &["MX", "--format", "{exchange} {preference}"]);
    assert_eq!(format.silent_success().text(), "mail.example.test. 10\n");
    let types = bulk(&server, "www.example.test\n", &["--ordered", "--short", "A", "MX", "+norecurse"]);
    assert_eq!(types.silent_success().text(), "www.example.test.\t192.0.2.10\nwww.example.test.\n");
}

#[test]
fn order_is_kept_over_many() {
    let server = example();
    let names = names(5_000);
    let done = bulk(&server, names.clone(), &["--ordered", "--short", "--concurrency", "50"]);
    let found: Vec<&str> = done.silent_success().text().lines().map(|line| line.split('\t').next().unwrap()).collect();
    let expected: Vec<String> = names.lines().map(|name| format!("{name}.")).collect();
    assert!(found == expected, "the order changed\n{}", done.stderr);
}

#[test]
fn truncated_answers_come_over_tcp() {
    let server = example();
    let lines = "big.example.test TXT\n".repeat(30) + "www.example.test\n";
    let done = bulk(&server, lines, &["--json"]);
    let answers = done.silent_success().first_lines(40).records_of("answer");
    let big: Vec<_> = answers.iter().filter(|answer| answer["question"]["qtype"] == "TXT").collect();
    assert_eq!(big.len(), 30);
    assert!(big.iter().all(|answer| answer["transport"] == "tcp" && answer["answers"].as_array().unwrap().len() == 20));
    let all = bulk(&server, names(300), &["--tcp", "--json"]);
    assert!(all.silent_success().records_of("answer").iter().all(|answer| answer["transport"] == "tcp"));
}

#[test]
fn bad_lines_have_one_error_each_and_the_run_goes_on() {
    let server = example();
    let mut input = b"www.example.test\r\n\na..b\n".to_vec();
    input.extend_from_slice(&[b'x'; 1 << 20]);
    input.extend_from_slice(b"\n\xff\xfe.test\nwww.example.test NOSUCH\n");
    input.extend_from_slice(format!("{}.test\n\x00\x01\n", "l".repeat(64)).as_bytes());
    input.extend_from_slice("bücher.example.test\nwww.example.test".as_bytes());
    let done = bulk(&server, input, &["--json"]);
    done.exits(65).says("line 3: empty label in name");
    let mut lines: Vec<u64> = done.records_of("error").iter().map(|error| error["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8]);
    assert_eq!(done.records_of("answer").len(), 3);
    assert_eq!(done.records_of("summary")[0]["failed_by_kind"], serde_json::json!({"bad_data": 6}));
}

#[test]
fn unanswered_questions_end_with_75() {
    let ask = |addr: String, args: &[&str]| {
        let limits = ["-f", "-", "--timeout", "0.2", "--json"];
        tool("dnsq").arg(format!("@{addr}")).args(limits).args(args).stdin("a.test\nb.test\n").run()
    };
    let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let done = ask(closed.to_string(), &["--tries", "2"]);
    done.exits(75).says("a.test.");
    assert_eq!(done.records_of("error").len(), 2);
    assert!(done.records_of("error").iter().all(|error| error["kind"] == "connect_refused"), "{done}");
    let silent = udp_peer(|_| Vec::new());
    let done = ask(silent.to_string(), &["--tries", "2"]);
    assert!(done.exits(75).records_of("error").iter().all(|error| error["kind"] == "timed_out"), "{done}");
    assert_eq!(done.records_of("error").len(), 2);
    let fails = |rcode: u8| {
        udp_peer(move |query| {
            let mut answer = query.to_vec();
            answer[2] |= 0x80;
            answer[3] = rcode;
            vec![answer]
        })
    };
    let done = ask(fails(2).to_string(), &["--tries", "2"]);
    assert_eq!((done.exits(75).records_of("error").len(), &done.records()[0]["code"]), (2, &2.into()));
    let done = ask(fails(5).to_string(), &["--tries", "2"]);
    assert_eq!(done.exits(69).records_of("error").len(), 2);
    let done = ask(silent.to_string(), &["--max-time", "0.1", "--tries", "5"]);
    assert_eq!(done.exits(75).records_of("summary")[0]["complete"], false);
    let done = ask(silent.to_string(), &["--max-time-per-name", "0.5", "--tries", "50"]);
    let elapsed: Vec<f64> =
        done.exits(75).records_of("error").iter().map(|error| error["elapsed_ms"].as_f64().unwrap()).collect();
    assert!(elapsed.len() == 2 && elapsed.iter().all(|time| (500.0..5_000.0).contains(time)), "{done}");
    // The wildcard probe, whose first label is a long one, is never answered: the end does not wait for it.
    let no_probes = udp_peer(|query| {
        let mut answer = query.to_vec();
        (answer[2], answer[7], answer[11]) = (answer[2] | 0x80, 1, 0);
        answer.truncate(answer.len() - 11);
        answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
        if query[12] == 20 { Vec::new() } else { vec![answer] }
    });
    let dir = temp_dir();
    let state = dir.path().join("state");
    for (resume, records) in [(&[][..], 2), (&["--resume", state.to_str().unwrap()], 0)] {
        let done = tool("dnsq").arg(format!("@{no_probes}"));
        let done = done.args(["-f", "-", "--json", "--wildcards", "mark", "--max-time", "0.5"]).args(resume);
        let done = done.stdin("a.b.test\nc.d.test\n").run();
        assert_eq!(done.exits(75).records_of("answer").len(), records, "{done}");
    }
}

/// Another server takes over what one cannot answer; the summary says who did what.
#[test]
fn another_server_takes_over() {
    let (server, dead) = (example(), udp_peer(|_| Vec::new()));
    let dir = temp_dir();
    std::fs::write(dir.path().join("servers"), format!("# two\n{}\n{dead}\n", server.addr)).unwrap();
    let done =
        tool("dnsq").args(["-f", "-", "--servers", "servers", "--json"]).dir(dir.path()).stdin(names(1_000)).run();
    done.silent_success();
    let summary = &done.records_of("summary")[0];
    assert_eq!((summary["asked"].as_u64(), summary["failed"].as_u64()), (Some(1_000), Some(0)));
    assert_eq!((&summary["servers"][0]["answered"], &summary["servers"][1]["answered"]), (&1_000.into(), &0.into()));
    assert!(summary["servers"][1]["timed_out"].as_u64() > Some(0));
}

/// Wrong questions, wrong IDs, garbage and doubles before the truth: counted, never believed.
#[test]
fn lies_are_waited_past() {
    let liar = udp_peer(|query| {
        let mut truth = query.to_vec();
        truth[2] |= 0x80;
        truth[3] = 3;
        let mut wrong_question = truth.clone();
        wrong_question[13] ^= 1;
        let mut wrong_id = truth.clone();
        wrong_id[0] ^= 0xff;
        let cut = truth[..11].to_vec();
        vec![wrong_question, wrong_id, cut, Vec::new(), query.to_vec(), truth.clone(), truth]
    });
    let done = tool("dnsq").arg(format!("@{liar}")).args(["-f", "-", "--json"]).stdin(names(200)).run();
    done.silent_success();
    assert_eq!(done.records_of("answer").len(), 200);
    assert!(done.records_of("answer").iter().all(|answer| answer["status"] == "NXDOMAIN"));
    assert!(done.records_of("summary")[0]["servers"][0]["mismatched"].as_u64() >= Some(200));
}

/// The only server loses one query in a hundred, while ports change: every name is answered.
#[test]
fn a_lossy_server_answers_everything() {
    let (count, heard) = (60_000, std::cell::Cell::new(0u32));
    let lossy = udp_peer(move |query| {
        heard.set(heard.get() + 1);
        if heard.get().wrapping_mul(0x9e37_79b9) >> 16 < 655 {
            return Vec::new();
        }
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] = 3;
        vec![answer]
    });
    let done = tool("dnsq").arg(format!("@{lossy}")).args(["-f", "-", "--json"]).stdin(names(count)).run();
    let summary = &done.silent_success().records_of("summary")[0];
    assert_eq!((summary["asked"].as_u64(), summary["negative"].as_u64()), (Some(60_000), Some(60_000)), "{summary}");
    assert!(summary["retries"].as_u64() > Some(300), "{summary}");
    assert!(summary["servers"][0]["benched"] == 0, "{summary}");
}

#[test]
fn wildcards_are_marked_or_dropped() {
    let server = example();
    let names =
        "a.wild.example.test\nb.wild.example.test\nwww.example.test\nx.walias.example.test\nnone.example.test\n";
    let ask = |mode: &str, args: &[&str]| {
        let types = ["--wildcards", mode, "--ordered", "--short", "TXT", "A"];
        bulk(&server, names, &[&types[..], args].concat())
    };
    let wild = "a.wild.example.test.\t\"wild\"\t;wildcard\n";
    ask("mark", &[]).silent_success().prints(wild).prints("www.example.test.\t192.0.2.10\n");
    let dropped = ask("drop", &[]);
    assert!(!dropped.silent_success().text().contains("wild\""), "{dropped}");
    dropped.prints("www.example.test.\t192.0.2.10\n").prints("none.example.test.\n");
    let json = bulk(&server, names, &["--wildcards", "mark", "--json", "TXT"]);
    assert_eq!(json.records_of("summary")[0]["wildcards"], 2);
    assert_eq!(json.records_of("answer").iter().filter(|answer| answer["wildcard"] == true).count(), 2);
}

#[test]
fn usage_is_checked() {
    for args in [
        &["-f", "-", "-f", "-"][..],
        &["-f", "/no/such/file"],
        &["-f", "-", "name.that.is.none"],
        &["-f", "-", "--format", "{nosuch}"],
        &["--ordered", "a.test"],
        &["-f", "-", "--rate", "0"],
    ] {
        let status = if args.contains(&"/no/such/file") { 66 } else { 64 };
        tool("dnsq").arg("@127.0.0.1:1").args(args).stdin("").run().exits(status);
    }
    let nothing = tool("dnsq").args(["@127.0.0.1:1", "-f", "-"]).stdin("").run();
    assert_eq!(nothing.silent_success().text(), "");
    tool("dnsq").args(["@127.0.0.1:1", "-f", "-"]).stdin("a.test\n").closed_stdout().run().exits(141);
}

/// Loops in several threads share names and output: each name once, in order if wanted, whatever the size of the input.
#[test]
fn threads_share_names_and_output() {
    let server = example();
    for count in [0, 1, 10_000, 40_000] {
        let names = names(count) + &"a..b\n".repeat(count / 5_000);
        let expected: Vec<String> =
            names.lines().map(|name| if name == "a..b" { name.to_owned() } else { format!("{name}.") }).collect();
        let status = if count < 5_000 { 0 } else { 65 };
        let ordered = bulk(&server, names.clone(), &["--threads", "3", "--ordered", "--json"]);
        ordered.exits(status);
        let name = |record: &serde_json::Value| {
            record["question"]["name"].as_str().or(record["target"].as_str()).map(str::to_owned)
        };
        let found: Vec<String> = ordered.records().iter().filter_map(name).collect();
        assert!(found == expected, "{count}: the order changed or names are missing: {} of them", found.len());
        let summary = &ordered.records_of("summary")[0];
        assert_eq!(summary["asked"].as_u64(), Some(expected.len() as u64));
        assert_eq!(summary["servers"][0]["answered"].as_u64(), Some(count as u64));
        let any = bulk(&server, names, &["--threads", "2", "--short", "--concurrency", "90"]);
        any.exits(status);
        let mut found: Vec<&str> = any
            .text()
            .lines()
            .filter(|line| !line.starts_with(';'))
            .map(|line| line.split('\t').next().unwrap())
            .collect();
        let mut expected: Vec<&String> = expected.iter().filter(|name| *name != "a..b").collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found.iter().eq(expected.iter()), "{count}: names are missing");
    }
}

/// What the query flags ask for stands in each query, and what the server tells in the record.
#[test]
fn query_flags_count_in_bulk() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let queries = seen.clone();
    let peer = udp_peer(move |query| {
        queries.lock().unwrap().push(query.to_vec());
        let mut message = Message::parse(query).unwrap();
        message.flags.0 |= Flags::QR | 3;
        let edns = message.edns.as_mut().unwrap();
        edns.options.retain(|option| option.code == EdnsOption::COOKIE);
        edns.options.push(EdnsOption::new(EdnsOption::NSID, b"ns7".to_vec()));
        vec![message.compose(4096)]
    });
    let flags = [
        "-f",
        "-",
        "--json",
        "--dnssec",
        "--no-recurse",
        "--cd",
        "--ad",
        "--nsid",
        "--subnet",
        "192.0.2.0/24",
        "--cookie",
        "--expire",
        "--keepalive",
        "--padding",
        "128",
        "--ednsopt",
        "65001:abcd",
        "--bufsize",
        "1400",
    ];
    let done = tool("dnsq").arg(format!("@{peer}")).args(flags).stdin("a.test\nbb.test\n").run();
    done.silent_success();
    assert_eq!(done.records()[0]["edns"]["options"][1]["name"], "NSID", "{done}");
    for query in seen.lock().unwrap().iter() {
        let message = Message::parse(query).unwrap();
        assert_eq!(message.flags.0, Flags::CD | Flags::AD);
        assert_eq!(query.len() % 128, 0);
        let edns = message.edns.unwrap();
        assert_eq!((edns.udp_size, edns.dnssec_ok), (1400, true));
        let codes: Vec<u16> = edns.options.iter().map(|option| option.code).collect();
        assert_eq!(codes, [3, 8, 9, 11, 65001, 10, 12]);
    }
    for args in [&["+search"][..], &["+nocomments"], &["--ednsopt", &format!("65001:{}", "ab".repeat(600))]] {
        tool("dnsq").arg(format!("@{peer}")).args(["-f", "-"]).args(args).stdin("").run().exits(64);
    }
    let plain = tool("dnsq").arg(format!("@{peer}")).args(["-f", "-", "--no-edns", "--tries", "1", "--timeout", "0.2"]);
    plain.stdin("c.test").run();
    assert!(Message::parse(seen.lock().unwrap().last().unwrap()).unwrap().edns.is_none());
}

/// A server that wants its cookie gets it; an answer with somebody else's is not believed.
#[test]
fn cookies_open_doors() {
    let peer = udp_peer(|query| {
        let mut message = Message::parse(query).unwrap();
        message.flags.0 |= Flags::QR;
        let cookie = &mut message.edns.as_mut().unwrap().options[0].data;
        let known = cookie.get(8..) == Some(b"opensesame");
        cookie.truncate(8);
        cookie.extend_from_slice(b"opensesame");
        let mut forged = message.clone();
        forged.edns.as_mut().unwrap().options[0].data[3] ^= 1;
        forged.flags.0 |= 3;
        let edns = message.edns.as_mut().unwrap();
        if known {
            message.flags.0 |= 3;
        } else {
            (edns.extended_rcode, message.flags.0) = (1, message.flags.0 | 7); // BADCOOKIE
        }
        vec![forged.compose(4096), message.compose(4096)]
    });
    let done = tool("dnsq").arg(format!("@{peer}")).args(["-f", "-", "--json", "--cookie"]).stdin(names(400)).run();
    let summary = &done.silent_success().records_of("summary")[0];
    assert_eq!((summary["negative"].as_u64(), summary["failed"].as_u64()), (Some(400), Some(0)), "{summary}");
    assert!(summary["servers"][0]["mismatched"].as_u64() >= Some(400), "{summary}");
}

/// A server that rejects EDNS for one name: that name alone is asked without, and not even that where the answer would lack
/// what was asked for.
#[test]
fn rejected_edns_is_given_up_for_one_question() {
    let plain = Arc::new(Mutex::new(0));
    let counter = plain.clone();
    let peer = udp_peer(move |query| {
        let mut message = Message::parse(query).unwrap();
        message.flags.0 |= Flags::QR | Flags::AA | 3;
        let odd = message.question[0].name.to_string().starts_with("odd.");
        if message.edns.is_none() {
            *counter.lock().unwrap() += 1;
        } else if odd {
            message.flags.0 ^= 2; // FORMERR
            message.edns = None;
        }
        vec![message.compose(4096)]
    });
    let at = format!("@{peer}");
    let hints = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&hints, ". 9999 IN NS root.\nroot. 9999 IN A 127.0.0.1\n").unwrap();
    let mixed = names(100) + "odd.test\n" + &names(300);
    for (flags, without, status, failed) in [
        (&[][..], 1, 0, 0),
        (&["--cookie"], 1, 0, 0),
        (&["--dnssec"], 0, 69, 1),
        (&["--nsid"], 0, 69, 1),
        (&["--subnet", "192.0.2.0/24"], 0, 69, 1),
    ] {
        *plain.lock().unwrap() = 0;
        let done = tool("dnsq").arg(&at).args(["-f", "-", "--json"]).args(flags).stdin(mixed.as_str()).run();
        let summary = &done.exits(status).records_of("summary")[0];
        assert_eq!(
            (summary["failed"].as_u64(), *plain.lock().unwrap()),
            (Some(failed), without),
            "{flags:?} {summary}"
        );
        assert_eq!(summary["servers"][0]["without_edns"].as_u64().unwrap_or_default(), without, "{flags:?}");
        // One question alone keeps the same rule.
        *plain.lock().unwrap() = 0;
        let done = tool("dnsq").args([&at, "odd.test"]).args(flags).run();
        done.exits(if failed > 0 { 69 } else { 1 });
        assert_eq!(*plain.lock().unwrap(), without, "{flags:?} {done}");
        // So does a trace; a zone whose servers all fail may be in order later.
        *plain.lock().unwrap() = 0;
        let port = peer.port().to_string();
        let trace = ["--trace", "--hints", hints.path().to_str().unwrap(), "-p", &port, "odd.test"];
        let done = tool("dnsq").args(trace).args(flags).run();
        assert_eq!((done.status, *plain.lock().unwrap() > 0), (if failed > 0 { 75 } else { 1 }, failed == 0), "{done}");
    }
}

/// With --no-failover a refusal is the outcome; --ignore-truncation takes what came.
#[test]
fn the_first_word_may_be_the_last() {
    let refuses = udp_peer(|query| {
        let mut answer = query.to_vec();
        (answer[2], answer[3]) = (answer[2] | 0x80, 5);
        vec![answer]
    });
    let ask = |args: &[&str]| {
        tool("dnsq").arg(format!("@{refuses}")).args(["-f", "-", "--json"]).args(args).stdin("a.test").run()
    };
    let done = ask(&["--no-failover"]);
    assert_eq!((done.exits(69).records()[0]["sent"].as_u64(), &done.records()[0]["code"]), (Some(1), &5.into()));
    let server = example();
    let big = bulk(&server, "big.example.test TXT\n", &["--json", "--ignore-truncation"]);
    let answer = &big.exits(75).records()[0];
    assert!(answer["transport"] == "udp" && answer["kind"] == "incomplete", "{answer}");
}

/// On a terminal a run says how far it is: names, rate, loss, what is left. In a pipe it says nothing.
#[test]
fn progress_is_shown_on_a_terminal() {
    let server = example();
    let dir = temp_dir();
    std::fs::write(dir.path().join("names"), names(200)).unwrap();
    let line = format!("{} @{} -f names --rate 200 > out", binary("dnsq").display(), server.addr);
    let shown = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(dir.path())
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}");
    for part in ["names, ", "/s, ", " % lost, ", " in flight", "% 0:0"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap().lines().count(), 200);
}

/// kill -9 at any moment, then `--resume`: a name may repeat, none is missing.
#[test]
fn crash_and_resume_lose_nothing() {
    let server = example();
    let names = names(6_000);
    for round in rounds(3, 50) {
        let dir = temp_dir();
        std::fs::write(dir.path().join("names"), &names).unwrap();
        let out = dir.path().join("out");
        let address = format!("@{}", server.addr);
        let threads = ["1", "3"][round % 2];
        let limits = ["--rate", "12000", "--threads", threads];
        let args = [&[&address, "-f", "names", "--short", "--resume", "state"][..], &limits].concat();
        let file = || std::fs::File::options().create(true).append(true).open(&out).unwrap();
        let mut child = Command::new(binary("dnsq"))
            .args(&args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed when this much has been written: another place each round, the same in each run of the test.
        let enough = (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33 & 0x1_ffff;
        while out.metadata().unwrap().len() < enough && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The kill may have cut a record, in the middle of a write: the next run begins where it began.
        tool("dnsq").args(&args).dir(dir.path()).stdout_to(&out).run().silent_success();
        assert!(!dir.path().join("state").exists(), "a finished run leaves no state");
        let mut counts = BTreeMap::<String, (usize, usize)>::new();
        for name in names.lines() {
            counts.entry(format!("{name}.")).or_default().0 += 1;
        }
        let text = std::fs::read_to_string(&out).unwrap();
        for line in text.lines() {
            counts.get_mut(line.split('\t').next().unwrap()).expect("a name that was asked").1 += 1;
        }
        let missing: Vec<_> = counts.iter().filter(|(_, (asked, found))| found < asked).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
    }
}

impl Done {
    /// The same with only the first lines and the last one: validating takes its time.
    fn first_lines(&self, count: usize) -> Done {
        let lines: Vec<&str> = self.text().lines().collect();
        let last = lines.last().filter(|_| lines.len() > count).copied();
        let kept: Vec<&str> = lines.iter().take(count).copied().chain(last).collect();
        Done {
            line: self.line.clone(),
            stdout: (kept.join("\n") + "\n").into_bytes(),
            stderr: self.stderr.clone(),
            status: self.status,
        }
    }
}

/// Lines in dig's manner: addresses, classes, options, comments. What makes no sense is named by its own word.
#[test]
fn lines_as_dig_reads_them() {
    let dir = temp_dir();
    let zone = "$ORIGIN 2.0.192.in-addr.arpa.\n@ 60 SOA a. b. 1 2 3 4 5\n10 60 PTR www.example.test.\n";
    std::fs::write(dir.path().join("rev"), zone).unwrap();
    let server = crate::harness::server("dnsserve")
        .arg(crate::dns::data("example.test.zone"))
        .arg("rev")
        .dir(dir.path())
        .start();
    let lines = "# addresses\n192.0.2.10 PTR\n-x 192.0.2.10\n-x 192.0.2.11 +short\n\n\
                 example.test IN MX ; and more\n-t MX example.test +noall +answer\nexample.test CH TXT\n\
                 example.test MX FROB\nexample.test +dnssec\nexample.test @192.0.2.1\n-x 192.0.2\n";
    let done = bulk(&server, lines, &["--ordered", "--short"]);
    let reverse = "10.2.0.192.in-addr.arpa.\twww.example.test.\n";
    let mx = "example.test.\t10 mail.example.test.\n";
    let expected = format!(
        "{reverse}{reverse}11.2.0.192.in-addr.arpa.\n{mx}{mx}example.test.\t;REFUSED\n\
         ; line 9: neither a type nor a class: FROB\n; line 10: this option is not for one line: +dnssec\n\
         ; line 11: servers are named on the command line: @192.0.2.1\n; line 12: not an IP address: 192.0.2\n"
    );
    assert_eq!(done.exits(65).text(), expected);
    done.says("dnsq: FROB: line 9: neither a type nor a class");
    // Types of the command line are for lines without any.
    let names = "192.0.2.10\n";
    assert_eq!(bulk(&server, names, &["--short", "PTR"]).silent_success().text(), reverse);
    let single = tool("dnsq").arg(format!("@{}", server.addr)).args(["--short", "192.0.2.10", "PTR"]).run();
    assert_eq!(single.silent_success().text(), "www.example.test.\n");
    let hinted = tool("dnsq").arg(format!("@{}", server.addr)).args(["--short", "192.0.2.10"]).run();
    hinted.says("hint: -x 192.0.2.10 asks for the name of this address");
}

#[test]
fn records_go_to_a_file_and_names_keep_their_letters() {
    let server = example();
    let dir = temp_dir();
    let run = |args: &[&str], names: &str| {
        let done = tool("dnsq").arg(format!("@{}", server.addr)).args(["-f", "-", "--short"]).args(args);
        done.dir(dir.path()).stdin(names).run()
    };
    let file = || std::fs::read_to_string(dir.path().join("out")).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&["-o", "out"], "www.example.test\n").silent_success().text(), "");
        assert_eq!(file(), "www.example.test.\t192.0.2.10\n", "the second run begins anew");
    }
    run(&["-o", "out", "--json"], "www.example.test\n").exits(0);
    assert_eq!(file().lines().count(), 2, "an answer and the summary");
    assert_eq!(run(&["-o", "-"], "www.example.test\n").silent_success().text(), "www.example.test.\t192.0.2.10\n");
    run(&["-o", "none/out"], "a\n").exits(73);
    run(&["-o", "out", "--report", "r"], "a\n").exits(64).says("-o");
    // A run that is taken up again goes on in its file.
    let state = "{\"v\":1,\"questions\":1,\"files\":[\"-\"],\"types\":[]}";
    std::fs::write(dir.path().join("state"), state).unwrap();
    std::fs::write(dir.path().join("out"), "first\nhalf").unwrap();
    run(&["-o", "out", "--resume", "state"], "a.example.test\nwww.example.test\n").silent_success();
    assert_eq!(file(), "first\nwww.example.test.\t192.0.2.10\n");
    std::fs::write(dir.path().join("names"), "www.example.test\n").unwrap();
    let own = tool("dnsq").arg(format!("@{}", server.addr)).args(["-f", "names", "-o", "names"]).dir(dir.path()).run();
    own.exits(64).says("the names are read from there");
    assert_eq!(std::fs::read_to_string(dir.path().join("names")).unwrap(), "www.example.test\n");
    let idn = run(&["--idn"], "b\u{fc}cher.example.test\n");
    assert_eq!(idn.silent_success().text(), "b\u{fc}cher.example.test.\n");
    assert_eq!(run(&[], "b\u{fc}cher.example.test\n").text(), "xn--bcher-kva.example.test.\n");
}
