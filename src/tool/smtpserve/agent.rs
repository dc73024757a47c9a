//! Programs and files that get mail: a helper process runs and writes them with the rights of the server's user, outside its
//! sandbox, but only those that the command line and the alias files name.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::fault::{Enhanced, Fault, Kind};
use crate::mail::maildir::Maildir;
use crate::mail::mbox;
use crate::net::helper::{Helper, HelperAnswer, HelperRights, HelperTerms};
use crate::net::privilege::UnixIdentity;
use crate::net::program::{self, MARGIN, ProgramEnd, ProgramResult};
use crate::smtp::reply::SmtpReply;

/// The most characters of the output that a reply quotes.
const MAX_QUOTED: usize = 200;
/// The search path of programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program or a file that gets mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AgentTarget {
    /// A program with its arguments.
    Command(Vec<String>),
    /// An mbox, or a Maildir if the path ends with `/`.
    File(PathBuf),
}

impl std::fmt::Display for AgentTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AgentTarget::Command(words) => write!(f, "|{}", words.join(" ")),
            AgentTarget::File(path) => path.display().fmt(f),
        }
    }
}

/// A request to the helper; the message comes with it as a file.
#[derive(Debug, Serialize, Deserialize)]
struct AgentRequest {
    target: AgentTarget,
    /// The environment of a program.
    environment: BTreeMap<String, String>,
    sender: String,
    date: String,
    /// The time that a program may take.
    limit: Duration,
}

/// The server's side: it runs at most a certain number of programs at the same time.
#[derive(Debug)]
pub(super) struct DeliveryAgent {
    helper: Arc<Helper>,
    limit: Duration,
    jobs: Semaphore,
}

impl DeliveryAgent {
    /// Starts the helper, as `user` if the server will become that user. `permits` decides on each request. Must be called before
    /// the first thread starts, and before keys are read.
    ///
    /// # Errors
    /// Those of [`Helper::start`].
    pub(super) fn start(
        user: Option<&UnixIdentity>,
        limit: Duration,
        jobs: usize,
        permits: impl Fn(&AgentTarget) -> bool,
    ) -> Result<DeliveryAgent, Fault> {
        let rights = HelperRights { name: c"programs", user, terms: HelperTerms::PROGRAMS };
        let helper = Helper::start_with(rights, None, |request, message| act(request, message, &permits))?;
        Ok(DeliveryAgent { helper: Arc::new(helper), limit, jobs: Semaphore::new(jobs) })
    }

    pub(super) fn helper(&self) -> Arc<Helper> {
        self.helper.clone()
    }

    /// Delivers a message, which is read from the start of the file. Blocks. `Ok(None)`: it is delivered; a reply: it was refused.
    ///
    /// # Errors
    /// Faults of the helper, and of a file that cannot be written: nothing was delivered, as far as is known.
    pub(super) async fn deliver(
        &self,
        target: &AgentTarget,
        environment: BTreeMap<String, String>,
        sender: &str,
        message: &File,
    ) -> Result<Option<SmtpReply>, Fault> {
        let _turn = self.jobs.acquire().await.map_err(|_| Fault::new(Kind::Internal, "no turn for a program"))?;
        let date = jiff::Timestamp::now().strftime(mbox::DATE).to_string();
        let request =
            AgentRequest { target: target.clone(), environment, sender: sender.to_owned(), date, limit: self.limit };
        let request = serde_json::to_vec(&request).map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        let answer = self.helper.ask_with(&request, Some(message.as_fd()), self.limit + MARGIN)?;
        match target {
            AgentTarget::File(_) => Ok(None),
            AgentTarget::Command(_) => Ok(reply(&ProgramResult::parse(&answer.bytes)?, self.limit)),
        }
    }
}

/// The refusal by a program: the enhanced codes are those that Postfix gives to sysexits(3). `None` for exit status 0.
fn reply(result: &ProgramResult, limit: Duration) -> Option<SmtpReply> {
    let temporary = |words: String| ((4, 3, 0), words);
    let (enhanced, words) = match result.end {
        ProgramEnd::Limit => temporary(format!("the program took more than {} s", limit.as_secs())),
        ProgramEnd::Signal(signal) => temporary(format!("signal {signal} ended the program")),
        ProgramEnd::Exit(status) => {
            let (enhanced, words) = match status {
                0 => return None,
                65 => ((5, 6, 0), "data format error"),
                67 => ((5, 1, 1), "no such user"),
                68 => ((5, 1, 2), "no such host"),
                71 | 74 => ((4, 3, 0), "system error"),
                73 => ((5, 2, 0), "the message cannot be written"),
                75 => ((4, 3, 0), "temporary failure"),
                76 => ((5, 5, 0), "protocol error"),
                77 => ((5, 7, 0), "permission denied"),
                64 | 78 => ((5, 3, 5), "configuration error"),
                _ => ((5, 3, 0), "refused"),
            };
            (enhanced, words.to_owned())
        }
    };
    let output = String::from_utf8_lossy(&result.output);
    let mut said = output.lines().map(|line| line.replace(|c: char| c.is_control() || !c.is_ascii(), "?"));
    let said: Option<String> = said.rfind(|line| !line.trim().is_empty());
    let said = said.map(|line| line.chars().take(MAX_QUOTED).collect::<String>());
    let (class, subject, detail) = enhanced;
    let code = if class == 4 { 451 } else { 550 };
    Some(SmtpReply::new(code, Some(Enhanced::new(class, subject, detail)), said.unwrap_or(words)))
}

/// Carries out a request, in a worker of the helper.
fn act(
    request: &[u8],
    message: Option<OwnedFd>,
    permits: &impl Fn(&AgentTarget) -> bool,
) -> Result<HelperAnswer, Fault> {
    let odd = |why: &str| Fault::new(Kind::Protocol, why.to_owned());
    let request: AgentRequest = serde_json::from_slice(request).map_err(|_| odd("no such request"))?;
    let message = message.ok_or_else(|| odd("a request without a message"))?;
    if !permits(&request.target) {
        return Err(Fault::new(Kind::Config, format!("{}: not permitted", request.target)));
    }
    let bytes = match &request.target {
        AgentTarget::Command(words) => {
            // EX_OSERR: what the system refuses now it may permit later.
            let failed = |error: std::io::Error| ProgramResult {
                end: ProgramEnd::Exit(71),
                output: format!("the program cannot be run: {error}").into_bytes(),
            };
            run(words, &request, message).unwrap_or_else(failed).compose()
        }
        AgentTarget::File(path) => {
            append(path, &request, File::from(message))?;
            Vec::new()
        }
    };
    Ok(HelperAnswer::new(bytes, None))
}

/// Appends the message to an mbox, or delivers it to a Maildir.
fn append(path: &Path, request: &AgentRequest, mut message: File) -> Result<(), Fault> {
    if path == Path::new("/dev/null") {
        return Ok(());
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Maildir::open(path)?.deliver(b"", &mut message).map(drop);
    }
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Fault::new(
            Kind::Config,
            format!("{}: neither an mbox nor, with a final /, a Maildir", path.display()),
        ));
    }
    mbox::append(path, &request.sender, &request.date, &mut message)
}

/// Runs a program without a shell, with the message as its input.
fn run(words: &[String], request: &AgentRequest, message: OwnedFd) -> std::io::Result<ProgramResult> {
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&request.environment).env("PATH", PATH).current_dir("/").stdin(message);
    program::run_to_end(command, request.limit)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn end(words: &[&str], limit: u64) -> Option<String> {
        let mut message = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut message, b"Subject: x\n\nbody\n").unwrap();
        std::io::Seek::rewind(&mut message).unwrap();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let request = AgentRequest {
            target: AgentTarget::Command(words.clone()),
            environment: BTreeMap::from([("SENDER".to_owned(), "a@b".to_owned())]),
            sender: String::new(),
            date: String::new(),
            limit: Duration::from_secs(limit),
        };
        let end = run(&words, &request, message.into()).map(|end| super::reply(&end, request.limit));
        end.map_or_else(|error| Some(error.kind().to_string()), |reply| reply.map(|reply| reply.text()))
    }

    #[test]
    fn sysexits_decide() {
        let sh = |script: &str| end(&["/bin/sh", "-c", script], 600);
        assert_eq!(sh("read line; test \"$line\" = 'Subject: x' && test $SENDER = a@b && cat >/dev/null"), None);
        assert_eq!(sh("exit 75").unwrap(), "451 4.3.0 temporary failure");
        assert_eq!(sh("echo; printf 'first\\nno \\033[1mx\\n'; exit 67").unwrap(), "550 5.1.1 no ?[1mx");
        assert_eq!(sh("echo why >&2; exit 1").unwrap(), "550 5.3.0 why");
        assert_eq!(sh("kill -9 $$").unwrap(), "451 4.3.0 signal 9 ended the program");
        // What is left behind, with the output open, is not waited for.
        assert_eq!(sh("sleep 1000 & echo $! >&2; exit 77").map(|reply| reply.starts_with("550 5.7.0 ")), Some(true));
        assert_eq!(sh("yes | head -c 1000000; exit 65").unwrap(), "550 5.6.0 y");
        assert_eq!(sh("test -z \"$HOME\" && env | grep -c = && exit 78").unwrap().len(), "550 5.3.5 4".len());
        assert_eq!(end(&["/nonexistent"], 600).unwrap(), "entity not found");
        let begun = Instant::now();
        assert_eq!(
            end(&["/bin/sh", "-c", "sleep 1000 & sleep 1000"], 1).unwrap(),
            "451 4.3.0 the program took more than 1 s"
        );
        assert!(begun.elapsed() < Duration::from_secs(900));
    }
}
