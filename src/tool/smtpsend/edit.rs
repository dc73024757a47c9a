//! Lets the user edit the message in an editor: recipients, subject and text in one file.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::blob::Blob;
use crate::fault::{Fault, Kind};
use crate::mail::address::{self, Mailbox};
use crate::mail::complete::Complete;
use crate::mail::compose::{Draft, MAX_BODY_BYTES};
use crate::mail::header::quote;
use crate::mail::header_line;

/// Opens a draft in the editor and applies the changes. An unchanged file means that nothing is to be sent.
pub(super) fn edit(draft: &mut Draft) -> Result<(), Fault> {
    let before = written(draft);
    let problem = |error: std::io::Error| Fault::local("the file for the editor", &error);
    let mut file = tempfile::Builder::new().prefix("smtpsend-").suffix(".eml").tempfile().map_err(problem)?;
    file.write_all(&before).map_err(problem)?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // The variable may hold arguments; the file's name is an argument of its own and never part of the command's text.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{editor} \"$1\""), "editor"]).arg(file.path());
    // The text may have come by a pipe; an editor wants the terminal.
    if let Ok(terminal) = std::fs::File::open("/dev/tty") {
        command.stdin(Stdio::from(terminal));
    }
    let status = command.status().map_err(|error| Fault::local(&editor, &error))?;
    if !status.success() {
        return Err(Fault::new(Kind::Cancelled, format!("{editor} failed: nothing was sent")));
    }
    // Editors replace the file as often as they rewrite it: it is opened again by its name.
    let mut after = Vec::new();
    let reading = std::fs::File::open(file.path()).map_err(problem)?;
    reading.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut after).map_err(problem)?;
    if after == before {
        return Err(Fault::new(Kind::Cancelled, "nothing was changed: nothing was sent"));
    }
    take_over(draft, after)
}

/// The draft as text for the editor: plain UTF-8, nothing encoded.
fn written(draft: &Draft) -> Vec<u8> {
    let list = |mailboxes: &[Mailbox]| -> String {
        let one = |mailbox: &Mailbox| match &mailbox.name {
            Some(name) => format!("{} <{}>", quote(name), mailbox.address),
            None => mailbox.address.to_string(),
        };
        mailboxes.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut out = format!(
        "To: {}\nCc: {}\nBcc: {}\nSubject: {}\n\n",
        list(&draft.to),
        list(&draft.cc),
        list(&draft.bcc),
        draft.subject.as_deref().unwrap_or_default()
    )
    .into_bytes();
    out.extend_from_slice(draft.text.as_deref().unwrap_or_default());
    out
}

fn take_over(draft: &mut Draft, text: Vec<u8>) -> Result<(), Fault> {
    if text.len() > MAX_BODY_BYTES {
        return Err(Fault::new(Kind::BadData, format!("the text is larger than {MAX_BODY_BYTES} bytes")));
    }
    let complete = Complete::read(&Blob::memory(text.clone()), false)?;
    let list = |name: &str| -> Result<Vec<Mailbox>, Fault> {
        let value = complete.field(name).map(|field| field.value()).unwrap_or_default();
        address::parse_list(&value).map_err(|fault| fault.context(name))
    };
    draft.to = list("To")?;
    draft.cc = list("Cc")?;
    draft.bcc = list("Bcc")?;
    let subject = complete.field("Subject").map(|field| field.value());
    draft.subject = subject.filter(|subject| !subject.is_empty());
    for field in complete.fields() {
        let known = ["to", "cc", "bcc", "subject"].contains(&field.name.to_ascii_lowercase().as_str());
        if !known {
            draft.headers.push((field.name.clone(), field.value()));
        }
    }
    let body = header_line::end_of(&text).body;
    draft.text = Some(text.get(body..).unwrap_or_default().to_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_taken_over_again() {
        let mut draft = Draft {
            to: vec![Mailbox::parse("\"Ö, J\" <a@b.test>").unwrap(), Mailbox::parse("c@d.test").unwrap()],
            bcc: vec![Mailbox::parse("e@f.test").unwrap()],
            subject: Some("Grüße".into()),
            text: Some("Hällo\n\n> x\n".into()),
            ..Draft::default()
        };
        let text = written(&draft);
        let before = draft.clone();
        take_over(&mut draft, text).unwrap();
        assert_eq!(
            (&draft.to, &draft.bcc, &draft.subject, &draft.text),
            (&before.to, &before.bcc, &before.subject, &before.text)
        );
        let changed = "To: x@y.test\nSubject:\nX-Extra: 1\n\nnew\n";
        take_over(&mut draft, changed.into()).unwrap();
        assert_eq!((draft.to.len(), draft.bcc.len(), draft.subject.as_deref()), (1, 0, None));
        assert_eq!(draft.headers, [("X-Extra".to_owned(), "1".to_owned())]);
        assert_eq!(draft.text.as_deref(), Some(&b"new\n"[..]));
        assert!(take_over(&mut draft, b"To: not an address\n\n".to_vec()).is_err());
    }
}
