//! The TLS sessions of one FTP control connection, as its data connections resume them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::net::sys;

/// The most tickets that are kept; a server may send any number.
const MAX_TICKETS: usize = 32;

/// What the server gave: a session of TLS 1.2, or tickets of TLS 1.3. There is one server, so names are not looked at.
///
/// Each ticket serves once as long as there is another; the last one is kept and serves again. Some servers (proftpd) give
/// two to a control connection, none to data connections, and refuse data connections that resume nothing. RFC 8446,
/// appendix C.4, warns of connections that an observer can tell to be of one client: those of a control connection he knows
/// by their addresses anyway. A server that takes a ticket only once makes a new session, which is seen.
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
        // The oldest first: what is kept for longest is the newest.
        let ticket = tickets.pop_front()?;
        if tickets.is_empty() {
            tickets.extend(sys::copy_of_ticket(&ticket));
        }
        Some(ticket)
    }
}
