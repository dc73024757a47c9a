//! Programs that a server starts although its sandbox forbids it: a helper process, which was forked before the sandbox closed,
//! starts them. The command and its time limit are fixed at that time; a request adds an argument and values of the environment.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::helper::{Helper, HelperAnswer, HelperRights, HelperTerms, MAX_MESSAGE_BYTES};
use crate::fault::{Fault, Kind};

/// The most bytes of a program's output that are kept; the rest is read and dropped.
pub const MAX_OUTPUT_BYTES: usize = 8 << 10;
/// The time beyond the limit of a program within which its end is reported.
pub const MARGIN: Duration = Duration::from_secs(60);
/// Variables of the service manager, which are meant for the server alone.
const OWN_VARIABLES: &[&str] =
    &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

const _: () = assert!(MAX_OUTPUT_BYTES + 64 < MAX_MESSAGE_BYTES);

/// A command that is run for several requests.
#[derive(Debug, Clone)]
pub struct ProgramCommand {
    /// The program and its first arguments.
    pub words: Vec<OsString>,
    /// The names of the variables that each request sets.
    pub variables: &'static [&'static str],
    /// The time limit of one run: then the program and its process group are killed.
    pub limit: Duration,
}

/// The helper process for one command.
#[derive(Debug)]
pub struct ProgramHelper {
    helper: Helper,
    limit: Duration,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramEnd {
    /// The program ended with this status.
    Exit(i32),
    /// A signal ended the program.
    Signal(i32),
    /// The time limit ended the program.
    Limit,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramResult {
    /// The end.
    pub end: ProgramEnd,
    /// The beginning of what the program wrote to stdout and stderr.
    pub output: Vec<u8>,
}

impl ProgramHelper {
    /// Starts the helper, with the rights of this process. Call it before the sandbox is closed, and before the first thread.
    ///
    /// # Errors
    /// Those of [`Helper::start_with`].
    pub fn start(command: ProgramCommand) -> Result<ProgramHelper, Fault> {
        let limit = command.limit;
        let rights = HelperRights { name: c"programs", user: None, terms: HelperTerms::PROGRAMS };
        let helper = Helper::start_with(rights, None, move |request, _| {
            Ok(HelperAnswer::new(run(&command, request)?.compose(), None))
        })?;
        Ok(ProgramHelper { helper, limit })
    }

    /// Runs the command with this last argument and these values of its variables. Blocks until its end.
    ///
    /// # Errors
    /// The program cannot be started, or the helper process has ended.
    pub fn run(&self, argument: &[u8], values: &[&[u8]]) -> Result<ProgramResult, Fault> {
        let request = [&[argument], values].concat().join(&0);
        let answer = self.helper.ask_with(&request, None, self.limit + MARGIN)?;
        ProgramResult::parse(&answer.bytes)
    }
}

impl ProgramResult {
    /// The form in which a worker reports the result.
    pub fn compose(&self) -> Vec<u8> {
        let (word, number) = match self.end {
            ProgramEnd::Exit(status) => ("exit", status),
            ProgramEnd::Signal(signal) => ("signal", signal),
            ProgramEnd::Limit => ("limit", 0),
        };
        [format!("{word} {number}\n").as_bytes(), &self.output].concat()
    }

    /// Reads what [`ProgramResult::compose`] wrote.
    ///
    /// # Errors
    /// [`Kind::Internal`] for anything else.
    pub fn parse(answer: &[u8]) -> Result<ProgramResult, Fault> {
        let read = || {
            let end = answer.iter().position(|byte| *byte == b'\n')?;
            let (head, output) = answer.split_at(end);
            let (word, number) = std::str::from_utf8(head).ok()?.split_once(' ')?;
            let number = number.parse().ok()?;
            let end = match word {
                "exit" => ProgramEnd::Exit(number),
                "signal" => ProgramEnd::Signal(number),
                "limit" => ProgramEnd::Limit,
                _ => return None,
            };
            Some(ProgramResult { end, output: output.get(1..)?.to_vec() })
        };
        read().ok_or_else(|| Fault::new(Kind::Internal, "helper process: not an answer"))
    }
}

/// Runs the command in this process, which is a worker of the helper.
fn run(command: &ProgramCommand, request: &[u8]) -> Result<ProgramResult, Fault> {
    let mut fields = request.split(|byte| *byte == 0);
    let (argument, values) = (fields.next().unwrap_or_default(), fields.collect::<Vec<_>>());
    if values.len() != command.variables.len() {
        return Err(Fault::new(Kind::Protocol, "helper process: not a request"));
    }
    let Some((program, words)) = command.words.split_first() else {
        return Err(Fault::new(Kind::Internal, "helper process: no program"));
    };
    let failed = |error: &io::Error| Fault::local(program.to_string_lossy(), error);
    let mut start = Command::new(program);
    start.args(words).arg(OsStr::from_bytes(argument)).stdin(Stdio::null());
    for (name, value) in command.variables.iter().zip(values) {
        start.env(name, OsStr::from_bytes(value));
    }
    for name in OWN_VARIABLES {
        start.env_remove(name);
    }
    run_to_end(start, command.limit).map_err(|error| failed(&error))
}

/// Runs a command in a process group of its own, which ends at the limit. Called in a worker of a helper, which blocks all signals;
/// the program starts without that.
///
/// # Errors
/// The program cannot be started or watched.
pub fn run_to_end(mut command: Command, limit: Duration) -> io::Result<ProgramResult> {
    let until = Instant::now() + limit;
    let (reader, writer) = io::pipe()?;
    command.process_group(0).stdout(writer.try_clone()?).stderr(writer);
    let blocked = SigSet::thread_get_mask()?;
    SigSet::all().thread_unblock()?;
    let started = command.spawn();
    blocked.thread_set_mask()?;
    // The ends of the pipe for writing belong to the program alone.
    drop(command);
    attend(started?, reader, until)
}

/// Reads the output of a program until its end, and ends it at the limit.
fn attend(mut child: Child, mut reader: io::PipeReader, until: Instant) -> io::Result<ProgramResult> {
    let pid = Pid::from_child(&child);
    let ends = pidfd_open(pid, PidfdFlags::empty())?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let (mut output, mut writes) = (Vec::new(), true);
    let status: Option<ExitStatus> = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = kill_process_group(pid, Signal::KILL);
            child.wait()?;
            break None;
        }
        let wanted = if writes { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = [PollFd::new(&ends, PollFlags::IN), PollFd::from_borrowed_fd(reader.as_fd(), wanted)];
        let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        // The end of the output counts as an event for ever: then only the end of the program is waited for.
        let polled = if writes { &mut polled[..] } else { &mut polled[..1] };
        match poll(polled, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = polled.first().is_some_and(|ends| !ends.revents().is_empty());
        if writes {
            writes = collect(&mut reader, &mut output)?;
        }
        if ended {
            break Some(child.wait()?);
        }
    };
    let end = match status {
        None => ProgramEnd::Limit,
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => ProgramEnd::Exit(code),
            (None, signal) => ProgramEnd::Signal(signal.unwrap_or(0)),
        },
    };
    Ok(ProgramResult { end, output })
}

/// Reads what is there; false at the end.
fn collect(reader: &mut io::PipeReader, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    // Bounded, so that a program that never stops writing cannot outlast its limit.
    for _ in 0..64 {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                let room = MAX_OUTPUT_BYTES.saturating_sub(output.len()).min(count);
                output.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> ProgramCommand {
        let words = ["/bin/sh", "-c", script, "sh"].map(OsString::from).to_vec();
        ProgramCommand { words, variables: &["ONE", "TWO"], limit }
    }

    #[test]
    fn programs_run_to_their_end_or_their_limit() {
        let long = Duration::from_secs(600);
        let ended = |script: &str| run(&shell(script, long), b"an \"argument\0first\0second word").unwrap();
        let exits = |status, output: &str| ProgramResult { end: ProgramEnd::Exit(status), output: output.into() };
        assert_eq!(ended("echo \"$1\" $ONE; echo $TWO >&2; exit 3"), exits(3, "an \"argument first\nsecond word\n"));
        assert_eq!(ended("kill -TERM $$").end, ProgramEnd::Signal(15));
        assert_eq!(ended("cat; exec >&- 2>&-; :"), exits(0, ""), "no input");
        assert_eq!(ended("head -c 300000 /dev/zero").output.len(), MAX_OUTPUT_BYTES);
        // What a program leaves running, with its output, is not waited for.
        let left = ended("sleep 600 & echo $!");
        assert_eq!(left.end, ProgramEnd::Exit(0));
        let pid = String::from_utf8(left.output).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        assert_eq!(
            run(&shell("yes & sleep 600", Duration::from_millis(50)), b"x\0a\0b").unwrap().end,
            ProgramEnd::Limit
        );
        assert_eq!(run(&shell("", long), b"x\0a").unwrap_err().kind, Kind::Protocol);
        let missing = ProgramCommand { words: vec!["/nowhere/x".into()], ..shell("", long) };
        assert_eq!(run(&missing, b"x\0a\0b").unwrap_err().kind, Kind::NoInput);
        for bad in [&b"exit"[..], b"exit 1", b"exit x\n", b"done 1\n", b"\xff 1\n", b""] {
            assert!(ProgramResult::parse(bad).is_err(), "{bad:?}");
        }
    }
}
