//! Parses lines into questions: the input that all loops share, and the reader of one loop, which takes blocks from it.

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

/// Records that fail without being asked are written in portions of this size, in bytes.
const PORTION: usize = 256 * 1024;
/// The maximum size of ready records, in bytes, up to which bad lines are read.
const MAX_READY: usize = 1024 * 1024;

/// The input that all loops share.
#[derive(Debug)]
pub(super) struct SharedInput {
    input: Input,
    /// The number of questions that are already done and still to be skipped.
    skip: u64,
    /// The defaults for lines without type or class.
    defaults: LineDefaults,
    /// The number of the next block.
    index: u64,
}

impl SharedInput {
    pub(super) fn new(input: Input, settings: &BulkSettings) -> SharedInput {
        SharedInput { input, skip: settings.skip, defaults: settings.defaults.clone(), index: 0 }
    }

    /// The number of bytes taken from the input, and the total, if it is known.
    pub(super) fn bytes(&self) -> (u64, Option<u64>) {
        (self.input.taken_bytes(), self.input.total_bytes())
    }

    /// The next block with open questions, if its number is below `end`.
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

    /// Skips the questions that are already done.
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

/// Reads questions for one loop, one line of its block at a time.
pub(super) struct QuestionReader<'a> {
    input: &'a Mutex<SharedInput>,
    defaults: &'a LineDefaults,
    block: LineBlock,
    /// The block has lines left, or must still be closed.
    has_block: bool,
    /// The number of the next question, counted in this loop.
    number: u64,
    question: WireQuestion,
    /// The length of its name in wire form, and its class.
    name: (usize, Class),
    /// The name as the line writes it, if that differs from the question.
    as_written: Option<Vec<u8>>,
    /// The types of the current line, and the index of the next one.
    line_types: Vec<Rtype>,
    next_type: usize,
    /// The input has ended.
    pub(super) ended: bool,
    /// The input has no data now: wait until this file is readable.
    pub(super) waits_for: Option<Arc<File>>,
    /// Other loops are too far behind.
    pub(super) stalled: bool,
    /// No server answers: questions fail without being asked, for this reason.
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

    /// Takes in as many questions as there is room for. Blocks from number `end` on must wait.
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

    /// Reads the next line of the block; false if none is left.
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

    /// Closes the block and takes the next one; false if there is none now.
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
