//! Lines into questions: one input that all loops take blocks of, and what one loop does with its block.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::collect::Collector;
use super::drive::Settings;
use super::drive_input::{Block, Input, Next};
use super::question::{self, MAX_LINE, Question};
use super::terms::Failure;
use super::{Engine, Micros};
use crate::dns::record::Rtype;
use crate::fault::Fault;

/// Records that fail without being asked leave in portions of this size, in bytes.
const PORTION: usize = 256 * 1024;
/// Records of bad lines alone do not fill more than this, in bytes.
const MAX_READY: usize = 1024 * 1024;

/// The input as all loops share it.
#[derive(Debug)]
pub(super) struct Supply {
    input: Input,
    /// So many questions are done already.
    skip: u64,
    /// How many questions a line makes that names no types.
    types: u64,
    /// The number of the next block.
    index: u64,
}

impl Supply {
    pub(super) fn new(input: Input, settings: &Settings) -> Supply {
        Supply { input, skip: settings.skip, types: settings.types.len() as u64, index: 0 }
    }

    /// Bytes of the input that were taken, and how many there are, if that is known.
    pub(super) fn bytes(&self) -> (u64, Option<u64>) {
        (self.input.taken_bytes(), self.input.total_bytes())
    }

    /// The next block that holds something to be done, if its number is below `end`.
    fn next(&mut self, block: &mut Block, end: u64) -> Result<Option<Next>, Fault> {
        if self.index >= end {
            return Ok(None);
        }
        loop {
            match self.input.next_block(block)? {
                Next::Block => self.pass_over(block),
                other => return Ok(Some(other)),
            }
            if !block.is_empty() {
                block.index = self.index;
                self.index += 1;
                return Ok(Some(Next::Block));
            }
        }
    }

    /// Passes over the questions that are done already.
    fn pass_over(&mut self, block: &mut Block) {
        let (mut question, mut types) = (Question::default(), Vec::new());
        while self.skip > 0 {
            let begin = block.place();
            let Some((_, line)) = block.next_line() else { return };
            let count = match read(line, &mut question, &mut types) {
                Line::Nothing => 0,
                Line::Bad(_) => 1,
                Line::Name(_) if types.is_empty() => self.types,
                Line::Name(_) => types.len() as u64,
            };
            if count > self.skip {
                block.go_back(begin, std::mem::take(&mut self.skip));
                return;
            }
            self.skip -= count;
        }
    }
}

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    /// A name, this long in wire form, and perhaps types.
    Name(usize),
    Bad(&'static str),
}

fn read(line: &[u8], question: &mut Question, types: &mut Vec<Rtype>) -> Line {
    types.clear();
    if line.len() > MAX_LINE {
        return Line::Bad("line too long");
    }
    let Some(words) = question::split(line) else { return Line::Nothing };
    if !words.types.is_empty()
        && let Err(why) = question::types(words.types, types)
    {
        types.clear();
        return Line::Bad(why);
    }
    let name = question.set_name(words.name).or_else(|why| {
        // Names beyond ASCII are rare: they may cost an allocation.
        let ascii = if words.name.is_ascii() { None } else { question::to_ascii(words.name) };
        question.set_name(ascii.ok_or(why)?.as_bytes())
    });
    match name {
        Ok(length) => Line::Name(length),
        Err(why) => {
            types.clear();
            Line::Bad(why)
        }
    }
}

/// One loop's blocks, lines and questions.
pub(super) struct Intake<'a> {
    supply: &'a Mutex<Supply>,
    types: &'a [Rtype],
    class: u16,
    block: Block,
    /// Lines of `block` are still to come, or it has to be closed.
    has_block: bool,
    /// The number of the next question, counted in this loop.
    number: u64,
    question: Question,
    name: usize,
    /// The types of the present line, and which of them comes next.
    line_types: Vec<Rtype>,
    next_type: usize,
    /// Nothing more comes.
    pub(super) ended: bool,
    /// The input has nothing at present; this is to be waited for.
    pub(super) waits_for: Option<Arc<File>>,
    /// Other loops are too far behind.
    pub(super) stalled: bool,
    /// Nobody answers: questions fail without being asked.
    pub(super) hopeless: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(supply: &'a Mutex<Supply>, settings: &'a Settings) -> Intake<'a> {
        Intake {
            supply,
            types: &settings.types,
            class: settings.class,
            block: Block::default(),
            has_block: false,
            number: 0,
            question: Question::default(),
            name: 0,
            line_types: Vec::new(),
            next_type: 0,
            ended: false,
            waits_for: None,
            stalled: false,
            hopeless: false,
        }
    }

    /// Takes in as many questions as there is room for. Blocks from number `end` on are not begun yet.
    pub(super) fn feed(
        &mut self,
        now: Micros,
        end: u64,
        engine: &mut Engine,
        collector: &mut Collector,
    ) -> Result<(), Fault> {
        (self.waits_for, self.stalled) = (None, false);
        while !self.ended && collector.has_room(self.number) {
            if let Some(rtype) = self.line_types.get(self.next_type).copied() {
                self.question.set_type(self.name, rtype, self.class);
                if self.hopeless {
                    collector.unasked(self.number, self.question.as_wire(), Failure::TimedOut);
                } else if !engine.ask(now, self.number, self.question.as_wire()) {
                    return Ok(());
                }
                self.next_type += 1;
                self.number += 1;
                if self.hopeless && collector.ready.len() >= PORTION {
                    return Ok(());
                }
                continue;
            }
            if engine.room() == 0 || collector.ready.len() >= MAX_READY {
                return Ok(());
            }
            if !self.next_line(collector) && !self.next_block(end, collector)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the next line of the block; false if there is none.
    fn next_line(&mut self, collector: &mut Collector) -> bool {
        let passed = self.block.take_passed();
        let Some((number, line)) = self.block.next_line().filter(|_| self.has_block) else { return false };
        match read(line, &mut self.question, &mut self.line_types) {
            Line::Nothing => self.line_types.clear(),
            Line::Name(length) => {
                self.name = length;
                if self.line_types.is_empty() {
                    self.line_types.extend_from_slice(self.types);
                }
            }
            Line::Bad(why) => {
                // The name alone, where the line can be split.
                let shown = question::split(line).map_or(line, |words| words.name);
                collector.bad_line(self.number, number, shown, why);
                self.number += 1;
            }
        }
        self.next_type = passed as usize;
        true
    }

    /// Closes the block and takes another one; false if there is none now.
    fn next_block(&mut self, end: u64, collector: &mut Collector) -> Result<bool, Fault> {
        if std::mem::take(&mut self.has_block) {
            collector.end_block(self.number);
        }
        let mut supply = self.supply.lock().unwrap_or_else(PoisonError::into_inner);
        match supply.next(&mut self.block, end)? {
            Some(Next::Block) => {
                collector.begin_block(self.block.index, self.number);
                self.has_block = true;
                return Ok(true);
            }
            Some(Next::End) => self.ended = true,
            Some(Next::NotNow(file)) => self.waits_for = Some(file),
            None => self.stalled = true,
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lines_hold() {
        let (mut question, mut types) = (Question::default(), Vec::new());
        for (line, expected, count) in [
            (&b"a.test"[..], Line::Name(8), 0),
            (b"a.test MX TXT\r", Line::Name(8), 2),
            (b" \t\r", Line::Nothing, 0),
            (b"a..b MX", Line::Bad("empty label in name"), 0),
            (b"a NOSUCH", Line::Bad("unknown record type"), 0),
            ("bücher.test".as_bytes(), Line::Name(20), 0),
            (&[b'a'; MAX_LINE + 1], Line::Bad("line too long"), 0),
        ] {
            assert_eq!(read(line, &mut question, &mut types), expected);
            assert_eq!(types.len(), count);
        }
    }
}
