//! Tells whether the end of an upload's data connection is the end of the file. In stream mode an abort looks the same (RFC
//! 959, section 3.4.1): when a process dies, its system closes the connections one after the other, and a client that gives up
//! ends TLS properly. The difference is the control connection: a client that waits for its 226 keeps it open.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use super::{CLOSE_LIMIT, ControlDriver};
use crate::ftp::reply::FtpReply;
use crate::ftp::session::SessionAction;
use crate::net::stream::Acknowledgement;

/// The shortest wait for the control connection of a killed client to end after its data connection. Measured for curl,
/// lftp, wput and ftplib on an idle machine: 1 to 140 µs. Clients that upload many small files wait for it at each of them.
const MIN_GRACE: Duration = Duration::from_micros(300);
/// Up to this limit an upload that a client cannot have written at once waits for as long as it took. On a machine with
/// three times as many busy processes as processors 3 % of the ends were 1 to 13 ms apart.
const BUSY_GRACE: Duration = Duration::from_millis(20);
/// The most bytes that a client may write at once: none of them arrive if the client dies before the write.
const ONE_WRITE_BYTES: u64 = 64 << 10;
/// The longest wait of an upload.
const MAX_GRACE: Duration = Duration::from_millis(250);
/// The lateness of a timer of the system on an idle machine. One that is later tells that processes wait for a processor, perhaps the
/// client that is being killed too.
const TIMER_LATENESS: Duration = Duration::from_micros(200);
/// The interval between checks for the acknowledgement of the last reply.
const PROBE_STEP: Duration = Duration::from_millis(1);

/// Proof that the client was connected when its upload ended: an incomplete upload is not a file.
#[derive(Debug)]
pub(super) struct SeenToItsEnd(());

/// The time for which an upload of this many bytes and this duration waits for the end of the control connection. On a
/// slow network or machine both ends are further apart; quick uploads wait only briefly.
fn grace(elapsed: Duration, bytes: u64, announced: Option<u64>) -> Duration {
    match announced {
        // All that ALLO said: nothing can be missing.
        Some(size) if bytes == size => return Duration::ZERO,
        Some(size) if bytes < size => return MAX_GRACE,
        _ => {}
    }
    let busy = if bytes > ONE_WRITE_BYTES { elapsed.min(BUSY_GRACE) } else { Duration::ZERO };
    (elapsed / 4).max(busy).clamp(MIN_GRACE, MAX_GRACE)
}

/// Sleeps this long, by a timer of the system: those of the runtime count whole milliseconds and fire up to two of them late.
async fn sleep_exactly(time: Duration) {
    if time.is_zero() {
        return;
    }
    match alarm(time) {
        Ok(alarm) => drop(alarm.readable().await),
        Err(_) => tokio::time::sleep(time).await,
    }
}

/// A timer that becomes readable when the time is over. For tokio it is a descriptor to read from, as a pipe.
fn alarm(time: Duration) -> io::Result<Receiver> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let it_value = Timespec::try_from(time).map_err(io::Error::other)?;
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: once, it_value })?;
    Receiver::from_owned_fd_unchecked(timer)
}

impl ControlDriver<'_> {
    /// Waits until it is known whether the client of the upload that has just ended is still connected. `None` if it is
    /// not, or if it stopped the transfer. `ended`: the time at which the data connection ended.
    pub(super) async fn seen_to_its_end(&mut self, bytes: u64, ended: Instant) -> Option<SeenToItsEnd> {
        let (_, started) = self.running.as_ref()?;
        let grace = grace(ended.saturating_duration_since(started.at), bytes, started.announced);
        let (stop, grace) = (started.stop.clone(), grace.saturating_sub(ended.elapsed()));
        if !self.ended && !stop.is_stopped() {
            self.listen_for(grace).await;
        }
        // The client sent QUIT ahead and closed its side: only its system knows whether it still reads.
        let there = !stop.is_stopped() && (!self.ended || self.reads_replies().await);
        there.then_some(SeenToItsEnd(()))
    }

    /// Reads from the client for this time; longer if the machine is too busy to keep it.
    async fn listen_for(&mut self, grace: Duration) {
        let mut buffer = [0; 4096];
        let mut limit = Instant::now() + grace;
        let mut alarm = Box::pin(sleep_exactly(grace));
        let mut again = true;
        loop {
            // The kernel is asked, since it knows before the runtime does.
            let closed = self.stream.peer_has_closed();
            let heard = tokio::select! {
                biased;
                heard = self.stream.read_with_urgent(&mut buffer), if self.session.wants_input() => heard,
                () = &mut alarm, if !closed => {
                    let late = limit.elapsed();
                    let busy = std::mem::take(&mut again) && late > TIMER_LATENESS;
                    if !busy && !self.stream.peer_has_closed() {
                        return;
                    }
                    let more = late.min(BUSY_GRACE);
                    (limit, alarm) = (Instant::now() + more, Box::pin(sleep_exactly(more)));
                    continue;
                }
                else => Ok(0),
            };
            match heard {
                Ok(count @ 1..) => {
                    self.session.input(buffer.get(..count).unwrap_or_default());
                    if self.hear() {
                        return self.stop_transfer();
                    }
                }
                _ => return self.client_ended(),
            }
        }
    }

    /// The client has closed its side. A transfer may continue only if the client sent QUIT before: otherwise the client was interrupted.
    pub(super) fn client_ended(&mut self) {
        self.ended = true;
        // Looks at what came before the end.
        if self.hear() || !self.session.has_said_quit() {
            self.stop_transfer();
        }
    }

    /// Runs the actions that are urgent while a transfer or an operation on the tree runs; true if it is to stop.
    pub(super) fn hear(&mut self) -> bool {
        let mut stop = false;
        while let Some(action) = self.session.poll() {
            match action {
                SessionAction::Reply(reply) => self.write(&reply),
                // Nothing else comes while a transfer runs, and without one everything was polled before.
                SessionAction::StopTransfer => stop = true,
                _ => {}
            }
        }
        stop
    }

    /// True if the client still reads: a reply is sent, and the client's system acknowledges it. If the process is
    /// gone, its system resets the connection instead (RFC 9293, section 3.6.1).
    async fn reads_replies(&mut self) -> bool {
        let limit = Instant::now() + CLOSE_LIMIT;
        self.write(&FtpReply::new(150, "Everything came."));
        if self.flush().await.is_err() || self.gone {
            return false;
        }
        loop {
            match self.stream.acknowledgement() {
                Acknowledgement::Pending if Instant::now() < limit => tokio::time::sleep(PROBE_STEP).await,
                other => return other == Acknowledgement::Complete,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_bounded_and_grows_with_the_upload() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        for (elapsed, bytes, expected) in [
            (0, 0, 300),
            (1, 100, 300),
            (40, 100, 10_000),
            (0, ONE_WRITE_BYTES, 300),
            (0, ONE_WRITE_BYTES + 1, 300),
            (8, ONE_WRITE_BYTES, 2_000),
            (8, ONE_WRITE_BYTES + 1, 8_000),
            (60, ONE_WRITE_BYTES + 1, 20_000),
            (200, 1 << 20, 50_000),
            (3_600_000, u64::MAX, 250_000),
        ] {
            assert_eq!(grace(ms(elapsed), bytes, None), us(expected), "{bytes} bytes in {elapsed} ms");
        }
        assert_eq!(grace(ms(900), 1 << 20, Some(1 << 20)), ms(0), "whole");
        assert_eq!(grace(ms(1), 10, Some(11)), ms(250), "short");
        assert_eq!(grace(ms(1), 12, Some(11)), us(300), "ALLO was wrong");
    }
}
