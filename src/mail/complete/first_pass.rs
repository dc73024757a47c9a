//! The first pass over a complete message: finds the end of the header, its fields, and the properties of the body.

use super::{Complete, HeaderField, MAX_HEADER_BYTES, MAX_HEADER_FIELDS};
use crate::blob::Blob;
use crate::fault::{Fault, Kind};
use crate::mail::header_line::{HeaderLine, HeaderLines};
use crate::mail::transfer::MAX_LINE_BYTES;

/// The first pass over a message, in pieces of any size.
pub(super) struct Scan {
    dot_ends: bool,
    /// Accept any form; refuse nothing.
    any_form: bool,
    /// A lone dot was found; the rest is not part of the message.
    pub(super) ended: bool,
    /// The current line of the header, until it is complete.
    header: Vec<u8>,
    lines: HeaderLines,
    fields: Vec<HeaderField>,
    in_body: bool,
    position: u64,
    body_at: u64,
    body_extra: u64,
    body_8bit: bool,
    body_utf8: Utf8Check,
    body_irregular: bool,
    line_number: u64,
    line_length: usize,
    /// The offset of the current line.
    line_at: u64,
    /// The first byte of the current line.
    line_start: u8,
    /// The current line has a bare CR, NUL or more than one CR at its end.
    line_irregular: bool,
    /// The number of CRs with no byte after them yet.
    pending_crs: u64,
    long_line: Option<u64>,
}

impl Scan {
    pub(super) fn new(dot_ends: bool, any_form: bool) -> Scan {
        Scan {
            dot_ends,
            any_form,
            ended: false,
            header: Vec::new(),
            lines: HeaderLines::default(),
            fields: Vec::new(),
            in_body: false,
            position: 0,
            body_at: 0,
            body_extra: 0,
            body_8bit: false,
            body_utf8: Utf8Check::default(),
            body_irregular: false,
            line_number: 1,
            line_length: 0,
            line_at: 0,
            line_start: 0,
            line_irregular: false,
            pending_crs: 0,
            long_line: None,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() && !self.ended {
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if !text.is_empty() {
                self.text(text)?;
            }
            let Some((&special, rest)) = rest.split_first() else { return Ok(()) };
            bytes = rest;
            if special == b'\r' {
                if self.pending_crs > 0 && !self.any_form {
                    return Err(self.bare_cr());
                }
                self.pending_crs += 1;
            } else {
                self.line_end()?;
                if self.ended {
                    return Ok(());
                }
            }
            self.position += 1;
            if special == b'\n' {
                self.line_at = self.position;
                if self.in_body && self.body_at == u64::MAX {
                    self.body_at = self.position;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        if self.pending_crs > 0 {
            if !self.any_form {
                return Err(self.bare_cr());
            }
            self.pending_crs = 0;
            self.line_irregular = true;
            self.line_length += 1;
            if !self.in_body {
                self.header.push(b' ');
            }
        }
        if self.line_length == 0 {
            self.line_start = text.first().copied().unwrap_or_default();
        }
        self.line_length += text.len();
        self.position += text.len() as u64;
        let has_nul = self.any_form && memchr::memchr(0, text).is_some();
        self.line_irregular |= has_nul;
        if self.in_body {
            self.body_text(text);
        } else if self.header.len() + text.len() > MAX_HEADER_BYTES {
            self.begin_body_here(&format!("header longer than {MAX_HEADER_BYTES} bytes"))?;
            self.body_text(text);
        } else if has_nul {
            self.header.extend(text.iter().filter(|byte| **byte != 0));
        } else {
            self.header.extend_from_slice(text);
        }
        Ok(())
    }

    fn body_text(&mut self, text: &[u8]) {
        self.body_8bit |= !text.is_ascii();
        if self.any_form {
            self.body_utf8.feed(text);
        }
    }

    /// The header exceeds a limit: the message is refused, or the body begins with the current line.
    fn begin_body_here(&mut self, why: &str) -> Result<(), Fault> {
        if !self.any_form {
            return Err(Fault::new(Kind::BadData, why));
        }
        self.in_body = true;
        self.body_at = self.line_at;
        let line = std::mem::take(&mut self.header);
        self.body_text(&line);
        Ok(())
    }

    /// Handles the end of a line; its LF is not counted yet.
    fn line_end(&mut self) -> Result<(), Fault> {
        let crs = std::mem::take(&mut self.pending_crs);
        if self.dot_ends && self.is_lone_dot() {
            // The blob is cut before the dot.
            self.position = self.line_at;
            self.ended = true;
            return Ok(());
        }
        self.line_irregular |= crs > 1;
        if self.in_body {
            self.body_extra += u64::from(crs == 0);
        } else {
            self.header_line(crs == 0)?;
        }
        self.close_line();
        self.line_number += 1;
        Ok(())
    }

    fn is_lone_dot(&self) -> bool {
        self.line_length == 1 && self.line_start == b'.'
    }

    /// Updates the results for a line whose end is known.
    fn close_line(&mut self) {
        let is_long = self.line_length > MAX_LINE_BYTES;
        if is_long && self.long_line.is_none() {
            self.long_line = Some(self.line_number);
        }
        if self.in_body && self.any_form {
            self.body_irregular |= self.line_irregular || is_long;
            self.body_utf8.end_line();
        }
        self.line_length = 0;
        self.line_irregular = false;
    }

    /// Handles the line in `header`: a field, a continuation, the empty line, or already the body.
    fn header_line(&mut self, bare: bool) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.header);
        match self.lines.line(&line) {
            HeaderLine::Separator => {
                self.in_body = true;
                // Known once the LF is counted.
                self.body_at = u64::MAX;
                return Ok(());
            }
            HeaderLine::Continuation => {
                // Where other programs would end the header, a line of white space alone must not be written.
                if let Some(field) = self.fields.last_mut().filter(|_| !line.trim_ascii().is_empty()) {
                    field.raw.extend_from_slice(&line);
                    field.raw.extend_from_slice(b"\r\n");
                }
                return self.check_header();
            }
            HeaderLine::Field(length) => {
                let name = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
                let mut raw = line;
                raw.extend_from_slice(b"\r\n");
                self.fields.push(HeaderField { name, raw });
                if self.fields.len() > MAX_HEADER_FIELDS {
                    return self.end_header(&format!("more than {MAX_HEADER_FIELDS} header fields"));
                }
                return self.check_header();
            }
            HeaderLine::MboxFrom => return Ok(()),
            HeaderLine::Body => {}
        }
        // No field and no empty line: the body begins here, as with sendmail.
        self.in_body = true;
        self.body_at = self.line_at;
        self.body_extra += u64::from(bare);
        self.body_text(&line);
        Ok(())
    }

    fn check_header(&mut self) -> Result<(), Fault> {
        if self.position > MAX_HEADER_BYTES as u64 {
            return self.end_header(&format!("header longer than {MAX_HEADER_BYTES} bytes"));
        }
        Ok(())
    }

    /// The header exceeds a limit: the message is refused, or the body begins with the next line.
    fn end_header(&mut self, why: &str) -> Result<(), Fault> {
        if !self.any_form {
            return Err(Fault::new(Kind::BadData, why));
        }
        self.in_body = true;
        self.body_at = u64::MAX;
        Ok(())
    }

    fn bare_cr(&self) -> Fault {
        Fault::new(Kind::BadData, format!("line {}: carriage return without line feed", self.line_number))
    }

    pub(super) fn finish(mut self, blob: &Blob) -> Result<Complete, Fault> {
        if self.pending_crs > 0 && !self.ended {
            if !self.any_form {
                return Err(self.bare_cr());
            }
            self.line_irregular = true;
        }
        let mut open_end = false;
        if self.line_length + self.pending_crs as usize > 0 && !self.ended {
            if self.dot_ends && self.is_lone_dot() {
                self.position = self.line_at;
            } else {
                open_end = true;
                if !self.in_body {
                    // As if an LF followed: the line is sent with one.
                    self.header_line(true)?;
                    self.body_extra = 0;
                    open_end = self.in_body && self.body_at != u64::MAX;
                }
                self.close_line();
            }
        }
        if !self.in_body {
            self.body_at = self.position;
        }
        Ok(Complete {
            fields: self.fields,
            body_at: self.body_at.min(self.position),
            body_extra: self.body_extra,
            open_end,
            body_8bit: self.body_8bit,
            body_utf8: self.body_utf8.is_valid(),
            body_irregular: self.body_irregular,
            long_line: self.long_line,
            blob: blob.cut(self.position),
        })
    }
}

/// Checks whether bytes that arrive in pieces, line by line, are UTF-8.
#[derive(Debug, Default)]
struct Utf8Check {
    /// The first bytes of a character whose rest is in the next piece.
    open: Vec<u8>,
    broken: bool,
}

impl Utf8Check {
    fn feed(&mut self, text: &[u8]) {
        if self.broken || (self.open.is_empty() && text.is_ascii()) {
            return;
        }
        let mut joined = std::mem::take(&mut self.open);
        joined.extend_from_slice(text);
        if let Err(error) = str::from_utf8(&joined) {
            self.broken = error.error_len().is_some();
            self.open = joined.split_off(error.valid_up_to());
        }
    }

    /// Ends a line: no character continues on the next line.
    fn end_line(&mut self) {
        self.broken |= !self.open.is_empty();
    }

    fn is_valid(&self) -> bool {
        !self.broken && self.open.is_empty()
    }
}
