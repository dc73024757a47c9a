//! Trace fields (RFC 5321, section 4.4): counts the servers that a message passed through, and removes unverified Return-Path fields.

use std::io::BufRead;

use super::header_line::{HeaderLine, HeaderLines};
use super::scan::MAX_HEADER_BYTES;

/// Counts the Received fields in the header of a message, within the first [`MAX_HEADER_BYTES`].
///
/// # Errors
/// Errors from reading.
pub fn count_received(message: impl BufRead) -> std::io::Result<usize> {
    let mut header = message.take(MAX_HEADER_BYTES as u64);
    let (mut count, mut line) = (0, Vec::new());
    let mut lines = HeaderLines::default();
    loop {
        line.clear();
        if header.read_until(b'\n', &mut line)? == 0 {
            return Ok(count);
        }
        match lines.line(&line) {
            HeaderLine::Field(length) => {
                count += usize::from(line.get(..length).is_some_and(|name| name.eq_ignore_ascii_case(b"received")));
            }
            HeaderLine::Continuation | HeaderLine::MboxFrom => {}
            HeaderLine::Separator | HeaderLine::Body => return Ok(count),
        }
    }
}

/// The header of a message without its Return-Path fields, and its original length: only the server of the final
/// delivery writes that field (RFC 5321, section 4.4), so an existing one is unverified. Reading stops after the line
/// that ends the header, or after [`MAX_HEADER_BYTES`].
///
/// # Errors
/// Errors from reading.
pub fn without_return_path(message: impl BufRead) -> std::io::Result<(Vec<u8>, u64)> {
    let mut header = message.take(MAX_HEADER_BYTES as u64);
    let (mut kept, mut read, mut line, mut dropping) = (Vec::new(), 0, Vec::new(), false);
    let mut lines = HeaderLines::default();
    loop {
        line.clear();
        read += header.read_until(b'\n', &mut line)? as u64;
        let is_last = match lines.line(&line) {
            HeaderLine::Field(length) => {
                dropping = line.get(..length).is_some_and(|name| name.eq_ignore_ascii_case(b"return-path"));
                false
            }
            HeaderLine::MboxFrom | HeaderLine::Continuation => false,
            HeaderLine::Separator | HeaderLine::Body => {
                dropping = false;
                true
            }
        };
        if !dropping {
            kept.extend_from_slice(&line);
        }
        if is_last {
            return Ok((kept, read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claimed_return_paths_go() {
        let table: [(&str, &str, u64); 11] = [
            ("A: 1\r\nReturn-Path: <x@y>\r\nB: 2\r\n\r\nReturn-Path: body\r\n", "A: 1\r\nB: 2\r\n\r\n", 34),
            ("return-path : <x>\n\t<y>\n \n z\nB: 2\n\n", "B: 2\n\n", 34),
            ("RETURN-PATH:\r\nReturn-Path:x\r\n\r\n", "\r\n", 31),
            ("Return-Paths: x\r\nX-Return-Path: y\r\n\r\n", "Return-Paths: x\r\nX-Return-Path: y\r\n\r\n", 37),
            ("A: 1\r\n Return-Path: x\r\n\r\n", "A: 1\r\n Return-Path: x\r\n\r\n", 25),
            ("\r\nReturn-Path: body\r\n", "\r\n", 2),
            ("Return-Path: x", "", 14),
            ("Return-Path: <x>\r\ntext\r\nReturn-Path: body\r\n", "text\r\n", 24),
            ("A: 1\r\n>From me\r\nReturn-Path: body\r\n", "A: 1\r\n>From me\r\n", 16),
            (">From x\r\nReturn-Path: x\r\nB: 2\r\n\r\n", ">From x\r\nB: 2\r\n\r\n", 33),
            ("", "", 0),
        ];
        for (message, header, read) in table {
            let (kept, found) = without_return_path(message.as_bytes()).unwrap();
            assert_eq!((String::from_utf8(kept).unwrap().as_str(), found), (header, read), "{message:?}");
        }
        let long = b"A: b\r\n".repeat(MAX_HEADER_BYTES / 6 + 1000);
        let (kept, read) = without_return_path(&*long).unwrap();
        assert_eq!((kept.len(), read), (MAX_HEADER_BYTES, MAX_HEADER_BYTES as u64));
    }

    #[test]
    fn received_fields_are_counted_in_the_header_only() {
        let table: [(&[u8], usize); 5] = [
            (b"Received: a\r\n\tby b\r\nreceived: b\r\nX-Received: c\r\n\r\nReceived: body\r\n", 2),
            (b"Received: a\nSubject: x\n\nReceived: body\n", 1),
            (b"\r\nReceived: body\r\n", 0),
            (b"Received:", 1),
            (b"", 0),
        ];
        for (message, count) in table {
            assert_eq!(count_received(message).unwrap(), count, "{}", String::from_utf8_lossy(message));
        }
        let long = b"Received: a\r\n".repeat(MAX_HEADER_BYTES / 13 + 1000);
        assert_eq!(count_received(&*long).unwrap(), MAX_HEADER_BYTES.div_ceil(13), "no more than the limit is read");
    }
}
