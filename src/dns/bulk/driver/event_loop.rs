//! One event loop: it takes blocks of names, runs the engine, and carries packets and records. With many questions in
//! flight it works in turns of a few hundred microseconds, so that each system call carries many packets.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::merger::{LoopProgress, OutputMerger};
use super::reader::{QuestionReader, SharedInput};
use super::settings::{BulkSettings, RunObserver};
use super::sockets::SocketSet;
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{BulkOptions, FinishedQuestion, OutcomeSink, QueryFailure, ServerLabel, SocketPlan};
use crate::dns::bulk::collect::{BulkCounts, Collector, MAX_ORDERED};
use crate::dns::bulk::engine::{Engine, Random, ResolverStats};
use crate::dns::bulk::wildcard::WildcardFilter;
use crate::dns::bulk::write::{RecordWriter, detail};
use crate::dns::client::Endpoint;
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};

/// The run ends when no server sends a valid answer for this long: the remaining questions fail as unanswered.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The length of a turn: with longer ones the sockets' buffers overflow, shorter ones cost system calls.
const TURN: Duration = Duration::from_micros(300);
/// The loop works in turns from this number of questions in flight on.
const TURNS_FROM: usize = 64;
/// Records are written when they reach this many bytes …
const FLUSH_BYTES: usize = 256 * 1024;
/// … or when the oldest of them reaches this age.
const FLUSH_AFTER: Micros = 50_000;
/// The maximum sleep of the loop, for any event.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// The maximum sleep while other loops are too far behind.
const MAX_STALL: Duration = Duration::from_millis(2);
/// The interval of a loop's progress reports.
const PROGRESS_EVERY: Micros = 100_000;
/// A loop without an iteration for this long counts as suspended.
const STOOD_STILL: Micros = 5_000_000;
/// The maximum number of sockets for each server.
const MAX_SOCKETS_EACH: usize = 4;
/// The maximum number of sockets in one loop; with many servers, each gets fewer.
const MAX_SOCKETS: usize = 4096;

/// The result of one loop.
#[derive(Debug)]
pub(super) struct LoopReport {
    pub(super) counts: BulkCounts,
    pub(super) servers: Vec<ResolverStats>,
    pub(super) stopped: Option<String>,
}

pub(super) struct EventLoop<'a, S> {
    number: usize,
    settings: &'a BulkSettings,
    merger: &'a OutputMerger<'a, S>,
    input: &'a Mutex<SharedInput>,
    started: Instant,
    engine: Engine,
    sockets: SocketSet,
    filter: WildcardFilter,
    reader: QuestionReader<'a>,
    /// The time since which records wait to be written.
    unflushed: Option<Micros>,
    progress_shown: Micros,
    stopped: Option<String>,
}

impl<'a, S: RunObserver> EventLoop<'a, S> {
    pub(super) fn new(
        number: usize,
        options: BulkOptions,
        settings: &'a BulkSettings,
        input: &'a Mutex<SharedInput>,
        merger: &'a OutputMerger<'a, S>,
        started: Instant,
    ) -> Result<EventLoop<'a, S>, Fault> {
        let each = (MAX_SOCKETS / settings.servers.len().max(1)).clamp(1, MAX_SOCKETS_EACH);
        let plan = |endpoint: &Endpoint| SocketPlan {
            sockets: if endpoint.transport == Transport::Udp { each } else { 0 },
            encrypted: endpoint.transport.is_encrypted(),
        };
        let plans: Vec<SocketPlan> = settings.servers.iter().map(|(endpoint, _)| plan(endpoint)).collect();
        let endpoints =
            settings.servers.iter().zip(&plans).map(|((endpoint, _), plan)| (endpoint.clone(), plan.sockets));
        let answer_size = usize::from(options.edns.as_ref().map_or(512, |edns| edns.udp_size)).max(512) + 16;
        let sockets = SocketSet::open(endpoints, Duration::from_micros(options.try_timeout), answer_size)
            .map_err(|error| Fault::network("opening sockets", &error))?;
        // Answers beyond the capacity of the sockets would be lost on arrival.
        let most = u32::try_from(sockets.capacity(each)).unwrap_or(u32::MAX);
        let options = BulkOptions { max_window: options.max_window.min(most), ..options };
        getrandom::fill(&mut [0]).map_err(|error| Fault::new(Kind::Internal, format!("no randomness: {error}")))?;
        // The call above has worked, so this one does not fail.
        let random = || {
            Random::new(|block| {
                let _ = getrandom::fill(block);
            })
        };
        let now = started.elapsed().as_micros() as Micros;
        let named = settings.servers.iter().map(|(endpoint, name)| ServerLabel {
            address: endpoint.address,
            name: name.clone(),
            transport: endpoint.transport,
        });
        let named: Vec<ServerLabel> = named.collect();
        let writer = RecordWriter::new(settings.format.clone(), settings.end, options.mix_case, &named);
        let ordered = settings.ordered.then_some(MAX_ORDERED / settings.threads.max(1) as u64);
        Ok(EventLoop {
            number,
            settings,
            merger,
            input,
            started,
            engine: Engine::new(options, &plans, random(), now),
            sockets,
            filter: WildcardFilter::new(Collector::new(writer, ordered), settings.wildcards, random()),
            reader: QuestionReader::new(input, settings),
            unflushed: None,
            progress_shown: 0,
            stopped: None,
        })
    }

    fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    /// Runs until the input has ended and every question taken from it has its record.
    pub(super) fn run(mut self) -> Result<LoopReport, Fault> {
        while !self.merger.is_halted() {
            let now = self.now();
            self.filter.ask_probes(|number, question| self.engine.ask(now, number, question));
            if self.filter.has_room() {
                self.reader.feed(now, self.merger.block_limit(), &mut self.engine, &mut self.filter.collector)?;
            }
            self.engine.transmit(now, &mut self.filter, &mut self.sockets);
            self.sockets.flush();
            self.sockets.report_failures(now, &mut self.engine, &mut self.filter);
            self.rotate()?;
            let finished = self.reader.ended && self.engine.unfinished() == 0 && self.filter.is_idle();
            self.flush(now, finished || self.engine.active() == 0)?;
            if finished {
                break;
            }
            self.wait(now);
            let started = self.started;
            let clock = || started.elapsed().as_micros() as Micros;
            self.sockets
                .receive(clock, &mut self.engine, &mut self.filter)
                .map_err(|error| Fault::network("receiving", &error))?;
            let now = self.now();
            self.engine.tick(now, &mut self.filter);
            self.give_up_if_dead(now);
            if now.saturating_sub(self.progress_shown) >= PROGRESS_EVERY {
                // A suspended loop (stopped, or its records were not taken) cannot have received anything.
                if now.saturating_sub(self.progress_shown) > STOOD_STILL {
                    self.engine.restart_silence(now);
                }
                self.progress_shown = now;
                self.give_up_if_hopeless(now);
                self.show_progress(now);
            }
        }
        let counts = self.filter.collector.counts;
        Ok(LoopReport { counts, servers: self.engine.stats().collect(), stopped: self.stopped })
    }

    /// Sleeps for a turn if many questions are in flight, otherwise until an event.
    fn wait(&self, now: Micros) {
        if self.engine.active() >= TURNS_FROM {
            return std::thread::sleep(TURN);
        }
        let more = !self.reader.ended && self.reader.waits_for.is_none() && self.engine.room() > 0;
        let mut longest = if self.reader.stalled { MAX_STALL } else { MAX_SLEEP };
        if let Some(at) = self.engine.wake_at(now) {
            longest = longest.min(Duration::from_micros(at.saturating_sub(now)));
        }
        if self.unflushed.is_some() {
            longest = longest.min(Duration::from_micros(FLUSH_AFTER));
        }
        if let Some(until) = self.settings.until {
            longest = longest.min(until.saturating_duration_since(Instant::now()));
        }
        if more && !self.reader.stalled && self.engine.active() == 0 && self.engine.wake_at(now).is_none() {
            longest = Duration::ZERO;
        }
        self.sockets.wait(self.reader.waits_for.as_deref(), longest);
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        for socket in self.engine.take_rotations() {
            self.sockets.reopen(socket).map_err(|error| Fault::network("opening a socket", &error))?;
            self.engine.rotated(socket);
        }
        Ok(())
    }

    /// Writes records if they are many or old, if other loops wait for them, or if the loop is idle.
    fn flush(&mut self, now: Micros, idle: bool) -> Result<(), Fault> {
        let collector = &mut self.filter.collector;
        if collector.ready.is_empty() && !collector.has_news() {
            return Ok(());
        }
        let since = *self.unflushed.get_or_insert(now);
        let others_wait = self.settings.ordered && self.settings.threads > 1 && collector.has_news();
        let soon = idle || others_wait || collector.ready.len() >= FLUSH_BYTES;
        if !soon && now.saturating_sub(since) < FLUSH_AFTER {
            return Ok(());
        }
        let shares = collector.shares();
        self.merger.merge(&collector.ready, &shares, &mut collector.reported)?;
        collector.ready.clear();
        self.unflushed = None;
        Ok(())
    }

    /// Stops the loop, once, if no server is reachable.
    fn give_up_if_dead(&mut self, now: Micros) {
        let Some(failure) = self.engine.dead().filter(|_| self.stopped.is_none()) else { return };
        if self.merger.answered.load(Ordering::Relaxed) {
            return; // to another loop
        }
        let why = self.sockets.last_fault.take().map_or_else(|| detail(failure).to_owned(), |fault| fault.detail);
        self.stop(now, format!("no server answers: {why}"), failure);
    }

    fn give_up_if_hopeless(&mut self, now: Micros) {
        let late = self.settings.until.is_some_and(|until| Instant::now() >= until);
        // A valid answer to one loop counts for all.
        let last_valid = self.merger.last_valid_answer(now.saturating_sub(self.engine.silence(now)));
        let silent = u128::from(now.saturating_sub(last_valid)) > MAX_SILENCE.as_micros();
        if self.engine.is_answered() {
            self.merger.answered.store(true, Ordering::Relaxed);
        }
        if self.stopped.is_some() || !(late || silent) {
            return;
        }
        self.reader.ended |= late;
        let why = if late { "time is up" } else { "no server answers" };
        self.stop(now, why.to_owned(), QueryFailure::TimedOut);
    }

    /// Ends the questions in progress; the remaining ones fail without being asked. A resumable run ends here.
    fn stop(&mut self, now: Micros, why: String, failure: QueryFailure) {
        self.stopped = Some(why);
        self.reader.hopeless = Some(failure);
        if self.settings.resumable {
            self.reader.ended = true;
            // Unanswered questions stay open: the next run asks them again.
            self.engine.give_up(now, failure, &mut Discard);
            self.filter.forget_held();
        } else {
            self.engine.give_up(now, failure, &mut self.filter);
            self.filter.end_probes();
        }
    }

    fn show_progress(&self, now: Micros) {
        let (mut sent, mut vain) = (0, 0);
        for stats in self.engine.stats() {
            sent += stats.sent;
            vain += stats.timed_out + stats.unreachable;
        }
        let counts = self.filter.collector.counts.clone();
        let progress = LoopProgress { counts, queries: (sent, vain), in_flight: self.engine.active() };
        let bytes = self.input.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        self.merger.show(self.number, progress, bytes, now);
    }
}

/// Drops outcomes, so that their questions stay open.
struct Discard;

impl OutcomeSink for Discard {
    fn finished(&mut self, _: &FinishedQuestion<'_>) {}
}
