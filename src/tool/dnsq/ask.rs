//! The questions of one run: sent together, reported in their order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use super::query::query;
use super::runner::{QuestionResult, QuestionRunner, verdict};
use super::servers::resolv_conf;
use super::{compare, trace, transfer, validate};
use crate::dns::client::ExchangeAnswer;
use crate::dns::client::hosts::Hosts;
use crate::dns::message::{Flags, Message, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::query::Query;
use crate::dns::record::{Class, Record, Rtype};
use crate::dns::transport::Transport;
use crate::fault::Fault;

/// The server index of an answer from the hosts file.
const NO_SERVER: usize = usize::MAX;

/// Asks one question, prints the outcome and returns its verdict. An error is an output error.
type SpecialRun = fn(&QuestionRunner<'_>, &Question) -> Result<QuestionResult, Fault>;

impl QuestionRunner<'_> {
    /// Asks all questions; the verdicts are in the order of the questions. An error is an output error.
    pub(super) fn run(&self) -> Result<Vec<QuestionResult>, Fault> {
        let mut verdicts = Vec::new();
        let mut place = 0;
        for group in self.plan.questions.chunk_by(|a, b| self.alone(a).is_none() && self.alone(b).is_none()) {
            match (group, group.first().and_then(|first| self.alone(first))) {
                ([question], Some(run)) => verdicts.push(run(self, question)?),
                (questions, _) => verdicts.extend(self.ask(place, questions)?),
            }
            place += group.len();
        }
        Ok(verdicts)
    }

    /// The function for a question that takes more than one exchange; `None` for an ordinary question.
    fn alone(&self, question: &Question) -> Option<SpecialRun> {
        match question.rtype {
            Rtype::AXFR | Rtype::IXFR => Some(transfer::run),
            _ if self.args.trace.trace => Some(trace::run),
            _ if self.args.validate.validate => Some(validate::run),
            _ if self.args.compare.compare => Some(compare::run),
            _ => None,
        }
    }

    /// Asks these questions; `begin` is the index of the first one in the plan.
    fn ask(&self, begin: usize, questions: &[Question]) -> Result<Vec<QuestionResult>, Fault> {
        let stub = self.args.transport.search.then(|| Stub::new(self)).transpose()?;
        // The names to try for each question, and its outcome.
        let mut chains: Vec<VecDeque<Query>> = Vec::new();
        let mut told =
            OrderedAnswers { runner: self, questions, outcomes: Vec::new(), verdicts: Vec::new(), failed: None };
        for (place, question) in questions.iter().enumerate() {
            let known = stub.as_ref().and_then(|stub| stub.known(question));
            let candidates = match &stub {
                Some(stub) if known.is_none() && !self.plan.is_absolute(begin + place) => {
                    stub.candidates(&question.name)
                }
                _ => vec![question.name.clone()],
            };
            let of = |name| query(self.args, &Question { name, ..question.clone() });
            chains.push(candidates.into_iter().map(of).collect::<Result<_, _>>()?);
            told.outcomes.push(known.map(Ok));
        }
        let open: Vec<usize> =
            told.outcomes.iter().enumerate().filter(|(_, known)| known.is_none()).map(|(place, _)| place).collect();
        let first: Vec<Query> =
            open.iter().filter_map(|place| chains.get_mut(*place).and_then(VecDeque::pop_front)).collect();
        told.tell();
        let asked = if first.is_empty() {
            Ok(())
        } else {
            self.client.ask_all(&first, &mut |place, result| {
                let Some(&place) = open.get(place) else { return ControlFlow::Continue(None) };
                let gone = matches!(&result, Ok(answer) if answer.message.rcode() == Rcode::NXDOMAIN);
                if let Some(next) = chains.get_mut(place).filter(|_| gone).and_then(VecDeque::pop_front) {
                    return ControlFlow::Continue(Some(next));
                }
                told.came(place, result)
            })
        };
        match told.failed {
            Some(fault) => Err(fault),
            None => asked.map(|()| told.verdicts),
        }
    }

    /// Prints an answer or a failure, and returns the verdict.
    fn tell(&self, question: &Question, result: Result<ExchangeAnswer, Fault>) -> Result<QuestionResult, Fault> {
        let verdict = match result {
            Ok(answer) => {
                self.print(&answer, self.servers.get(answer.server))?;
                if answer.message.flags.has(Flags::TC) && !self.args.transport.ignore_truncation {
                    let what = format!("{} {}", question.name, question.rtype);
                    self.out
                        .warn(&format!("{what}: truncated even over {}: records are missing", answer.transport.name()));
                }
                verdict(&answer, question.rtype)
            }
            Err(fault) => Err(fault),
        };
        self.complain(question, &verdict);
        Ok(verdict)
    }
}

/// Outcomes that arrive in any order and are printed in the order of the questions.
struct OrderedAnswers<'a> {
    runner: &'a QuestionRunner<'a>,
    questions: &'a [Question],
    outcomes: Vec<Option<Result<ExchangeAnswer, Fault>>>,
    verdicts: Vec<QuestionResult>,
    failed: Option<Fault>,
}

impl OrderedAnswers<'_> {
    fn came(&mut self, place: usize, result: Result<ExchangeAnswer, Fault>) -> ControlFlow<(), Option<Query>> {
        if let Some(outcome) = self.outcomes.get_mut(place) {
            *outcome = Some(result);
        }
        self.tell();
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(None) }
    }

    /// Prints the outcomes that are next in the order, as far as they have arrived.
    fn tell(&mut self) {
        while self.failed.is_none() {
            let place = self.verdicts.len();
            let Some(result) = self.outcomes.get_mut(place).and_then(Option::take) else { return };
            let Some(question) = self.questions.get(place) else { return };
            match self.runner.tell(question, result) {
                Ok(verdict) => self.verdicts.push(verdict),
                Err(fault) => self.failed = Some(fault),
            }
        }
    }
}

/// The rules of the system's resolver for short names (`--search`): hosts file, search list, dots.
struct Stub {
    hosts: Hosts,
    search: Vec<Name>,
    ndots: u8,
}

impl Stub {
    fn new(runner: &QuestionRunner<'_>) -> Result<Stub, Fault> {
        let conf = resolv_conf(runner.args)?;
        let hosts = match &runner.args.transport.hosts {
            Some(path) => Hosts::load(path)?,
            None => Hosts::system(),
        };
        Ok(Stub { hosts, search: conf.search, ndots: runner.args.transport.ndots.unwrap_or(conf.ndots) })
    }

    /// The answer of the hosts file, if it has one.
    fn known(&self, question: &Question) -> Option<ExchangeAnswer> {
        let record = |rdata: Vec<u8>| Record {
            name: question.name.clone(),
            rtype: question.rtype,
            class: Class::IN,
            ttl: 0,
            rdata,
        };
        let answer: Vec<Record> = match question.rtype {
            _ if question.class != Class::IN => return None,
            Rtype::A | Rtype::AAAA => {
                let wanted = |address: &IpAddr| address.is_ipv4() == (question.rtype == Rtype::A);
                let found = self.hosts.addresses(&question.name)?;
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(v4) => v4.octets().to_vec(),
                    IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                found.into_iter().filter(wanted).map(|address| record(octets(address))).collect()
            }
            Rtype::PTR => {
                let names = self.hosts.names(&question.name)?;
                names.iter().map(|name| record(name.as_wire().to_vec())).collect()
            }
            _ => return None,
        };
        let message = Message {
            flags: Flags(Flags::QR | Flags::AA),
            question: vec![question.clone()],
            answer,
            ..Message::default()
        };
        Some(ExchangeAnswer {
            message,
            wire: Vec::new(),
            query: Vec::new(),
            server: NO_SERVER,
            transport: Transport::Udp,
            elapsed: Duration::ZERO,
            mismatches: 0,
            sent: 0,
        })
    }

    /// The names to try, in the order of resolv.conf(5).
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let longer = |domain: &Name| name.rebase(&Name::root(), domain).ok();
        let mut names: Vec<Name> = self.search.iter().filter_map(longer).collect();
        let dots = name.label_count().saturating_sub(1);
        let at = if dots >= usize::from(self.ndots) { 0 } else { names.len() };
        names.insert(at, name.clone());
        names
    }
}
