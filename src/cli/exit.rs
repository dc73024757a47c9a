//! Exit statuses, from which a script decides its next step (sysexits).

use std::process::ExitCode;

use crate::fault::{Fault, Kind};

/// The exit status of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Complete success.
    pub const OK: Exit = Exit(0);
    /// Success with the answer "no".
    pub const NEGATIVE: Exit = Exit(1);
    /// Partial success: a second run would repeat the items that succeeded.
    pub const PARTLY: Exit = Exit(3);
    /// A temporary failure: the same command may succeed later.
    pub const TEMPORARY: Exit = Exit(75);
    /// The reader of stdout has closed it (128 + SIGPIPE).
    pub const PIPE: Exit = Exit(141);

    /// The status as a number.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Exit {
        Exit(kind.exit())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// The status of an error: that of the [`Fault`] in its chain, else [`Kind::Io`] for an I/O error, else [`Kind::Internal`] for a bug.
pub fn of_error(error: &anyhow::Error) -> Exit {
    match error.chain().find_map(|cause| cause.downcast_ref::<Fault>()) {
        Some(fault) => Exit::from(fault.kind),
        None if error.chain().any(|cause| cause.is::<std::io::Error>()) => Exit::from(Kind::Io),
        None => Exit::from(Kind::Internal),
    }
}

/// The exit status of a run over several items.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    failed: usize,
    first_permanent: Option<Exit>,
    done_once: bool,
}

impl Tally {
    /// Notes the success of an item that may be repeated without harm.
    pub fn success(&mut self) {}

    /// Notes the success of an item that must not be repeated (a delivered message).
    pub fn success_once(&mut self) {
        self.done_once = true;
    }

    /// Counts a failed item.
    pub fn fault(&mut self, fault: &Fault) {
        self.failed += 1;
        if !fault.temporary() {
            self.first_permanent.get_or_insert(Exit::from(fault.kind));
        }
    }

    /// The number of failed items.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// The status of the run: 0 if all items succeeded; 3 if an item failed and one that must not be repeated succeeded; else that of
    /// the first permanent failure in the order of the input; 75 if every failure was temporary.
    pub fn exit(&self) -> Exit {
        match (self.failed, self.done_once, self.first_permanent) {
            (0, _, _) => Exit::OK,
            (_, true, _) => Exit::PARTLY,
            (_, false, Some(exit)) => exit,
            (_, false, None) => Exit::TEMPORARY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    /// Each entry is one row of the exit table in applayer(7).
    #[test]
    fn every_kind_has_its_row() {
        for (code, kinds) in [
            (1, vec![Kind::Negative]),
            (3, vec![Kind::Unknown]),
            (64, vec![Kind::Usage]),
            (65, vec![Kind::BadData]),
            (66, vec![Kind::NoInput]),
            (67, vec![Kind::NoUser]),
            (68, vec![Kind::NoHost]),
            (69, vec![Kind::Refused, Kind::Unsupported]),
            (70, vec![Kind::Internal]),
            (73, vec![Kind::CannotCreate]),
            (74, vec![Kind::Io]),
            (
                75,
                vec![
                    Kind::ConnectRefused,
                    Kind::Unreachable,
                    Kind::TimedOut,
                    Kind::Disconnected,
                    Kind::PeerTemporary,
                    Kind::LookupFailed,
                    Kind::Locked,
                    Kind::StorageFull,
                    Kind::Incomplete,
                    Kind::Cancelled,
                ],
            ),
            (76, vec![Kind::Protocol]),
            (77, vec![Kind::AuthFailed, Kind::TlsUntrusted, Kind::Bogus]),
            (78, vec![Kind::Config]),
        ] {
            let found: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| Exit::from(*kind).code() == code).collect();
            assert_eq!(found.len(), kinds.len(), "status {code}");
            assert!(kinds.iter().all(|kind| found.contains(kind)), "status {code}");
        }
    }

    #[test]
    fn the_fault_in_the_chain_decides() {
        let error = Err::<(), _>(Fault::new(Kind::NoHost, "x")).context("one").context("two").unwrap_err();
        assert_eq!(of_error(&error).code(), 68);
        assert_eq!(of_error(&anyhow::anyhow!("no fault")).code(), 70);
        assert_eq!(of_error(&std::io::Error::other("disk").into()).code(), 74);
    }

    #[test]
    fn several_items() {
        let exit = |once: bool, kinds: &[Kind]| {
            let mut tally = Tally::default();
            tally.success();
            if once {
                tally.success_once();
            }
            for kind in kinds {
                tally.fault(&Fault::new(*kind, ""));
            }
            tally.exit().code()
        };
        assert_eq!(exit(false, &[]), 0);
        assert_eq!(exit(true, &[]), 0);
        assert_eq!(exit(false, &[Kind::TimedOut, Kind::Locked]), 75);
        assert_eq!(exit(false, &[Kind::TimedOut, Kind::NoInput, Kind::AuthFailed]), 66);
        assert_eq!(exit(true, &[Kind::TimedOut]), 3);
    }
}
