//! Boundaries of multiparts (RFC 2046, section 5.1): those that a header names, and the lines that match them. Both the
//! reader and the converter of messages use this one rule.

use std::collections::HashMap;

use super::header_line;
use super::parameter::{self, Parameters};
use super::scan::{self, HeaderCharset};

/// The maximum number of Content-Type fields examined in one header.
const MAX_REPEATED_FIELDS: usize = 4;

/// The boundaries of the open multiparts.
#[derive(Debug, Default)]
pub(super) struct OpenBoundaries {
    /// Level and boundary, outermost first.
    stack: Vec<(usize, Vec<u8>)>,
    /// The levels that have this boundary, the innermost last.
    levels: HashMap<Vec<u8>, Vec<usize>>,
    /// The length of the longest boundary so far.
    longest: usize,
}

impl OpenBoundaries {
    /// Opens a multipart at a level that is not above any open one. It has several boundaries if Content-Type is
    /// repeated.
    pub(super) fn open(&mut self, level: usize, boundaries: Vec<Vec<u8>>) {
        for boundary in boundaries {
            self.longest = self.longest.max(boundary.len());
            self.levels.entry(boundary.clone()).or_default().push(level);
            self.stack.push((level, boundary));
        }
    }

    /// Closes the multiparts at this level and those inside them.
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

    /// True if no multipart is open.
    pub(super) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// The level of a boundary line, and whether it is a closing one; `None` for other lines. White space may follow the boundary
    /// (section 5.1.1); any other text makes it an ordinary line. The time does not depend on the number of open boundaries.
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

/// The Content-Type fields of a header: value in lower case, and parameters, whose raw bytes are in `charset`.
pub(super) fn content_types(header: &[u8], charset: &HeaderCharset<'_>) -> Vec<(String, Parameters)> {
    let fields = header_line::fields(header).take(scan::MAX_FIELDS);
    let types = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
    types.take(MAX_REPEATED_FIELDS).map(|(_, value)| parameter::parse(&charset.utf8(value))).collect()
}

/// The boundaries in these fields, if the first one says multipart: with repeated fields, any of them may be the real one.
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
