//! The local syslog daemon: its socket, the facilities, and the two formats of messages.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::severity::Severity;
use crate::cli::clock;

/// The socket of the local syslog daemon.
pub(super) const SYSLOG_SOCKET: &str = "/dev/log";
/// The longest wait of the writing thread for a syslog daemon that does not read. No other thread waits for it.
const SYSLOG_PATIENCE: Duration = Duration::from_millis(500);
/// The longest message in the local format, in bytes. The rest is cut, since daemons accept 8 KiB (rsyslog) or less.
const MAX_LOCAL_BYTES: usize = 4096;
/// The longest message of RFC 5424, in bytes: receivers should accept it (section 6.1).
const MAX_RFC5424_BYTES: usize = 2048;
/// The longest HOSTNAME, APP-NAME and MSGID (RFC 5424, section 6).
const MAX_HOSTNAME: usize = 255;
const MAX_APP_NAME: usize = 48;
const MAX_MSGID: usize = 32;

/// The facilities of RFC 5424, section 6.2.1, that programs may choose, by their names in syslog(3).
pub const FACILITIES: [(&str, u8); 19] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The value of `--syslog`: the facility and the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyslogTarget {
    facility: u8,
    /// RFC 5424 instead of the format of syslog(3).
    rfc5424: bool,
}

impl SyslogTarget {
    /// Parses `FACILITY[,rfc5424]`.
    ///
    /// # Errors
    ///
    /// A message with the valid names.
    pub fn parse(text: &str) -> Result<SyslogTarget, String> {
        let (name, rfc5424) = text.strip_suffix(",rfc5424").map_or((text, false), |name| (name, true));
        let found = FACILITIES.iter().find(|(known, _)| *known == name);
        let names = || FACILITIES.map(|(name, _)| name).join(", ");
        let facility = found.ok_or_else(|| format!("unknown facility; use one of {}", names()))?.1;
        Ok(SyslogTarget { facility, rfc5424 })
    }

    /// A message for the daemon. `text` is already escaped; TABs separate its fields, and the first is the event.
    pub(super) fn message(self, app: &str, session: Option<&str>, severity: Severity, text: &str) -> String {
        let priority = u16::from(self.facility) * 8 + severity as u16;
        let (now, pid) = (clock::now(), std::process::id());
        let session = session.map_or(String::new(), |id| format!("{id}: "));
        let said = format!("{session}{}", text.replace('\t', " "));
        let (mut message, longest) = match self.rfc5424 {
            // The format that syslog(3) sends to the local daemon: no name of the host, and the local time without a year.
            false => (format!("<{priority}>{} {app}[{pid}]: {said}", now.strftime("%b %e %H:%M:%S")), MAX_LOCAL_BYTES),
            true => {
                let host = header_field(&rustix::system::uname().nodename().to_string_lossy(), MAX_HOSTNAME);
                let app = header_field(app, MAX_APP_NAME);
                let event = header_field(text.split('\t').next().unwrap_or_default(), MAX_MSGID);
                let at = format!("{:.6}", now.timestamp());
                // Section 6.4: a message in UTF-8 begins with a BOM. One in ASCII is the same bytes in every encoding, and
                // daemons hand a BOM on as text.
                let bom = if said.is_ascii() { "" } else { "\u{feff}" };
                (format!("<{priority}>1 {at} {host} {app} {pid} {event} - {bom}{said}"), MAX_RFC5424_BYTES)
            }
        };
        message.truncate(message.floor_char_boundary(longest));
        message
    }
}

/// A field of the header of RFC 5424: printable ASCII without blanks, or `-` for none (section 6).
fn header_field(text: &str, longest: usize) -> String {
    let kept = text.trim().chars().map(|letter| if letter == ' ' { '-' } else { letter });
    let field: String = kept.filter(char::is_ascii_graphic).take(longest).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

/// The socket of the syslog daemon, which is reconnected after a restart of the daemon.
#[derive(Debug)]
pub(super) struct SyslogSocket {
    path: PathBuf,
    open: Option<UnixDatagram>,
}

impl SyslogSocket {
    pub(super) fn at(path: impl Into<PathBuf>) -> SyslogSocket {
        SyslogSocket { path: path.into(), open: None }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let fresh = self.open.is_none();
        let socket = match self.open.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket.set_write_timeout(Some(SYSLOG_PATIENCE))?;
                socket
            }
        };
        match socket.send(message).map(drop) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => match fresh {
                true => Err(error),
                false => self.send(message),
            },
            // Sent, or it waited long enough.
            sent => {
                self.open = Some(socket);
                sent
            }
        }
    }
}

impl Write for SyslogSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
        self.send(bytes.get(..end).unwrap_or_default())?;
        Ok(bytes.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_facility_and_perhaps_a_format() {
        for (text, facility, rfc5424) in
            [("mail", 2, false), ("daemon", 3, false), ("local7,rfc5424", 23, true), ("ftp,rfc5424", 11, true)]
        {
            assert_eq!(SyslogTarget::parse(text), Ok(SyslogTarget { facility, rfc5424 }), "{text}");
        }
        for bad in ["kern", "", "rfc5424", ",rfc5424", "mail,", "mail,rfc3164", "mail,rfc5424,rfc5424", "Mail"] {
            assert!(SyslogTarget::parse(bad).unwrap_err().contains("local0, local1"), "{bad}");
        }
    }

    /// The fields of RFC 5424, section 6, of a message: PRI, VERSION, TIMESTAMP … and what follows STRUCTURED-DATA.
    fn fields(message: &str) -> ([&str; 7], &str) {
        let mut parts = message.splitn(8, ' ');
        let head = std::array::from_fn(|_| parts.next().unwrap());
        (head, parts.next().unwrap())
    }

    #[test]
    fn messages_of_rfc_5424() {
        let target = SyslogTarget::parse("ftp,rfc5424").unwrap();
        let pid = std::process::id().to_string();
        for (session, text, event, said) in [
            (None, "login refused\tbob\t192.0.2.1", "login-refused", "login refused bob 192.0.2.1"),
            (Some("a1.7"), "upload\t/a", "upload", "a1.7: upload /a"),
            (None, "upload\t/gr\u{fc}n", "upload", "\u{feff}upload /gr\u{fc}n"),
            (Some("a1.7"), "\u{e9}\t1", "-", "\u{feff}a1.7: \u{e9} 1"),
            (
                None,
                "a word of many letters, longer than a field\tx",
                "a-word-of-many-letters,-longer-t",
                "a word of many letters, longer than a field x",
            ),
            (None, "", "-", ""),
        ] {
            let message = target.message("ftpserve", session, Severity::Notice, text);
            let ([pri, time, host, app, proc, msgid, data], found) = fields(&message);
            assert_eq!(
                (pri, app, proc, msgid, data, found),
                ("<93>1", "ftpserve", &*pid, event, "-", said),
                "{text:?}"
            );
            // TIMESTAMP: UTC, with microseconds; a leap second is not allowed, and jiff writes none.
            assert!(time.len() == 27 && time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
            assert!((1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic()), "{host}");
        }
        let long = "\u{fc}".repeat(9000);
        let message = target.message("ftpserve", Some("a1.7"), Severity::Error, &long);
        assert!((MAX_RFC5424_BYTES - 1..=MAX_RFC5424_BYTES).contains(&message.len()) && message.ends_with('\u{fc}'));
        assert!(message.starts_with("<91>1 "), "{message:.40}");
    }

    #[test]
    fn header_fields_are_printable_or_a_dash() {
        for (text, field) in [
            ("mail.example", "mail.example"),
            ("", "-"),
            (" ", "-"),
            ("a b", "a-b"),
            ("a\u{0}\u{7f}b\n", "ab"),
            ("h\u{f6}st", "hst"),
            ("\u{f6}", "-"),
        ] {
            assert_eq!(header_field(text, 48), field, "{text:?}");
        }
        assert_eq!(header_field(&"x".repeat(300), MAX_HOSTNAME).len(), MAX_HOSTNAME);
    }

    #[test]
    fn messages_of_syslog_3() {
        let target = SyslogTarget::parse("mail").unwrap();
        let message = target.message("test", Some("a1.7"), Severity::Notice, "login refused\tbob");
        let (head, text) = message.split_once(": ").unwrap();
        assert_eq!(text, "a1.7: login refused bob");
        // <21>Nov 29 11:00:00 test[123]
        assert!(head.starts_with("<21>") && head.ends_with(&format!(" test[{}]", std::process::id())), "{head}");
        let message = target.message("test", None, Severity::Info, &"\u{fc}".repeat(9000));
        assert!((MAX_LOCAL_BYTES - 1..=MAX_LOCAL_BYTES).contains(&message.len()) && message.ends_with('\u{fc}'));
    }
}
