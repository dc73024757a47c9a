//! The engine: takes questions, decides what to ask whom and when, believes or refuses what comes back, and says of each
//! question exactly once what became of it. It names no socket, clock or randomness.
//!
//! A *lane* is one socket of one resolver; the driver opens them and carries packets between them and the engine.

use super::Micros;
use super::compose::Template;
use super::ids::{Ids, Random};
use super::slots::{List, Slots, State, Ticket, Wheel};
use super::terms::{Options, Outcome, Outlet, Sink, Way};
use super::window::{Health, Resolver};

/// Questions that may be asked and unanswered at once, over all resolvers.
pub const MAX_CONCURRENCY: usize = 30_000;
/// Questions read ahead, so that equal lengths can leave together.
pub const MAX_LOOKAHEAD: usize = 30_000;
/// Queries in flight over one resolver's stream.
const MAX_ON_STREAM: u32 = 256;
/// A question that waited so long for company of its length goes first.
const MAX_HELD: Micros = 20_000;
/// Queries of one length that leave together.
pub const MAX_GROUP: u32 = 64;
/// After about so many queries a lane gets a new port.
const ROTATE_AFTER: u32 = 16_384;
/// The first rest before the same resolver is asked again after a refusal; doubles.
pub(super) const FIRST_REST: Micros = 100_000;
/// How often questions that wait in line are held against their deadline.
pub(super) const EXPIRE_EVERY: Micros = 50_000;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) resolver: u16,
    pub(super) stream: bool,
    /// A stream beside UDP lanes, for truncated answers: it does not count in the window.
    pub(super) extra: bool,
    pub(super) sent: u32,
    pub(super) rotate_at: u32,
    /// Tickets that this lane may still bring back.
    pub(super) out: u32,
    /// Takes no more queries: its port is to change.
    pub(super) draining: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) slots: Slots,
    pub(super) wheel: Wheel,
    pub(super) ids: Ids,
    pub(super) lanes: Vec<Lane>,
    pub(super) resolvers: Vec<Resolver>,
    /// What queries to each resolver have in common.
    pub(super) templates: Vec<Template>,
    packet: Vec<u8>,
    /// Questions not asked yet, by length.
    pub(super) lengths: Vec<List>,
    pub(super) waiting: usize,
    /// Asked at least once and not done.
    pub(super) active: usize,
    pub(super) turn: usize,
    pub(super) tokens: f64,
    pub(super) tokens_at: Micros,
    /// The lanes that wait for a new port.
    pub(super) rotations: Vec<u16>,
    /// When something was heard that can be believed, or there was nothing to wait for.
    pub(super) heard: Micros,
    /// When questions in line are held against their deadline next.
    pub(super) expire_at: Micros,
}

impl Engine {
    /// An engine for resolvers with so many UDP sockets each, numbered from 0 resolver by resolver, and then one stream
    /// each. Without UDP sockets a resolver's stream carries everything, otherwise what was truncated.
    pub fn new(options: Options, ways: &[Way], mut random: Random, now: Micros) -> Engine {
        let options = Options {
            concurrency: options.concurrency.clamp(1, MAX_CONCURRENCY),
            lookahead: options.lookahead.clamp(1, MAX_LOOKAHEAD),
            tries: options.tries.max(1),
            ..options
        };
        let mut all: Vec<Resolver> = ways.iter().map(|_| Resolver::new(options.max_window, now)).collect();
        let templates = ways.iter().map(|way| Template::new(&options, way.encrypted, &mut random)).collect();
        let mut open = Vec::new();
        for stream in [false, true] {
            for (at, (resolver, way)) in all.iter_mut().zip(ways).enumerate() {
                for _ in 0..if stream { 1 } else { way.sockets } {
                    let lane = open.len() as u16;
                    let rotate_at = ROTATE_AFTER / 2 + random.below(ROTATE_AFTER as usize) as u32;
                    let extra = stream && way.sockets > 0;
                    open.push(Lane { resolver: at as u16, stream, extra, sent: 0, rotate_at, out: 0, draining: false });
                    if !extra {
                        resolver.lanes.push(lane);
                    }
                    if stream {
                        resolver.stream_lane = Some(lane);
                    }
                }
            }
        }
        Engine {
            slots: Slots::new(options.concurrency + options.lookahead),
            wheel: Wheel::new(now),
            ids: Ids::new(&mut random),
            lanes: open,
            resolvers: all,
            templates,
            packet: Vec::new(),
            lengths: vec![List::EMPTY; super::MAX_QUESTION + 1],
            waiting: 0,
            active: 0,
            turn: 0,
            tokens: 1.0,
            tokens_at: now,
            rotations: Vec::new(),
            heard: now,
            expire_at: now,
            options,
            random,
        }
    }

    /// How many more questions can be taken in now.
    pub fn room(&self) -> usize {
        self.slots.free().min(self.options.lookahead.saturating_sub(self.waiting))
    }

    /// Questions taken in and not done.
    pub fn unfinished(&self) -> usize {
        self.waiting + self.active
    }

    /// Questions asked and not done.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Takes a question in: a name, type and class in wire form, with a number that comes back with the outcome. False
    /// if there is no room.
    pub fn ask(&mut self, now: Micros, number: u64, question: &[u8]) -> bool {
        let Some(list) = self.lengths.get_mut(question.len()) else { return false };
        let Some(at) = self.slots.take(number, question) else { return false };
        if self.active == 0 {
            self.heard = now;
        }
        self.slots.at_mut(at).due = now + MAX_HELD;
        self.slots.push_back(list, at);
        self.waiting += 1;
        true
    }

    /// Sends what windows, paces and rate allow now.
    pub fn transmit(&mut self, now: Micros, sink: &mut impl Sink, outlet: &mut impl Outlet) {
        let mut budget = self.budget(now);
        let before = budget;
        self.turn = self.turn.wrapping_add(1);
        self.empty_benches(now);
        for step in 0..self.resolvers.len() {
            if budget == 0 {
                break;
            }
            let at = (self.turn + step) % self.resolvers.len();
            self.transmit_to(at as u16, now, &mut budget, sink, outlet);
        }
        if self.options.rate.is_some() {
            self.tokens -= f64::from(before - budget);
        }
    }

    /// Queries that the rate allows now.
    fn budget(&mut self, now: Micros) -> u32 {
        let Some(rate) = self.options.rate else { return u32::MAX };
        let gained = now.saturating_sub(self.tokens_at) as f64 * rate / 1e6;
        // At most 20 ms worth of saved-up queries, so that a rate is never exceeded by a burst that matters.
        self.tokens = (self.tokens + gained).min((rate / 50.0).max(1.0));
        self.tokens_at = now;
        self.tokens as u32
    }

    fn transmit_to(&mut self, at: u16, now: Micros, budget: &mut u32, sink: &mut impl Sink, outlet: &mut impl Outlet) {
        while let Some(slot) = self.next_for_stream(at) {
            if *budget == 0 || !self.resend(slot, at, true, now, sink, outlet) {
                break;
            }
            *budget -= 1;
        }
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        let mut room = resolver.room(now).min(*budget).min(self.ids.free() as u32);
        if room == 0 {
            return;
        }
        let Some(lane) = self.lane_for(at) else { return };
        while room > 0 {
            let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
            if let Some(slot) = self.slots.pop_front(&mut resolver.queue) {
                if self.resend(slot, at, false, now, sink, outlet) {
                    room -= 1;
                    *budget -= 1;
                }
                continue;
            }
            let fresh = room.min(self.options.concurrency.saturating_sub(self.active) as u32);
            let sent = self.transmit_group(at, lane, now, fresh.min(MAX_GROUP), outlet);
            if sent == 0 {
                return;
            }
            room -= sent;
            *budget -= sent;
        }
    }

    fn next_for_stream(&mut self, at: u16) -> Option<u32> {
        let resolver = self.resolvers.get_mut(usize::from(at))?;
        if resolver.stream_in_flight >= MAX_ON_STREAM || resolver.stream_lane.is_none() {
            return None;
        }
        self.slots.pop_front(&mut resolver.stream_queue)
    }

    /// Sends new questions of one length; how many.
    fn transmit_group(&mut self, at: u16, lane: u16, now: Micros, most: u32, outlet: &mut impl Outlet) -> u32 {
        if most == 0 || self.waiting == 0 {
            return 0;
        }
        let Some(length) = self.choose_length(now) else { return 0 };
        let mut sent = 0;
        while sent < most {
            let Some(slot) = self.lengths.get_mut(length).and_then(|list| self.slots.pop_front(list)) else { break };
            self.waiting -= 1;
            self.active += 1;
            if self.options.mix_case {
                self.mix_case(slot);
            }
            self.slots.at_mut(slot).first = now;
            self.send(slot, at, lane, now, outlet);
            sent += 1;
        }
        sent
    }

    /// The length that most questions have, unless another one's have waited too long.
    fn choose_length(&self, now: Micros) -> Option<usize> {
        let mut best = (0, None);
        for (length, list) in self.lengths.iter().enumerate() {
            let Some(head) = list.head() else { continue };
            if self.slots.at(head).due <= now {
                return Some(length);
            }
            if list.len() > best.0 {
                best = (list.len(), Some(length));
            }
        }
        best.1
    }

    /// The next lane of a resolver that takes queries; a lane that has been in use for long makes room for a new port,
    /// one at a time: a question that was lost on a draining lane can always be asked again on another.
    fn lane_for(&mut self, at: u16) -> Option<u16> {
        let resolver = self.resolvers.get_mut(usize::from(at))?;
        let count = resolver.lanes.len();
        for _ in 0..count {
            resolver.next_lane = (resolver.next_lane + 1) % count;
            let number = *resolver.lanes.get(resolver.next_lane)?;
            let lane = self.lanes.get_mut(usize::from(number))?;
            if lane.draining {
                continue;
            }
            if lane.sent >= lane.rotate_at && !lane.stream && count > 1 && !resolver.drains {
                lane.draining = true;
                resolver.drains = true;
                if lane.out == 0 {
                    self.rotations.push(number);
                }
                continue;
            }
            return Some(number);
        }
        None
    }

    /// Asks a question once more; false if it ended instead because its time is over.
    fn resend(
        &mut self,
        slot: u32,
        at: u16,
        stream: bool,
        now: Micros,
        sink: &mut impl Sink,
        outlet: &mut impl Outlet,
    ) -> bool {
        let held = self.slots.at(slot);
        if now >= held.first + self.options.name_timeout {
            let failure = held.failure;
            self.finish(slot, now, Outcome::Failed(failure, None), sink);
            return false;
        }
        let lane = match self.resolvers.get(usize::from(at)).and_then(|resolver| resolver.stream_lane) {
            Some(lane) if stream => Some(lane),
            _ => self.lane_for(at),
        };
        match lane {
            Some(lane) => self.send(slot, at, lane, now, outlet),
            None => self.rest(slot, now, FIRST_REST),
        }
        true
    }

    /// Sends one query and sets its timer.
    fn send(&mut self, slot: u32, at: u16, lane: u16, now: Micros, outlet: &mut impl Outlet) {
        let (Some(id), Some(resolver)) = (self.ids.take(lane, slot), self.resolvers.get_mut(usize::from(at))) else {
            return self.rest(slot, now, FIRST_REST);
        };
        let held = self.slots.at_mut(slot);
        held.tries = held.tries.saturating_add(1);
        held.state = State::Asked;
        held.resolver = at;
        held.live = true;
        // A stream repeats what was lost by itself: there is no use in asking twice before the time is up.
        let stream = self.lanes.get(usize::from(lane)).is_some_and(|lane| lane.stream);
        let longest = self.options.try_timeout;
        let wait = if stream { longest } else { resolver.wait(held.tries, longest) };
        held.due = (now + wait).min(held.first + self.options.name_timeout);
        let forgotten = held.push_ticket(Ticket { lane, id, sent: now as u32 });
        if let Some(template) = self.templates.get(usize::from(at)) {
            template.compose(resolver.edns, id, held.question(), &mut self.packet);
        }
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.sent += 1;
            lane.out += 1;
            if lane.extra {
                resolver.stream_in_flight += 1;
            } else {
                resolver.sent(now);
            }
        }
        self.wheel.set(&mut self.slots, slot);
        if let Some(ticket) = forgotten {
            self.release(ticket);
        }
        outlet.send(lane, &self.packet);
    }

    /// The next moment at which something can be done without a packet coming in.
    pub fn wake_at(&self, now: Micros) -> Option<Micros> {
        let mut at = self.wheel.next_due();
        let mut sooner = |time: Micros| at = Some(at.map_or(time, |at| at.min(time)));
        let fresh = self.waiting > 0 && self.active < self.options.concurrency;
        for resolver in &self.resolvers {
            if fresh || !resolver.queue.is_empty() {
                if resolver.benched_until() > now {
                    sooner(resolver.benched_until());
                }
                if let Some(time) = resolver.paced_until() {
                    sooner(time);
                }
            }
        }
        if let Some(rate) = self.options.rate
            && self.tokens < 1.0
            && self.unfinished() > 0
        {
            sooner(self.tokens_at + ((1.0 - self.tokens) * 1e6 / rate) as Micros + 1);
        }
        at
    }

    /// The lanes that need a new port now: nothing is under way on them. The driver opens them afresh and says so with
    /// [`Engine::rotated`].
    pub fn take_rotations(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.rotations)
    }

    /// A lane has a new port.
    pub fn rotated(&mut self, lane: u16) {
        let rotate_at = ROTATE_AFTER / 2 + self.random.below(ROTATE_AFTER as usize) as u32;
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            *lane = Lane { sent: 0, rotate_at, draining: false, ..*lane };
            if let Some(resolver) = self.resolvers.get_mut(usize::from(lane.resolver)) {
                resolver.drains = false;
            }
        }
    }

    /// What each resolver has done so far.
    pub fn health(&self) -> impl Iterator<Item = Health> + '_ {
        self.resolvers.iter().map(Resolver::health)
    }

    /// Mixes the case of the question's letters.
    fn mix_case(&mut self, slot: u32) {
        let held = self.slots.at_mut(slot);
        let name = usize::from(held.question_len).saturating_sub(4);
        let (mut bits, mut left) = (0, 0);
        for byte in held.question.iter_mut().take(name) {
            if left == 0 {
                (bits, left) = (self.random.bits(), 32);
            }
            // Length bytes are below 64 and no letters.
            if byte.is_ascii_alphabetic() && bits & 1 == 1 {
                *byte ^= 0x20;
            }
            bits >>= 1;
            left -= 1;
        }
    }
}

#[cfg(test)]
impl Engine {
    /// Bytes in what could grow; the lists of lanes that change their ports, a few bytes, come and go.
    pub(super) fn memory(&self) -> usize {
        let sets = [self.lanes.capacity(), self.resolvers.capacity(), self.lengths.capacity(), self.packet.capacity()];
        sets.iter().sum::<usize>() + self.slots.memory() + self.wheel.memory()
    }

    /// After a run nothing may be left over: no ID, no slot, no place in a window.
    pub(super) fn assert_everything_is_free(&self) {
        assert_eq!(self.ids.free(), 1 << 16, "IDs leaked");
        assert_eq!(self.slots.free(), self.slots.capacity() as usize, "slots leaked");
        assert!(self.lanes.iter().all(|lane| lane.out == 0), "tickets leaked");
        let in_flight = |resolver: &Resolver| resolver.in_flight + resolver.stream_in_flight;
        assert!(self.resolvers.iter().all(|resolver| in_flight(resolver) == 0), "windows leaked");
        assert!(self.resolvers.iter().all(|it| it.queue.is_empty() && it.stream_queue.is_empty()), "lists leaked");
    }
}
