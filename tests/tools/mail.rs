//! mailread, and what smtpsend composes.
