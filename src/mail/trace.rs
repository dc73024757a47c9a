//! Trace fields (RFC 5321, section 4.4): counts the servers that a message passed through, and removes unverified Return-Path fields.

use std::io::BufRead;

use super::header_line::{HeaderLine, HeaderLines};
use super::scan::MAX_HEADER_BYTES;

/// Counts the Received fields in the header of a message, within the first [`MAX_HEADER_BYTES`].
///
/// # Errors
/// Errors from reading.
pub fn count_received(message: impl BufRead) -> std::io::Result<usize> {
    let mut count = 0;
    each_field(message, |name, _| count += usize::from(name.eq_ignore_ascii_case(b"received")))?;
    Ok(count)
}

/// True if a Delivered-To field (RFC 9228) in the header, within the first [`MAX_HEADER_BYTES`], names one of these addresses,
/// which are in lower case: the message was there before.
///
/// # Errors
/// Errors from reading.
pub fn was_delivered_to(message: impl BufRead, addresses: &[String]) -> std::io::Result<bool> {
    let mut found = false;
    each_field(message, |name, value| {
        if name.eq_ignore_ascii_case(b"delivered-to") {
            let value = String::from_utf8_lossy(value).trim().to_lowercase();
            found |= addresses.contains(&value);
        }
    })?;
    Ok(found)
}

/// Calls `act` with the name of each field and with the first line of its value.
fn each_field(message: impl BufRead, mut act: impl FnMut(&[u8], &[u8])) -> std::io::Result<()> {
    let mut header = message.take(MAX_HEADER_BYTES as u64);
    let (mut line, mut lines) = (Vec::new(), HeaderLines::default());
    loop {
        line.clear();
        if header.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match lines.line(&line) {
            HeaderLine::Field(length) => {
                let (name, rest) = line.split_at_checked(length).unwrap_or_default();
                let colon = rest.iter().position(|byte| *byte == b':').map_or(rest.len(), |at| at + 1);
                act(name, rest.get(colon..).unwrap_or_default());
            }
            HeaderLine::Continuation | HeaderLine::MboxFrom => {}
            HeaderLine::Separator | HeaderLine::Body => return Ok(()),
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
    fn a_message_knows_where_it_was() {
        let was = |text: &str| was_delivered_to(text.as_bytes(), &["a@b.test".to_owned()]).unwrap();
        for text in ["Delivered-To: a@b.test\r\n\r\n", "X: y\ndelivered-to :A@B.test \n", "Delivered-To:a@b.test"] {
            assert!(was(text), "{text:?}");
        }
        for text in ["X-Delivered-To: a@b.test\n\n", "\nDelivered-To: a@b.test\n", "Delivered-To: aa@b.test\n\n", ""] {
            assert!(!was(text), "{text:?}");
        }
    }

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
