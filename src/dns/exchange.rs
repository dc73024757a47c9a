//! The client's state machine for one question: which server to ask next and how, which answers count, when to send
//! again, when to change to TCP, when to give up. No sockets and no clock: the caller says what came and what time it is.

use std::time::Duration;

use super::message::{Flags, Message, Rcode};
use super::query::Query;
use crate::fault::{Fault, Kind};

/// How patient and how stubborn a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long to wait for each answer.
    pub timeout: Duration,
    /// How often each server is asked over UDP; over a connection, which does not lose messages, once.
    pub tries: u32,
    /// No longer than this for the whole exchange.
    pub deadline: Duration,
    /// A truncated answer is taken as it is.
    pub ignore_truncation: bool,
    /// Every server is asked at once; the first usable answer wins.
    pub race: bool,
    /// SERVFAIL and REFUSED send the question to the next server.
    pub next_on_failure: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            timeout: Duration::from_secs(5),
            tries: 3,
            deadline: Duration::from_secs(60),
            ignore_truncation: false,
            race: false,
            next_on_failure: true,
        }
    }
}

/// Most tries that may be asked for.
pub const MAX_TRIES: u32 = 100;

/// What carried a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection; length-prefixed messages.
    Tcp,
    /// The same inside TLS (RFC 7858).
    Tls,
    /// HTTP/2 inside TLS (RFC 8484).
    Https,
    /// A QUIC stream for each question (RFC 9250).
    Quic,
}

impl Transport {
    /// The name in JSON and URLs.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Https => "https",
            Transport::Quic => "quic",
        }
    }

    /// The port where servers listen for it.
    pub fn port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 53,
            Transport::Tls | Transport::Quic => 853,
            Transport::Https => 443,
        }
    }

    /// True if others on the way see the length of messages at most.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to a server, and report what comes or fails.
    Send {
        /// Which server, by its place in the list.
        server: usize,
        /// By datagram or connection.
        transport: Transport,
        /// The message.
        wire: Vec<u8>,
    },
    /// Wait for datagrams until this time, then ask again what to do.
    Wait {
        /// Time since the beginning of the exchange.
        until: Duration,
    },
    /// It is over: see [`Exchange::outcome`].
    Done,
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub message: Message,
    /// Its bytes.
    pub wire: Vec<u8>,
    /// Which server it came from, by its place in the list.
    pub server: usize,
    /// How it came.
    pub transport: Transport,
    /// Time from the last sending to its arrival.
    pub elapsed: Duration,
    /// Messages that were no answer to this question and were waited past.
    pub mismatches: u32,
    /// How many times a query was sent.
    pub sent: u32,
}

/// One question on its way.
#[derive(Debug)]
pub struct Exchange {
    query: Query,
    /// One identifier a server, kept over retransmissions so that a late answer still counts.
    ids: Vec<u16>,
    policy: Policy,
    /// Attempts still to be made.
    plan: std::collections::VecDeque<(usize, Transport)>,
    /// Until when to wait for what is under way; none if nothing is.
    waiting_until: Option<Duration>,
    last_sent: Duration,
    /// Answers still possible from these servers when racing.
    under_way: usize,
    sent: u32,
    mismatches: u32,
    answer: Option<Answer>,
    /// The best of the answers that nobody wants (SERVFAIL, REFUSED).
    fallback: Option<Answer>,
    fault: Option<Fault>,
    done: bool,
    /// EDNS was given up after a server did not understand it (RFC 6891, section 7).
    without_edns: bool,
}

impl Exchange {
    /// A question for these servers, each with the identifier it gets and the way it is asked.
    pub fn new(query: Query, servers: &[(u16, Transport)], policy: Policy) -> Exchange {
        let ways = servers.iter().map(|(_, transport)| *transport).enumerate();
        let plan = (0..policy.tries.max(1))
            .flat_map(|round| ways.clone().filter(move |(_, transport)| round == 0 || *transport == Transport::Udp))
            .collect();
        Exchange {
            query,
            ids: servers.iter().map(|(id, _)| *id).collect(),
            policy,
            plan,
            waiting_until: None,
            last_sent: Duration::ZERO,
            under_way: 0,
            sent: 0,
            mismatches: 0,
            answer: None,
            fallback: None,
            fault: None,
            done: false,
            without_edns: false,
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> Action {
        if self.done {
            return Action::Done;
        }
        if now >= self.policy.deadline {
            self.give_up();
            return Action::Done;
        }
        let racing =
            self.policy.race && self.sent > 0 && usize::try_from(self.sent).is_ok_and(|sent| sent < self.ids.len());
        if let Some(until) = self.waiting_until {
            if now < until && !racing {
                return Action::Wait { until: until.min(self.policy.deadline) };
            }
            if now >= until {
                self.fault.get_or_insert_with(|| Fault::new(Kind::TimedOut, "no answer in time"));
                self.under_way = 0;
            }
        }
        let Some((server, transport)) = self.plan.pop_front() else {
            if let Some(until) = self.waiting_until.filter(|until| now < *until) {
                return Action::Wait { until };
            }
            self.give_up();
            return Action::Done;
        };
        let Some(&id) = self.ids.get(server) else {
            self.give_up();
            return Action::Done;
        };
        self.sent += 1;
        self.under_way += 1;
        self.last_sent = now;
        self.waiting_until = Some(now + self.policy.timeout);
        Action::Send { server, transport, wire: self.query.compose_over(id, transport) }
    }

    /// A message came from a server. True if it ended the exchange or changed its course.
    pub fn received(&mut self, server: usize, transport: Transport, wire: &[u8], now: Duration) -> bool {
        if self.done {
            return false;
        }
        let Some(&id) = self.ids.get(server) else { return false };
        let message = match Message::parse(wire) {
            Ok(message) => message,
            Err(error) => {
                // Garbage on a connection or with the right identifier is the server's own; other may be anybody's.
                let ours = wire.get(..2) == Some(&id.to_be_bytes()) && wire.get(2).is_some_and(|byte| byte & 0x80 != 0);
                if ours || transport != Transport::Udp {
                    self.failed(server, Fault::from(error));
                    return true;
                }
                self.mismatches += 1;
                return false;
            }
        };
        if !self.query.is_answered_by(&message, id) {
            self.mismatches += 1;
            if transport == Transport::Udp {
                return false;
            }
            // On a connection nobody else can speak.
            self.failed(server, Fault::new(Kind::Protocol, "the answer is not to our question"));
            return true;
        }
        if message.flags.has(Flags::TC) && transport == Transport::Udp && !self.policy.ignore_truncation {
            self.plan.push_front((server, Transport::Tcp));
            self.waiting_until = None;
            return true;
        }
        let rcode = message.rcode();
        if rcode == Rcode::FORMERR && message.edns.is_none() && self.query.edns.is_some() && !self.without_edns {
            self.without_edns = true;
            self.query.edns = None;
            self.plan.push_front((server, transport));
            self.waiting_until = None;
            return true;
        }
        let answer = Answer {
            message,
            wire: wire.to_vec(),
            server,
            transport,
            elapsed: now.saturating_sub(self.last_sent),
            mismatches: self.mismatches,
            sent: self.sent,
        };
        self.under_way = self.under_way.saturating_sub(1);
        let unwanted = matches!(rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP);
        if unwanted && self.policy.next_on_failure && self.ids.len() > 1 {
            self.plan.retain(|(planned, _)| *planned != server);
            self.fallback.get_or_insert(answer);
            if self.under_way == 0 || !self.policy.race {
                self.waiting_until = None;
            }
            return true;
        }
        self.answer = Some(answer);
        self.done = true;
        true
    }

    /// Sending to a server or its connection failed.
    pub fn failed(&mut self, _server: usize, fault: Fault) {
        self.fault = Some(fault);
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 || !self.policy.race {
            self.waiting_until = None;
        }
    }

    /// How it ended. SERVFAIL and REFUSED are answers here; the caller decides what they mean.
    pub fn outcome(self) -> Result<Answer, Fault> {
        let mismatches = self.mismatches;
        self.answer.or(self.fallback).ok_or_else(|| {
            let mut fault = self.fault.unwrap_or_else(|| Fault::new(Kind::TimedOut, "no answer in time"));
            if mismatches > 0 {
                fault.detail.push_str(&format!(" ({mismatches} messages that were no answer to the question)"));
            }
            fault
        })
    }

    /// The query as it was last sent.
    pub fn query(&self) -> &Query {
        &self.query
    }

    fn give_up(&mut self) {
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;
    use crate::dns::record::Rtype;

    fn exchange(servers: u16, policy: Policy) -> Exchange {
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

    fn sent_to(action: &Action) -> Option<(usize, Transport)> {
        match action {
            Action::Send { server, transport, .. } => Some((*server, *transport)),
            _ => None,
        }
    }

    #[test]
    fn retransmits_and_gives_up() {
        let mut ex = exchange(1, Policy { tries: 2, ..Policy::default() });
        assert_eq!(sent_to(&ex.poll(seconds(0))), Some((0, Transport::Udp)));
        assert_eq!(ex.poll(seconds(1)), Action::Wait { until: seconds(5) });
        assert_eq!(sent_to(&ex.poll(seconds(5))), Some((0, Transport::Udp)));
        assert_eq!(ex.poll(seconds(9)), Action::Wait { until: seconds(10) });
        assert_eq!(ex.poll(seconds(10)), Action::Done);
        assert_eq!(ex.outcome().unwrap_err().kind, Kind::TimedOut);
    }

    #[test]
    fn late_answers_count_and_strangers_do_not() {
        let mut ex = exchange(1, Policy::default());
        ex.poll(seconds(0));
        assert!(!ex.received(0, Transport::Udp, &reply(9, |_| {}), seconds(1)), "wrong id");
        assert!(!ex.received(0, Transport::Udp, b"\x00\x09garbage", seconds(1)));
        assert!(!ex.received(0, Transport::Udp, &reply(1, |m| m.question[0].rtype = Rtype::MX), seconds(1)));
        assert_eq!(ex.poll(seconds(1)), Action::Wait { until: seconds(5) }, "still waiting");
        ex.poll(seconds(5));
        assert!(ex.received(0, Transport::Udp, &reply(1, |_| {}), seconds(6)), "answer to the first sending");
        assert_eq!(ex.poll(seconds(6)), Action::Done);
        let answer = ex.outcome().unwrap();
        assert_eq!((answer.mismatches, answer.sent, answer.elapsed), (3, 2, seconds(1)));
    }

    #[test]
    fn truncation_goes_to_tcp() {
        let truncated = reply(1, |m| m.flags.set(Flags::TC, true));
        let mut ex = exchange(1, Policy::default());
        ex.poll(seconds(0));
        ex.received(0, Transport::Udp, &truncated, seconds(0));
        assert_eq!(sent_to(&ex.poll(seconds(0))), Some((0, Transport::Tcp)));
        ex.received(0, Transport::Tcp, &reply(1, |_| {}), seconds(1));
        assert_eq!(ex.outcome().unwrap().transport, Transport::Tcp);

        let mut ex = exchange(1, Policy { ignore_truncation: true, ..Policy::default() });
        ex.poll(seconds(0));
        ex.received(0, Transport::Udp, &truncated, seconds(0));
        assert_eq!(ex.poll(seconds(0)), Action::Done);
    }

    #[test]
    fn the_next_server_after_servfail_refused_or_silence() {
        let servfail = |id| reply(id, |m| m.flags.0 |= 2);
        let mut ex = exchange(3, Policy::default());
        ex.poll(seconds(0));
        ex.received(0, Transport::Udp, &servfail(1), seconds(0));
        assert_eq!(sent_to(&ex.poll(seconds(0))), Some((1, Transport::Udp)));
        ex.failed(1, Fault::new(Kind::ConnectRefused, "refused"));
        assert_eq!(sent_to(&ex.poll(seconds(0))), Some((2, Transport::Udp)));
        ex.received(2, Transport::Udp, &reply(3, |_| {}), seconds(0));
        assert_eq!(ex.outcome().unwrap().server, 2);

        let mut ex = exchange(2, Policy { tries: 1, ..Policy::default() });
        for server in 0..2 {
            ex.poll(seconds(0));
            ex.received(server, Transport::Udp, &servfail(server as u16 + 1), seconds(0));
        }
        assert_eq!(ex.poll(seconds(0)), Action::Done);
        assert_eq!(ex.outcome().unwrap().message.rcode(), Rcode::SERVFAIL, "better than nothing");
    }

    #[test]
    fn a_race_asks_everybody_at_once() {
        let mut ex = exchange(3, Policy { race: true, tries: 1, ..Policy::default() });
        for server in 0..3 {
            assert_eq!(sent_to(&ex.poll(seconds(0))), Some((server, Transport::Udp)));
        }
        assert_eq!(ex.poll(seconds(0)), Action::Wait { until: seconds(5) });
        ex.received(0, Transport::Udp, &reply(1, |m| m.flags.0 |= 5), seconds(0));
        assert_eq!(ex.poll(seconds(0)), Action::Wait { until: seconds(5) }, "others may do better");
        ex.received(2, Transport::Udp, &reply(3, |_| {}), seconds(0));
        assert_eq!(ex.outcome().unwrap().server, 2);
    }

    #[test]
    fn without_edns_after_formerr() {
        let mut ex = exchange(1, Policy::default());
        ex.poll(seconds(0));
        let formerr = reply(1, |m| {
            m.flags.0 |= 1;
            m.edns = None;
        });
        ex.received(0, Transport::Udp, &formerr, seconds(0));
        let Action::Send { wire, .. } = ex.poll(seconds(0)) else { panic!("sends again") };
        assert!(Message::parse(&wire).unwrap().edns.is_none());
        ex.received(0, Transport::Udp, &formerr, seconds(0));
        assert_eq!(ex.outcome().unwrap().message.rcode(), Rcode::FORMERR, "only once");
    }

    #[test]
    fn garbage_with_our_id_is_a_fault() {
        let mut ex = exchange(1, Policy { tries: 1, ..Policy::default() });
        ex.poll(seconds(0));
        assert!(ex.received(0, Transport::Udp, b"\x00\x01\x80\x00\xff\xff", seconds(0)));
        assert_eq!(ex.poll(seconds(0)), Action::Done);
        assert_eq!(ex.outcome().unwrap_err().kind, Kind::Protocol);
    }

    #[test]
    fn the_deadline_ends_everything() {
        let mut ex = exchange(1, Policy { tries: 9, deadline: seconds(7), ..Policy::default() });
        ex.poll(seconds(0));
        ex.poll(seconds(5));
        assert_eq!(ex.poll(seconds(6)), Action::Wait { until: seconds(7) });
        assert_eq!(ex.poll(seconds(7)), Action::Done);
    }
}
