//! Trace fields (RFC 5321, section 4.4): how many servers a message went through.

use std::io::BufRead;

use super::header_line::{HeaderLine, HeaderLines};
use super::scan::MAX_HEADER_BYTES;

/// Counts the Received fields in the header of a message, as far as [`MAX_HEADER_BYTES`] reach.
///
/// # Errors
/// What reading says.
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

#[cfg(test)]
mod tests {
    use super::*;

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
