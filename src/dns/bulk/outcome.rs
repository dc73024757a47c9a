//! The engine's other half: what comes back, or does not, and what that means for each question.

use super::engine::{EXPIRE_EVERY, Engine, FIRST_REST};
use super::slots::{List, State, Ticket};
use super::terms::{Done, Failure, Outcome, Sink};
use super::walk::{self, Walked};
use super::{Micros, window};
use crate::dns::message::Flags;

/// A server wants its cookie (RFC 7873, section 5.2.3).
const BADCOOKIE: u16 = 23;

impl Engine {
    /// A packet came on a lane.
    pub fn receive(&mut self, now: Micros, lane: u16, message: &[u8], sink: &mut impl Sink) {
        let Some(resolver_at) = self.lanes.get(usize::from(lane)).map(|lane| lane.resolver) else { return };
        let Some(resolver) = self.resolvers.get_mut(usize::from(resolver_at)) else { return };
        let Some(id) = walk::response_id(message) else { return resolver.mismatch() };
        let Some(slot) = self.ids.holder(id, lane) else {
            resolver.health.late += 1;
            return;
        };
        let held = self.slots.at(slot);
        let question_len = usize::from(held.question_len);
        // A server that could not even read the query answers with a bare header.
        let bare = message.len() == walk::HEADER && matches!(walk::flags(message) & 15, 1 | 2 | 4 | 5);
        if !bare && !walk::asks(message, held.question(), self.options.mix_case) {
            self.slots.at_mut(slot).mismatched = true;
            return resolver.mismatch();
        }
        let Some(ticket) = held.tickets().iter().find(|ticket| ticket.id == id && ticket.lane == lane).copied() else {
            return;
        };
        let stream = self.lanes.get(usize::from(lane)).is_some_and(|lane| lane.stream);
        let walked = if bare { None } else { Walked::new(message, question_len) };
        let learnt = walked.and_then(|walked| walked.cookie()).is_none_or(|cookie| {
            self.templates.get_mut(usize::from(resolver_at)).is_none_or(|template| template.learn(cookie))
        });
        if !learnt {
            return resolver.mismatch();
        }
        self.heard = now;
        let newest = held.live && held.last_ticket().is_some_and(|last| last.id == id && last.lane == lane);
        resolver.round_trip(Micros::from((now as u32).wrapping_sub(ticket.sent)));
        if !newest {
            resolver.not_lost();
        }
        if walk::flags(message) & Flags::TC != 0 && !stream && !self.options.take_truncated {
            return self.truncated(slot, resolver_at, ticket, newest, now);
        }
        match walked {
            Some(walked) if matches!(walked.rcode, 0 | 3 | 6) => {
                resolver.health.answered += 1;
                resolver.outcome(now, window::Outcome::Answered);
                self.settle(slot);
                self.leave_list(slot);
                self.slots.at_mut(slot).resolver = resolver_at;
                self.finish_on(slot, stream, now, Outcome::Answered(&walked), sink);
                self.judge(resolver_at, now);
            }
            walked => {
                let rcode = walked.map_or(walk::flags(message) & 15, |walked| walked.rcode);
                let failure = if walked.is_none() && !bare { Failure::Malformed } else { Failure::Rcode(rcode) };
                self.refused(slot, resolver_at, (ticket, newest), failure, walked.as_ref(), now, sink);
            }
        }
    }

    /// A truncated answer: the same resolver is asked over a stream.
    fn truncated(&mut self, slot: u32, at: u16, ticket: Ticket, newest: bool, now: Micros) {
        if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
            resolver.health.truncated += 1;
            resolver.outcome(now, window::Outcome::Answered);
        }
        if newest {
            self.settle(slot);
            self.leave_list(slot);
            let held = self.slots.at_mut(slot);
            held.stream = true;
            held.resolver = at;
            // Not a try that failed: the answer is there, it only did not fit.
            held.tries = held.tries.saturating_sub(1);
            self.queue(slot, at);
        }
        self.forget(slot, ticket);
        self.judge(at, now);
    }

    /// A response that is no answer.
    #[expect(clippy::too_many_arguments, reason = "one story, told in one place")]
    fn refused(
        &mut self,
        slot: u32,
        at: u16,
        (ticket, newest): (Ticket, bool),
        failure: Failure,
        walked: Option<&Walked<'_>>,
        now: Micros,
        sink: &mut impl Sink,
    ) {
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        let mut again = false;
        match failure {
            Failure::Rcode(2) => resolver.health.servfail += 1,
            // The cookie that came with it opens the door (RFC 7873, section 5.3); once, or the server goes round in circles.
            Failure::Rcode(BADCOOKIE)
                if self.options.cookies
                    && walked.is_some_and(|it| it.cookie().is_some())
                    && self.slots.at(slot).tries < 3 =>
            {
                again = true;
            }
            // FORMERR or NOTIMP to a query with EDNS from a server that knows none (RFC 6891, section 7).
            Failure::Rcode(1 | 4)
                if resolver.edns && self.options.edns.is_some() && walked.is_none_or(|it| !it.edns) =>
            {
                resolver.edns = false;
                again = true;
            }
            Failure::Rcode(_) => resolver.health.refused += 1,
            _ => resolver.mismatch(),
        }
        resolver.outcome(now, window::Outcome::Bad);
        if newest {
            self.settle(slot);
            self.leave_list(slot);
            if again {
                self.queue(slot, at);
            } else if self.options.failover || !matches!(failure, Failure::Rcode(_)) {
                self.retry(slot, failure, walked, now, sink);
            } else {
                self.finish(slot, now, Outcome::Failed(failure, walked), sink);
            }
        }
        self.forget(slot, ticket);
        self.judge(at, now);
    }

    /// A query did not get anywhere on a stream.
    pub fn query_failed(&mut self, now: Micros, lane: u16, id: u16, failure: Failure, sink: &mut impl Sink) {
        let Some(slot) = self.ids.holder(id, lane) else { return };
        let held = self.slots.at(slot);
        let Some(ticket) = held.last_ticket().filter(|ticket| ticket.id == id && ticket.lane == lane) else { return };
        if held.state == State::Asked && held.live {
            let at = held.resolver;
            self.unreachable(slot, at, ticket, failure, now, sink);
            self.judge(at, now);
        }
    }

    /// The newest try of a question failed before it got anywhere.
    fn unreachable(&mut self, slot: u32, at: u16, ticket: Ticket, failure: Failure, now: Micros, sink: &mut impl Sink) {
        if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
            resolver.health.unreachable += 1;
            resolver.outcome(now, window::Outcome::Lost);
        }
        self.settle(slot);
        self.leave_list(slot);
        self.retry(slot, failure, None, now, sink);
        self.forget(slot, ticket);
    }

    /// The system says that nothing listens at a lane's other end, or that there is no way to it, or that a stream
    /// ended: what is under way there will not come back.
    pub fn lane_failed(&mut self, now: Micros, lane: u16, failure: Failure, sink: &mut impl Sink) {
        let Some(at) = self.lanes.get(usize::from(lane)).map(|lane| lane.resolver) else { return };
        let mut any = false;
        for slot in 0..self.slots.capacity() {
            let held = self.slots.at(slot);
            let Some(ticket) = held.last_ticket().filter(|ticket| ticket.lane == lane) else { continue };
            if held.state != State::Asked || !held.live {
                continue;
            }
            any = true;
            self.unreachable(slot, at, ticket, failure, now, sink);
        }
        if any {
            self.judge(at, now);
        }
    }

    /// Wakes what is due.
    pub fn tick(&mut self, now: Micros, sink: &mut impl Sink) {
        while let Some(slot) = self.wheel.pop(&mut self.slots, now) {
            let (state, at) = (self.slots.at(slot).state, self.slots.at(slot).resolver);
            if state == State::Asked {
                if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
                    resolver.health.timed_out += 1;
                    resolver.outcome(now, window::Outcome::Lost);
                }
                self.settle(slot);
                self.retry(slot, Failure::TimedOut, None, now, sink);
                self.judge(at, now);
            } else {
                self.queue(slot, at);
            }
        }
        if now >= self.expire_at {
            self.expire_at = now + EXPIRE_EVERY;
            self.expire_in_line(now, sink);
        }
    }

    /// Ends questions whose time ran out while they waited for a place in a window, a pace or a rate.
    fn expire_in_line(&mut self, now: Micros, sink: &mut impl Sink) {
        for at in 0..self.resolvers.len() {
            for stream in [false, true] {
                let Some(resolver) = self.resolvers.get_mut(at) else { return };
                let list = if stream { &mut resolver.stream_queue } else { &mut resolver.queue };
                let (mut old, mut kept) = (std::mem::replace(list, List::EMPTY), List::EMPTY);
                while let Some(slot) = self.slots.pop_front(&mut old) {
                    let held = self.slots.at(slot);
                    if now >= held.first + self.options.name_timeout {
                        let failure = held.failure;
                        self.finish(slot, now, Outcome::Failed(failure, None), sink);
                    } else {
                        self.slots.push_back(&mut kept, slot);
                    }
                }
                let Some(resolver) = self.resolvers.get_mut(at) else { return };
                *if stream { &mut resolver.stream_queue } else { &mut resolver.queue } = kept;
            }
        }
    }

    /// For how long no resolver has said anything that can be believed, though asked.
    pub fn silence(&self, now: Micros) -> Micros {
        if self.active == 0 { 0 } else { now.saturating_sub(self.heard) }
    }

    /// The silence begins anew: so far nobody listened.
    pub fn listen_anew(&mut self, now: Micros) {
        self.heard = now;
    }

    /// Ends every question that was taken in.
    pub fn give_up(&mut self, now: Micros, failure: Failure, sink: &mut impl Sink) {
        for slot in 0..self.slots.capacity() {
            let (state, length) = (self.slots.at(slot).state, usize::from(self.slots.at(slot).question_len));
            match state {
                State::Free => continue,
                State::Waiting => {
                    if let Some(list) = self.lengths.get_mut(length) {
                        self.slots.remove(list, slot);
                    }
                    self.slots.at_mut(slot).first = now;
                    self.waiting -= 1;
                    self.active += 1;
                }
                State::Asked | State::Resting | State::Queued => {
                    self.settle(slot);
                    self.leave_list(slot);
                }
            }
            self.finish(slot, now, Outcome::Failed(failure, None), sink);
        }
    }

    /// After a failed try: another resolver at once, the same one after a rest, or the end.
    fn retry(&mut self, slot: u32, failure: Failure, walked: Option<&Walked<'_>>, now: Micros, sink: &mut impl Sink) {
        let held = self.slots.at_mut(slot);
        // The most telling failure stays: a response code says more than silence after it.
        match failure {
            Failure::TimedOut if matches!(held.failure, Failure::Rcode(_)) => {}
            Failure::TimedOut if held.mismatched => held.failure = Failure::Mismatched,
            other => held.failure = other,
        }
        let (tries, last, first, kept) = (held.tries, held.resolver, held.first, held.failure);
        if tries >= self.options.tries || now >= first + self.options.name_timeout {
            let walked = walked.filter(|_| kept == failure);
            return self.finish(slot, now, Outcome::Failed(kept, walked), sink);
        }
        let next = self.another(last, now);
        if next == last && matches!(failure, Failure::Unfit(kind) if !kind.temporary()) {
            return self.finish(slot, now, Outcome::Failed(kept, None), sink);
        }
        let held = self.slots.at_mut(slot);
        held.resolver = next;
        if next != last {
            held.stream = false;
        }
        if next != last || failure == Failure::TimedOut {
            self.queue(slot, next);
        } else {
            self.rest(slot, now, FIRST_REST << tries.saturating_sub(1).min(6));
        }
    }

    /// Another resolver that serves, in turn; the same one if there is none.
    fn another(&mut self, last: u16, now: Micros) -> u16 {
        let count = self.resolvers.len();
        let start = self.random.below(count.max(1));
        (0..count)
            .map(|step| (start + step) % count)
            .find(|at| *at != usize::from(last) && self.resolvers.get(*at).is_some_and(|it| it.is_healthy(now)))
            .map_or(last, |at| at as u16)
    }

    /// Lists a question to be asked again at a resolver.
    fn queue(&mut self, slot: u32, at: u16) {
        let held = self.slots.at_mut(slot);
        held.state = State::Queued;
        held.resolver = at;
        let stream = held.stream;
        if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
            let list = if stream { &mut resolver.stream_queue } else { &mut resolver.queue };
            self.slots.push_back(list, slot);
        }
    }

    /// Lets a question rest in the wheel.
    pub(super) fn rest(&mut self, slot: u32, now: Micros, time: Micros) {
        let held = self.slots.at_mut(slot);
        held.state = State::Resting;
        held.due = now + time;
        self.wheel.set(&mut self.slots, slot);
    }

    /// Takes a slot out of the list that its state puts it in.
    fn leave_list(&mut self, slot: u32) {
        let (state, at, stream) = {
            let held = self.slots.at(slot);
            (held.state, held.resolver, held.stream)
        };
        match state {
            State::Asked | State::Resting => self.wheel.unset(&mut self.slots, slot),
            State::Queued => {
                if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
                    let list = if stream { &mut resolver.stream_queue } else { &mut resolver.queue };
                    self.slots.remove(list, slot);
                }
            }
            State::Free | State::Waiting => {}
        }
    }

    /// The newest try is over: it leaves its resolver's window.
    fn settle(&mut self, slot: u32) {
        let held = self.slots.at_mut(slot);
        if !std::mem::take(&mut held.live) {
            return;
        }
        let Some(ticket) = held.last_ticket() else { return };
        let Some(lane) = self.lanes.get(usize::from(ticket.lane)) else { return };
        if let Some(resolver) = self.resolvers.get_mut(usize::from(lane.resolver)) {
            let counter = if lane.extra { &mut resolver.stream_in_flight } else { &mut resolver.in_flight };
            *counter = counter.saturating_sub(1);
        }
    }

    /// Drops one ticket of a slot that goes on.
    fn forget(&mut self, slot: u32, ticket: Ticket) {
        let held = self.slots.at_mut(slot);
        if held.state == State::Free {
            return;
        }
        let count = usize::from(held.ticket_count);
        let Some(place) = held.tickets().iter().position(|it| it.id == ticket.id && it.lane == ticket.lane) else {
            return;
        };
        held.tickets.copy_within(place + 1..count, place);
        held.ticket_count -= 1;
        self.release(ticket);
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        self.ids.release(ticket.id, &mut self.random);
        if let Some(lane) = self.lanes.get_mut(usize::from(ticket.lane)) {
            lane.out -= 1;
            if lane.out == 0 && lane.draining {
                self.rotations.push(ticket.lane);
            }
        }
    }

    pub(super) fn finish(&mut self, slot: u32, now: Micros, outcome: Outcome<'_>, sink: &mut impl Sink) {
        self.finish_on(slot, false, now, outcome, sink);
    }

    /// Says what became of a question, and frees its slot, which must be in no list.
    fn finish_on(&mut self, slot: u32, stream: bool, now: Micros, outcome: Outcome<'_>, sink: &mut impl Sink) {
        let held = self.slots.at(slot);
        let elapsed = now.saturating_sub(held.first);
        sink.done(&Done {
            number: held.number,
            question: held.question(),
            resolver: held.resolver,
            stream,
            tries: held.tries,
            elapsed,
            outcome,
        });
        let tickets = held.tickets;
        for ticket in tickets.into_iter().take(usize::from(held.ticket_count)) {
            self.release(ticket);
        }
        self.slots.give_back(slot);
        self.active -= 1;
    }

    /// Judges a resolver; one that does not serve goes to the bench if another one does.
    fn judge(&mut self, at: u16, now: Micros) {
        let others = self.resolvers.iter().enumerate().any(|(other, resolver)| {
            other != usize::from(at) && resolver.is_healthy(now) && resolver.health.answered > 0
        });
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        if !resolver.judge(now) || !others {
            return;
        }
        resolver.bench(now);
    }

    /// What waits at a resolver that does not serve is asked elsewhere, if anybody serves.
    pub(super) fn empty_benches(&mut self, now: Micros) {
        for at in 0..self.resolvers.len() as u16 {
            let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
            if resolver.queue.is_empty() || resolver.is_healthy(now) {
                continue;
            }
            let mut queue = std::mem::replace(&mut resolver.queue, List::EMPTY);
            while let Some(slot) = self.slots.pop_front(&mut queue) {
                let next = self.another(at, now);
                self.queue(slot, next);
            }
        }
    }
}
