//! smtpsend and smtpserve.
