//! Makes a message and its envelope from the command line.

use std::collections::HashSet;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::edit;
use super::results::RowId;
use super::{Args, ComposeArgs};
use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::exit::Tally;
use crate::cli::input;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::mail::address::{self, Mailbox};
use crate::mail::complete::{self, Complete, Rewritten};
use crate::mail::compose::{Attachment, Draft, MAX_BODY_BYTES};
use crate::mail::header;
use crate::mail::mbox;
use crate::mail::message::{MailMessage, Segment};
use crate::relay::route::RouteOverride;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::data::{Content, MessageBlob};
use crate::smtp::envelope::{Envelope, Recipient};
use crate::tool::smtp_account::{Account, Accounts};

/// One message to send, with its envelope.
#[derive(Debug, Clone)]
pub(super) struct SendJob {
    pub(super) envelope: Envelope,
    pub(super) message: MailMessage,
    pub(super) message_id: Option<String>,
    /// The file or row that it comes from, if there are several messages.
    pub(super) source: Option<String>,
    /// The malformed addresses in its header, which get no message.
    pub(super) malformed: Vec<Fault>,
    /// The row that it was made from.
    pub(super) row: Option<RowId>,
    /// Its next hop if it is queued.
    pub(super) route: Option<RouteOverride>,
}

/// A message with the account that sends it.
pub(super) type Sendable = (SendJob, Option<Account>);

/// Composes the message or reads a complete one, and finds its account.
pub(super) fn make(args: &Args, accounts: Option<&Accounts>, out: &Output) -> Result<Sendable, Fault> {
    let composes = args.compose.given();
    if composes && (args.take.header_recipients || args.take.full_name.is_some()) {
        let fault = Fault::new(Kind::Usage, "-t and -F take a complete message; the other flags compose one");
        return Err(fault.with_hint("either -t with the message on stdin, or --to, --subject, --body …"));
    }
    if !composes && !args.take.header_recipients && args.recipient.is_empty() {
        return Err(Fault::new(Kind::Usage, "no recipients").with_hint("--to ADDRESS, or -t for those in the header"));
    }
    if composes {
        return compose(args, accounts, out);
    }
    if args.login.reads_stdin() {
        return Err(Fault::new(Kind::Usage, "only one reader of stdin: the message or the password"));
    }
    if std::io::stdin().is_terminal() {
        out.hint("reading the message from the terminal; end it with Ctrl-D");
    }
    let (mut job, account) = take(args, accounts, &input::open(Path::new("-"))?, "message", out)?;
    job.source = None;
    Ok((job, account))
}

/// The next hop of a queued message: the account's server, unless the command line names another destination.
fn route(args: &Args, account: Option<&Account>) -> Option<RouteOverride> {
    let elsewhere = args.way.server.is_some() || args.way.mx;
    account.filter(|_| !elsewhere).map(|account| RouteOverride::account(&account.name))
}

/// The account of the command line, else the one that matches the author.
fn choose(args: &Args, accounts: Option<&Accounts>, author: Option<&str>) -> Result<Option<Account>, Fault> {
    match (accounts, &args.way.account) {
        (Some(accounts), Some(name)) => accounts.named(name).cloned().map(Some),
        (Some(accounts), None) => Ok(accounts.by_author(author).cloned()),
        (None, _) => Ok(None),
    }
}

impl SendJob {
    /// Counts a success. Repeating the command would send the message again, unless the results file records the outcome.
    pub(super) fn count_success(&self, tally: &mut Tally) {
        match &self.row {
            Some(row) if row.noted => tally.success(),
            _ => tally.success_once(),
        }
    }

    /// Prints the message in mbox format.
    pub(super) fn print_mbox(&self, out: &Output) -> Result<(), Fault> {
        let problem = |error: std::io::Error| Fault::local("stdout", &error);
        let mut stdout = std::io::BufWriter::new(out.payload()?);
        let date = jiff::Timestamp::now().strftime(mbox::DATE).to_string();
        mbox::write(&mut stdout, self.envelope.sender.as_str(), &date, &mut self.message.reader()).map_err(problem)?;
        stdout.flush().map_err(problem)?;
        self.note(out);
        Ok(())
    }

    fn note(&self, out: &Output) {
        let recipients: Vec<&str> = self.envelope.recipients.iter().map(|one| one.address.as_str()).collect();
        out.note(&format!("from <{}> to {}", self.envelope.sender, recipients.join(", ")));
    }

    /// Prints the message as it would be sent, but with the system's line ends.
    pub(super) fn print(&self, out: &Output) -> Result<(), Fault> {
        let problem = |error: std::io::Error| Fault::local("stdout", &error);
        let mut stdout = std::io::BufWriter::new(out.payload()?);
        let mut reader = self.message.reader();
        let mut buffer = vec![0; 64 * 1024];
        let mut held = Vec::new();
        loop {
            let count = reader.read(&mut buffer).map_err(|error| Fault::local("message", &error))?;
            held.extend_from_slice(buffer.get(..count).unwrap_or_default());
            // Every CR is followed by LF in a message; it may be in the next piece.
            let tail = if count > 0 && held.ends_with(b"\r") { held.pop() } else { None };
            held.retain(|byte| *byte != b'\r');
            stdout.write_all(&held).map_err(problem)?;
            held.clear();
            held.extend(tail);
            if count == 0 {
                break;
            }
        }
        stdout.flush().map_err(problem)?;
        self.note(out);
        Ok(())
    }
}

impl super::ComposeArgs {
    /// True if the options compose a message.
    pub(super) fn given(&self) -> bool {
        let lists = [&self.to, &self.cc, &self.bcc, &self.reply_to, &self.header, &self.attach, &self.inline];
        self.from.is_some()
            || self.subject.is_some()
            || self.body.is_some()
            || self.text.is_some()
            || self.html.is_some()
            || self.edit
            || !self.in_reply_to.is_empty()
            || self.template.is_some()
            || lists.iter().any(|list| !list.is_empty())
    }
}

fn compose(args: &Args, accounts: Option<&Accounts>, out: &Output) -> Result<Sendable, Fault> {
    let mut given = args.compose.clone();
    given.bcc.extend(args.recipient.iter().cloned());
    let mut draft = draft(args, &given)?;
    if draft.from.is_none() {
        let account = choose(args, accounts, None)?;
        draft.from = Some(author(account.as_ref())?);
    }
    if args.compose.edit {
        edit::edit(&mut draft)?;
    }
    finish(args, accounts, draft, out)
}

/// The draft from the flags alone, before accounts, aliases, date and identifiers are added.
pub(super) fn draft(args: &Args, given: &ComposeArgs) -> Result<Draft, Fault> {
    let files = [&given.body, &given.html, &given.template, &args.merge.merge];
    let readers = files.into_iter().flatten().filter(|path| *path == Path::new("-")).count();
    let attached = given.attach.iter().chain(&given.inline).filter(|it| it.split(';').next() == Some("-")).count();
    if readers + attached + usize::from(args.login.reads_stdin()) > 1 {
        return Err(Fault::new(Kind::Usage, "only one reader of stdin"));
    }
    let from = given.from.as_deref().map(|from| Mailbox::parse(from).map_err(|fault| usage("--from", fault)));
    let list = |name: &str, texts: &[String]| -> Result<Vec<Mailbox>, Fault> {
        let lists = texts.iter().map(|text| address::parse_list(text).map_err(|fault| usage(name, fault)));
        Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let mut headers = Vec::new();
    for field in &given.header {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Fault::new(Kind::Usage, format!("--header {field}: no colon")).with_hint("--header 'Name: value'")
        })?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(Draft {
        from: from.transpose()?,
        to: list("--to", &given.to)?,
        cc: list("--cc", &given.cc)?,
        bcc: list("recipient", &given.bcc)?,
        reply_to: list("--reply-to", &given.reply_to)?,
        subject: given.subject.clone(),
        headers,
        text: body(args, given)?,
        html: given.html.as_deref().map(|path| read_body("--html", path)).transpose()?,
        attachments: given.attach.iter().map(|text| attachment(text)).collect::<Result<_, _>>()?,
        inline: given.inline.iter().map(|text| attachment(text)).collect::<Result<_, _>>()?,
        in_reply_to: given.in_reply_to.iter().map(|id| bracketed(id)).collect(),
        ..Draft::default()
    })
}

/// Completes a draft and makes its message, with the account that matches its author.
pub(super) fn finish(
    args: &Args,
    accounts: Option<&Accounts>,
    mut draft: Draft,
    out: &Output,
) -> Result<Sendable, Fault> {
    let account = choose(args, accounts, draft.from.as_ref().map(|from| from.address.as_str()))?;
    let from = match draft.from.take() {
        Some(from) => from,
        None => author(account.as_ref())?,
    };
    draft.unique = unique()?;
    draft.message_id = message_id(&draft.unique, &from);
    draft.date = now();
    draft.from = Some(from);
    let rules = args.local.rules(account.as_ref())?;
    draft.from.iter_mut().chain(&mut draft.reply_to).try_for_each(|mailbox| args.local.sender(mailbox))?;
    for list in [&mut draft.to, &mut draft.cc, &mut draft.bcc] {
        let resolved = list.drain(..).map(|mailbox| rules.recipients(mailbox)).collect::<Result<Vec<_>, _>>()?;
        *list = resolved.concat();
    }
    let composed = draft.compose()?;
    if composed.recipients.is_empty() {
        return Err(Fault::new(Kind::Usage, "no recipients").with_hint("--to, --cc or --bcc names them"));
    }
    if composed.unknown_charset {
        out.warn("the text is not UTF-8; it is labelled unknown-8bit");
    }
    let sender = match &args.take.envelope_from {
        Some(sender) => envelope_sender(sender, args)?,
        None => composed.sender.into(),
    };
    let eight_bit = composed.message.has_8bit();
    let envelope = envelope(args, account.as_ref(), sender, composed.recipients, composed.smtputf8, eight_bit)?;
    let job = SendJob {
        envelope,
        message: composed.message,
        message_id: Some(composed.message_id),
        source: None,
        malformed: Vec::new(),
        row: None,
        route: route(args, account.as_ref()),
    };
    Ok((job, account))
}

/// The author if no flag names one: the account's author, else the user of this process.
fn author(account: Option<&Account>) -> Result<Mailbox, Fault> {
    match account.map(Account::author).transpose()?.flatten() {
        Some(author) => Ok(author),
        None => default_from(None),
    }
}

/// The text body: `--text` or `--body`, else stdin, unless other options provide the content.
fn body(args: &Args, given: &ComposeArgs) -> Result<Option<Vec<u8>>, Fault> {
    if let Some(text) = &given.text {
        return Ok(Some(format!("{text}\n").into_bytes()));
    }
    match &given.body {
        Some(path) => read_body("--body", path).map(Some),
        None if given.template.is_some()
            || given.edit
            || given.html.is_some()
            || !given.attach.is_empty()
            || !given.inline.is_empty() =>
        {
            Ok(None)
        }
        None if std::io::stdin().is_terminal() || args.login.reads_stdin() => {
            Err(Fault::new(Kind::Usage, "no body").with_hint("--text TEXT, --body FILE, or the text on stdin"))
        }
        None => read_body("--body", Path::new("-")).map(Some),
    }
}

pub(super) fn read_body(what: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    let blob = input::open(path).map_err(|fault| fault.context(what))?;
    blob.read_all(what, MAX_BODY_BYTES).map_err(|fault| fault.with_hint("attach it instead: --attach FILE"))
}

/// Parses `FILE[;type=TYPE][;name=NAME]`. A value with a `;` is quoted as in RFC 2045, section 5.1. If the whole text is the name
/// of an existing file, it is that file.
pub(super) fn attachment(text: &str) -> Result<Attachment, Fault> {
    let hint = "FILE;type=application/pdf;name=report.pdf; a name with a ; needs quotes: \"a;b.txt\"";
    let bad = |why: &str| Fault::new(Kind::Usage, format!("{text}: {why}")).with_hint(hint);
    let (path, mut options) = if Path::new(text).exists() {
        (text.to_owned(), "")
    } else {
        unquoted(text).ok_or_else(|| bad("the quotes do not fit"))?
    };
    let (mut content_type, mut name) = (None, None);
    while let Some(rest) = options.strip_prefix(';') {
        let (key, rest) = rest.split_at(rest.find(['=', ';']).unwrap_or(rest.len()));
        let Some(rest) = rest.strip_prefix('=') else {
            if !key.trim().is_empty() {
                return Err(bad(&format!("{key:?} is not known")));
            }
            options = rest;
            continue;
        };
        let value;
        (value, options) = unquoted(rest).ok_or_else(|| bad("the quotes do not fit"))?;
        match key.trim() {
            "type" => content_type = Some(value),
            "charset" => content_type = content_type.map(|kind: String| format!("{kind}; charset={value}")),
            "name" | "filename" => name = Some(value),
            _ => return Err(bad(&format!("{key:?} is not known"))),
        }
    }
    let path = PathBuf::from(path);
    let own = path.file_name().filter(|_| path != Path::new("-")).map(|name| name.to_string_lossy().into_owned());
    Ok(Attachment { blob: input::open(&path)?, name: name.or(own), content_type })
}

/// The value up to the next `;`, quoted or not, and the rest. `None` if a quote is not closed or is followed by other text.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
    let rest = letters.as_str().trim_start();
    (rest.is_empty() || rest.starts_with(';')).then_some((value, rest))
}

/// Reads a complete message from a file or pipe. `label` is its name in warnings.
pub(super) fn take(
    args: &Args,
    accounts: Option<&Accounts>,
    blob: &Blob,
    label: &str,
    out: &Output,
) -> Result<Sendable, Fault> {
    let read = if args.take.mend { Complete::read_any } else { Complete::read };
    let mut complete = read(blob, args.take.dot_ends)?;
    let mut addresses = Vec::new();
    for text in &args.recipient {
        addresses.extend(address::parse_list(text).map_err(|fault| usage("recipient", fault))?);
    }
    let mut malformed = Vec::new();
    if args.take.header_recipients || args.recipient.is_empty() {
        let found;
        (found, malformed) =
            if args.take.mend { complete.readable_recipients() } else { (complete.recipients()?, Vec::new()) };
        addresses.extend(found);
    }
    let named = args.take.envelope_from.as_deref().map(|sender| envelope_sender(sender, args)).transpose()?;
    args.local.rewrite(&mut complete);
    let author = complete.sender();
    let account = choose(
        args,
        accounts,
        author.as_ref().map(|it| it.address.as_str()).or(named.as_ref().map(ReversePath::as_str)),
    )?;
    let rules = args.local.rules(account.as_ref())?;
    let mut recipients: Vec<Address> = Vec::new();
    for mailbox in addresses {
        for mailbox in rules.recipients(mailbox)? {
            recipients.push(mailbox.to_ascii_domain()?.address);
        }
    }
    if recipients.is_empty() {
        let none = Fault::new(Kind::Usage, "the message names no recipients");
        return Err(malformed.into_iter().next().unwrap_or(none));
    }
    let author = match author {
        Some(author) => author.to_ascii_domain()?,
        None => {
            let of_account = account.as_ref().map(Account::author).transpose()?.flatten();
            let mut author = match (named.as_ref().and_then(ReversePath::address), of_account) {
                (Some(sender), _) => Mailbox { name: None, address: sender.clone() },
                (None, Some(author)) => author,
                (None, None) => default_from(None)?,
            };
            author.name = args.take.full_name.clone().or(author.name);
            complete.add_missing("From", header::addresses("From", std::slice::from_ref(&author))?);
            author
        }
    };
    complete.add_missing("Date", format!("Date: {}\r\n", now()));
    let id = message_id(&unique()?, &author);
    complete.add_missing("Message-ID", format!("Message-ID: {id}\r\n"));
    let message_id = complete.message_id();
    let sender = match named {
        Some(sender) => sender,
        // Other hosts do not know an author of this host: the account determines the sender.
        None if author.address.domain().is_some_and(|domain| args.local.is_ours(domain)) => {
            account.as_ref().map(Account::author).transpose()?.flatten().unwrap_or(author).address.into()
        }
        None => author.address.into(),
    };
    if sender.as_str().is_ascii() && recipients.iter().all(Address::is_ascii) {
        complete.encode_header();
    }
    let rewrites = args.take.mend && complete.mend();
    if let Some(line) = complete.long_line().filter(|_| !args.take.mend) {
        out.warn(&format!("{label}: line {line} is longer than 998 bytes: a server may refuse or break it"));
    }
    let letters = complete.header_utf8();
    let message = if rewrites { rewritten(&complete, label, out)? } else { complete.into_message() };
    let envelope = envelope(args, account.as_ref(), sender, recipients, letters, message.has_8bit())?;
    let (source, route) = (Some(label.to_owned()), route(args, account.as_ref()));
    Ok((SendJob { envelope, message, message_id, source, malformed, row: None, route }, account))
}

/// The message with its body rewritten: no bare CRs, no NULs, and no lines longer than 998 bytes.
fn rewritten(complete: &Complete, label: &str, out: &Output) -> Result<MailMessage, Fault> {
    let problem = |error: std::io::Error| Fault::local("temporary file", &error);
    let mut canonical = BlobWriter::temporary();
    complete.write_canonical(&mut canonical).map_err(problem)?;
    let canonical = MessageBlob { blob: canonical.finish().map_err(problem)?, has_8bit: true };
    let mut legal = Restartable(BlobWriter::temporary());
    if complete::rewrite(&canonical, &mut legal)? {
        out.warn(&format!("{label}: it is signed or cannot be encoded: lines were broken"));
    }
    let legal = legal.0.finish().map_err(problem)?;
    let has_8bit = has_8bit(&legal).map_err(problem)?;
    Ok(MailMessage::new(vec![Segment::Exact(legal, 0)], has_8bit))
}

/// A blob that can be written again from its start.
struct Restartable(BlobWriter);

impl Write for Restartable {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Rewritten for Restartable {
    fn restart(&mut self) -> std::io::Result<()> {
        self.0 = BlobWriter::temporary();
        Ok(())
    }
}

fn has_8bit(blob: &Blob) -> std::io::Result<bool> {
    let (mut reader, mut buffer) = (blob.open_at(0), vec![0; 64 * 1024]);
    loop {
        let count = reader.read(&mut buffer)?;
        match buffer.get(..count).unwrap_or_default() {
            b"" => return Ok(false),
            piece if !piece.is_ascii() => return Ok(true),
            _ => {}
        }
    }
}

/// Makes the envelope. An address that occurs twice, in any spelling, is one recipient.
fn envelope(
    args: &Args,
    account: Option<&Account>,
    sender: ReversePath,
    mut recipients: Vec<Address>,
    letters: bool,
    eight_bit: bool,
) -> Result<Envelope, Fault> {
    let mut seen = HashSet::new();
    recipients.retain(|address| seen.insert(address.comparison_key()));
    if let Some(address) = recipients.iter().chain(sender.address()).find(|address| address.domain().is_none()) {
        return Err(Fault::new(Kind::Usage, format!("{address}: no domain"))
            .with_hint("name@example.org; --local-domain completes such names"));
    }
    let notify = args.way.notify.or_else(|| account.and_then(|account| account.notify));
    let recipient = |address: Address| Recipient { notify, ..Recipient::new(address) };
    let mut envelope = Envelope::new(sender, recipients.into_iter().map(recipient).collect());
    envelope.smtputf8 = letters || !envelope.is_ascii();
    envelope.eight_bit = eight_bit;
    envelope.ret = args.way.ret.or_else(|| account.and_then(|account| account.ret));
    envelope.envid.clone_from(&args.way.envid);
    Ok(envelope)
}

/// Parses `-f`: an address, an empty text, or `<>`.
fn envelope_sender(text: &str, args: &Args) -> Result<ReversePath, Fault> {
    if matches!(text.trim(), "" | "<>") {
        return Ok(ReversePath::Null);
    }
    let mut mailbox = Mailbox::parse(text).map_err(|fault| usage("-f", fault))?;
    args.local.sender(&mut mailbox)?;
    Ok(mailbox.to_ascii_domain()?.address.into())
}

/// The questions of `--probe`: the sender for MAIL, the recipients for RCPT, and the account that has the server.
type Questions = (Option<ReversePath>, Vec<Address>, Option<Account>);

/// The questions for `--probe`: the recipients, and a sender if the command line names one or there are recipients.
pub(super) fn questions(args: &Args, accounts: Option<&Accounts>) -> Result<Questions, Fault> {
    let given = &args.compose;
    let author = given.from.as_deref().map(|from| Mailbox::parse(from).map_err(|fault| usage("--from", fault)));
    let author = author.transpose()?;
    let account = choose(args, accounts, author.as_ref().map(|from| from.address.as_str()))?;
    let mut recipients = Vec::new();
    for text in given.to.iter().chain(&given.cc).chain(&given.bcc).chain(&args.recipient) {
        for mut mailbox in address::parse_list(text).map_err(|fault| usage("recipient", fault))? {
            args.local.qualify(&mut mailbox)?;
            recipients.push(mailbox.to_ascii_domain()?.address);
        }
    }
    let sender = match (&args.take.envelope_from, author) {
        (Some(sender), _) => Some(envelope_sender(sender, args)?),
        (None, Some(author)) => Some(author.to_ascii_domain()?.address.into()),
        // The null reverse-path asks without the name of any sender.
        (None, None) => (!recipients.is_empty()).then_some(ReversePath::Null),
    };
    Ok((sender, recipients, account))
}

/// The author if nothing names one: `$EMAIL`, else the user at this host.
fn default_from(name: Option<String>) -> Result<Mailbox, Fault> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(email) = variable("EMAIL") {
        return Mailbox::parse(&email).map_err(|fault| usage("$EMAIL", fault));
    }
    let user = variable("LOGNAME").or_else(|| variable("USER")).or_else(user_of_this_process);
    let user = user.ok_or_else(|| Fault::new(Kind::Usage, "no author").with_hint("--from ADDRESS"))?;
    let address = format!("{user}@{}", host_name());
    let parsed = Address::parse_lenient(&address);
    let address = parsed.map_err(|error| usage("author", address::no_address(&address, error)))?;
    Ok(Mailbox { name, address })
}

/// The user's name from /etc/passwd: cron sets LOGNAME, other callers may set no variable.
fn user_of_this_process() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}

/// The name of the calling user, for the envelope of mail sent as `sendmail`. The system's user database precedes the environment.
pub(super) fn calling_user() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = user_of_this_process().or_else(|| variable("LOGNAME")).or_else(|| variable("USER"));
    let fits = user.filter(|user| Address::parse_lenient(user).is_ok_and(|address| address.domain().is_none()));
    fits.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()))
}

/// The name of this host, or `localhost` if the name is not valid in an address.
pub(super) fn host_name() -> &'static str {
    // Looked up once: every recipient of every message is compared with it.
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let label =
            |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.len() <= 255 && name.split('.').all(label) { name } else { "localhost".to_owned() }
    })
}

fn now() -> String {
    let now = crate::cli::clock::now();
    jiff::fmt::rfc2822::to_string(&now).unwrap_or_else(|_| now.strftime("%a, %d %b %Y %H:%M:%S %z").to_string())
}

pub(super) fn unique() -> Result<String, Fault> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Fault::new(Kind::Internal, format!("no randomness: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn message_id(unique: &str, author: &Mailbox) -> String {
    let domain = author.clone().to_ascii_domain().ok().and_then(|author| author.address.domain().map(str::to_owned));
    let domain =
        domain.filter(|domain| domain.is_ascii() && !domain.starts_with('[')).unwrap_or_else(|| host_name().to_owned());
    format!("<{unique}@{domain}>")
}

fn bracketed(id: &str) -> String {
    let id = id.trim();
    if id.starts_with('<') { id.to_owned() } else { format!("<{id}>") }
}

/// Makes a usage error of the fault in a command line value.
fn usage(what: &str, fault: Fault) -> Fault {
    Fault { kind: Kind::Usage, ..fault.context(what) }
}
