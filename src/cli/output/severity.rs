//! The severity and the facility of log lines (syslog(3)).

/// The severity of a line (RFC 5424, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A failure on our side.
    Error = 3,
    /// An abnormal condition.
    Warning = 4,
    /// An event that an operator may act on, such as a wrong password.
    Notice = 5,
    /// A completed action.
    Info = 6,
    /// A line of the protocol dialogue.
    Debug = 7,
}

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

/// The number of a facility.
///
/// # Errors
///
/// A message with the valid names.
pub fn facility(name: &str) -> Result<u8, String> {
    let found = FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let names = || FACILITIES.map(|(name, _)| name).join(", ");
    found.ok_or_else(|| format!("unknown facility; use one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_are_those_of_syslog() {
        assert_eq!([facility("mail"), facility("daemon"), facility("local7")], [Ok(2), Ok(3), Ok(23)]);
        assert!(facility("kern").unwrap_err().contains("local0, local1"));
    }
}
