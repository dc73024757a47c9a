//! Boundaries of multiparts (RFC 2046, section 5.1): what a header names, and which line is one. The one rule for who reads
//! a message and who converts it.

use std::collections::HashMap;

use super::header_line;
use super::parameter::{self, Parameters};
use super::scan::{self, HeaderCharset};

/// Most fields Content-Type of one header that are looked at.
const MAX_REPEATED_FIELDS: usize = 4;

/// The boundaries of the multiparts that are open.
#[derive(Debug, Default)]
pub(super) struct OpenBoundaries {
    /// Level and boundary, outermost first.
    stack: Vec<(usize, Vec<u8>)>,
    /// The levels that have a boundary, the innermost last.
    levels: HashMap<Vec<u8>, Vec<usize>>,
    /// The longest boundary met.
    longest: usize,
}

impl OpenBoundaries {
    /// Opens a multipart at a level that is not above any open one. It has more than one boundary where Content-Type is
    /// repeated.
    pub(super) fn open(&mut self, level: usize, boundaries: Vec<Vec<u8>>) {
        for boundary in boundaries {
            self.longest = self.longest.max(boundary.len());
            self.levels.entry(boundary.clone()).or_default().push(level);
            self.stack.push((level, boundary));
        }
    }

    /// Closes the multiparts of this level and of those in it.
    pub(super) fn close(&mut self, level: usize) {
        while let Some((_, boundary)) = self.stack.pop_if(|(open, _)| *open >= level) {
            if let Some(levels) = self.levels.get_mut(&boundary) {
                levels.pop();
                if levels.is_empty() {
                    self.levels.remove(&boundary);
                }
            }
        }
    }

    /// Whether no multipart is open.
    pub(super) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// Whether a line is a boundary: its level, and whether it closes. White space may follow (section 5.1.1), anything
    /// else makes it a line of text. The time does not depend on how many are open.
    pub(super) fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let token = line.strip_prefix(b"--")?.trim_ascii_end();
        if token.len() > self.longest + 2 {
            return None;
        }
        let level = |boundary: &[u8]| self.levels.get(boundary)?.last().copied();
        match level(token) {
            Some(level) => Some((level, false)),
            None => Some((level(token.strip_suffix(b"--")?)?, true)),
        }
    }
}

/// The fields Content-Type of a header: value in lower case, and parameters, whose raw bytes are in `charset`.
pub(super) fn content_types(header: &[u8], charset: &HeaderCharset<'_>) -> Vec<(String, Parameters)> {
    let fields = header_line::fields(header).take(scan::MAX_FIELDS);
    let types = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
    types.take(MAX_REPEATED_FIELDS).map(|(_, value)| parameter::parse(&charset.utf8(value))).collect()
}

/// The boundaries that these fields name, if the first one says multipart: of repeated fields any may be meant.
pub(super) fn boundaries(types: &[(String, Parameters)]) -> Vec<Vec<u8>> {
    let named = |(kind, parameters): &(String, Parameters)| {
        let boundary = parameters.get("boundary").filter(|_| kind.starts_with("multipart"))?;
        Some(boundary.trim_end().as_bytes().to_vec()).filter(|boundary| !boundary.is_empty())
    };
    match types.first().map(named) {
        Some(Some(_)) => types.iter().filter_map(named).collect(),
        _ => Vec::new(),
    }
}
