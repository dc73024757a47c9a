//! Plays transactions against scripts of reply codes.

use super::*;
use crate::smtp::envelope::{Notify, Ret};

const ALL: &str = "PIPELINING CHUNKING 8BITMIME SMTPUTF8 DSN SIZE";

fn offer(keywords: &str) -> Capabilities {
    let mut lines = vec!["mx.test".to_owned()];
    lines.extend(keywords.split_whitespace().map(str::to_owned));
    Capabilities::from_reply(&SmtpReply { code: 250, enhanced: None, lines })
}

fn envelope(recipients: &[&str]) -> Envelope {
    let recipients = recipients.iter().map(|address| Recipient::new(*address)).collect();
    Envelope { sender: "a@alice.test".into(), recipients, ..Envelope::default() }
}

/// Plays a transaction against a script: the client's output up to each wait, and the reply codes that it then gets.
/// The message itself appears as `<dot>` or `<bdat>`.
fn play(transaction: Transaction, script: &[(&str, &[u16])]) -> Vec<(&'static str, Option<u16>)> {
    play_asked(transaction, true, script)
}

/// Like [`play`]; [`TransactionStep::Ask`] appears as `<ask>` and is answered with `go`.
fn play_asked(mut transaction: Transaction, go: bool, script: &[(&str, &[u16])]) -> Vec<(&'static str, Option<u16>)> {
    let mut turns = script.iter();
    let mut codes: VecDeque<u16> = VecDeque::new();
    let mut out = Vec::new();
    loop {
        match transaction.next(&mut out).expect("clean arguments") {
            TransactionStep::Content(framing) => {
                out.extend_from_slice(if framing == Framing::Dot { b"<dot>" } else { b"<bdat>" });
                transaction.commit();
                transaction.sent(true);
            }
            TransactionStep::Reply => {
                if !out.is_empty() {
                    let (sent, replies) = turns.next().expect("the script goes on");
                    assert_eq!(String::from_utf8_lossy(&out).replace("\r\n", "|"), *sent);
                    out.clear();
                    codes.extend(*replies);
                }
                match codes.pop_front() {
                    Some(code) => transaction.reply(&SmtpReply::new(code, None, "")),
                    None => transaction.lost(&Fault::new(Kind::Disconnected, "gone")),
                }
            }
            TransactionStep::Ask => {
                out.extend_from_slice(b"<ask>");
                transaction.released(go);
            }
            TransactionStep::Done => break,
        }
    }
    assert_eq!(turns.next(), None, "the script is played to its end");
    assert!(codes.is_empty(), "replies left: {codes:?}");
    transaction.into_results().into_iter().map(|result| (result.outcome.as_str(), result.code)).collect()
}

fn transaction(keywords: &str, to: &[&str], options: TransactionOptions) -> Transaction {
    Transaction::new(envelope(to), &offer(keywords), 10, false, options).expect("can be sent")
}

/// A message that is sent by BDAT if possible.
fn large(keywords: &str, to: &[&str], options: TransactionOptions) -> Transaction {
    Transaction::new(envelope(to), &offer(keywords), LAST_CHUNK + 1, false, options).expect("can be sent")
}

const WHOLE: TransactionOptions =
    TransactionOptions { partial: false, lmtp: false, no_chunking: false, hold: false, most_recipients: None };
const PARTIAL: TransactionOptions = TransactionOptions { partial: true, ..WHOLE };
const LMTP: TransactionOptions = TransactionOptions { lmtp: true, ..PARTIAL };
const DELIVERED: &str = "delivered";
const REFUSED: &str = "refused";
const DEFERRED: &str = "deferred";
const UNKNOWN: &str = "unknown";

#[test]
fn step_by_step_without_pipelining() {
    let script: [(&str, &[u16]); 5] = [
        ("MAIL FROM:<a@alice.test>|", &[250]),
        ("RCPT TO:<b@x>|", &[250]),
        ("RCPT TO:<c@x>|", &[251]),
        ("DATA|", &[354]),
        ("<dot>", &[250]),
    ];
    let results = play(transaction("", &["b@x", "c@x"], WHOLE), &script);
    assert_eq!(results, [(DELIVERED, Some(250)), (DELIVERED, Some(250))]);
}

#[test]
fn one_recipient_takes_two_round_trips() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|";
    for keywords in ["PIPELINING", "PIPELINING CHUNKING"] {
        let data: [(&str, &[u16]); 2] = [(group, &[250, 250, 354]), ("<dot>", &[250])];
        assert_eq!(play(transaction(keywords, &["b@x"], WHOLE), &data), [(DELIVERED, Some(250))]);
    }
    let bdat: [(&str, &[u16]); 2] = [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|", &[250, 250]), ("<bdat>", &[250])];
    assert_eq!(play(large("PIPELINING CHUNKING", &["b@x"], WHOLE), &bdat), [(DELIVERED, Some(250))]);
}

#[test]
fn all_or_nothing_waits_for_every_recipient() {
    let envelope = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|RCPT TO:<c@x>|";
    for keywords in ["PIPELINING", "PIPELINING CHUNKING"] {
        let script: [(&str, &[u16]); 2] = [(envelope, &[250, 250, 550]), ("RSET|", &[250])];
        let results = play(large(keywords, &["b@x", "c@x"], WHOLE), &script);
        assert_eq!(results, [(DEFERRED, None), (REFUSED, Some(550))]);
    }
    let good: [(&str, &[u16]); 3] = [(envelope, &[250, 250, 250]), ("DATA|", &[354]), ("<dot>", &[250])];
    assert_eq!(play(transaction("PIPELINING", &["b@x", "c@x"], WHOLE), &good), [(DELIVERED, Some(250)); 2]);
}

#[test]
fn partial_sends_to_who_is_accepted() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|RCPT TO:<c@x>|RCPT TO:<d@x>|DATA|";
    let script: [(&str, &[u16]); 2] = [(group, &[250, 450, 250, 550, 354]), ("<dot>", &[250])];
    let results = play(transaction("PIPELINING", &["b@x", "c@x", "d@x"], PARTIAL), &script);
    assert_eq!(results, [(DEFERRED, Some(450)), (DELIVERED, Some(250)), (REFUSED, Some(550))]);
}

#[test]
fn go_ahead_without_recipients_gets_a_lone_dot() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|";
    let script: [(&str, &[u16]); 3] = [(group, &[250, 550, 354]), (".|", &[250]), ("RSET|", &[250])];
    assert_eq!(play(transaction("PIPELINING", &["b@x"], WHOLE), &script), [(REFUSED, Some(550))]);
    let proper: [(&str, &[u16]); 2] = [(group, &[250, 550, 503]), ("RSET|", &[250])];
    assert_eq!(play(transaction("PIPELINING", &["b@x"], WHOLE), &proper), [(REFUSED, Some(550))]);
    let bdat: [(&str, &[u16]); 2] = [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|", &[250, 550]), ("RSET|", &[250])];
    assert_eq!(play(large("PIPELINING CHUNKING", &["b@x"], WHOLE), &bdat), [(REFUSED, Some(550))]);
}

#[test]
fn mail_data_and_final_refusals_reach_everybody() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|RCPT TO:<c@x>|DATA|";
    let to = ["b@x", "c@x"];
    let mail: [(&str, &[u16]); 2] = [(group, &[552, 503, 503, 503]), ("RSET|", &[250])];
    assert_eq!(play(transaction("PIPELINING", &to, PARTIAL), &mail), [(REFUSED, Some(552)); 2]);
    let data: [(&str, &[u16]); 2] = [(group, &[250, 250, 250, 451]), ("RSET|", &[250])];
    assert_eq!(play(transaction("PIPELINING", &to, PARTIAL), &data), [(DEFERRED, Some(451)); 2]);
    let last: [(&str, &[u16]); 2] = [(group, &[250, 250, 250, 354]), ("<dot>", &[554])];
    assert_eq!(play(transaction("PIPELINING", &to, PARTIAL), &last), [(REFUSED, Some(554)); 2]);
    let slow: [(&str, &[u16]); 2] = [("MAIL FROM:<a@alice.test>|", &[450]), ("RSET|", &[250])];
    assert_eq!(play(transaction("", &to, WHOLE), &slow), [(DEFERRED, Some(450)); 2]);
}

#[test]
fn lmtp_has_one_final_reply_per_accepted_recipient() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|RCPT TO:<c@x>|RCPT TO:<d@x>|DATA|";
    let script: [(&str, &[u16]); 2] = [(group, &[250, 250, 550, 250, 354]), ("<dot>", &[250, 452])];
    let results = play(transaction("PIPELINING", &["b@x", "c@x", "d@x"], LMTP), &script);
    assert_eq!(results, [(DELIVERED, Some(250)), (REFUSED, Some(550)), (DEFERRED, Some(452))]);
    let lost: [(&str, &[u16]); 2] = [(group, &[250, 250, 550, 250, 354]), ("<dot>", &[250])];
    let results = play(transaction("PIPELINING", &["b@x", "c@x", "d@x"], LMTP), &lost);
    assert_eq!(results, [(UNKNOWN, None), (REFUSED, Some(550)), (UNKNOWN, None)], "whose the one reply is, is open");
    let chunks: [(&str, &[u16]); 2] = [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|", &[250, 250]), ("<bdat>", &[250])];
    assert_eq!(play(large("PIPELINING CHUNKING", &["b@x"], LMTP), &chunks), [(DELIVERED, Some(250))]);
}

#[test]
fn a_connection_lost_after_each_reply_leaves_a_defined_outcome() {
    let group = "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|RCPT TO:<c@x>|DATA|";
    let replies = [250, 550, 250, 354];
    for count in 0..=replies.len() {
        let first = &replies[..count];
        let mut script: Vec<(&str, &[u16])> = vec![(group, first)];
        if count == replies.len() {
            script.push(("<dot>", &[]));
        }
        let results = play(transaction("PIPELINING", &["b@x", "c@x"], PARTIAL), &script);
        let refused = if count > 1 { (REFUSED, Some(550)) } else { (DEFERRED, None) };
        let open = if count == replies.len() { (UNKNOWN, None) } else { (DEFERRED, None) };
        assert_eq!(results, [refused, open], "lost after {count} replies");
    }
}

#[test]
fn closing_reply_ends_the_transaction() {
    let script: [(&str, &[u16]); 1] = [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|", &[250, 421])];
    assert_eq!(play(transaction("PIPELINING", &["b@x"], WHOLE), &script), [(DEFERRED, Some(421))]);
    let last: [(&str, &[u16]); 2] =
        [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|", &[250, 250, 354]), ("<dot>", &[421])];
    assert_eq!(play(transaction("PIPELINING", &["b@x"], WHOLE), &last), [(DEFERRED, Some(421))]);
}

#[test]
fn a_final_reply_out_of_step_is_unknown() {
    let script: [(&str, &[u16]); 2] =
        [("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|", &[250, 250, 354]), ("<dot>", &[354])];
    assert_eq!(play(transaction("PIPELINING", &["b@x"], WHOLE), &script), [(UNKNOWN, None)]);
}

#[test]
fn on_hold_nothing_of_the_message_goes_out_unasked() {
    let hold = |keywords, to: &[&str]| large(keywords, to, TransactionOptions { hold: true, ..WHOLE });
    for (keywords, end) in [("PIPELINING", "<ask>DATA|"), ("PIPELINING CHUNKING", "<ask><bdat>")] {
        let dot = end.starts_with("<ask>DATA");
        let mut script: Vec<(&str, &[u16])> = vec![("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|", &[250, 250])];
        script.extend(if dot { vec![(end, &[354][..]), ("<dot>", &[250])] } else { vec![(end, &[250][..])] });
        assert_eq!(play(hold(keywords, &["b@x"]), &script), [(DELIVERED, Some(250))]);
    }
    let envelope = ("MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|", &[250, 250][..]);
    let results = play_asked(hold("PIPELINING", &["b@x"]), false, &[envelope, ("<ask>RSET|", &[250])]);
    assert_eq!(results, [(DEFERRED, None)]);
    // Whoever is refused anyway is not asked about.
    let results = play(hold("PIPELINING", &["b@x"]), &[(envelope.0, &[250, 550]), ("RSET|", &[250])]);
    assert_eq!(results, [(REFUSED, Some(550))]);
}

#[test]
fn many_recipients_stay_below_the_limit_in_flight() {
    let addresses: Vec<String> = (0..250).map(|index| format!("u{index}@x")).collect();
    let to: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut transaction = transaction("PIPELINING", &to, PARTIAL);
    let (mut out, mut waiting, mut most) = (Vec::new(), 0usize, 0);
    let mut replies = 0;
    loop {
        let next = transaction.next(&mut out).unwrap();
        waiting += out.iter().filter(|byte| **byte == b'\n').count();
        most = most.max(waiting);
        out.clear();
        match next {
            TransactionStep::Reply => {
                waiting -= 1;
                replies += 1;
                transaction.reply(&SmtpReply::new(if replies == 252 { 354 } else { 250 }, None, ""));
            }
            TransactionStep::Ask => unreachable!("not on hold"),
            TransactionStep::Content(_) => {
                out.extend_from_slice(b"\n");
                transaction.sent(true);
            }
            TransactionStep::Done => break,
        }
    }
    assert!(most <= MAX_IN_FLIGHT + 1, "{most} in flight");
    assert!(transaction.into_results().iter().all(|result| result.outcome.is_delivered()));
}

#[test]
fn parameters_only_when_offered() {
    let mut full = envelope(&["b@x"]);
    full.smtputf8 = true;
    full.ret = Some(Ret::Headers);
    full.envid = "id 1".parse().ok();
    full.recipients[0].notify = Some(Notify::NEVER);
    full.recipients[0].orcpt = "rfc822;bob@x".parse().ok();
    let with = |keywords: &str, envelope: &Envelope, has_8bit| {
        let mut out = Vec::new();
        Transaction::new(envelope.clone(), &offer(keywords), 7, has_8bit, WHOLE)?.next(&mut out)?;
        Ok::<_, Fault>(String::from_utf8_lossy(&out).replace("\r\n", "|"))
    };
    let sent = with(ALL, &full, true).unwrap();
    let mail = "MAIL FROM:<a@alice.test> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+201|";
    assert_eq!(sent, format!("{mail}RCPT TO:<b@x> NOTIFY=NEVER ORCPT=rfc822;bob@x|DATA|"));
    full.smtputf8 = false;
    assert_eq!(with("PIPELINING", &full, false).unwrap(), "MAIL FROM:<a@alice.test>|RCPT TO:<b@x>|DATA|");
    assert_eq!(with("", &full, true).map_err(|fault| fault.kind), Err(Kind::Unsupported));
    assert_eq!(with("SIZE", &full, false).unwrap(), "MAIL FROM:<a@alice.test> SIZE=7|");
    full.smtputf8 = true;
    assert_eq!(with("8BITMIME", &full, false).map_err(|fault| fault.kind), Err(Kind::Unsupported));
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is() {
    let limited = Capabilities { size: Some(9), ..Capabilities::default() };
    let fault = Transaction::new(envelope(&["b@x"]), &limited, 10, false, WHOLE).map(|_| ()).unwrap_err();
    assert_eq!(fault.enhanced, Some(Enhanced::new(5, 3, 4)));
    assert!(Transaction::new(envelope(&["b@x"]), &limited, 9, false, WHOLE).is_ok());
    let result = Transaction::new(envelope(&["b@x", "j\u{f6}rg@x"]), &offer("DSN"), 1, false, WHOLE);
    assert_eq!(result.map(|_| ()).map_err(|fault| fault.kind), Err(Kind::BadData), "needs SMTPUTF8");
    assert!(Transaction::new(envelope(&["a..b@x", "\"a b\"@x"]), &offer(""), 1, false, WHOLE).is_ok());
    let none = Transaction::new(envelope(&[]), &offer(""), 1, false, WHOLE).unwrap();
    assert!(play(none, &[]).is_empty());
}
