//! The draft of a reply: headers that continue the thread, and the quoted text. It is input for `smtpsend -t`.

use std::io::Write;

use super::Args;
use super::boxes::OpenMailbox;
use super::recipients::Recipients;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::mail::read::{Reading, printable};
use crate::mail::{header, scan};
use crate::tool::smtp_account::Accounts;

/// The number of latest identifiers in References, besides the first one. The limit keeps the field from growing for ever.
const MAX_REFERENCES: usize = 20;

pub(super) fn run(folder: &OpenMailbox, number: usize, args: &Args, out: &Output) -> Result<(), Fault> {
    let reading = Reading::parse_with(folder.message(number)?, !args.no_reflow)?;
    let mut own = args.me.clone();
    if let Some(path) = Accounts::usual() {
        // The authors of the accounts are useful here, but not required.
        match Accounts::authors(&path) {
            Ok(authors) => own.extend(authors),
            Err(fault) => out.warn(&format!("{}: {}; own addresses are unknown", path.display(), fault.detail)),
        }
    }
    let (text, doubts) = skeleton(&reading, args.all, &own)?;
    for doubt in doubts {
        out.warn(&format!("message {number}: {doubt}"));
    }
    out.payload()?.write_all(text.as_bytes()).map_err(|error| Fault::local("stdout", &error))
}

/// The draft of the reply, and warnings for the user.
fn skeleton(reading: &Reading, all: bool, own: &[String]) -> Result<(String, Vec<String>), Fault> {
    let head = scan::header_of(reading.raw())?;
    let [from, subject, date, id, references, answers] =
        scan::pick(head, ["from", "subject", "date", "message-id", "references", "in-reply-to"]);
    let Recipients { to, cc, doubts } = Recipients::of(head, all, own);
    if to.is_empty() {
        let from = from.map(|from| scan::text(head, from)).unwrap_or_default();
        return Err(Fault::new(Kind::BadData, format!("no address to reply to; From: {from}")));
    }
    let mut out = header::addresses("To", &to)?;
    if !cc.is_empty() {
        out += &header::addresses("Cc", &cc)?;
    }
    out += &header::unstructured("Subject", &subject_of(subject.map(|subject| scan::text(head, subject))))?;
    let ids = id.map(scan::identifiers).unwrap_or_default();
    if let Some(id) = ids.first() {
        out += &header::identifiers("In-Reply-To", std::slice::from_ref(id))?;
        let mut thread = references.or(answers).map(scan::identifiers).unwrap_or_default();
        thread.retain(|known| known != id);
        if thread.len() > MAX_REFERENCES {
            thread.drain(1..thread.len() - MAX_REFERENCES + 1);
        }
        thread.push(id.clone());
        out += &header::identifiers("References", &thread)?;
    }
    out += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let mut out = out.replace("\r\n", "\n");
    out.push('\n');
    let author = scan::addresses(head, "from").mailboxes.into_iter().next();
    let who = author.map(|author| author.name.unwrap_or_else(|| author.address.to_string()));
    let who = printable(&who.unwrap_or_else(|| "somebody".to_owned())).replace('\n', " ");
    match date.and_then(scan::date) {
        Some(date) => out.push_str(&format!("On {}, {who} wrote:\n", date.strftime("%F %H:%M %:z"))),
        None => out.push_str(&format!("{who} wrote:\n")),
    }
    for line in printable(&reading.text).trim_end().lines() {
        // Quotes of quotes stay close together.
        out.push_str(if line.starts_with('>') || line.is_empty() { ">" } else { "> " });
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    Ok((out, doubts))
}

fn subject_of(subject: Option<String>) -> String {
    let subject: String = subject.unwrap_or_default().chars().filter(|letter| *letter != '\0').collect();
    let answered = subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    if answered { subject } else { format!("Re: {subject}").trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, all: bool) -> String {
        skeleton(&Reading::parse(text.as_bytes().to_vec()).unwrap(), all, &[]).unwrap().0
    }

    #[test]
    fn headers_keep_the_thread() {
        let text = "From: =?utf-8?q?J=C3=B6rg?= <a@b>\nTo: me@c, Other <o@d>\nCc: A@B\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\n\
            Message-ID: <2@b>\nReferences: <0@b> <1@b>\nDate: Mon, 23 Nov 2026 05:00:00 +0100\n\nHi\n\n> old\n";
        assert_eq!(
            reply(text, true),
            "To: =?UTF-8?Q?J=C3=B6rg?= <a@b>\nCc: me@c, Other <o@d>\nSubject: Re: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\n\
             In-Reply-To: <2@b>\nReferences: <0@b> <1@b> <2@b>\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
             On 2026-11-23 05:00 +01:00, Jörg wrote:\n> Hi\n>\n>> old\n\n"
        );
        assert!(!reply(text, false).contains("Cc:"));
    }

    #[test]
    fn nothing_of_a_stranger_becomes_a_header() {
        let text = "From: \"a\\\nBcc: evil@x\" <a@b>\nReply-To: =?utf-8?q?x=0D=0ABcc=3A_evil=40x?= <r@b>\n\
            Subject: =?utf-8?q?s=0D=0ABcc=3A_evil=40x=00?=\nMessage-ID: <1@b>\n\n\x1b[31m\n";
        let reply = reply(text, true);
        let (head, _) = reply.split_once("\n\n").unwrap();
        assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{reply}");
        assert!(!reply.contains('\x1b'));
    }

    #[test]
    fn subjects_are_marked_once() {
        for (subject, expected) in
            [("x", "Re: x"), ("RE: x", "RE: x"), ("re: x", "re: x"), ("", "Re:"), ("ré", "Re: ré")]
        {
            assert_eq!(subject_of(Some(subject.to_owned())), expected);
        }
    }

    #[test]
    fn references_do_not_grow_for_ever() {
        let ids: Vec<String> = (0..100).map(|index| format!("<{index}@b>")).collect();
        let reply = reply(&format!("From: a@b\nMessage-ID: <x@b>\nReferences: {}\n\n", ids.join(" ")), false);
        let found = reply.matches("@b>").count();
        assert!(reply.contains("<0@b>") && reply.contains("<99@b>") && reply.contains("<x@b>"));
        // The References, To and In-Reply-To.
        assert_eq!(found, MAX_REFERENCES + 1 + 1, "{reply}");
    }
}
