//! The engine's view of the sockets: their resolvers, the number of queries in flight on each, and the changes of ports.
#![expect(clippy::indexing_slicing, reason = "every index is a socket or a resolver of ours; no peer can choose it")]

use super::ids::Random;
use crate::dns::bulk::api::{ResolverId, SocketId, SocketPlan};

/// A UDP socket gets a new port after about this number of queries.
const NEW_PORT_AFTER: u32 = 16_384;

#[derive(Debug)]
struct Socket {
    resolver: ResolverId,
    kind: SocketKind,
    sent: u32,
    new_port_at: u32,
    /// The number of queries that may still be answered here.
    outstanding: u32,
    /// The socket takes no more queries: it gets a new port as soon as none is outstanding.
    draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketKind {
    Udp,
    /// A connection that carries everything.
    Connection,
    /// A connection beside UDP sockets, for truncated answers: its queries do not count in the window.
    SpareConnection,
}

#[derive(Debug, Clone)]
struct ResolverSockets {
    /// The sockets for new questions, used in turn.
    regular: Vec<SocketId>,
    next: usize,
    connection: SocketId,
    /// One of its sockets is draining.
    draining: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SocketTable {
    all: Vec<Socket>,
    resolvers: Vec<ResolverSockets>,
    /// Sockets with nothing outstanding that wait for a new port.
    drained: Vec<SocketId>,
}

fn new_port_at(random: &mut Random) -> u32 {
    NEW_PORT_AFTER / 2 + random.below(NEW_PORT_AFTER as usize) as u32
}

impl SocketTable {
    /// Creates the table: the UDP sockets of all resolvers, resolver by resolver, and then one connection each.
    pub(super) fn new(plans: &[SocketPlan], random: &mut Random) -> SocketTable {
        let none = ResolverSockets { regular: Vec::new(), next: 0, connection: SocketId(0), draining: false };
        let mut sockets = SocketTable { all: Vec::new(), resolvers: vec![none; plans.len()], drained: Vec::new() };
        for (at, plan) in plans.iter().enumerate() {
            for _ in 0..plan.sockets {
                let socket = sockets.add(at, SocketKind::Udp, random);
                sockets.resolvers[at].regular.push(socket);
            }
        }
        for (at, plan) in plans.iter().enumerate() {
            let kind = if plan.sockets > 0 { SocketKind::SpareConnection } else { SocketKind::Connection };
            let socket = sockets.add(at, kind, random);
            sockets.resolvers[at].connection = socket;
            if kind == SocketKind::Connection {
                sockets.resolvers[at].regular.push(socket);
            }
        }
        sockets
    }

    fn add(&mut self, resolver: usize, kind: SocketKind, random: &mut Random) -> SocketId {
        let resolver = ResolverId(resolver as u16);
        let new_port_at = new_port_at(random);
        self.all.push(Socket { resolver, kind, sent: 0, new_port_at, outstanding: 0, draining: false });
        SocketId((self.all.len() - 1) as u16)
    }

    pub(super) fn resolver(&self, socket: SocketId) -> ResolverId {
        self.all[usize::from(socket.0)].resolver
    }

    pub(super) fn kind(&self, socket: SocketId) -> SocketKind {
        self.all[usize::from(socket.0)].kind
    }

    pub(super) fn connection(&self, resolver: ResolverId) -> SocketId {
        self.resolvers[usize::from(resolver.0)].connection
    }

    /// The next socket of a resolver that takes queries; `None` if all drain. A long-used socket starts to drain for a
    /// new port, one at a time: a question lost on a draining socket can always be asked on another.
    pub(super) fn choose(&mut self, resolver: ResolverId) -> Option<SocketId> {
        let own = &mut self.resolvers[usize::from(resolver.0)];
        let count = own.regular.len();
        for _ in 0..count {
            own.next = (own.next + 1) % count;
            let chosen = own.regular[own.next];
            let socket = &mut self.all[usize::from(chosen.0)];
            if socket.draining {
                continue;
            }
            let worn = socket.kind == SocketKind::Udp && socket.sent >= socket.new_port_at;
            if !worn || count == 1 || own.draining {
                return Some(chosen);
            }
            socket.draining = true;
            own.draining = true;
            if socket.outstanding == 0 {
                self.drained.push(chosen);
            }
        }
        None
    }

    /// Counts a query sent on a socket; it is outstanding until [`SocketTable::forget`].
    pub(super) fn send(&mut self, socket: SocketId) {
        let socket = &mut self.all[usize::from(socket.0)];
        socket.sent += 1;
        socket.outstanding += 1;
    }

    /// Counts a query on this socket whose answer is no longer accepted.
    pub(super) fn forget(&mut self, id: SocketId) {
        let socket = &mut self.all[usize::from(id.0)];
        assert!(socket.outstanding > 0, "a query is forgotten once");
        socket.outstanding -= 1;
        if socket.outstanding == 0 && socket.draining {
            self.drained.push(id);
        }
    }

    /// The sockets that need a new port now.
    pub(super) fn take_drained(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.drained)
    }

    /// Marks a drained socket as reopened with its new port.
    pub(super) fn rotated(&mut self, socket: SocketId, random: &mut Random) {
        let socket = &mut self.all[usize::from(socket.0)];
        assert!(socket.draining && socket.outstanding == 0, "only a drained socket changes its port");
        (socket.sent, socket.new_port_at, socket.draining) = (0, new_port_at(random), false);
        self.resolvers[usize::from(socket.resolver.0)].draining = false;
    }
}

#[cfg(test)]
impl SocketTable {
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Socket>() + self.resolvers.capacity() * size_of::<ResolverSockets>()
    }

    /// The number of queries outstanding on a socket.
    pub(super) fn outstanding(&self, socket: SocketId) -> u32 {
        self.all[usize::from(socket.0)].outstanding
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SocketId> + use<> {
        (0..self.all.len() as u16).map(SocketId)
    }

    /// Checks that at most one socket of a resolver drains, and that the resolver's flag agrees.
    pub(super) fn assert_consistent(&self) {
        for (at, own) in self.resolvers.iter().enumerate() {
            let draining = self.all.iter().filter(|one| usize::from(one.resolver.0) == at && one.draining).count();
            assert_eq!(draining, usize::from(own.draining), "draining sockets of resolver {at}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_change_one_at_a_time_and_only_when_nothing_is_outstanding() {
        let mut random = Random::seeded(1);
        let plans = [SocketPlan { sockets: 2, encrypted: false }];
        let mut sockets = SocketTable::new(&plans, &mut random);
        let mut changed = Vec::new();
        while changed.len() < 4 {
            let socket = sockets.choose(ResolverId(0)).expect("one of two always takes queries");
            sockets.send(socket);
            sockets.assert_consistent();
            sockets.forget(socket);
            for drained in sockets.take_drained() {
                assert_eq!(sockets.outstanding(drained), 0);
                sockets.rotated(drained, &mut random);
                changed.push(drained);
            }
        }
        assert!(changed.contains(&SocketId(0)) && changed.contains(&SocketId(1)));
        let connection = sockets.connection(ResolverId(0));
        assert_eq!((connection, sockets.kind(connection)), (SocketId(2), SocketKind::SpareConnection));
    }
}
