//! `dnsq -f`: names from files, one record per question.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::idn::unicode;
use super::resume::{Resume, drop_fragment};
use super::words::QueryPlan;
use super::{Args, servers, words};
use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::output::{Output, OutputRecord};
use crate::cli::progress::{Bar, Measure};
use crate::cli::units;
use crate::cli::words::one_of;
use crate::dns::bulk::api::{BulkOptions, Wildcards};
use crate::dns::bulk::collect::{BulkCounts, MAX_REPORTED, ReportedFailure};
use crate::dns::bulk::driver;
use crate::dns::bulk::driver::input::{Input, NameSource};
use crate::dns::bulk::driver::settings::{BulkProgress, BulkSettings, BulkSummary, MAX_THREADS, RunObserver};
use crate::dns::bulk::engine::ResolverStats;
use crate::dns::bulk::question::{self, ParsedLine, WireQuestion};
use crate::dns::bulk::write::RecordFormat;
use crate::dns::client::Endpoint;
use crate::dns::edns::EdnsOption;
use crate::dns::message::Question;
use crate::dns::name::NameRef;
use crate::dns::present::Show;
use crate::dns::record::Rtype;
use crate::fault::{Fault, Kind};
use crate::millis::millis;
use crate::scope::host_of;

/// The limit for all EDNS options together, in bytes.
const MAX_OPTIONS_BYTES: usize = 512;
/// The largest block size for padding.
const MAX_PADDING: u16 = 1024;
/// The largest list of names that is read as a whole, in bytes.
const MAX_LISTED_BYTES: usize = 16 * 1024 * 1024;
/// The most servers of a list.
const MAX_SERVERS: usize = 2000;

/// Many names.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Bulk")]
pub(super) struct BulkArgs {
    /// Query the names in FILE, NAME or NAME TYPE… per line; may be repeated
    #[arg(short, long, value_name = "FILE|-", conflicts_with_all = ["name", "reverse", "json_rfc8427", "race", "search"])]
    pub(super) file: Vec<PathBuf>,
    /// Query the servers in FILE, one per line
    #[arg(long, value_name = "FILE", requires = "file")]
    servers: Option<PathBuf>,
    /// Send at most N queries per second
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Have at most N questions in flight [default: 1000 for each server]
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u32).range(1..=30_000))]
    concurrency: Option<u32>,
    /// Give up a name after this time, all tries together
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30", requires = "file")]
    max_time_per_name: Duration,
    /// Print records in the order of the names
    #[arg(long, requires = "file")]
    ordered: bool,
    /// Detect names that exist only by a wildcard: drop or mark their records
    #[arg(long, value_name = "drop|mark", value_parser = one_of(WILDCARDS), hide_possible_values = true, requires = "file")]
    wildcards: Option<Wildcards>,
    /// Use N threads, which share the names, the rate and the windows
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64), default_value_t = 1)]
    threads: u16,
    /// Resume an interrupted run: FILE records its progress
    #[arg(long, value_name = "FILE", requires = "file", conflicts_with = "report")]
    resume: Option<PathBuf>,
}

const WILDCARDS: &[(&str, Wildcards)] = &[("drop", Wildcards::Drop), ("mark", Wildcards::Mark)];

impl BulkArgs {
    /// True if names come from a file.
    pub(super) fn is_wanted(&self) -> bool {
        !self.file.is_empty()
    }
}

/// The questions of `-f` for a run that asks them one by one. All of them are read before the first is asked.
pub(super) fn plan(args: &mut Args) -> Result<QueryPlan, Fault> {
    let (mut plan, defaults) = words::bulk_plan(args)?;
    for path in &args.bulk.file {
        let bytes = input::open(path)?.read_all("-f", MAX_LISTED_BYTES)?;
        let (mut wire, mut types) = (WireQuestion::default(), Vec::new());
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let bad = |why: &str| Fault::new(Kind::BadData, format!("{}: line {number}: {why}", path.display()));
            let class = match question::parse(line, &defaults, &mut wire, &mut types) {
                ParsedLine::Nothing => continue,
                ParsedLine::Name(length, class, _) => {
                    wire.set_type(length, Rtype::A, class.0);
                    class
                }
                ParsedLine::Bad(word, why) => {
                    return Err(bad(&format!("{why}: {}", String::from_utf8_lossy(word).escape_debug())));
                }
            };
            let (name, _) = NameRef::read(wire.as_wire(), 0).map_err(|error| bad(error.0))?;
            let name = name.to_name();
            plan.questions.extend(types.iter().map(|rtype| Question { name: name.clone(), rtype: *rtype, class }));
        }
    }
    Ok(plan)
}

/// Runs `dnsq -f`.
pub(super) fn run(mut args: Args, out: &Output) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let (mut plan, defaults) = words::bulk_plan(&mut args)?;
    if let Some(path) = &args.bulk.servers {
        plan.servers.extend(server_list(path)?);
    }
    if args.transport.search || args.json_rfc8427 {
        let what = "with -f names are completed by nothing, and printed as --json or text";
        return Err(Fault::new(Kind::Usage, what).into());
    }
    if args.transport.bind.is_some_and(|bind| bind.port() != 0) {
        return Err(Fault::new(Kind::Usage, "-b: with -f the system chooses the ports").into());
    }
    if args.query.qid.is_some() || plan.show.yaml {
        return Err(Fault::new(Kind::Usage, "+qid and +yaml take one question").into());
    }
    if plan.show != Show::all(true) {
        let fault = Fault::new(Kind::Usage, "with -f each question has one line, whatever dig prints");
        return Err(fault.with_hint("--short and --format choose its text").into());
    }
    let servers: Vec<_> = servers::servers(&args, &plan.servers, out)?
        .into_iter()
        .map(|server| (Arc::new(server.endpoint), server.name))
        .collect();
    if servers.len() > MAX_SERVERS {
        return Err(Fault::new(Kind::Usage, format!("more than {MAX_SERVERS} servers")).into());
    }
    let format = match &args.format {
        _ if out.json() => RecordFormat::Json,
        Some(text) => RecordFormat::Format(super::template(text)?),
        None if args.short => RecordFormat::Short,
        None => RecordFormat::Text,
    };
    let type_names: Vec<String> = defaults.types.iter().map(ToString::to_string).collect();
    let resume = args.bulk.resume.clone().map(|path| Resume::open(path, &args.bulk.file, &type_names)).transpose()?;
    let settings = BulkSettings {
        options: options(&args, servers.len())?,
        defaults,
        format,
        end: out.record_end(),
        ordered: args.bulk.ordered,
        wildcards: args.bulk.wildcards,
        skip: resume.as_ref().map_or(0, |resume| resume.questions()),
        resumable: resume.is_some(),
        until: args.transport.max_time.map(|time| started + time),
        threads: usize::from(args.bulk.threads),
        servers,
    };
    let continues = resume.as_ref().is_some_and(Resume::continues);
    let file = match args.out.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => Some(record_file(path, &args.bulk.file, continues)?),
        None => None,
    };
    if continues {
        let stdout = std::io::stdout();
        let output = file.as_ref().map_or(stdout.as_fd(), AsFd::as_fd);
        drop_fragment(output, settings.end).map_err(|error| Fault::local("output", &error))?;
    }
    if let Some(file) = file {
        out.records_to(file)?;
    }
    if settings.skip > 0 {
        out.note(&format!("{} questions were answered before", settings.skip));
    }
    let input = Input::new(sources(&args.bulk.file)?)?;
    let progress = out.progress("names", Measure::Share);
    let idn = args.idn && !out.json();
    let mut observer = OutputObserver { out, idn, progress, resume };
    let summary = driver::run(&settings, input, &mut observer)?;
    observer.progress.finish();
    finish(&settings, &summary, observer.resume, out)
}

fn finish(
    settings: &BulkSettings,
    summary: &BulkSummary,
    resume: Option<Resume>,
    out: &Output,
) -> anyhow::Result<Exit> {
    let counts = &summary.counts;
    let reported = counts.failures().min(MAX_REPORTED as u64);
    if counts.failures() > reported {
        let kinds: Vec<String> = counts.failed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let what = format!("{} more failed; in all: {}", counts.failures() - reported, kinds.join(", "));
        out.tell("", &Fault::new(counts.first_permanent.unwrap_or(Kind::TimedOut), what));
    }
    if let Some(why) = &summary.stopped {
        out.tell("", &Fault::new(Kind::Cancelled, format!("stopped before the end: {why}")));
    }
    if out.json() {
        out.emit(&BulkSummaryRecord::new(settings, summary))?;
    }
    if let Some(resume) = resume {
        match summary.stopped {
            None => resume.remove()?,
            Some(_) => resume.save(summary.done_before)?,
        }
    }
    Ok(match counts.first_permanent {
        Some(kind) => Exit::from(kind),
        None if counts.failures() > 0 || summary.stopped.is_some() => Exit::TEMPORARY,
        None => Exit::OK,
    })
}

fn options(args: &Args, servers: usize) -> Result<BulkOptions, Fault> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let defaults = BulkOptions::default();
    let concurrency = args.bulk.concurrency.map(|count| count as usize);
    let query = &args.query;
    let flags = super::query::flags(query);
    if flags.opcode() != 0 {
        return Err(Fault::new(Kind::Usage, "with -f every question is a query: +opcode is for one"));
    }
    // Each server gets a cookie of its own, unless there is one to be sent.
    let cookies = query.cookie.as_ref().is_some_and(String::is_empty);
    let mut edns = if query.no_edns { None } else { Some(super::query::edns(query)?) };
    if let Some(edns) = edns.as_mut().filter(|_| cookies) {
        edns.options.retain(|option| option.code != EdnsOption::COOKIE);
    }
    let size: usize = edns.iter().flat_map(|edns| &edns.options).map(|option| option.data.len() + 4).sum();
    if size > MAX_OPTIONS_BYTES || query.padding > Some(MAX_PADDING) {
        let what = format!("with -f EDNS options have at most {MAX_OPTIONS_BYTES} bytes, blocks {MAX_PADDING}");
        return Err(Fault::new(Kind::Usage, what));
    }
    Ok(BulkOptions {
        concurrency: concurrency.unwrap_or(defaults.max_window as usize * servers).min(20_000),
        max_window: args.bulk.concurrency.unwrap_or(defaults.max_window),
        tries: args.transport.tries.map_or(defaults.tries, |tries| u8::try_from(tries).unwrap_or(u8::MAX)),
        try_timeout: args.transport.timeout.map_or(defaults.try_timeout, micros),
        name_timeout: micros(args.bulk.max_time_per_name),
        rate: args.bulk.rate.map(f64::from),
        flags,
        edns,
        cookies,
        padding: query.padding,
        take_truncated: args.transport.ignore_truncation,
        failover: !args.transport.no_failover,
        mix_case: query.mix_case,
        ..defaults
    })
}

fn sources(files: &[PathBuf]) -> Result<Vec<NameSource>, Fault> {
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(Fault::new(Kind::Usage, "-f -: stdin can be read once only"));
    }
    let source = |file: &PathBuf| match is_stdin(file) {
        true => input::stdin().map(NameSource::Open),
        false => Ok(NameSource::File(file.clone())),
    };
    files.iter().map(source).collect()
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The file of `-o`: emptied, unless the run resumes an earlier one.
fn record_file(path: &Path, inputs: &[PathBuf], continues: bool) -> Result<fs::File, Fault> {
    use std::os::unix::fs::MetadataExt;
    let failed = |error: std::io::Error| Fault::creating(path.display(), &error);
    let file = fs::File::options().append(true).create(true).open(path).map_err(failed)?;
    let own = file.metadata().map_err(failed)?;
    let is_own = |input: &PathBuf| {
        let path = if is_stdin(input) { Path::new("/dev/stdin") } else { input };
        fs::metadata(path).is_ok_and(|data| (data.dev(), data.ino()) == (own.dev(), own.ino()))
    };
    if inputs.iter().any(is_own) {
        return Err(Fault::new(Kind::Usage, format!("-o {}: the names are read from there", path.display())));
    }
    if own.is_file() && !continues {
        file.set_len(0).map_err(failed)?;
    }
    Ok(file)
}

/// The servers in a file: one per line, written as after `@`; `#` begins a comment.
fn server_list(path: &Path) -> Result<Vec<String>, Fault> {
    let text = fs::read_to_string(path).map_err(|error| Fault::local(path.display(), &error))?;
    let lines = text.lines().map(|line| match line.split_once(" #") {
        Some((server, _)) => server.trim(),
        None => line.trim(),
    });
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| line.trim_start_matches('@').to_owned()).collect())
}

/// The output, the progress bar and the resume file of a run.
struct OutputObserver<'a> {
    out: &'a Output,
    /// Names are printed as U-labels.
    idn: bool,
    progress: Bar,
    resume: Option<Resume>,
}

impl RunObserver for OutputObserver<'_> {
    fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault> {
        match self.idn {
            true => self.out.emit_rendered(unicode(&String::from_utf8_lossy(records)).as_bytes())?,
            false => self.out.emit_rendered(records)?,
        }
        match &mut self.resume {
            Some(resume) => resume.flushed(done_before),
            None => Ok(()),
        }
    }

    fn report(&mut self, failure: &ReportedFailure) {
        self.out.tell(&failure.target, &Fault::new(failure.kind, failure.detail.clone()));
    }

    fn progress(&mut self, progress: &BulkProgress<'_>) {
        let (sent, vain) = progress.queries;
        let done = progress.counts.done();
        let rate = done as f64 / progress.elapsed.as_secs_f64().max(0.001);
        let loss = if sent == 0 { 0.0 } else { 100.0 * vain as f64 / sent as f64 };
        let (read, all) = progress.bytes;
        self.progress.update(|figures| {
            (figures.done, figures.fresh, figures.total) = (read, read, all.unwrap_or(0));
            figures.label = format!("{done} names, {rate:.0}/s, {loss:.1} % lost, {} in flight", progress.in_flight);
        });
    }
}

/// The last record of a run.
#[derive(Debug, Serialize)]
struct BulkSummaryRecord {
    asked: u64,
    answered: u64,
    negative: u64,
    failed: u64,
    failed_by_kind: std::collections::BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wildcards: Option<u64>,
    retries: u64,
    elapsed_ms: f64,
    rate: f64,
    complete: bool,
    servers: Vec<ServerRecord>,
}

/// One server in the summary.
#[derive(Debug, Serialize)]
struct ServerRecord {
    address: String,
    port: u16,
    transport: &'static str,
    name: String,
    #[serde(flatten)]
    stats: ResolverStats,
}

impl BulkSummaryRecord {
    fn new(settings: &BulkSettings, summary: &BulkSummary) -> BulkSummaryRecord {
        let counts: &BulkCounts = &summary.counts;
        let asked = counts.done();
        let servers = settings.servers.iter().zip(&summary.servers);
        BulkSummaryRecord {
            asked,
            answered: counts.answered,
            negative: counts.negative,
            failed: counts.failures(),
            failed_by_kind: counts.failed.iter().map(|(kind, count)| (kind.as_str(), *count)).collect(),
            wildcards: settings.wildcards.map(|_| counts.wildcards),
            retries: counts.retries,
            elapsed_ms: millis(summary.elapsed),
            rate: (asked as f64 / summary.elapsed.as_secs_f64().max(1e-6)).round(),
            complete: summary.stopped.is_none(),
            servers: servers.map(|((endpoint, name), stats)| ServerRecord::new(endpoint, name, stats)).collect(),
        }
    }
}

impl ServerRecord {
    fn new(endpoint: &Endpoint, name: &str, stats: &ResolverStats) -> ServerRecord {
        ServerRecord {
            address: host_of(endpoint.address),
            port: endpoint.address.port(),
            transport: endpoint.transport.name(),
            name: name.to_owned(),
            stats: *stats,
        }
    }
}

impl OutputRecord for BulkSummaryRecord {
    const TYPE: &'static str = "summary";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_servers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers");
        fs::write(&path, "# ours\n192.0.2.1\n\n@192.0.2.2#5353\n2001:db8::1 # a comment\r\n").unwrap();
        assert_eq!(server_list(&path).unwrap(), ["192.0.2.1", "192.0.2.2#5353", "2001:db8::1"]);
        assert_eq!(server_list(Path::new("/no/such")).unwrap_err().kind, Kind::NoInput);
    }
}
