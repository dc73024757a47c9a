//! Turns any message from a program that calls sendmail into a legal one: long and raw header lines are folded and
//! encoded, MIME fields describe the body, and a body with bare CRs, NULs or long lines is sent as quoted-printable.

use std::io::{self, Read, Write};

use super::{Complete, HeaderField};
use crate::fault::Fault;
use crate::mail::transfer::MAX_LINE_BYTES;
use crate::mail::{downgrade, header};
use crate::smtp::data::Content;

/// The position at which an overlong line is broken, as in Postfix.
const BREAK_AT: usize = 990;

impl Complete {
    /// Makes the header legal and adds the MIME fields for the body. True if the body must be rewritten: then
    /// [`Complete::write_canonical`] and [`rewrite`] produce the message.
    pub fn mend(&mut self) -> bool {
        let signed = self.is_signed();
        for field in &mut self.fields {
            if !signed {
                field.encode();
            }
            if has_long_line(&field.raw) {
                *field = folded(field);
            }
        }
        if self.body_8bit || self.body_irregular {
            let charset = match (self.body_8bit, self.body_utf8) {
                (false, _) => "us-ascii",
                (true, true) => "utf-8",
                (true, false) => "unknown-8bit",
            };
            self.add_missing("Content-Type", format!("Content-Type: text/plain; charset={charset}\r\n"));
            if self.body_8bit {
                self.add_missing("Content-Transfer-Encoding", "Content-Transfer-Encoding: 8bit\r\n".to_owned());
            }
        }
        if self.field("content-type").is_some() || self.field("content-transfer-encoding").is_some() {
            self.add_missing("MIME-Version", "MIME-Version: 1.0\r\n".to_owned());
        }
        self.body_irregular
    }

    /// Writes the message without its Bcc fields: every line ends with CRLF, whatever the number of CRs before its LF.
    /// Bare CRs, NULs and long lines remain.
    ///
    /// # Errors
    /// Errors from reading or writing.
    pub fn write_canonical(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.head())?;
        let mut body = self.blob.open_at(self.body_at);
        let mut buffer = vec![0; 64 * 1024];
        let mut crs = 0;
        let mut at_start = true;
        loop {
            let count = body.read(&mut buffer)?;
            let mut rest = buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            while !rest.is_empty() {
                let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                let (text, tail) = rest.split_at(end);
                if !text.is_empty() {
                    // Many in a row show no more than one does.
                    out.write_all(if crs > 0 { b"\r" } else { b"" })?;
                    crs = 0;
                    at_start = false;
                    out.write_all(text)?;
                }
                rest = tail.get(1..).unwrap_or_default();
                match tail.first() {
                    Some(b'\r') => crs += 1,
                    Some(_) => {
                        crs = 0;
                        at_start = true;
                        out.write_all(b"\r\n")?;
                    }
                    None => {}
                }
            }
        }
        out.write_all(if at_start { b"" } else { b"\r\n" })
    }
}

/// Rewrites a message with CRLF line ends without bare CRs, NULs or lines longer than 998 bytes. Its parts are encoded;
/// if they must not be (signed mail) or cannot be encoded, the lines are broken. True if lines were broken.
///
/// # Errors
/// The kinds of [`Fault::local`] if the message cannot be read or written.
pub fn rewrite(content: &dyn Content, out: &mut dyn Rewritten) -> Result<bool, Fault> {
    match downgrade::to_seven_bit(content, out) {
        Err(fault) if fault.enhanced.is_some() => {}
        done => return done.map(|()| false),
    }
    let problem = |error: io::Error| Fault::local("message", &error);
    out.restart().map_err(problem)?;
    break_lines(&mut *content.open().map_err(problem)?, out).map_err(problem)?;
    Ok(true)
}

/// The destination of a rewritten message.
pub trait Rewritten: Write {
    /// Discards everything written so far.
    ///
    /// # Errors
    /// The system's error.
    fn restart(&mut self) -> io::Result<()>;
}

/// Turns bare CRs into line ends, removes NULs, and breaks long lines.
fn break_lines(from: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut column, mut after_cr) = (0, false);
    loop {
        let count = from.read(&mut buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Ok(());
        }
        let mut written = Vec::with_capacity(read.len() + read.len() / 64 + 2);
        for &byte in read {
            match byte {
                0 => continue,
                b'\n' if after_cr => {}
                b'\r' | b'\n' => {
                    written.extend_from_slice(b"\r\n");
                    column = 0;
                }
                _ => {
                    if column >= BREAK_AT {
                        // The space folds a header line.
                        written.extend_from_slice(b"\r\n ");
                        column = 1;
                    }
                    written.push(byte);
                    column += 1;
                }
            }
            after_cr = byte == b'\r';
        }
        out.write_all(&written)?;
    }
}

fn has_long_line(raw: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| line.len() > MAX_LINE_BYTES + 1)
}

/// Folds a field that has a line over 998 bytes: at white space, after a comma or semicolon, else anywhere; a word of
/// free text is encoded.
fn folded(field: &HeaderField) -> HeaderField {
    let is_free_text = |name: &str| name == "subject" || name == "comments" || name.starts_with("x-");
    if is_free_text(&field.name.to_ascii_lowercase())
        && let Ok(text) = header::unstructured(&field.name, &field.value())
        && !has_long_line(text.as_bytes())
    {
        return HeaderField { name: field.name.clone(), raw: text.into_bytes() };
    }
    let mut raw = Vec::with_capacity(field.raw.len() + field.raw.len() / 300);
    for line in field.raw.split_inclusive(|byte| *byte == b'\n') {
        let mut rest = line;
        while rest.len() > MAX_LINE_BYTES + 2 {
            let window = rest.get(..BREAK_AT).unwrap_or_default();
            // Not within the name, and no line of white space alone.
            let least = field.name.len() + 2;
            let blank = window.iter().skip(least).rposition(|byte| matches!(byte, b' ' | b'\t')).map(|at| at + least);
            let comma =
                window.iter().skip(least).rposition(|byte| matches!(byte, b',' | b';')).map(|at| at + least + 1);
            let at = blank.or(comma).unwrap_or(window.len());
            let (first, tail) = rest.split_at(at);
            rest = tail;
            // A line of white space alone would end the header for some.
            if !first.trim_ascii().is_empty() {
                raw.extend_from_slice(first);
                raw.extend_from_slice(if blank.is_some() { b"\r\n" } else { b"\r\n " });
            }
        }
        raw.extend_from_slice(rest);
    }
    HeaderField { name: field.name.clone(), raw }
}
