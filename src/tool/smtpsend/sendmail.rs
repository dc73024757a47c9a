//! sendmail's command line, which programs have used for forty years. It has its own table of options, used if the program
//! is called as `sendmail` or `mailq`, or with `--sendmail` as the first argument. Messages go into the outgoing queue, unless
//! `--send-now` or a named server sends them at once.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory as _;

use super::Args;

use crate::fault::{Fault, Kind};

/// The aliases file of the machine, unless the command line names another one.
const ALIASES: &str = "/etc/applayer/aliases";

/// The action that a sendmail command line requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendmailCall {
    /// Send a message, with the equivalent arguments of smtpsend.
    Send(Vec<OsString>),
    /// Speak SMTP on standard input and output, with the equivalent arguments of smtpsend.
    Session(Vec<OsString>),
    /// Execute another program of the suite, with its arguments.
    Other(&'static str, Vec<OsString>),
}

/// Reads the arguments, of which the first is the program's name. `None` if this is not sendmail's command line. `user` looks up
/// the name of the calling user, who is the sender unless `-f` names one.
pub(super) fn read(
    arguments: &[OsString],
    host: &str,
    user: impl FnOnce() -> String,
) -> Option<Result<SendmailCall, Fault>> {
    let program = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_string_lossy())?;
    let by_flag = arguments.get(1).is_some_and(|first| first == "--sendmail");
    match &*program {
        "mailq" => Some(Ok(list(arguments.get(1..).unwrap_or_default()))),
        "sendmail" => Some(translate(arguments.get(1..).unwrap_or_default(), host, user)),
        _ if by_flag => Some(translate(arguments.get(2..).unwrap_or_default(), host, user)),
        _ => None,
    }
}

/// Lists the queue, in Postfix's format unless the arguments name another.
fn list(arguments: &[OsString]) -> SendmailCall {
    // -Ac and -Am name sendmail's own two queues.
    let own = arguments.iter().filter(|argument| !argument.to_string_lossy().starts_with("-A"));
    let form = (!arguments.iter().any(|argument| argument == "--json" || argument == "-c" || argument == "-s"))
        .then(|| "--postfix".into());
    let system = Some("--system-queue".into());
    SendmailCall::Other("mailq-ls", system.into_iter().chain(form).chain(own.cloned()).collect())
}

fn translate(arguments: &[OsString], host: &str, user: impl FnOnce() -> String) -> Result<SendmailCall, Fault> {
    let mut own: Vec<OsString> = Vec::new();
    let mut sender = None;
    let mut recipients = Vec::new();
    let mut dots = true;
    let (mut now, mut session, mut domain) = (false, false, Some(host));
    let (mut elsewhere, mut queue, mut account) = (false, false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_str().ok_or_else(|| usage(&argument.to_string_lossy(), "not UTF-8"))?;
        if text == "--" {
            recipients.extend(rest.by_ref().cloned());
            break;
        }
        if let Some(long) = text.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if name == "send-now" {
                now = true;
                continue;
            }
            if name == "queue" {
                queue = true;
                continue;
            }
            // Long options are those of smtpsend, with the same meaning: sendmail has none.
            let takes_value = takes_value(name).ok_or_else(|| usage(text, "is not known"))?;
            domain = domain.filter(|_| name != "local-domain");
            elsewhere |= ["server", "account", "mx"].contains(&name);
            account |= name == "account";
            own.push(argument.clone());
            if takes_value && value.is_none() {
                own.push(rest.next().cloned().ok_or_else(|| usage(text, "needs a value"))?);
            }
            continue;
        }
        let Some(mut flag) = text.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            recipients.push(argument.clone());
            continue;
        };
        // Letters without a value may stand together: -ti.
        while let Some(tail) = flag.strip_prefix(['t', 'i', 'v', 'n', 'm', 'G', 'U']) {
            match flag.as_bytes().first() {
                Some(b't') => own.push("-t".into()),
                Some(b'i') => dots = false,
                Some(b'v') => own.push("-v".into()),
                _ => {}
            }
            flag = tail;
        }
        if flag.is_empty() {
            continue;
        }
        let (letter, tail) = flag.split_at(flag.chars().next().map_or(0, char::len_utf8));
        // The value stands behind the letter or in the next argument.
        let mut value = || -> Result<OsString, Fault> {
            match tail {
                "" => rest.next().cloned().ok_or_else(|| usage(text, "needs a value")),
                tail => Ok(tail.into()),
            }
        };
        match letter {
            "f" | "r" => {
                sender = Some(value()?);
            }
            "F" => {
                let name = value()?;
                own.extend(["-F".into(), name]);
            }
            "N" => {
                let when = value()?;
                own.extend(["--notify".into(), when]);
            }
            "R" => {
                let what = value()?;
                own.extend(["--ret".into(), what]);
            }
            "V" => {
                let name = value()?;
                own.extend(["--envid".into(), name]);
            }
            "b" => match tail {
                "m" => {}
                "p" => return Ok(list(&[])),
                "s" => session = true,
                _ => return Err(usage(text, "is not done here")),
            },
            "q" => return Ok(SendmailCall::Other("mailq-run", Vec::new())),
            "o" => match tail {
                "i" => dots = false,
                "" => drop(value()?),
                // Error reporting, waiting, aliases, macros, body type: the behaviour is already the requested one.
                _ => {}
            },
            // Body type, hop count, class, configuration, options, log file, label: nothing depends on them.
            "B" | "h" | "C" | "O" | "X" | "L" | "p" => drop(value()?),
            "e" | "x" | "A" | "d" => {}
            _ => return Err(usage(text, "is not known")),
        }
    }
    // A server on the command line means delivery at once, unless the message is queued for that account.
    now |= elsewhere && !queue;
    let has_aliases = own.iter().any(|word| word.to_string_lossy().starts_with("--aliases"));
    let aliases = (!has_aliases && Path::new(ALIASES).exists()).then_some(["--aliases", ALIASES]);
    let fixed = ["smtpsend", "--system-queue", "--mend"].into_iter().chain((!now).then_some("--queue"));
    let fixed = fixed
        .chain(domain.into_iter().flat_map(|domain| ["--local-domain", domain]))
        .chain(aliases.into_iter().flatten())
        .map(OsString::from);
    let mut own: Vec<OsString> = fixed.chain(own).collect();
    if session {
        // Sender, recipients and the end of each message are those of the session.
        return match now || !recipients.is_empty() {
            true => Err(usage("-bs", "the dialogue names the recipients, and their mail goes into the queue")),
            false => Ok(SendmailCall::Session(own)),
        };
    }
    if dots {
        own.push("--dot-ends".into());
    }
    // An account's server knows no sender but the account's, where From is one of this host.
    let sender = sender.or_else(|| (!now && !account).then(|| format!("{}@{host}", user()).into()));
    own.extend(sender.into_iter().flat_map(|sender| ["-f".into(), sender]));
    own.push("--".into());
    own.extend(recipients);
    Ok(SendmailCall::Send(own))
}

/// True if the long option of smtpsend with this name takes a value; `None` if there is no such option.
fn takes_value(name: &str) -> Option<bool> {
    if matches!(name, "help" | "version") {
        return Some(false);
    }
    let command = Args::command();
    let known = command
        .get_arguments()
        .find(|known| known.get_long() == Some(name) || known.get_all_aliases().unwrap_or_default().contains(&name))?;
    Some(known.get_action().takes_values())
}

fn usage(flag: &str, why: &str) -> Fault {
    Fault::new(Kind::Usage, format!("{flag}: {why}")).with_hint("smtpsend(1) lists the supported flags of sendmail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Result<Vec<String>, Kind>> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let read = super::read(&arguments, "h.test", || "me".to_owned())?;
        Some(read.map_err(|fault| fault.kind).map(|asked| {
            let (program, own) = match asked {
                SendmailCall::Send(own) => ("send", own),
                SendmailCall::Session(own) => ("session", own),
                SendmailCall::Other(program, own) => (program, own),
            };
            let fixed = own.iter().position(|word| word == "h.test").map_or(0, |at| at + 1);
            let words = own.iter().skip(fixed).map(|word| word.to_string_lossy().into_owned());
            std::iter::once(program.to_owned()).chain(words).collect()
        }))
    }

    #[test]
    fn what_programs_say() {
        for (line, expected) in [
            ("/usr/sbin/sendmail -t", "send -t --dot-ends -f me@h.test --"),
            ("sendmail -t -i", "send -t -f me@h.test --"),
            ("sendmail -oi -t -f a@b.test", "send -t -f a@b.test --"),
            (
                "sendmail -fa@b.test -oem -odi -B8BITMIME -FName x@y.test",
                "send -F Name --dot-ends -f a@b.test -- x@y.test",
            ),
            ("sendmail -i -bm -- -x@y.test", "send -f me@h.test -- -x@y.test"),
            (
                "sendmail -i -N success,delay -R hdrs -V id -v root",
                "send --notify success,delay --ret hdrs --envid id -v -f me@h.test -- root",
            ),
            (
                "sendmail -oi -oMrSMTP -oMs192.0.2.1 -ob5 -oA/etc/aliases -o em -O DeliveryMode=b x",
                "send -f me@h.test -- x",
            ),
            ("sendmail -Ac -d0.1 -itf a x", "send -t -f a -- x"),
            ("sendmail -bp", "mailq-ls --system-queue --postfix"),
            ("mailq", "mailq-ls --system-queue --postfix"),
            ("mailq -Ac --json", "mailq-ls --system-queue --json"),
            ("sendmail -q", "mailq-run"),
            ("sendmail -q30m", "mailq-run"),
            ("smtpsend --sendmail -ti", "send -t -f me@h.test --"),
            ("smtpsend --sendmail -i a@b", "send -f me@h.test -- a@b"),
            ("sendmail -bs", "session"),
            ("sendmail -bs -i", "session"),
            ("sendmail -bs x@y.test", "64"),
            ("sendmail -bd", "64"),
            ("sendmail --send-now -t -i", "send -t --"),
            ("sendmail --account work -i a@b.test", "send --account work -- a@b.test"),
            ("sendmail --account work --queue -i a@b.test", "send --account work -- a@b.test"),
            ("sendmail --server=smtp://h -i -f a@b.test x", "send --server=smtp://h -f a@b.test -- x"),
            (
                "sendmail --aliases /a --masquerade=x.test --admin-address z@x.test -i root",
                "send --aliases /a --masquerade=x.test --admin-address z@x.test -f me@h.test -- root",
            ),
            ("sendmail --aliases", "64"),
            ("sendmail --no-such", "64"),
            ("sendmail -z", "64"),
            ("sendmail -f", "64"),
        ] {
            let found = match asked(line).unwrap() {
                Ok(words) => words.join(" "),
                Err(kind) => kind.exit().to_string(),
            };
            assert_eq!(found, expected, "{line}");
        }
        assert!(asked("smtpsend -t -i").is_none());
        assert!(asked("smtpsend").is_none());
    }
}
