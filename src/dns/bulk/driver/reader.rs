//! Lines into questions: the input that all loops share, and the reader of one loop, which takes blocks of it.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::input::{Input, LineBlock, NextBlock};
use super::settings::BulkSettings;
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::QueryFailure;
use crate::dns::bulk::collect::Collector;
use crate::dns::bulk::engine::Engine;
use crate::dns::bulk::question::{self, LineDefaults, ParsedLine, WireQuestion};
use crate::dns::record::{Class, Rtype};
use crate::fault::Fault;

/// Records that fail without being asked leave in portions of this size, in bytes.
const PORTION: usize = 256 * 1024;
/// Records of bad lines alone do not fill more than this, in bytes.
const MAX_READY: usize = 1024 * 1024;

/// The input as all loops share it.
#[derive(Debug)]
pub(super) struct SharedInput {
    input: Input,
    /// So many questions are done already.
    skip: u64,
    /// What lines leave open.
    defaults: LineDefaults,
    /// The number of the next block.
    index: u64,
}

impl SharedInput {
    pub(super) fn new(input: Input, settings: &BulkSettings) -> SharedInput {
        SharedInput { input, skip: settings.skip, defaults: settings.defaults.clone(), index: 0 }
    }

    /// Bytes of the input that were taken, and how many there are, if that is known.
    pub(super) fn bytes(&self) -> (u64, Option<u64>) {
        (self.input.taken_bytes(), self.input.total_bytes())
    }

    /// The next block that holds something to be done, if its number is below `end`.
    fn next(&mut self, block: &mut LineBlock, end: u64) -> Result<Option<NextBlock>, Fault> {
        if self.index >= end {
            return Ok(None);
        }
        loop {
            match self.input.next_block(block)? {
                NextBlock::Filled => self.pass_over(block),
                other => return Ok(Some(other)),
            }
            if !block.is_empty() {
                block.index = self.index;
                self.index += 1;
                return Ok(Some(NextBlock::Filled));
            }
        }
    }

    /// Passes over the questions that are done already.
    fn pass_over(&mut self, block: &mut LineBlock) {
        let (mut question, mut types) = (WireQuestion::default(), Vec::new());
        while self.skip > 0 {
            let begin = block.position();
            let Some((_, line)) = block.next_line() else { return };
            let count = match question::parse(line, &self.defaults, &mut question, &mut types) {
                ParsedLine::Nothing => 0,
                ParsedLine::Bad(..) => 1,
                ParsedLine::Name(..) => types.len() as u64,
            };
            if count > self.skip {
                block.go_back(begin, std::mem::take(&mut self.skip));
                return;
            }
            self.skip -= count;
        }
    }
}

/// Reads questions for one loop, line by line of its block.
pub(super) struct QuestionReader<'a> {
    input: &'a Mutex<SharedInput>,
    defaults: &'a LineDefaults,
    block: LineBlock,
    /// Lines of `block` are still to come, or it has to be closed.
    has_block: bool,
    /// The number of the next question, counted in this loop.
    number: u64,
    question: WireQuestion,
    /// The length of its name, and its class.
    name: (usize, Class),
    /// The name as the line has it, where that is not what the question says.
    as_written: Option<Vec<u8>>,
    /// The types of the present line, and which of them comes next.
    line_types: Vec<Rtype>,
    next_type: usize,
    /// Nothing more comes.
    pub(super) ended: bool,
    /// The input has nothing at present: wait until this file is readable.
    pub(super) waits_for: Option<Arc<File>>,
    /// Other loops are too far behind.
    pub(super) stalled: bool,
    /// Nobody answers: questions fail without being asked, for this reason.
    pub(super) hopeless: Option<QueryFailure>,
}

impl<'a> QuestionReader<'a> {
    pub(super) fn new(input: &'a Mutex<SharedInput>, settings: &'a BulkSettings) -> QuestionReader<'a> {
        QuestionReader {
            input,
            defaults: &settings.defaults,
            block: LineBlock::default(),
            has_block: false,
            number: 0,
            question: WireQuestion::default(),
            name: (0, Class::IN),
            as_written: None,
            line_types: Vec::new(),
            next_type: 0,
            ended: false,
            waits_for: None,
            stalled: false,
            hopeless: None,
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
                self.question.set_type(self.name.0, rtype, self.name.1.0);
                if let Some(input) = &self.as_written {
                    collector.note_input(self.number, input);
                }
                if let Some(failure) = self.hopeless {
                    collector.unasked(self.number, self.question.as_wire(), failure);
                } else if !engine.ask(now, self.number, self.question.as_wire()) {
                    return Ok(());
                }
                self.next_type += 1;
                self.number += 1;
                if self.hopeless.is_some() && collector.ready.len() >= PORTION {
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
        match question::parse(line, self.defaults, &mut self.question, &mut self.line_types) {
            ParsedLine::Nothing => self.line_types.clear(),
            ParsedLine::Name(length, class, input) => {
                self.name = (length, class);
                self.as_written = input.map(<[u8]>::to_vec);
            }
            ParsedLine::Bad(word, why) => {
                collector.bad_line(self.number, number, word, why);
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
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        match input.next(&mut self.block, end)? {
            Some(NextBlock::Filled) => {
                collector.begin_block(self.block.index, self.number);
                self.has_block = true;
                return Ok(true);
            }
            Some(NextBlock::End) => self.ended = true,
            Some(NextBlock::NotNow(file)) => self.waits_for = Some(file),
            None => self.stalled = true,
        }
        Ok(false)
    }
}
