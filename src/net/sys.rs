//! System calls that need `unsafe`: the only home of it in this crate.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor of socket activation (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;
/// More than this many passed listeners are not believed.
const MAX_PASSED: RawFd = 64;

/// The listening sockets that the service manager passed to this very process: `LISTEN_FDS` of them from descriptor 3
/// on, if `LISTEN_PID` names us (sd_listen_fds(3)). Call it once, before anything else opens descriptors.
pub fn passed_listeners(listen_pid: Option<&str>, listen_fds: Option<&str>, own_pid: u32) -> Vec<OwnedFd> {
    let ours = listen_pid.and_then(|pid| pid.parse::<u32>().ok()) == Some(own_pid);
    let count = listen_fds.and_then(|count| count.parse::<RawFd>().ok()).unwrap_or(0);
    if !ours || !(1..=MAX_PASSED).contains(&count) {
        return Vec::new();
    }
    // SAFETY: the service manager promises, by LISTEN_PID naming this process, that these descriptors are open and ours
    // alone; nobody else in this process takes ownership of them.
    (FIRST_PASSED..FIRST_PASSED + count).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_somebody_else_are_left_alone() {
        assert!(passed_listeners(None, Some("1"), 7).is_empty());
        assert!(passed_listeners(Some("8"), Some("1"), 7).is_empty());
        assert!(passed_listeners(Some("7"), Some("0"), 7).is_empty());
        assert!(passed_listeners(Some("7"), Some("-1"), 7).is_empty());
        assert!(passed_listeners(Some("7"), Some("65"), 7).is_empty());
    }
}
