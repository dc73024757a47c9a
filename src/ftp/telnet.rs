//! The part of TELNET that the control connection uses (RFC 959, section 3.1; RFC 854): byte 255 in a line is sent
//! twice, and option negotiation may appear anywhere. Many servers do not implement it; the client probes for that.

/// "Interpret as command".
pub const IAC: u8 = 255;
/// The first of the four commands that are followed by an option: WILL, WONT, DO, DONT.
const WILL: u8 = 251;
/// The last of these four commands.
const DONT: u8 = 254;
/// The first command byte.
const SE: u8 = 240;
/// `IAC WILL TIMING-MARK` (RFC 860), sent before a command: a server that speaks TELNET removes it, and for any other
/// server it invalidates the command.
pub const PROBE: [u8; 3] = [IAC, WILL, 6];

/// The line with each byte 255 sent twice.
pub fn doubled(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 8);
    for &byte in line {
        out.push(byte);
        if byte == IAC {
            out.push(byte);
        }
    }
    out
}

/// The line without TELNET commands before its first byte of text.
pub fn without_commands(line: &[u8]) -> &[u8] {
    let mut rest = line;
    loop {
        rest = match rest {
            [IAC, WILL..=DONT, _, tail @ ..] => tail,
            [IAC, SE..WILL, tail @ ..] => tail,
            _ => return rest,
        };
    }
}

/// The line without any TELNET commands, each pair of bytes 255 reduced to one. A single byte 255 that begins no
/// command stays: servers that parse TELNET in commands often do not escape it in replies.
pub fn plain(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    loop {
        rest = without_commands(rest);
        rest = match rest {
            [IAC, IAC, tail @ ..] | [IAC, tail @ ..] => {
                out.push(IAC);
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return out,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for name in [&b""[..], b"x", b"\xff", b"\xff\xff", b"a\xffb", b"\xff\xfb\x06", b"\xff\xfe\xfd", b"\xf0\xff"] {
            assert_eq!(plain(&doubled(name)), name, "{name:?}");
        }
        assert_eq!(doubled(b"STOR \xff/\xff\xfbx"), b"STOR \xff\xff/\xff\xff\xfbx");
        assert_eq!(plain(b"\xff\xfe\x06257 \xff\xf1\"/\xff\xff\xff\xfc\x01x\"\xff"), b"257 \"/\xffx\"\xff");
        assert_eq!(without_commands(b"\xff\xfe\x06\xff\xf4200 \xff\xfe\x06"), b"200 \xff\xfe\x06");
        assert_eq!(without_commands(b"\xff\xfe"), b"\xff\xfe", "cut short");
    }
}
