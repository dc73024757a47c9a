//! One loop: it takes blocks of names, lets the engine decide, and carries packets and records. When much is in flight it
//! works in turns of some hundred microseconds, so that each call to the system does much.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::collect::{Collector, Counts, MAX_ORDERED};
use super::drive::{MAX_SILENCE, Settings, Surroundings};
use super::drive_hub::{Hub, Standing};
use super::drive_intake::{Intake, Supply};
use super::drive_sockets::Sockets;
use super::terms::{Failure, Options};
use super::wildcard::Judge;
use super::write::Writer;
use super::{Done, Engine, Health, Micros, Random, Server, Sink, Way};
use crate::dns::client::Endpoint;
use crate::dns::exchange::Transport;
use crate::fault::{Fault, Kind};

/// With so many questions in flight the loop works in turns.
const MUCH: usize = 64;
/// Records leave when they are so many bytes …
const FLUSH_BYTES: usize = 256 * 1024;
/// … or the oldest of them is so old.
const FLUSH_AFTER: Micros = 50_000;
/// The longest sleep of the loop, whatever it waits for.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// The longest sleep while other loops are too far behind.
const MAX_STALL: Duration = Duration::from_millis(2);
/// How often a loop says how far it is.
const TELL_EVERY: Micros = 100_000;
/// A loop that did not come round for so long stood still.
const STOOD_STILL: Micros = 5_000_000;
/// Sockets for each server, if there are few servers.
const MAX_LANES: usize = 4;
/// Sockets of one loop; beyond that each server gets fewer.
const MAX_SOCKETS: usize = 4096;

/// What one loop did.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) counts: Counts,
    pub(super) servers: Vec<Health>,
    pub(super) stopped: Option<&'static str>,
}

pub(super) struct Loop<'a, S> {
    number: usize,
    settings: &'a Settings,
    hub: &'a Hub<'a, S>,
    supply: &'a Mutex<Supply>,
    started: Instant,
    engine: Engine,
    sockets: Sockets,
    judge: Judge,
    intake: Intake<'a>,
    /// Since when records wait to leave.
    unflushed: Option<Micros>,
    spoke: Micros,
    stopped: Option<&'static str>,
}

impl<'a, S: Surroundings> Loop<'a, S> {
    pub(super) fn new(
        number: usize,
        options: Options,
        settings: &'a Settings,
        supply: &'a Mutex<Supply>,
        hub: &'a Hub<'a, S>,
        started: Instant,
    ) -> Result<Loop<'a, S>, Fault> {
        let lanes = (MAX_SOCKETS / settings.servers.len().max(1)).clamp(1, MAX_LANES);
        let way = |endpoint: &Endpoint| Way {
            sockets: if endpoint.transport == Transport::Udp { lanes } else { 0 },
            encrypted: endpoint.transport.is_encrypted(),
        };
        let ways: Vec<Way> = settings.servers.iter().map(|(endpoint, _)| way(endpoint)).collect();
        let endpoints = settings.servers.iter().zip(&ways).map(|((endpoint, _), way)| (endpoint.clone(), way.sockets));
        let answer_size = usize::from(options.edns.as_ref().map_or(512, |edns| edns.udp_size)).max(512) + 16;
        let sockets = Sockets::open(endpoints, Duration::from_micros(options.try_timeout), answer_size)
            .map_err(|error| Fault::network("opening sockets", &error))?;
        // What the sockets cannot hold would be lost on the last step.
        let most = u32::try_from(sockets.capacity(lanes)).unwrap_or(u32::MAX);
        let options = Options { max_window: options.max_window.min(most), ..options };
        getrandom::fill(&mut [0]).map_err(|error| Fault::new(Kind::Internal, format!("no randomness: {error}")))?;
        // It was there a moment ago, and does not go away.
        let random = || {
            Random::new(|block| {
                let _ = getrandom::fill(block);
            })
        };
        let now = started.elapsed().as_micros() as Micros;
        let named = settings.servers.iter().map(|(endpoint, name)| Server {
            address: endpoint.address,
            name: name.clone(),
            transport: endpoint.transport,
        });
        let named: Vec<Server> = named.collect();
        let writer = Writer::new(settings.form.clone(), settings.end, options.mix_case, &named);
        let ordered = settings.ordered.then_some(MAX_ORDERED / settings.threads.max(1) as u64);
        Ok(Loop {
            number,
            settings,
            hub,
            supply,
            started,
            engine: Engine::new(options, &ways, random(), now),
            sockets,
            judge: Judge::new(Collector::new(writer, ordered), settings.wildcards, random()),
            intake: Intake::new(supply, settings),
            unflushed: None,
            spoke: 0,
            stopped: None,
        })
    }

    fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    /// Runs until the input is over and every question taken from it has its record.
    pub(super) fn run(mut self) -> Result<Report, Fault> {
        while !self.hub.is_halted() {
            let now = self.now();
            self.judge.ask_probes(|number, question| self.engine.ask(now, number, question));
            if self.judge.has_room() {
                self.intake.feed(now, self.hub.end(), &mut self.engine, &mut self.judge.collector)?;
            }
            self.engine.transmit(now, &mut self.judge, &mut self.sockets);
            self.sockets.flush();
            self.sockets.report_failures(now, &mut self.engine, &mut self.judge);
            self.rotate()?;
            let finished = self.intake.ended && self.engine.unfinished() == 0 && self.judge.is_idle();
            self.flush(now, finished || self.engine.active() == 0)?;
            if finished {
                break;
            }
            self.wait(now);
            let started = self.started;
            let clock = || started.elapsed().as_micros() as Micros;
            self.sockets
                .receive(clock, &mut self.engine, &mut self.judge)
                .map_err(|error| Fault::network("receiving", &error))?;
            let now = self.now();
            self.engine.tick(now, &mut self.judge);
            if now.saturating_sub(self.spoke) >= TELL_EVERY {
                // Whoever stood still (stopped, or nobody took the records) cannot have heard anything.
                if now.saturating_sub(self.spoke) > STOOD_STILL {
                    self.engine.listen_anew(now);
                }
                self.spoke = now;
                self.give_up_if_hopeless(now);
                self.tell(now);
            }
        }
        let counts = self.judge.collector.counts;
        Ok(Report { counts, servers: self.engine.health().collect(), stopped: self.stopped })
    }

    /// Sleeps for a turn if much is in flight, otherwise until something happens.
    fn wait(&self, now: Micros) {
        if self.engine.active() >= MUCH {
            return std::thread::sleep(self.settings.turn);
        }
        let more = !self.intake.ended && self.intake.waits_for.is_none() && self.engine.room() > 0;
        let mut longest = if self.intake.stalled { MAX_STALL } else { MAX_SLEEP };
        if let Some(at) = self.engine.wake_at(now) {
            longest = longest.min(Duration::from_micros(at.saturating_sub(now)));
        }
        if self.unflushed.is_some() {
            longest = longest.min(Duration::from_micros(FLUSH_AFTER));
        }
        if let Some(until) = self.settings.until {
            longest = longest.min(until.saturating_duration_since(Instant::now()));
        }
        if more && !self.intake.stalled && self.engine.active() == 0 && self.engine.wake_at(now).is_none() {
            longest = Duration::ZERO;
        }
        self.sockets.wait(self.intake.waits_for.as_deref(), longest);
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        for lane in self.engine.take_rotations() {
            self.sockets.reopen(lane).map_err(|error| Fault::network("opening a socket", &error))?;
            self.engine.rotated(lane);
        }
        Ok(())
    }

    /// Lets records leave when they are many or old, or others wait for them, or nothing else is going on.
    fn flush(&mut self, now: Micros, idle: bool) -> Result<(), Fault> {
        let collector = &mut self.judge.collector;
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
        self.hub.take(&collector.ready, &shares, &mut collector.told)?;
        collector.ready.clear();
        self.unflushed = None;
        Ok(())
    }

    fn give_up_if_hopeless(&mut self, now: Micros) {
        let late = self.settings.until.is_some_and(|until| Instant::now() >= until);
        // What one loop hears of a server is good news for all.
        let heard = self.hub.heard(now.saturating_sub(self.engine.silence(now)));
        let silent = u128::from(now.saturating_sub(heard)) > MAX_SILENCE.as_micros();
        if self.stopped.is_some() || !(late || silent) {
            return;
        }
        self.stopped = Some(if late { "time is up" } else { "no server answers" });
        if late || self.settings.resumable {
            self.intake.ended = true;
        } else {
            self.intake.hopeless = true;
        }
        if self.settings.resumable {
            // What was not answered stays undone: the next run asks it again.
            self.engine.give_up(now, Failure::TimedOut, &mut Nobody);
            self.judge.forget_held();
        } else {
            self.engine.give_up(now, Failure::TimedOut, &mut self.judge);
            self.judge.end_probes();
        }
    }

    fn tell(&self, now: Micros) {
        let (mut sent, mut vain) = (0, 0);
        for health in self.engine.health() {
            sent += health.sent;
            vain += health.timed_out + health.unreachable;
        }
        let counts = self.judge.collector.counts.clone();
        let standing = Standing { counts, queries: (sent, vain), in_flight: self.engine.active() };
        let bytes = self.supply.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        self.hub.show(self.number, standing, bytes, now);
    }
}

/// Takes outcomes that are not to be told.
struct Nobody;

impl Sink for Nobody {
    fn done(&mut self, _: &Done<'_>) {}
}
