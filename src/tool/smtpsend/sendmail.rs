//! sendmail's command line, as programs have called it for forty years: a table of its own, active when the program is
//! called `sendmail` or `mailq`, or with `--sendmail` as the first argument. Messages go into the outgoing queue.

use std::ffi::OsString;
use std::path::Path;

use crate::fault::{Fault, Kind};

/// What sendmail's words ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendmailCall {
    /// Send a message: the arguments in our own words.
    Send(Vec<OsString>),
    /// Another program of the suite, with its arguments.
    Other(&'static str, Vec<OsString>),
}

/// Reads the arguments, the program's name first. `None`: this is not sendmail's dialect.
pub(super) fn read(arguments: &[OsString], host: &str) -> Option<Result<SendmailCall, Fault>> {
    let program = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_string_lossy())?;
    let by_flag = arguments.get(1).is_some_and(|first| first == "--sendmail");
    match &*program {
        "mailq" => Some(Ok(SendmailCall::Other("mailq-ls", Vec::new()))),
        "sendmail" => Some(translate(arguments.get(1..).unwrap_or_default(), host)),
        _ if by_flag => Some(translate(arguments.get(2..).unwrap_or_default(), host)),
        _ => None,
    }
}

fn translate(arguments: &[OsString], host: &str) -> Result<SendmailCall, Fault> {
    let mut own: Vec<OsString> = ["smtpsend", "--queue", "--local-domain", host].iter().map(OsString::from).collect();
    let mut recipients = Vec::new();
    let mut dots = true;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_str().ok_or_else(|| usage(&argument.to_string_lossy(), "not UTF-8"))?;
        if text == "--" {
            recipients.extend(rest.by_ref().cloned());
            break;
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
                let sender = value()?;
                own.extend(["-f".into(), sender]);
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
                "p" => return Ok(SendmailCall::Other("mailq-ls", Vec::new())),
                _ => return Err(usage(text, "is not done here")),
            },
            "q" => return Ok(SendmailCall::Other("mailq-run", Vec::new())),
            "o" => match tail {
                "i" => dots = false,
                // How errors come back, whether to wait, aliases, old style headers, "me too": all as it is anyway.
                _ if tail
                    .starts_with(['e', 'd', 'm', 'o', 'A', '7', '8', 'Q', 'T', 'L', 'X', 'S', 'p', 'r', 'c', 's']) => {}
                _ => return Err(usage(text, "is not known")),
            },
            // Body type, hop count, class, configuration, options, log file, label: nothing depends on them.
            "B" | "h" | "C" | "O" | "X" | "L" | "p" => drop(value()?),
            "e" | "x" => {}
            _ => return Err(usage(text, "is not known")),
        }
    }
    if dots {
        own.push("--dot-ends".into());
    }
    own.push("--".into());
    own.extend(recipients);
    Ok(SendmailCall::Send(own))
}

fn usage(flag: &str, why: &str) -> Fault {
    Fault::new(Kind::Usage, format!("{flag}: {why}")).with_hint("smtpsend(1) lists what is known of sendmail's flags")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Result<Vec<String>, Kind>> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let read = super::read(&arguments, "h.test")?;
        Some(read.map_err(|fault| fault.kind).map(|asked| {
            let (program, own) = match asked {
                SendmailCall::Send(own) => ("send", own),
                SendmailCall::Other(program, own) => (program, own),
            };
            let words = own.iter().skip(4).map(|word| word.to_string_lossy().into_owned());
            std::iter::once(program.to_owned()).chain(words).collect()
        }))
    }

    #[test]
    fn what_programs_say() {
        for (line, expected) in [
            ("/usr/sbin/sendmail -t", "send -t --dot-ends --"),
            ("sendmail -t -i", "send -t --"),
            ("sendmail -oi -t -f a@b.test", "send -t -f a@b.test --"),
            (
                "sendmail -fa@b.test -oem -odi -B8BITMIME -FName x@y.test",
                "send -f a@b.test -F Name --dot-ends -- x@y.test",
            ),
            ("sendmail -i -bm -- -x@y.test", "send -- -x@y.test"),
            (
                "sendmail -i -N success,delay -R hdrs -V id -v root",
                "send --notify success,delay --ret hdrs --envid id -v -- root",
            ),
            ("sendmail -bp", "mailq-ls"),
            ("mailq", "mailq-ls"),
            ("sendmail -q", "mailq-run"),
            ("sendmail -q30m", "mailq-run"),
            ("smtpsend --sendmail -ti", "send -t --"),
            ("smtpsend --sendmail -i a@b", "send -- a@b"),
            ("sendmail -bs", "64"),
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
