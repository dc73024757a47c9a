//! The severity of log lines (syslog(3)).

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
