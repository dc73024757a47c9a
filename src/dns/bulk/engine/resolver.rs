//! One resolver: its window, its round trips, the template of its queries, and a quarantine while it does not serve.

use serde::{Serialize, Serializer};

use super::ids::Random;
use super::template::QueryTemplate;
use super::window::{CongestionWindow, QueryOutcome};
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{BulkOptions, ResolverId, SocketPlan};

/// The wait for a first answer; later waits follow the measured round trips.
const FIRST_WAIT: Micros = 1_000_000;
/// The minimum margin over the measured round trips, however even they are: a busy server is not a lost packet.
const MIN_MARGIN: f64 = 20_000.0;
/// The length of the first quarantine; the next ones double up to [`MAX_QUARANTINE`].
const FIRST_QUARANTINE: Micros = 2_000_000;
/// The maximum length of a quarantine.
const MAX_QUARANTINE: Micros = 60_000_000;
/// Fewer unanswered queries do not prove that no resolver is there: a resolver may drop the queries for one name.
const MANY_IN_VAIN: u64 = 64;
/// The maximum number of queries in flight over a connection beside UDP sockets.
const MAX_ON_SPARE: u32 = 256;

/// The statistics of a resolver so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ResolverStats {
    /// Queries sent.
    pub sent: u64,
    /// Answers taken, negative ones included.
    pub answered: u64,
    /// Queries without an answer in time.
    pub timed_out: u64,
    /// Responses with SERVFAIL.
    pub servfail: u64,
    /// REFUSED and other rcodes that are no answer.
    pub refused: u64,
    /// Truncated answers, asked again over TCP.
    pub truncated: u64,
    /// Packets that match no question in flight: wrong ID, wrong question, unreadable. Never trusted.
    pub mismatched: u64,
    /// Questions asked again without EDNS, because the resolver rejected it (RFC 6891, section 7).
    #[serde(skip_serializing_if = "is_none")]
    pub without_edns: u64,
    /// Answers to questions that were already done, and duplicates.
    pub late: u64,
    /// Queries that failed because no service listens there, or the network is down.
    pub unreachable: u64,
    /// The number of quarantines.
    #[serde(rename = "benched")]
    pub quarantined: u64,
    /// The slowest pace used because of its rate limit, in queries per second; 0 = no rate limit seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub limited_to: u32,
    /// The present window.
    pub window: u32,
    /// The smoothed round trip, in microseconds; 0 = none seen.
    #[serde(rename = "round_trip_ms", serialize_with = "as_milliseconds")]
    pub round_trip: Micros,
}

fn is_none(figure: &u64) -> bool {
    *figure == 0
}

fn is_zero(figure: &u32) -> bool {
    *figure == 0
}

fn as_milliseconds<S: Serializer>(micros: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*micros as f64 / 1e3)
}

impl ResolverStats {
    /// Adds another loop's statistics of the same resolver.
    pub fn add(&mut self, other: &ResolverStats) {
        let answers = (self.answered as f64, other.answered as f64);
        if other.round_trip > 0 {
            let sum = self.round_trip as f64 * answers.0 + other.round_trip as f64 * answers.1.max(1.0);
            self.round_trip = (sum / (answers.0 + answers.1.max(1.0))) as Micros;
        }
        self.sent += other.sent;
        self.answered += other.answered;
        self.timed_out += other.timed_out;
        self.servfail += other.servfail;
        self.refused += other.refused;
        self.truncated += other.truncated;
        self.mismatched += other.mismatched;
        self.without_edns += other.without_edns;
        self.late += other.late;
        self.unreachable += other.unreachable;
        self.quarantined += other.quarantined;
        self.limited_to += other.limited_to;
        self.window += other.window;
    }
}

/// The smoothed round trip and its variance (RFC 6298), in microseconds; 0 = none seen.
#[derive(Debug, Default)]
struct RoundTrip {
    smoothed: f64,
    variance: f64,
}

impl RoundTrip {
    fn sample(&mut self, micros: Micros) {
        let sample = (micros as f64).max(1.0);
        if self.smoothed == 0.0 {
            self.smoothed = sample;
            self.variance = sample / 2.0;
        } else {
            self.variance += ((self.smoothed - sample).abs() - self.variance) / 4.0;
            self.smoothed += (sample - self.smoothed) / 8.0;
        }
    }

    /// The wait for the answer to try number `tries`.
    fn timeout(&self, tries: u8, longest: Micros) -> Micros {
        let base = if self.smoothed > 0.0 {
            (self.smoothed + (4.0 * self.variance).max(MIN_MARGIN)) as Micros
        } else {
            FIRST_WAIT
        };
        (base << tries.saturating_sub(1).min(6)).min(longest)
    }
}

/// The total wait of all tries of a question if no round trips are known.
pub(super) fn patience(tries: u8, longest: Micros) -> Micros {
    let early: Micros = (1..tries).map(|tried| RoundTrip::default().timeout(tried, longest)).sum();
    early + longest
}

/// The state after a quarantine: one query at a time probes the resolver, until one is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probation {
    Over,
    Probing,
    Failed,
}

#[derive(Debug)]
struct Quarantine {
    until: Micros,
    /// The length of the next quarantine.
    next: Micros,
    probation: Probation,
}

impl Quarantine {
    fn begin(&mut self, now: Micros) {
        self.until = now + self.next;
        self.next = (self.next * 2).min(MAX_QUARANTINE);
        self.probation = Probation::Probing;
    }

    fn holds(&self, now: Micros) -> bool {
        now < self.until
    }

    /// Takes the outcome of a probe; true if it ends the probation.
    fn probed(&mut self, outcome: QueryOutcome) -> bool {
        let ends = self.probation != Probation::Over && outcome == QueryOutcome::Answered;
        match self.probation {
            Probation::Over => {}
            _ if ends => (self.probation, self.next) = (Probation::Over, FIRST_QUARANTINE),
            _ => self.probation = Probation::Failed,
        }
        ends
    }
}

/// The sign of life of a resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignOfLife {
    /// Nothing has failed so far.
    Unknown,
    /// A query was not answered.
    Missing,
    /// No connection to it is possible.
    NoConnection,
    /// A valid response came.
    Seen,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ResolverState {
    /// Counters, used only for the summary.
    pub(super) counters: ResolverStats,
    pub(super) template: QueryTemplate,
    window: CongestionWindow,
    /// The number of queries over the connection beside the UDP sockets: they do not count in the window.
    spare_in_flight: u32,
    round_trip: RoundTrip,
    quarantine: Quarantine,
    life: SignOfLife,
}

impl ResolverState {
    pub(super) fn new(options: &BulkOptions, plan: &SocketPlan, random: &mut Random, now: Micros) -> ResolverState {
        ResolverState {
            counters: ResolverStats::default(),
            template: QueryTemplate::new(options, plan.encrypted, random),
            window: CongestionWindow::new(options.max_window, now),
            spare_in_flight: 0,
            round_trip: RoundTrip::default(),
            quarantine: Quarantine { until: 0, next: FIRST_QUARANTINE, probation: Probation::Over },
            life: SignOfLife::Unknown,
        }
    }

    /// Notes that no connection to it is possible, and that a retry would not help.
    pub(super) fn no_connection(&mut self) {
        if self.life != SignOfLife::Seen {
            self.life = SignOfLife::NoConnection;
        }
    }

    /// The number of queries that may be sent now.
    pub(super) fn room(&mut self, now: Micros) -> u32 {
        match self.quarantine.probation {
            _ if self.quarantine.holds(now) => 0,
            Probation::Over => self.window.room(now, u32::MAX),
            Probation::Probing | Probation::Failed => self.window.room(now, 1),
        }
    }

    /// True if a query may be sent over the connection beside the UDP sockets.
    pub(super) fn has_spare_room(&self) -> bool {
        self.spare_in_flight < MAX_ON_SPARE
    }

    /// Counts a sent query; it is in flight until [`ResolverState::settle`].
    pub(super) fn send(&mut self, now: Micros, spare: bool) {
        if spare {
            self.spare_in_flight += 1;
        } else {
            self.window.send(now);
            self.counters.sent += 1;
        }
    }

    /// Counts a query that is no longer in flight.
    pub(super) fn settle(&mut self, spare: bool) {
        if spare {
            assert!(self.spare_in_flight > 0, "a query is settled once");
            self.spare_in_flight -= 1;
        } else {
            self.window.settle();
        }
    }

    /// The wait for the answer to try number `tries`.
    pub(super) fn timeout(&self, tries: u8, longest: Micros) -> Micros {
        self.round_trip.timeout(tries, longest)
    }

    /// Takes the time of a valid response; `newest`: it answers the query in flight, not one that counted as lost.
    pub(super) fn responded(&mut self, after: Micros, newest: bool) {
        self.round_trip.sample(after);
        self.life = SignOfLife::Seen;
        if !newest {
            self.window.not_lost();
        }
    }

    /// Counts the outcome of a query. Outcomes during a quarantine belong to earlier queries and are judged already.
    pub(super) fn count(&mut self, now: Micros, outcome: QueryOutcome) {
        if outcome == QueryOutcome::Lost && self.life == SignOfLife::Unknown {
            self.life = SignOfLife::Missing;
        }
        if self.quarantine.holds(now) {
            return;
        }
        self.window.count(outcome);
        if self.quarantine.probed(outcome) {
            self.window.restart();
        }
    }

    /// Counts a packet that answers no query.
    pub(super) fn mismatch(&mut self) {
        self.counters.mismatched += 1;
        self.window.mismatch();
    }

    /// Judges the resolver when there is enough data; true if it should be quarantined. The caller decides, since it
    /// knows the state of the others.
    #[must_use]
    pub(super) fn judge(&mut self, now: Micros) -> bool {
        self.quarantine.probation == Probation::Failed || self.window.judge(now, self.round_trip.smoothed as Micros)
    }

    pub(super) fn quarantine(&mut self, now: Micros) {
        self.quarantine.begin(now);
        self.window.forget(now);
        self.counters.quarantined += 1;
    }

    /// True if it serves, as far as is known.
    pub(super) fn serves(&self, now: Micros) -> bool {
        !self.quarantine.holds(now) && self.quarantine.probation == Probation::Over
    }

    /// True if nothing indicates that it is unreachable.
    fn may_be_there(&self) -> bool {
        matches!(self.life, SignOfLife::Unknown | SignOfLife::Seen)
    }

    /// True if it has sent a valid response.
    pub(super) fn is_alive(&self) -> bool {
        self.life == SignOfLife::Seen
    }

    /// The next time at which it may be asked, if a quarantine or a pace holds queries back.
    pub(super) fn held_back_until(&self, now: Micros) -> Option<Micros> {
        let quarantine = Some(self.quarantine.until).filter(|until| *until > now);
        quarantine.into_iter().chain(self.window.paced_until()).min()
    }

    /// The statistics, with the present window.
    pub(super) fn stats(&self) -> ResolverStats {
        ResolverStats {
            window: self.window.size(),
            limited_to: self.window.slowest_pace(),
            round_trip: self.round_trip.smoothed as Micros,
            ..self.counters
        }
    }
}

/// All resolvers.
#[derive(Debug)]
pub(super) struct Resolvers(Vec<ResolverState>);

impl Resolvers {
    pub(super) fn new(options: &BulkOptions, plans: &[SocketPlan], random: &mut Random, now: Micros) -> Resolvers {
        Resolvers(plans.iter().map(|plan| ResolverState::new(options, plan, random, now)).collect())
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = ResolverId> + use<> {
        (0..self.0.len() as u16).map(ResolverId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ResolverState> {
        self.0.iter()
    }

    /// Another resolver that serves, at random: preferably one that has answered, then one that is untried, then any;
    /// `last` if there is no other.
    pub(super) fn another(&self, last: ResolverId, now: Micros, random: &mut Random) -> ResolverId {
        let count = self.0.len();
        let start = random.below(count.max(1));
        let turn = |step| ResolverId(((start + step) % count) as u16);
        let others = || (0..count).map(turn).filter(|at| *at != last && self[*at].serves(now));
        let with = |life| others().find(|at| self[*at].life == life);
        with(SignOfLife::Seen).or_else(|| with(SignOfLife::Unknown)).or_else(|| others().next()).unwrap_or(last)
    }

    /// True if the next resolver may be reachable and the last one never was: the failed try then says nothing about the question.
    pub(super) fn is_better(&self, next: ResolverId, last: ResolverId) -> bool {
        self[next].may_be_there() && !self[last].may_be_there()
    }

    /// True if no resolver has shown a sign of life, though every one was asked.
    pub(super) fn are_silent(&self) -> bool {
        !self.iter().any(ResolverState::may_be_there)
    }

    /// The same as `are_silent`, but based on more than one or two names.
    pub(super) fn are_silent_to_many(&self) -> bool {
        let vain: u64 = self.iter().map(|one| one.counters.timed_out + one.counters.unreachable).sum();
        vain >= MANY_IN_VAIN && self.are_silent()
    }

    /// True if no connection to any resolver is possible.
    pub(super) fn are_unconnected(&self) -> bool {
        self.iter().all(|one| one.life == SignOfLife::NoConnection)
    }

    /// Judges a resolver; one that does not serve is quarantined if another one serves.
    pub(super) fn judge(&mut self, at: ResolverId, now: Micros) {
        let failed = self[at].judge(now);
        let serves = |one: ResolverId| one != at && self[one].serves(now) && self[one].counters.answered > 0;
        if failed && self.ids().any(serves) {
            self[at].quarantine(now);
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "only the socket plans make resolver numbers, one for each resolver")]
impl std::ops::Index<ResolverId> for Resolvers {
    type Output = ResolverState;

    fn index(&self, at: ResolverId) -> &ResolverState {
        &self.0[usize::from(at.0)]
    }
}

#[expect(clippy::indexing_slicing, reason = "only the socket plans make resolver numbers, one for each resolver")]
impl std::ops::IndexMut<ResolverId> for Resolvers {
    fn index_mut(&mut self, at: ResolverId) -> &mut ResolverState {
        &mut self.0[usize::from(at.0)]
    }
}

#[cfg(test)]
impl ResolverState {
    /// The number of queries in flight: in the window, and over the connection beside it.
    pub(super) fn in_flight(&self) -> (u32, u32) {
        (self.window.in_flight(), self.spare_in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> ResolverState {
        let plan = SocketPlan { sockets: 1, encrypted: false };
        ResolverState::new(&BulkOptions::default(), &plan, &mut Random::seeded(1), 0)
    }

    #[test]
    fn the_quarantine_grows_and_an_answered_probe_ends_it() {
        let mut resolver = resolver();
        let full = resolver.room(0);
        resolver.quarantine(0);
        assert_eq!((resolver.room(1_999_999), resolver.room(2_000_000)), (0, 1));
        resolver.count(1_000_000, QueryOutcome::Lost);
        assert!(!resolver.judge(2_000_000), "what was asked before the quarantine does not count");
        resolver.send(2_000_000, false);
        resolver.settle(false);
        resolver.count(2_500_000, QueryOutcome::Lost);
        assert!(resolver.judge(2_500_000), "a failed probe is judged at once");
        resolver.quarantine(2_500_000);
        assert_eq!(resolver.held_back_until(2_500_000), Some(6_500_000));
        assert!(!resolver.serves(7_000_000));
        resolver.count(7_000_000, QueryOutcome::Answered);
        assert!(resolver.serves(7_000_000));
        assert_eq!(resolver.room(7_000_000), full);
    }

    /// If no other resolver serves, a failed probe has no consequence, and the next answer still ends the probation.
    #[test]
    fn a_failed_probe_is_forgotten_with_the_next_answer() {
        let mut resolver = resolver();
        resolver.quarantine(0);
        resolver.count(2_000_000, QueryOutcome::Lost);
        assert!(resolver.judge(2_000_000));
        resolver.count(2_100_000, QueryOutcome::Answered);
        assert!(!resolver.judge(3_000_000) && resolver.serves(3_000_000));
    }

    #[test]
    fn waiting_follows_the_round_trips() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.timeout(1, 5_000_000), FIRST_WAIT);
        for _ in 0..100 {
            round_trip.sample(30_000);
        }
        assert_eq!(round_trip.timeout(1, 5_000_000), 50_000);
        assert_eq!(round_trip.timeout(3, 5_000_000), 4 * 50_000, "each try waits longer");
        assert_eq!(round_trip.timeout(200, 5_000_000), 3_200_000);
    }
}
