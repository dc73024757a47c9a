//! The engine's other half: what comes back, or does not, and what that means for each question.

use super::slots::{SentQuery, SlotList, SlotState};
use super::window::QueryOutcome;
use super::{EXPIRE_EVERY, Engine, FIRST_REST};
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{FinishedQuestion, OutcomeSink, QueryFailure, QuestionOutcome};
use crate::dns::bulk::walk::{self, ResponseView};
use crate::dns::message::Flags;

/// A server wants its cookie (RFC 7873, section 5.2.3).
const BADCOOKIE: u16 = 23;

impl Engine {
    /// A packet came on a socket.
    pub fn receive(&mut self, now: Micros, socket: u16, message: &[u8], sink: &mut impl OutcomeSink) {
        let Some(resolver_at) = self.sockets.get(usize::from(socket)).map(|socket| socket.resolver) else { return };
        let Some(resolver) = self.resolvers.get_mut(usize::from(resolver_at)) else { return };
        let Some(id) = walk::response_id(message) else { return resolver.mismatch() };
        let Some(slot) = self.ids.holder(id, socket) else {
            resolver.stats.late += 1;
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
        let Some(query) = held.sent_queries().iter().find(|query| query.id == id && query.socket == socket).copied()
        else {
            return;
        };
        let stream = self.sockets.get(usize::from(socket)).is_some_and(|socket| socket.stream);
        let walked = if bare { None } else { ResponseView::new(message, question_len) };
        let learnt = walked.and_then(|walked| walked.cookie()).is_none_or(|cookie| {
            self.templates.get_mut(usize::from(resolver_at)).is_none_or(|template| template.learn(cookie))
        });
        if !learnt {
            return resolver.mismatch();
        }
        self.last_valid_answer = now;
        let newest = held.live && held.last_sent_query().is_some_and(|last| last.id == id && last.socket == socket);
        resolver.round_trip(Micros::from((now as u32).wrapping_sub(query.sent)));
        if !newest {
            resolver.not_lost();
        }
        if walk::flags(message) & Flags::TC != 0 && !stream && !self.options.take_truncated {
            return self.truncated(slot, resolver_at, query, newest, now);
        }
        match walked {
            Some(walked) if matches!(walked.rcode, 0 | 3 | 6) => {
                resolver.stats.answered += 1;
                resolver.outcome(now, QueryOutcome::Answered);
                self.settle(slot);
                self.leave_list(slot);
                self.slots.at_mut(slot).resolver = resolver_at;
                self.finish_on(slot, stream, now, QuestionOutcome::Answered(&walked), sink);
                self.judge(resolver_at, now);
            }
            walked => {
                let rcode = walked.map_or(walk::flags(message) & 15, |walked| walked.rcode);
                let failure =
                    if walked.is_none() && !bare { QueryFailure::Malformed } else { QueryFailure::Rcode(rcode) };
                self.refused(slot, resolver_at, (query, newest), failure, walked.as_ref(), now, sink);
            }
        }
    }

    /// A truncated answer: the same resolver is asked over a stream.
    fn truncated(&mut self, slot: u32, at: u16, query: SentQuery, newest: bool, now: Micros) {
        if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
            resolver.stats.truncated += 1;
            resolver.outcome(now, QueryOutcome::Answered);
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
        self.forget(slot, query);
        self.judge(at, now);
    }

    /// A response that is no answer.
    #[expect(clippy::too_many_arguments, reason = "one story, told in one place")]
    fn refused(
        &mut self,
        slot: u32,
        at: u16,
        (query, newest): (SentQuery, bool),
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        now: Micros,
        sink: &mut impl OutcomeSink,
    ) {
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        let mut again = false;
        match failure {
            QueryFailure::Rcode(2) => resolver.stats.servfail += 1,
            // The cookie that came with it opens the door (RFC 7873, section 5.3); once, or the server goes round in circles.
            QueryFailure::Rcode(BADCOOKIE)
                if self.options.cookies
                    && walked.is_some_and(|it| it.cookie().is_some())
                    && self.slots.at(slot).tries < 3 =>
            {
                again = true;
            }
            // FORMERR or NOTIMP to a query with EDNS from a server that knows none (RFC 6891, section 7).
            QueryFailure::Rcode(1 | 4)
                if resolver.edns && self.options.edns.is_some() && walked.is_none_or(|it| !it.edns) =>
            {
                resolver.edns = false;
                again = true;
            }
            QueryFailure::Rcode(_) => resolver.stats.refused += 1,
            _ => resolver.mismatch(),
        }
        resolver.outcome(now, QueryOutcome::Bad);
        if newest {
            self.settle(slot);
            self.leave_list(slot);
            if again {
                self.queue(slot, at);
            } else if self.options.failover || !matches!(failure, QueryFailure::Rcode(_)) {
                self.retry(slot, failure, walked, now, sink);
            } else {
                self.finish(slot, now, QuestionOutcome::Failed(failure, walked), sink);
            }
        }
        self.forget(slot, query);
        self.judge(at, now);
    }

    /// A query did not get anywhere on a stream.
    pub fn query_failed(
        &mut self,
        now: Micros,
        socket: u16,
        id: u16,
        failure: QueryFailure,
        sink: &mut impl OutcomeSink,
    ) {
        let Some(slot) = self.ids.holder(id, socket) else { return };
        let held = self.slots.at(slot);
        let Some(query) = held.last_sent_query().filter(|query| query.id == id && query.socket == socket) else {
            return;
        };
        if held.state == SlotState::Asked && held.live {
            let at = held.resolver;
            self.unreachable(slot, at, query, failure, now, sink);
            self.judge(at, now);
        }
    }

    /// The newest try of a question failed before it got anywhere.
    fn unreachable(
        &mut self,
        slot: u32,
        at: u16,
        query: SentQuery,
        failure: QueryFailure,
        now: Micros,
        sink: &mut impl OutcomeSink,
    ) {
        if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
            resolver.stats.unreachable += 1;
            resolver.outcome(now, QueryOutcome::Lost);
        }
        self.settle(slot);
        self.leave_list(slot);
        self.retry(slot, failure, None, now, sink);
        self.forget(slot, query);
    }

    /// The system says that nothing listens at a socket's other end, or that there is no way to it, or that a stream
    /// ended: what is under way there will not come back.
    pub fn socket_failed(&mut self, now: Micros, socket: u16, failure: QueryFailure, sink: &mut impl OutcomeSink) {
        let Some(at) = self.sockets.get(usize::from(socket)).map(|socket| socket.resolver) else { return };
        let mut any = false;
        for slot in 0..self.slots.capacity() {
            let held = self.slots.at(slot);
            let Some(query) = held.last_sent_query().filter(|query| query.socket == socket) else { continue };
            if held.state != SlotState::Asked || !held.live {
                continue;
            }
            any = true;
            self.unreachable(slot, at, query, failure, now, sink);
        }
        if any {
            self.judge(at, now);
        }
    }

    /// Wakes what is due.
    pub fn tick(&mut self, now: Micros, sink: &mut impl OutcomeSink) {
        while let Some(slot) = self.wheel.pop(&mut self.slots, now) {
            let (state, at) = (self.slots.at(slot).state, self.slots.at(slot).resolver);
            if state == SlotState::Asked {
                if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
                    resolver.stats.timed_out += 1;
                    resolver.outcome(now, QueryOutcome::Lost);
                }
                self.settle(slot);
                self.retry(slot, QueryFailure::TimedOut, None, now, sink);
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
    fn expire_in_line(&mut self, now: Micros, sink: &mut impl OutcomeSink) {
        for at in 0..self.resolvers.len() {
            for stream in [false, true] {
                let Some(resolver) = self.resolvers.get_mut(at) else { return };
                let list = if stream { &mut resolver.stream_queue } else { &mut resolver.queue };
                let (mut old, mut kept) = (std::mem::replace(list, SlotList::EMPTY), SlotList::EMPTY);
                while let Some(slot) = self.slots.pop_front(&mut old) {
                    let held = self.slots.at(slot);
                    if now >= held.first + self.options.name_timeout {
                        let failure = held.failure;
                        self.finish(slot, now, QuestionOutcome::Failed(failure, None), sink);
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
        if self.active == 0 { 0 } else { now.saturating_sub(self.last_valid_answer) }
    }

    /// The silence begins anew: so far nobody listened.
    pub fn restart_silence(&mut self, now: Micros) {
        self.last_valid_answer = now;
    }

    /// Ends every question that was taken in.
    pub fn give_up(&mut self, now: Micros, failure: QueryFailure, sink: &mut impl OutcomeSink) {
        for slot in 0..self.slots.capacity() {
            let (state, length) = (self.slots.at(slot).state, usize::from(self.slots.at(slot).question_len));
            match state {
                SlotState::Free => continue,
                SlotState::Waiting => {
                    if let Some(list) = self.lengths.get_mut(length) {
                        self.slots.remove(list, slot);
                    }
                    self.slots.at_mut(slot).first = now;
                    self.waiting -= 1;
                    self.active += 1;
                }
                SlotState::Asked | SlotState::Resting | SlotState::Queued => {
                    self.settle(slot);
                    self.leave_list(slot);
                }
            }
            self.finish(slot, now, QuestionOutcome::Failed(failure, None), sink);
        }
    }

    /// After a failed try: another resolver at once, the same one after a rest, or the end.
    fn retry(
        &mut self,
        slot: u32,
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        now: Micros,
        sink: &mut impl OutcomeSink,
    ) {
        let held = self.slots.at_mut(slot);
        // The most telling failure stays: a response code says more than silence after it.
        match failure {
            QueryFailure::TimedOut if matches!(held.failure, QueryFailure::Rcode(_)) => {}
            QueryFailure::TimedOut if held.mismatched => held.failure = QueryFailure::Mismatched,
            other => held.failure = other,
        }
        let (tries, last, first, kept) = (held.tries, held.resolver, held.first, held.failure);
        if tries >= self.options.tries || now >= first + self.options.name_timeout {
            let walked = walked.filter(|_| kept == failure);
            return self.finish(slot, now, QuestionOutcome::Failed(kept, walked), sink);
        }
        let next = self.another(last, now);
        if next == last && matches!(failure, QueryFailure::Unfit(kind) if !kind.temporary()) {
            return self.finish(slot, now, QuestionOutcome::Failed(kept, None), sink);
        }
        let held = self.slots.at_mut(slot);
        held.resolver = next;
        if next != last {
            held.stream = false;
        }
        if next != last || failure == QueryFailure::TimedOut {
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
            .find(|at| *at != usize::from(last) && self.resolvers.get(*at).is_some_and(|it| it.serves(now)))
            .map_or(last, |at| at as u16)
    }

    /// Lists a question to be asked again at a resolver.
    fn queue(&mut self, slot: u32, at: u16) {
        let held = self.slots.at_mut(slot);
        held.state = SlotState::Queued;
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
        held.state = SlotState::Resting;
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
            SlotState::Asked | SlotState::Resting => self.wheel.unset(&mut self.slots, slot),
            SlotState::Queued => {
                if let Some(resolver) = self.resolvers.get_mut(usize::from(at)) {
                    let list = if stream { &mut resolver.stream_queue } else { &mut resolver.queue };
                    self.slots.remove(list, slot);
                }
            }
            SlotState::Free | SlotState::Waiting => {}
        }
    }

    /// The newest try is over: it leaves its resolver's window.
    fn settle(&mut self, slot: u32) {
        let held = self.slots.at_mut(slot);
        if !std::mem::take(&mut held.live) {
            return;
        }
        let Some(query) = held.last_sent_query() else { return };
        let Some(socket) = self.sockets.get(usize::from(query.socket)) else { return };
        if let Some(resolver) = self.resolvers.get_mut(usize::from(socket.resolver)) {
            let counter = if socket.extra { &mut resolver.stream_in_flight } else { &mut resolver.in_flight };
            *counter = counter.saturating_sub(1);
        }
    }

    /// Drops one query of a slot that goes on.
    fn forget(&mut self, slot: u32, query: SentQuery) {
        let held = self.slots.at_mut(slot);
        if held.state == SlotState::Free {
            return;
        }
        let count = usize::from(held.sent_count);
        let Some(place) = held.sent_queries().iter().position(|it| it.id == query.id && it.socket == query.socket)
        else {
            return;
        };
        held.sent_queries.copy_within(place + 1..count, place);
        held.sent_count -= 1;
        self.release(query);
    }

    pub(super) fn release(&mut self, query: SentQuery) {
        self.ids.release(query.id, &mut self.random);
        if let Some(socket) = self.sockets.get_mut(usize::from(query.socket)) {
            socket.out -= 1;
            if socket.out == 0 && socket.draining {
                self.rotations.push(query.socket);
            }
        }
    }

    pub(super) fn finish(&mut self, slot: u32, now: Micros, outcome: QuestionOutcome<'_>, sink: &mut impl OutcomeSink) {
        self.finish_on(slot, false, now, outcome, sink);
    }

    /// Says what became of a question, and frees its slot, which must be in no list.
    fn finish_on(
        &mut self,
        slot: u32,
        stream: bool,
        now: Micros,
        outcome: QuestionOutcome<'_>,
        sink: &mut impl OutcomeSink,
    ) {
        let held = self.slots.at(slot);
        let elapsed = now.saturating_sub(held.first);
        sink.finished(&FinishedQuestion {
            number: held.number,
            question: held.question(),
            resolver: held.resolver,
            stream,
            tries: held.tries,
            elapsed,
            outcome,
        });
        let sent_queries = held.sent_queries;
        for query in sent_queries.into_iter().take(usize::from(held.sent_count)) {
            self.release(query);
        }
        self.slots.give_back(slot);
        self.active -= 1;
    }

    /// Judges a resolver; one that does not serve goes to the quarantine if another one does.
    fn judge(&mut self, at: u16, now: Micros) {
        let others =
            self.resolvers.iter().enumerate().any(|(other, resolver)| {
                other != usize::from(at) && resolver.serves(now) && resolver.stats.answered > 0
            });
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        if !resolver.judge(now) || !others {
            return;
        }
        resolver.quarantine(now);
    }

    /// What waits at a resolver that does not serve is asked elsewhere, if anybody serves.
    pub(super) fn empty_quarantined(&mut self, now: Micros) {
        for at in 0..self.resolvers.len() as u16 {
            let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
            if resolver.queue.is_empty() || resolver.serves(now) {
                continue;
            }
            let mut queue = std::mem::replace(&mut resolver.queue, SlotList::EMPTY);
            while let Some(slot) = self.slots.pop_front(&mut queue) {
                let next = self.another(at, now);
                self.queue(slot, next);
            }
        }
    }
}
