//! The driver: one loop that reads names, lets the engine decide, and carries packets and records. One thread, no runtime:
//! when much is in flight it works in turns of some hundred microseconds, so that each call to the system does much.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::collect::{Collector, Counts, Told};
use super::drive_input::{Input, Next};
use super::drive_sockets::Sockets;
use super::question::{self, Question};
use super::terms::{Failure, Options};
use super::wildcard::{Judge, Wildcards};
use super::write::{Form, Writer};
use super::{Engine, Health, Micros, Random};
use crate::dns::record::Rtype;
use crate::fault::{Fault, Kind};

/// With so many questions in flight the loop works in turns.
const MUCH: usize = 64;
/// Records leave when they are so many bytes …
const FLUSH_BYTES: usize = 256 * 1024;
/// … or the oldest of them is so old.
const FLUSH_AFTER: Micros = 50_000;
/// When no server said anything for so long, the run ends: whatever is left fails as unanswered.
pub const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The length of a turn: longer ones cost answers their place in the sockets' buffers, shorter ones cost calls.
pub const TURN: Duration = Duration::from_micros(300);
/// How often progress is shown.
const SHOW_EVERY: Micros = 200_000;
/// The longest sleep of the loop, whatever it waits for.
const MAX_SLEEP: Duration = Duration::from_millis(500);

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, each with the name that the user gave it.
    pub servers: Vec<(SocketAddr, String)>,
    /// Local address.
    pub bind: Option<IpAddr>,
    /// Over TCP alone.
    pub tcp: bool,
    /// The engine's part.
    pub options: Options,
    /// The types to ask for where a line names none.
    pub types: Vec<Rtype>,
    /// The class to ask in.
    pub class: u16,
    /// How records look.
    pub form: Form,
    /// What ends a record of text.
    pub end: u8,
    /// In the order of the input.
    pub ordered: bool,
    /// What to do with answers that a wildcard made.
    pub wildcards: Option<Wildcards>,
    /// So many questions are done already: they are read and passed over.
    pub skip: u64,
    /// A run that can be taken up again stops, rather than declaring what is left to have failed.
    pub resumable: bool,
    /// The end of the whole run.
    pub until: Option<Instant>,
    /// Length of a turn.
    pub turn: Duration,
}

/// What surrounds a run.
pub trait Surroundings {
    /// Takes whole records. When this returns they have left, and with them every question before `done_before`.
    fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault>;
    /// A failure to be told on stderr.
    fn told(&mut self, told: &Told);
    /// Shows how far it is.
    fn progress(&mut self, status: &Status<'_>);
}

/// How far a run is.
#[derive(Debug)]
pub struct Status<'a> {
    /// Bytes of input that became questions, and how many there are, if that is known.
    pub bytes: (u64, Option<u64>),
    /// The counts.
    pub counts: &'a Counts,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Queries sent, and those that brought nothing.
    pub queries: (u64, u64),
    /// Questions in flight.
    pub in_flight: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// The counts.
    pub counts: Counts,
    /// Queries sent, windows and health of each server, in the order of the settings.
    pub servers: Vec<Health>,
    /// From beginning to end.
    pub elapsed: Duration,
    /// The input was not read to its end: time was up, or nobody answered.
    pub stopped: Option<&'static str>,
    /// Every question before this number is done and its record has left.
    pub done_before: u64,
}

/// Runs until the input is over and every question has its record.
pub fn run(settings: &Settings, input: Input, around: &mut impl Surroundings) -> Result<Summary, Fault> {
    let started = Instant::now();
    let mut run = Run::new(settings, input, started)?;
    run.run(around)?;
    Ok(Summary {
        done_before: run.judge.collector.done_before(),
        counts: run.judge.collector.counts,
        servers: run.engine.health().collect(),
        elapsed: started.elapsed(),
        stopped: run.stopped,
    })
}

struct Run<'a> {
    settings: &'a Settings,
    started: Instant,
    engine: Engine,
    sockets: Sockets,
    judge: Judge,
    intake: Intake,
    /// Since when records wait to leave.
    unflushed: Option<Micros>,
    shown: Micros,
    stopped: Option<&'static str>,
}

impl<'a> Run<'a> {
    fn new(settings: &'a Settings, input: Input, started: Instant) -> Result<Run<'a>, Fault> {
        let addresses: Vec<SocketAddr> = settings.servers.iter().map(|(address, _)| *address).collect();
        // Many servers give enough ports by themselves.
        let lanes = if settings.tcp { 0 } else { (32 / addresses.len().max(1)).clamp(1, 4) };
        let answer_size = usize::from(settings.options.edns.unwrap_or(512)).clamp(512, 4096) + 16;
        let sockets = Sockets::open(&addresses, lanes, settings.bind, answer_size)
            .map_err(|error| Fault::network("opening sockets", &error))?;
        getrandom::fill(&mut [0]).map_err(|error| Fault::new(Kind::Internal, format!("no randomness: {error}")))?;
        // It was there a moment ago, and does not go away.
        let random = || {
            Random::new(|block| {
                let _ = getrandom::fill(block);
            })
        };
        let engine = Engine::new(settings.options.clone(), addresses.len(), lanes, random(), 0);
        let writer = Writer::new(settings.form.clone(), settings.end, settings.options.mix_case, &settings.servers);
        Ok(Run {
            settings,
            started,
            engine,
            sockets,
            judge: Judge::new(Collector::new(writer, settings.skip, settings.ordered), settings.wildcards, random()),
            intake: Intake::new(input, settings),
            unflushed: None,
            shown: 0,
            stopped: None,
        })
    }

    fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    fn run(&mut self, around: &mut impl Surroundings) -> Result<(), Fault> {
        loop {
            let now = self.now();
            self.judge.ask_probes(|number, question| self.engine.ask(now, number, question));
            if self.judge.has_room() {
                self.intake.feed(now, &mut self.engine, &mut self.judge.collector)?;
            }
            self.engine.transmit(now, &mut self.judge, &mut self.sockets);
            self.sockets.flush();
            self.sockets.report_failures(now, &mut self.engine, &mut self.judge);
            self.rotate()?;
            let finished = self.intake.ended && self.engine.unfinished() == 0 && self.judge.is_idle();
            self.flush(now, finished || self.engine.active() == 0, around)?;
            if finished {
                return Ok(());
            }
            self.wait(now);
            let started = self.started;
            let clock = || started.elapsed().as_micros() as Micros;
            self.sockets
                .receive(clock, &mut self.engine, &mut self.judge)
                .map_err(|error| Fault::network("receiving", &error))?;
            let now = self.now();
            self.engine.tick(now, &mut self.judge);
            self.give_up_if_hopeless(now);
            if now.saturating_sub(self.shown) >= SHOW_EVERY {
                self.shown = now;
                self.show(around);
            }
        }
    }

    /// Sleeps for a turn if much is in flight, otherwise until something happens.
    fn wait(&self, now: Micros) {
        if self.engine.active() >= MUCH {
            return std::thread::sleep(self.settings.turn);
        }
        let more = !self.intake.ended && !self.intake.not_now && self.engine.room() > 0;
        let mut longest = MAX_SLEEP;
        if let Some(at) = self.engine.wake_at(now) {
            longest = longest.min(Duration::from_micros(at.saturating_sub(now)));
        }
        if self.unflushed.is_some() {
            longest = longest.min(Duration::from_micros(FLUSH_AFTER));
        }
        if more && self.engine.active() == 0 && self.engine.wake_at(now).is_none() {
            longest = Duration::ZERO;
        }
        let other = if self.intake.not_now { self.intake.input.waits_for() } else { None };
        self.sockets.wait(other, longest);
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        for lane in self.engine.take_rotations() {
            self.sockets.reopen(lane).map_err(|error| Fault::network("opening a socket", &error))?;
            self.engine.rotated(lane);
        }
        Ok(())
    }

    /// Lets records leave when they are many or old, or nothing else is going on.
    fn flush(&mut self, now: Micros, idle: bool, around: &mut impl Surroundings) -> Result<(), Fault> {
        for told in self.judge.collector.told.drain(..) {
            around.told(&told);
        }
        if self.judge.collector.ready.is_empty() {
            return Ok(());
        }
        let since = *self.unflushed.get_or_insert(now);
        if !idle && self.judge.collector.ready.len() < FLUSH_BYTES && now.saturating_sub(since) < FLUSH_AFTER {
            return Ok(());
        }
        around.records(&self.judge.collector.ready, self.judge.collector.done_before())?;
        self.judge.collector.ready.clear();
        self.unflushed = None;
        Ok(())
    }

    fn give_up_if_hopeless(&mut self, now: Micros) {
        let late = self.settings.until.is_some_and(|until| Instant::now() >= until);
        let silent = u128::from(self.engine.silence(now)) > MAX_SILENCE.as_micros();
        if self.stopped.is_some() || !(late || silent) {
            return;
        }
        self.stopped = Some(if late { "time is up" } else { "no server answers" });
        if late || self.settings.resumable {
            self.intake.ended = true;
        } else {
            self.intake.hopeless = true;
        }
        if silent || !self.settings.resumable {
            self.engine.give_up(now, Failure::TimedOut, &mut self.judge);
        } else {
            // What was not answered stays undone: the next run asks it again.
            self.engine.give_up(now, Failure::TimedOut, &mut Nobody);
        }
    }

    fn show(&self, around: &mut impl Surroundings) {
        let (mut sent, mut vain) = (0, 0);
        for health in self.engine.health() {
            sent += health.sent;
            vain += health.timed_out + health.unreachable;
        }
        around.progress(&Status {
            bytes: (self.intake.input.taken_bytes(), self.intake.input.total_bytes()),
            counts: &self.judge.collector.counts,
            elapsed: self.started.elapsed(),
            queries: (sent, vain),
            in_flight: self.engine.active(),
        });
    }
}

/// Takes outcomes that are not to be told.
struct Nobody;

impl super::Sink for Nobody {
    fn done(&mut self, _: &super::Done<'_>) {}
}

/// Lines into questions.
struct Intake {
    input: Input,
    types: Vec<Rtype>,
    class: u16,
    skip: u64,
    /// The number of the next question.
    number: u64,
    question: Question,
    name: usize,
    /// The types of the present line, and which of them comes next.
    line_types: Vec<Rtype>,
    next_type: usize,
    ended: bool,
    /// The input has nothing at present.
    not_now: bool,
    /// Nobody answers: questions fail without being asked.
    hopeless: bool,
}

impl Intake {
    fn new(input: Input, settings: &Settings) -> Intake {
        Intake {
            input,
            types: settings.types.clone(),
            class: settings.class,
            skip: settings.skip,
            number: 0,
            question: Question::default(),
            name: 0,
            line_types: Vec::new(),
            next_type: 0,
            ended: false,
            not_now: false,
            hopeless: false,
        }
    }

    /// Takes in as many questions as there is room for.
    fn feed(&mut self, now: Micros, engine: &mut Engine, collector: &mut Collector) -> Result<(), Fault> {
        self.not_now = false;
        while !self.ended && (self.number < self.skip || collector.has_room(self.number)) {
            if let Some(rtype) = self.line_types.get(self.next_type).copied() {
                if self.number >= self.skip {
                    self.question.set_type(self.name, rtype, self.class);
                    if self.hopeless {
                        collector.unasked(self.number, self.question.as_wire(), Failure::TimedOut);
                        if collector.ready.len() >= FLUSH_BYTES {
                            self.next_type += 1;
                            self.number += 1;
                            return Ok(());
                        }
                    } else if !engine.ask(now, self.number, self.question.as_wire()) {
                        return Ok(());
                    }
                }
                self.next_type += 1;
                self.number += 1;
                continue;
            }
            if engine.room() == 0 {
                return Ok(());
            }
            self.next_line(collector)?;
            if self.not_now || collector.ready.len() >= 4 * FLUSH_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }

    fn next_line(&mut self, collector: &mut Collector) -> Result<(), Fault> {
        self.line_types.clear();
        self.next_type = 0;
        let (line, text, why) = match self.input.next_line()? {
            Next::End => {
                self.ended = true;
                return Ok(());
            }
            Next::NotNow => {
                self.not_now = true;
                return Ok(());
            }
            Next::TooLong(line, text) => (line, text, "line too long"),
            Next::Line(line, text) => {
                let Some(words) = question::split(text) else { return Ok(()) };
                match parse(&words, &mut self.question, &mut self.line_types) {
                    Ok(name) => {
                        self.name = name;
                        if self.line_types.is_empty() {
                            self.line_types.extend_from_slice(&self.types);
                        }
                        return Ok(());
                    }
                    Err(why) => {
                        self.line_types.clear();
                        (line, words.name, why)
                    }
                }
            }
        };
        if self.number >= self.skip {
            collector.bad_line(self.number, line, text, why);
        }
        self.number += 1;
        Ok(())
    }
}

/// The question of a line: its name's length in wire form; its types, if it names some.
fn parse(words: &question::Line<'_>, question: &mut Question, types: &mut Vec<Rtype>) -> Result<usize, &'static str> {
    if !words.types.is_empty() {
        question::types(words.types, types)?;
    }
    question.set_name(words.name).or_else(|why| {
        // Names beyond ASCII are rare: they may cost an allocation.
        let ascii = if words.name.is_ascii() { None } else { question::to_ascii(words.name) };
        question.set_name(ascii.ok_or(why)?.as_bytes())
    })
}
