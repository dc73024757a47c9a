//! The TLS sessions of one FTP control connection, which its data connections resume.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::net::sys;

/// The most tickets kept; a server may send any number.
const MAX_TICKETS: usize = 32;

/// The sessions from the server: one of TLS 1.2, or tickets of TLS 1.3. There is one server, so names are ignored.
///
/// Each ticket is used once as long as there is another; the last one is kept and reused. Some servers (proftpd) send two on
/// a control connection and none on data connections, and refuse data connections that resume nothing. RFC 8446, appendix
/// C.4, warns that an observer can link connections to one client: those of a control connection are linked by their
/// addresses anyway. A server that accepts a ticket only once makes a new session, which is noticed.
#[derive(Debug, Default)]
pub(super) struct ControlSessions(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl ControlSessions {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for ControlSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let tickets = &mut self.lock().tickets;
        if tickets.len() >= MAX_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let tickets = &mut self.lock().tickets;
        // The oldest first: so the ticket that is kept is the newest.
        let ticket = tickets.pop_front()?;
        if tickets.is_empty() {
            tickets.extend(sys::copy_of_ticket(&ticket));
        }
        Some(ticket)
    }
}
