//! The exchange, step by step.

use super::*;
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::name::Name;
use crate::dns::record::Rtype;

fn exchange(servers: u16, policy: ExchangePolicy) -> Exchange {
    let query = Query::new(Name::parse("a.test").unwrap(), Rtype::A);
    let servers: Vec<_> = (1..=servers).map(|id| (id, Transport::Udp)).collect();
    Exchange::new(query, &servers, policy)
}

fn reply(id: u16, change: impl Fn(&mut Message)) -> Vec<u8> {
    let query = Query::new(Name::parse("a.test").unwrap(), Rtype::A);
    let mut message = Message::parse(&query.compose(id)).unwrap();
    message.flags.set(Flags::QR, true);
    change(&mut message);
    message.compose(65_535)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn sent_to(action: &ExchangeAction) -> Option<(usize, Transport)> {
    match action {
        ExchangeAction::Send { server, transport, .. } => Some((*server, *transport)),
        _ => None,
    }
}

#[test]
fn retransmits_and_gives_up() {
    let mut ex = exchange(1, ExchangePolicy { tries: 2, ..ExchangePolicy::default() });
    assert_eq!(sent_to(&ex.poll(seconds(0))), Some((0, Transport::Udp)));
    assert_eq!(ex.poll(seconds(1)), ExchangeAction::Wait { until: seconds(5) });
    assert_eq!(sent_to(&ex.poll(seconds(5))), Some((0, Transport::Udp)));
    assert_eq!(ex.poll(seconds(9)), ExchangeAction::Wait { until: seconds(10) });
    assert_eq!(ex.poll(seconds(10)), ExchangeAction::Done);
    assert_eq!(ex.outcome().unwrap_err().kind, Kind::TimedOut);
}

#[test]
fn late_answers_count_and_strangers_do_not() {
    let mut ex = exchange(1, ExchangePolicy::default());
    ex.poll(seconds(0));
    assert!(!ex.received(0, Transport::Udp, &reply(9, |_| {}), seconds(1)), "wrong id");
    assert!(!ex.received(0, Transport::Udp, b"\x00\x09garbage", seconds(1)));
    assert!(!ex.received(0, Transport::Udp, &reply(1, |m| m.question[0].rtype = Rtype::MX), seconds(1)));
    assert_eq!(ex.poll(seconds(1)), ExchangeAction::Wait { until: seconds(5) }, "still waiting");
    ex.poll(seconds(5));
    assert!(ex.received(0, Transport::Udp, &reply(1, |_| {}), seconds(6)), "answer to the first sending");
    assert_eq!(ex.poll(seconds(6)), ExchangeAction::Done);
    let answer = ex.outcome().unwrap();
    assert_eq!((answer.mismatches, answer.sent, answer.elapsed), (3, 2, seconds(1)));
}

#[test]
fn truncation_goes_to_tcp() {
    let truncated = reply(1, |m| m.flags.set(Flags::TC, true));
    let mut ex = exchange(1, ExchangePolicy::default());
    ex.poll(seconds(0));
    ex.received(0, Transport::Udp, &truncated, seconds(0));
    assert_eq!(sent_to(&ex.poll(seconds(0))), Some((0, Transport::Tcp)));
    ex.received(0, Transport::Tcp, &reply(1, |_| {}), seconds(1));
    assert_eq!(ex.outcome().unwrap().transport, Transport::Tcp);

    let mut ex = exchange(1, ExchangePolicy { ignore_truncation: true, ..ExchangePolicy::default() });
    ex.poll(seconds(0));
    ex.received(0, Transport::Udp, &truncated, seconds(0));
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Done);
}

#[test]
fn the_next_server_after_servfail_refused_or_silence() {
    let servfail = |id| reply(id, |m| m.flags.0 |= 2);
    let mut ex = exchange(3, ExchangePolicy::default());
    ex.poll(seconds(0));
    ex.received(0, Transport::Udp, &servfail(1), seconds(0));
    assert_eq!(sent_to(&ex.poll(seconds(0))), Some((1, Transport::Udp)));
    ex.failed(1, Fault::new(Kind::ConnectRefused, "refused"));
    assert_eq!(sent_to(&ex.poll(seconds(0))), Some((2, Transport::Udp)));
    ex.received(2, Transport::Udp, &reply(3, |_| {}), seconds(0));
    assert_eq!(ex.outcome().unwrap().server, 2);

    let mut ex = exchange(2, ExchangePolicy { tries: 1, ..ExchangePolicy::default() });
    for server in 0..2 {
        ex.poll(seconds(0));
        ex.received(server, Transport::Udp, &servfail(server as u16 + 1), seconds(0));
    }
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Done);
    assert_eq!(ex.outcome().unwrap().message.rcode(), Rcode::SERVFAIL, "better than nothing");
}

#[test]
fn a_race_asks_everybody_at_once() {
    let mut ex = exchange(3, ExchangePolicy { race: true, tries: 1, ..ExchangePolicy::default() });
    for server in 0..3 {
        assert_eq!(sent_to(&ex.poll(seconds(0))), Some((server, Transport::Udp)));
    }
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Wait { until: seconds(5) });
    ex.received(0, Transport::Udp, &reply(1, |m| m.flags.0 |= 5), seconds(0));
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Wait { until: seconds(5) }, "others may do better");
    ex.received(2, Transport::Udp, &reply(3, |_| {}), seconds(0));
    assert_eq!(ex.outcome().unwrap().server, 2);
}

#[test]
fn without_edns_after_formerr() {
    let mut ex = exchange(1, ExchangePolicy::default());
    ex.poll(seconds(0));
    let formerr = reply(1, |m| {
        m.flags.0 |= 1;
        m.edns = None;
    });
    ex.received(0, Transport::Udp, &formerr, seconds(0));
    let ExchangeAction::Send { wire, .. } = ex.poll(seconds(0)) else { panic!("sends again") };
    assert!(Message::parse(&wire).unwrap().edns.is_none());
    ex.received(0, Transport::Udp, &formerr, seconds(0));
    assert_eq!(ex.outcome().unwrap().message.rcode(), Rcode::FORMERR, "only once");
}

#[test]
fn garbage_with_our_id_is_a_fault() {
    let mut ex = exchange(1, ExchangePolicy { tries: 1, ..ExchangePolicy::default() });
    ex.poll(seconds(0));
    assert!(ex.received(0, Transport::Udp, b"\x00\x01\x80\x00\xff\xff", seconds(0)));
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Done);
    assert_eq!(ex.outcome().unwrap_err().kind, Kind::Protocol);
}

#[test]
fn the_deadline_ends_everything() {
    let mut ex = exchange(1, ExchangePolicy { tries: 9, deadline: seconds(7), ..ExchangePolicy::default() });
    ex.poll(seconds(0));
    ex.poll(seconds(5));
    assert_eq!(ex.poll(seconds(6)), ExchangeAction::Wait { until: seconds(7) });
    assert_eq!(ex.poll(seconds(7)), ExchangeAction::Done);
}

#[test]
fn a_race_is_run_again_by_all() {
    let mut ex = exchange(2, ExchangePolicy { race: true, tries: 2, ..ExchangePolicy::default() });
    for at in [0, 5] {
        for server in 0..2 {
            assert_eq!(sent_to(&ex.poll(seconds(at))), Some((server, Transport::Udp)), "round at {at}");
        }
        assert_eq!(ex.poll(seconds(at)), ExchangeAction::Wait { until: seconds(at + 5) });
    }
    // A server with a truncated answer is asked over TCP, while the others may still win.
    ex.received(0, Transport::Udp, &reply(1, |m| m.flags.set(Flags::TC, true)), seconds(6));
    assert_eq!(sent_to(&ex.poll(seconds(6))), Some((0, Transport::Tcp)));
    assert_eq!(ex.poll(seconds(6)), ExchangeAction::Wait { until: seconds(11) });
    ex.received(1, Transport::Udp, &reply(2, |_| {}), seconds(7));
    assert_eq!(ex.outcome().unwrap().server, 1);
}

#[test]
fn what_comes_late_from_one_does_not_shorten_the_wait_for_another() {
    let mut ex = exchange(3, ExchangePolicy::default());
    ex.poll(seconds(0));
    assert_eq!(sent_to(&ex.poll(seconds(5))), Some((1, Transport::Udp)));
    ex.failed(0, Fault::new(Kind::ConnectRefused, "refused"));
    ex.received(0, Transport::Udp, &reply(1, |m| m.flags.0 |= 2), seconds(6));
    assert_eq!(ex.poll(seconds(6)), ExchangeAction::Wait { until: seconds(10) });
    ex.received(1, Transport::Udp, &reply(2, |_| {}), seconds(7));
    assert_eq!(ex.outcome().unwrap().server, 1);
}

#[test]
fn a_copy_of_a_truncated_answer_asks_no_second_time() {
    let truncated = reply(1, |m| m.flags.set(Flags::TC, true));
    let mut ex = exchange(1, ExchangePolicy::default());
    ex.poll(seconds(0));
    assert!(ex.received(0, Transport::Udp, &truncated, seconds(0)));
    assert_eq!(sent_to(&ex.poll(seconds(0))), Some((0, Transport::Tcp)));
    assert!(!ex.received(0, Transport::Udp, &truncated, seconds(0)));
    assert_eq!(ex.poll(seconds(0)), ExchangeAction::Wait { until: seconds(5) });
    // After silence the datagram is sent again, and its truncated answer counts again.
    assert_eq!(sent_to(&ex.poll(seconds(5))), Some((0, Transport::Udp)));
    assert!(ex.received(0, Transport::Udp, &truncated, seconds(5)));
    assert_eq!(sent_to(&ex.poll(seconds(5))), Some((0, Transport::Tcp)));
}

#[test]
fn badcookie_is_answered_with_the_servers_cookie_once() {
    let cookie =
        |data: &[u8]| Edns { options: vec![EdnsOption::new(EdnsOption::COOKIE, data.to_vec())], ..Edns::default() };
    let query = Query { edns: Some(cookie(b"ourcooki")), ..Query::new(Name::parse("a.test").unwrap(), Rtype::A) };
    let bad = reply(1, |m| {
        m.flags.0 |= Rcode::BADCOOKIE.0 & 15;
        m.edns = Some(Edns { extended_rcode: 1, ..cookie(b"ourcookiservers_") });
    });
    for answered in [true, false] {
        let policy = ExchangePolicy { answer_bad_cookie: answered, ..ExchangePolicy::default() };
        let mut ex = Exchange::new(query.clone(), &[(1, Transport::Udp)], policy);
        ex.poll(seconds(0));
        assert!(ex.received(0, Transport::Udp, &bad, seconds(0)));
        if answered {
            let ExchangeAction::Send { wire, .. } = ex.poll(seconds(0)) else { panic!("sends again") };
            assert!(wire.ends_with(b"ourcookiservers_"));
            assert!(ex.received(0, Transport::Udp, &bad, seconds(0)));
        }
        assert_eq!(ex.outcome().unwrap().message.rcode(), Rcode::BADCOOKIE);
    }
}
