//! The common parts of all tools: argument groups, output, exit status, progress, secrets, users.

pub mod args;
pub mod clock;
pub mod colour;
pub mod escape;
pub mod exit;
pub mod foreign;
pub mod help;
pub mod helper;
pub mod input;
pub mod login_gate;
pub mod netrc;
pub mod options_file;
pub mod output;
pub mod own_addresses;
mod password_hash;
pub mod progress;
pub mod reload;
pub mod secret;
pub mod signals;
pub mod system_users;
pub mod tls_report;
pub mod units;
pub mod user_terms;
pub mod users;
pub mod words;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::cli::args::{LogArgs, OutputArgs};
use crate::cli::exit::Exit;
use crate::cli::foreign::{ForeignMeaning, ForeignWords};
use crate::cli::help::HelpGuide;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::file_work;

/// The highest descriptor limit that a tool sets: programs that it starts inherit it, and some close that many descriptors at start.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// The descriptors of a runtime, in pipes of two each: epoll and its copy, a waker, a socket pair for signals and its copy.
const RUNTIME_PIPES: usize = 3;

/// The interface of a tool's arguments that [`main`] needs.
pub trait Tool: clap::Parser {
    /// The tool's name, which begins every message.
    const NAME: &'static str;

    /// The parts of the help that do not come from the arguments.
    const GUIDE: HelpGuide;

    /// Words of other tools and their equivalents here.
    const FOREIGN_WORDS: &'static [ForeignWords] = &[];

    /// Words of this tool that have another meaning in another tool.
    const FOREIGN_MEANINGS: &'static [ForeignMeaning] = &[];

    /// The arguments about output.
    fn output(&self) -> &OutputArgs;

    /// The arguments about the log, for a tool that runs for long. With them, records have a time stamp.
    fn log(&self) -> Option<&LogArgs> {
        None
    }

    /// Whether a run prints to stdout on success. A run that decides this later calls [`Output::will_print`] itself.
    fn prints(&self) -> bool {
        true
    }
}

/// The common code of every tool: its name, its command line, and its `main` unless it has one of its own.
macro_rules! tool {
    ($name:literal, $args:ty, guide $guide:expr $(, words $words:expr)? $(, meanings $meanings:expr)? $(, prints $prints:expr)? $(, logged in $log:ident)?) => {
        impl crate::cli::Tool for $args {
            const NAME: &'static str = $name;
            const GUIDE: crate::cli::help::HelpGuide = $guide;
            $(const FOREIGN_WORDS: &'static [crate::cli::foreign::ForeignWords] = $words;)?
            $(const FOREIGN_MEANINGS: &'static [crate::cli::foreign::ForeignMeaning] = $meanings;)?

            fn output(&self) -> &crate::cli::args::OutputArgs {
                &self.output
            }

            $(fn log(&self) -> Option<&crate::cli::args::LogArgs> {
                Some(&self.$log)
            })?
            $(
                fn prints(&self) -> bool {
                    let prints: fn(&$args) -> bool = $prints;
                    prints(self)
                }
            )?
        }

        /// The command line, for the man page and completions.
        pub fn command() -> clap::Command {
            <$args as clap::CommandFactory>::command()
        }
    };
    ($name:literal, $args:ty, guide $guide:expr $(, words $words:expr)? $(, meanings $meanings:expr)? $(, prints $prints:expr)?
        $(, logged in $log:ident)?, run $run:path) => {
        crate::cli::tool!($name, $args, guide $guide $(, words $words)? $(, meanings $meanings)? $(, prints $prints)? $(, logged in $log)?);

        /// The tool's `main`.
        pub fn main() -> std::process::ExitCode {
            crate::cli::main::<$args>($run)
        }
    };
    ($name:literal, $args:ty, guide $guide:expr, activated $run:path) => {
        crate::cli::tool!($name, $args, guide $guide, logged in log);

        /// The tool's `main`.
        pub fn main() -> std::process::ExitCode {
            // Before anything opens a descriptor.
            let activated = crate::net::activation::ActivatedSockets::take();
            crate::cli::main::<$args>(|args, out| $run(args, out, activated?))
        }
    };
}
pub(crate) use tool;

/// Runs a tool from start to end: parse, run, report, flush, exit status. No code below this function decides the status by itself.
pub fn main<A: Tool>(run: impl FnOnce(A, &Output) -> anyhow::Result<Exit>) -> ExitCode {
    main_from::<A>(std::env::args_os().collect(), run)
}

/// As [`main`], with the arguments given (the program's name first), for a tool with a second command-line syntax.
pub fn main_from<A: Tool>(
    arguments: Vec<std::ffi::OsString>,
    run: impl FnOnce(A, &Output) -> anyhow::Result<Exit>,
) -> ExitCode {
    output::hook_panics(A::NAME);
    raise_descriptor_limit();
    keep_owner_rights();
    let refuse = |fault: Fault| {
        output::print_fault(A::NAME, &fault);
        Exit::from(fault.kind).into()
    };
    if let Err(fault) = foreign::refuse_meant_otherwise(&arguments, A::FOREIGN_MEANINGS) {
        return refuse(fault);
    }
    let (arguments, options) = match options_file::extend(A::NAME, A::command, &arguments) {
        Ok(extended) => extended,
        Err(fault) => return refuse(fault),
    };
    if options_file::is_to_be_shown(&arguments) {
        return output::print_data(A::NAME, &options.show(A::command(), &arguments)).into();
    }
    let args = match parse::<A>(&arguments) {
        Ok(args) => args,
        Err(error) => {
            return output::print_parse_result(A::NAME, &error, (A::command, &arguments), A::FOREIGN_WORDS).into();
        }
    };
    let out = match Output::logged(A::NAME, args.output(), args.log()) {
        Ok(out) => out,
        Err(fault) => return refuse(fault),
    };
    options.origins().for_each(|origin| out.note(&origin));
    let ready = if args.prints() { out.will_print() } else { Ok(()) };
    let exit = match catch_unwind(AssertUnwindSafe(|| ready.map_err(Into::into).and_then(|()| run(args, &out)))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => out.fail(&error),
        Err(_) => Exit::from(Kind::Internal),
    };
    out.finish(exit).into()
}

/// Parses a command line, with the help of the tool's guide.
fn parse<A: Tool>(arguments: &[std::ffi::OsString]) -> Result<A, clap::Error> {
    let whole = arguments.iter().any(|word| word == "--help");
    let mut command = help::guided(A::command(), &A::GUIDE, whole);
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The most threads for blocking work, created on demand: each client of ftpserve may hang in a call of the file system.
/// --max-clients limits their number.
const MAX_BLOCKING_THREADS: usize = 16_384;
/// The longest wait at the end of a server for a thread that is held up: by a reader, or in a call of the file system.
const MAX_LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Raises the soft limit of descriptors, the resource that tools need most, to the hard limit, up to [`MAX_DESCRIPTORS`]. The
/// soft limit is meant for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS)).max(limit.current);
    // A failure leaves the old limit; code that gets no descriptor reports that. `None` is no limit at all.
    if limit.current.is_some() && current != limit.current {
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

/// Removes the owner's bits from the umask: with them, the tool would create files that their owner cannot open again.
fn keep_owner_rights() {
    use rustix::fs::Mode;
    use rustix::process::umask;
    let others = Mode::RWXG | Mode::RWXO;
    umask(umask(others) & others);
}

/// Runs a future on a runtime of this thread, for one-off tools. The start costs well under a millisecond.
///
/// # Errors
///
/// The error of the future, or the fault of starting the runtime.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime(tokio::runtime::Builder::new_current_thread())?.block_on(future)
}

/// Runs a future on one thread per processor, for servers.
///
/// # Errors
///
/// The error of the future, or the fault of starting the runtime.
pub fn block_on_threads<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.max_blocking_threads(MAX_BLOCKING_THREADS);
    run_to_the_end(runtime(builder)?, future)
}

/// As [`block_on_threads`], for a server whose tasks call the file system: see [`file_work`].
///
/// # Errors
///
/// The error of the future, or the fault of starting the runtime.
pub fn block_on_threads_and_files<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.max_blocking_threads(MAX_BLOCKING_THREADS).worker_threads(processors + 1);
    let runtime = runtime(builder)?;
    file_work::watch(runtime.handle(), processors);
    run_to_the_end(runtime, future)
}

fn run_to_the_end<T>(
    runtime: tokio::runtime::Runtime,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(MAX_LAST_WAIT);
    result
}

fn runtime(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Fault> {
    let failed = |error: std::io::Error| Fault::local("starting the runtime", &error);
    // tokio panics if the system gives no descriptor for its signals, so as many as it needs are opened as a test.
    (0..RUNTIME_PIPES).map(|_| std::io::pipe()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    builder.enable_all().build().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        output: OutputArgs,
    }

    impl Tool for Args {
        const NAME: &'static str = "test";
        const GUIDE: HelpGuide = HelpGuide { options: "json", examples: &[], needs_arguments: false };

        fn output(&self) -> &OutputArgs {
            &self.output
        }
    }

    fn status(arguments: &[&str], run: fn() -> anyhow::Result<Exit>) -> String {
        let arguments = std::iter::once("test").chain(arguments.iter().copied()).map(Into::into).collect();
        let hook = std::panic::take_hook();
        let code = main_from::<Args>(arguments, |_, _| run());
        std::panic::set_hook(hook);
        format!("{code:?}")
    }

    #[test]
    fn a_panic_is_70_and_a_fault_its_own_status() {
        let expected = |exit: Exit| format!("{:?}", ExitCode::from(exit));
        assert_eq!(status(&[], || Ok(Exit::OK)), expected(Exit::OK));
        assert_eq!(status(&[], || panic!("on purpose")), expected(Exit::from(Kind::Internal)));
        assert_eq!(status(&[], || Err(Fault::new(Kind::NoHost, "gone").into())), expected(Exit::from(Kind::NoHost)));
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let highest = descriptors.maximum.map_or(MAX_DESCRIPTORS, |hard| hard.min(MAX_DESCRIPTORS));
        assert!(descriptors.current.is_none_or(|soft| soft >= highest), "the soft limit is raised");
        assert_eq!(status(&["--no-such-flag"], || Ok(Exit::OK)), expected(Exit::from(Kind::Usage)));
    }
}
