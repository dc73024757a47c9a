//! Starts the binaries: a builder for one-off tools ([`tool`]), one for servers ([`server`]), and the scripted peers of
//! [`crate::scripted`]. Every process has a clean environment, a temporary HOME and a hard
//! limit; a failure prints the whole story.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

pub(crate) use crate::scripted::{Conn, Peer, hanging, peer, refusing, saying, udp_peer};

pub(crate) use crate::random::rounds;

/// A process that runs longer than this is ended and the test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to end after TERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The path of one of our binaries, built for this test run.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = match name {
        "ftpget" => env!("CARGO_BIN_EXE_ftpget"),
        "ftpput" => env!("CARGO_BIN_EXE_ftpput"),
        "ftpls" => env!("CARGO_BIN_EXE_ftpls"),
        "ftpdo" => env!("CARGO_BIN_EXE_ftpdo"),
        "ftpserve" => env!("CARGO_BIN_EXE_ftpserve"),
        "smtpsend" => env!("CARGO_BIN_EXE_smtpsend"),
        "smtpserve" => env!("CARGO_BIN_EXE_smtpserve"),
        "mailread" => env!("CARGO_BIN_EXE_mailread"),
        "mailq-run" => env!("CARGO_BIN_EXE_mailq-run"),
        "mailq-ls" => env!("CARGO_BIN_EXE_mailq-ls"),
        "mailq-edit" => env!("CARGO_BIN_EXE_mailq-edit"),
        "dnsq" => env!("CARGO_BIN_EXE_dnsq"),
        "dnsserve" => env!("CARGO_BIN_EXE_dnsserve"),
        other => panic!("no binary called {other}"),
    };
    PathBuf::from(path)
}

/// Lets servers go on as root where the tests run as root and serve what is root's: by an options file, since a line of it
/// gives way to the command line.
pub(crate) fn stay_root(command: &mut Command) {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    if rustix::process::geteuid().is_root() {
        let file = FILE.get_or_init(|| {
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("root.{}", std::process::id()));
            std::fs::write(&path, "[ftpserve smtpserve dnsserve]\nrun-as 0:0\ni-know\n").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            path
        });
        command.env("APPLAYER_CONFIG", file);
    }
}

/// A run of one of our tools; finish with [`Run::run`].
pub(crate) fn tool(name: &str) -> Run {
    Run::new(name)
}

/// One of our servers; finish with [`Run::start`]. Listens on `127.0.0.1:0` unless `--listen` is among the arguments.
pub(crate) fn server(name: &str) -> Run {
    Run::new(name)
}

/// An empty directory that goes away with the value.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("applayer-test-").tempdir().expect("a temporary directory")
}

/// What is to be run.
pub(crate) struct Run {
    name: String,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: Option<PathBuf>,
    home: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    closed_stdout: bool,
    stdout_file: Option<PathBuf>,
    stalled: bool,
    limits: Vec<String>,
    gives_up_root: bool,
}

impl Run {
    fn new(name: &str) -> Run {
        Run {
            name: name.to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            home: None,
            stdin: None,
            closed_stdout: false,
            stdout_file: None,
            stalled: false,
            limits: Vec::new(),
            gives_up_root: false,
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Run {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Run {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable; nothing is inherited but PATH.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Run {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// The working directory; without it the temporary HOME.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Run {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// HOME; without it an empty temporary directory.
    pub(crate) fn home(mut self, home: impl AsRef<Path>) -> Run {
        self.home = Some(home.as_ref().to_owned());
        self
    }

    /// What the tool reads on stdin; without it /dev/null.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = Some(bytes.into());
        self
    }

    /// Stdout is a pipe whose reader has already gone (EPIPE at the first write).
    pub(crate) fn closed_stdout(mut self) -> Run {
        self.closed_stdout = true;
        self
    }

    /// Stdout is this file, such as `/dev/full`.
    pub(crate) fn stdout_to(mut self, path: impl AsRef<Path>) -> Run {
        self.stdout_file = Some(path.as_ref().to_owned());
        self
    }

    /// Nobody reads what the server prints after its first line, until [`Server::read_on`].
    pub(crate) fn stalled_readers(mut self) -> Run {
        self.stalled = true;
        self
    }

    /// The tool is killed (SIGXFSZ) where a file would grow beyond so many blocks of 512 bytes.
    #[allow(dead_code, reason = "the interop tests use it")]
    pub(crate) fn largest_file(mut self, blocks: u64) -> Run {
        self.limits.push(format!("ulimit -c 0 && ulimit -f {blocks}"));
        self
    }

    /// A server that root starts becomes somebody else, as its own arguments say.
    pub(crate) fn gives_up_root(mut self) -> Run {
        self.gives_up_root = true;
        self
    }

    /// The tool may take so much address space, in KiB; without it, it dies.
    pub(crate) fn most_memory(mut self, kib: u64) -> Run {
        self.limits.push(format!("ulimit -v {kib}"));
        self
    }

    /// What the shell does before it becomes the tool: `umask 0`, or `exec <&-` for a closed stdin.
    pub(crate) fn shell(mut self, command: &str) -> Run {
        self.limits.push(command.to_owned());
        self
    }

    pub(crate) fn command(&self, home: &Path) -> Command {
        let mut command = match self.limits.is_empty() {
            true => Command::new(binary(&self.name)),
            false => {
                let mut command = Command::new("sh");
                let limited = format!("{} && exec \"$0\" \"$@\"", self.limits.join(" && "));
                command.arg("-c").arg(limited).arg(binary(&self.name));
                command
            }
        };
        command.args(&self.args).env_clear();
        if self.name.ends_with("serve") && !self.gives_up_root {
            stay_root(&mut command);
        }
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let home = self.home.as_deref().unwrap_or(home);
        command.env("HOME", home).env("TMPDIR", std::env::temp_dir()).envs(&self.env);
        command.current_dir(self.dir.as_deref().unwrap_or(home));
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn line(&self) -> String {
        let mut line = self.name.clone();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&format!("{arg:?}"));
        }
        line
    }

    /// Runs the tool to its end.
    pub(crate) fn run(mut self) -> Done {
        let home = temp_dir();
        let mut command = self.command(home.path());
        let line = self.line();
        if self.closed_stdout {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            command.stdout(writer);
        }
        if let Some(path) = &self.stdout_file {
            let file = std::fs::OpenOptions::new().append(true).open(path);
            command.stdout(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
        let done = finish(command, line, self.stdin.take(), LIMIT);
        crate::dns_cut::says_nothing_of_the_library(&done);
        let redirected = self.limits.iter().any(|limit| limit.starts_with("exec"));
        if !self.closed_stdout && self.stdout_file.is_none() && !redirected {
            crate::schema::assert_printed_records_match(&done.line, &done.stdout, done.status);
        }
        done
    }

    /// Starts the server and waits until it says where it listens.
    pub(crate) fn start(mut self) -> Server {
        if !self.args.iter().any(|arg| arg.to_string_lossy().starts_with("--listen")) {
            self.args.splice(0..0, ["--listen".into(), "127.0.0.1:0".into()]);
        }
        let home = temp_dir();
        let line = self.line();
        let mut child = self.command(home.path()).spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        if let Some(bytes) = self.stdin.take() {
            let mut pipe = child.stdin.take().expect("stdin is piped");
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let gate = if self.stalled { Gate::default() } else { Arc::new(OnceLock::from(())) };
        let stderr = Captured::held(child.stderr.take().expect("stderr is piped"), gate.clone());
        let lines = Captured::default();
        let (first_line, first) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (kept, held) = (lines.clone(), gate.clone());
        thread::spawn(move || {
            let mut line = Vec::new();
            while matches!(stdout.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                kept.push(&line);
                drop(first_line.send(String::from_utf8_lossy(&line).trim_end().to_owned()));
                line.clear();
                held.wait();
            }
            kept.end();
        });
        let first = match first.recv_timeout(LIMIT) {
            Ok(first) => first,
            Err(_) => {
                let (status, _) = wait(child, Duration::ZERO);
                panic!("{line}: said nothing on stdout; status {}, stderr:\n{stderr}", code(status));
            }
        };
        let url = match serde_json::from_str::<serde_json::Value>(&first) {
            Ok(record) => record["url"].as_str().unwrap_or_else(|| panic!("{line}: no url in {first}")).to_owned(),
            Err(_) => first,
        };
        let addr = address_in(&url).unwrap_or_else(|| panic!("{line}: {url} holds no address"));
        Server { line, url, addr, stdout: lines, stderr, child: Some(child), gate, _home: home }
    }
}

/// Runs a prepared command to its end, feeding it `input`; fails when it is still running at the limit.
pub(crate) fn finish(mut command: Command, line: String, input: Option<Vec<u8>>, limit: Duration) -> Done {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    // With the command goes our copy of the pipes it holds.
    drop(command);
    let writer = input.map(|bytes| {
        let mut pipe = child.stdin.take().expect("stdin is piped");
        // A program that ends without reading its input breaks this pipe; that is its right.
        thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let (status, hung) = wait(child, limit);
    if let Some(writer) = writer {
        writer.join().expect("the stdin writer");
    }
    let bytes = |reader: Option<JoinHandle<Vec<u8>>>| reader.map(|it| it.join().expect("a reader")).unwrap_or_default();
    let stdout = bytes(stdout);
    let stderr = String::from_utf8_lossy(&bytes(stderr)).into_owned();
    let done = Done { line, stdout, stderr, status: code(status) };
    assert!(!hung, "ended by the limit of {limit:?}:\n{done}");
    done
}

/// The socket address in a URL like `ftp://127.0.0.1:4711/`.
pub(crate) fn address_in(url: &str) -> Option<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next()?.parse().ok()
}

/// Reads a stream to its end in a thread of its own.
fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        bytes
    })
}

/// Waits for the end; kills at the limit and says so.
pub(crate) fn wait(mut child: Child, limit: Duration) -> (ExitStatus, bool) {
    let pid = child.id();
    let (ended, end) = mpsc::channel();
    let waiter = thread::spawn(move || drop(ended.send(child.wait())));
    let (status, hung) = match end.recv_timeout(limit) {
        Ok(status) => (status, false),
        Err(_) => {
            signal(pid, rustix::process::Signal::KILL);
            (end.recv().expect("the waiter"), true)
        }
    };
    waiter.join().expect("the waiter");
    (status.expect("wait"), hung)
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, signal);
}

/// The exit status as a shell shows it: 128 + N for a signal.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A finished run.
pub(crate) struct Done {
    pub(crate) line: String,
    /// What it printed, byte for byte.
    pub(crate) stdout: Vec<u8>,
    /// What it said to the person.
    pub(crate) stderr: String,
    /// Exit status; 128 + N when a signal ended it.
    pub(crate) status: i32,
}

impl Done {
    /// Fails with the whole story unless the status is this one.
    #[track_caller]
    pub(crate) fn exits(&self, status: i32) -> &Done {
        assert_eq!(self.status, status, "\n{self}");
        self
    }

    /// Status 0 and nothing on stderr.
    #[track_caller]
    pub(crate) fn silent_success(&self) -> &Done {
        self.exits(0);
        assert_eq!(self.stderr, "", "\n{self}");
        self
    }

    /// Fails with the whole story unless stderr holds this.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Done {
        assert!(self.stderr.contains(part), "stderr does not say {part:?}\n{self}");
        self
    }

    /// Fails with the whole story unless stdout holds this.
    #[track_caller]
    pub(crate) fn prints(&self, part: &str) -> &Done {
        assert!(self.text().contains(part), "stdout does not hold {part:?}\n{self}");
        self
    }

    /// Stdout as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("stdout is not UTF-8\n{self}"))
    }

    /// Stdout as JSON Lines, one object a record.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not a JSON line ({error}): {line}\n{self}"))
        };
        self.text().lines().map(parse).collect()
    }

    /// The records of this type.
    #[track_caller]
    pub(crate) fn records_of(&self, kind: &str) -> Vec<serde_json::Value> {
        self.records().into_iter().filter(|record| record["type"] == kind).collect()
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.line)?;
        writeln!(f, "status: {}", self.status)?;
        writeln!(f, "--- stdout ({} bytes)\n{}", self.stdout.len(), excerpt(&String::from_utf8_lossy(&self.stdout)))?;
        writeln!(f, "--- stderr\n{}---", excerpt(&self.stderr))
    }
}

/// The first and the last part of a long text.
fn excerpt(text: &str) -> String {
    const KEEP: usize = 4000;
    if text.len() <= 2 * KEEP {
        return text.to_owned();
    }
    let cut = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{}\n[…]\n{}", &text[..cut(KEEP)], &text[cut(text.len() - KEEP)..])
}

/// Output of a process that still runs.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<(Mutex<CapturedBytes>, Condvar)>);

#[derive(Default)]
struct CapturedBytes {
    bytes: Vec<u8>,
    stream: Option<Box<dyn ReadableStream>>,
    gate: Gate,
    ended: bool,
}

/// A pipe: can be read, and asked whether it holds something.
trait ReadableStream: Read + AsFd + Send {}

impl<T: Read + AsFd + Send> ReadableStream for T {}

/// Waits until the stream can be read, at most for this time; `None` is without limit.
fn readable(stream: &impl AsFd, limit: Option<&rustix::event::Timespec>) -> bool {
    let mut watched = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::IN)];
    matches!(rustix::event::poll(&mut watched, limit), Ok(1..))
}

impl CapturedBytes {
    /// Takes all that the stream holds now, unless its readers are held back.
    fn take(&mut self) {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut buffer = [0; 4096];
        while !self.ended && self.gate.get().is_some() {
            let Some(stream) = self.stream.as_mut().filter(|stream| readable(stream, Some(&now))) else { return };
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => self.bytes.extend_from_slice(&buffer[..count]),
                _ => self.ended = true,
            }
        }
    }
}

impl Captured {
    pub(crate) fn of(stream: impl Read + AsFd + Send + 'static) -> Captured {
        Captured::held(stream, Arc::new(OnceLock::from(())))
    }

    /// A stream that is not read before the gate is open.
    fn held(stream: impl Read + AsFd + Send + 'static, gate: Gate) -> Captured {
        let captured = Captured::default();
        let watched = stream.as_fd().try_clone_to_owned().expect("a descriptor");
        {
            let mut state = captured.0.0.lock().unwrap();
            state.stream = Some(Box::new(stream));
            state.gate = gate.clone();
        }
        let kept = captured.clone();
        thread::spawn(move || {
            gate.wait();
            loop {
                readable(&watched, None);
                let mut state = kept.0.0.lock().unwrap();
                state.take();
                kept.0.1.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        captured
    }

    /// Nothing more comes.
    fn end(&self) {
        self.0.0.lock().unwrap().ended = true;
        self.0.1.notify_all();
    }

    fn push(&self, bytes: &[u8]) {
        self.0.0.lock().unwrap().bytes.extend_from_slice(bytes);
        self.0.1.notify_all();
    }

    /// Waits until this has come: what a server says about an event may come after the client has seen it.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) {
        let holds = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(part);
        // A failure may not take the lock with it: what came is shown once more.
        let wait = |state: std::sync::MutexGuard<'_, CapturedBytes>| {
            self.0.1.wait_timeout_while(state, LIMIT, |state| !holds(&state.bytes)).unwrap().0.bytes.clone()
        };
        let bytes = wait(self.0.0.lock().unwrap());
        assert!(holds(&bytes), "{part:?} never came:\n{}", String::from_utf8_lossy(&bytes));
    }

    /// All that ever comes: waits until the stream has ended.
    pub(crate) fn to_its_end(&self) -> String {
        let state = self.0.0.lock().unwrap();
        let (state, limit) = self.0.1.wait_timeout_while(state, LIMIT, |state| !state.ended).unwrap();
        assert!(!limit.timed_out(), "the stream did not end");
        String::from_utf8_lossy(&state.bytes).into_owned()
    }

    /// All that the process has written so far, whether or not a thread has read it yet.
    pub(crate) fn text(&self) -> String {
        let mut state = self.0.0.lock().unwrap();
        state.take();
        String::from_utf8_lossy(&state.bytes).into_owned()
    }
}

impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&excerpt(&self.text()))
    }
}

/// Holds readers back until it is set.
type Gate = Arc<OnceLock<()>>;

/// A running server of ours; dropping it ends it by pid.
pub(crate) struct Server {
    line: String,
    /// What it said on its first stdout line.
    pub(crate) url: String,
    /// The address in it.
    pub(crate) addr: SocketAddr,
    /// All of stdout so far.
    pub(crate) stdout: Captured,
    /// All of stderr so far.
    pub(crate) stderr: Captured,
    child: Option<Child>,
    gate: Gate,
    _home: TempDir,
}

impl Server {
    /// Reads what nobody read so far ([`Run::stalled_readers`]).
    pub(crate) fn read_on(&self) {
        let _ = self.gate.set(());
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("still running").id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, kind: rustix::process::Signal) {
        signal(self.pid(), kind);
    }

    /// `kill -9`, and waits for the end: what a crash test does.
    pub(crate) fn kill(mut self) {
        let child = self.child.take().expect("still running");
        signal(child.id(), rustix::process::Signal::KILL);
        wait(child, STOP_LIMIT);
    }

    /// Its exit status, when it ends by itself.
    pub(crate) fn ends(mut self) -> i32 {
        let (status, hung) = wait(self.child.take().expect("still running"), LIMIT);
        assert!(!hung, "did not end:\n{self}");
        code(status)
    }

    /// TERM, and its exit status; a server that does not end is killed and fails the test.
    pub(crate) fn stop(mut self) -> i32 {
        let child = self.child.take().expect("still running");
        signal(child.id(), rustix::process::Signal::TERM);
        let (status, hung) = wait(child, STOP_LIMIT);
        assert!(!hung, "did not end after TERM:\n{self}");
        code(status)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "server $ {}\n--- stdout\n{}--- stderr\n{}---", self.line, self.stdout, self.stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            signal(child.id(), rustix::process::Signal::TERM);
            wait(child, STOP_LIMIT);
        }
        if thread::panicking() {
            eprintln!("{self}");
        } else {
            crate::schema::assert_printed_records_match(&self.line, self.stdout.text().as_bytes(), 0);
        }
    }
}

/// A temporary directory in memory, if the system has one: what dies in these tests are processes, and a sync that the
/// disk waits for would only cost time.
pub(crate) fn memory_dir() -> TempDir {
    tempfile::Builder::new().prefix("applayer-test-").tempdir_in("/dev/shm").unwrap_or_else(|_| temp_dir())
}
