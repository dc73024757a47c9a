//! The queries of one question that may still be answered. Each of them holds a message ID and counts on its socket
//! until it is forgotten.
#![expect(clippy::indexing_slicing, reason = "`count` never exceeds the array")]

use crate::dns::bulk::api::SocketId;

/// The maximum number of open queries of one question; with more, the oldest is forgotten.
const MAX_SENT: usize = 4;

/// One query: its ID, its socket, and its time of sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentQuery {
    pub(super) socket: SocketId,
    pub(super) id: u16,
    /// The time of sending, cut to 32 bits: differences stay correct for 71 minutes.
    pub(super) sent: u32,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SentQueries {
    queries: [SentQuery; MAX_SENT],
    count: u8,
}

impl SentQueries {
    /// All queries, the oldest first.
    pub(super) fn as_slice(&self) -> &[SentQuery] {
        &self.queries[..usize::from(self.count)]
    }

    pub(super) fn newest(&self) -> Option<SentQuery> {
        self.as_slice().last().copied()
    }

    /// The query with this ID on this socket; it must be one of these.
    #[expect(clippy::expect_used, reason = "an ID whose holder does not know it is a bug that must not pass")]
    pub(super) fn get(&self, id: u16, socket: SocketId) -> SentQuery {
        let query = self.as_slice().iter().find(|query| query.id == id && query.socket == socket);
        *query.expect("the holder of an ID has sent its query")
    }

    /// Adds a query; returns the one that must be forgotten for it.
    pub(super) fn push(&mut self, query: SentQuery) -> Option<SentQuery> {
        let oldest = (usize::from(self.count) == MAX_SENT).then_some(self.queries[0]);
        if oldest.is_some() {
            self.queries.copy_within(1.., 0);
            self.count -= 1;
        }
        self.queries[usize::from(self.count)] = query;
        self.count += 1;
        oldest
    }

    /// Forgets a query, which must be one of these.
    #[expect(clippy::expect_used, reason = "a query that is forgotten twice is a bug that must not pass")]
    pub(super) fn remove(&mut self, query: SentQuery) {
        let at = self.as_slice().iter().position(|one| *one == query).expect("a query is forgotten once");
        self.queries.copy_within(at + 1..usize::from(self.count), at);
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_query_is_forgotten() {
        let mut sent = SentQueries::default();
        let query = |id| SentQuery { socket: SocketId(0), id, sent: 0 };
        for id in 0..6 {
            assert_eq!(sent.push(query(id)).map(|query| query.id), id.checked_sub(4));
        }
        assert_eq!(sent.as_slice(), [2, 3, 4, 5].map(query));
        sent.remove(query(3));
        assert_eq!((sent.as_slice(), sent.newest()), (&[2, 4, 5].map(query)[..], Some(query(5))));
        assert_eq!(sent.get(4, SocketId(0)), query(4));
    }
}
