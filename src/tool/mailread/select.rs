//! The selection of messages: numbers, ranges, Message-IDs, and the filters.

use super::boxes::OpenMailbox;
use super::{Args, MailreadAction};
use crate::fault::{Fault, Kind};
use crate::mail::scan;

/// The numbers of the selected messages, each once, in the order of the command line.
pub(super) fn choose(folder: &OpenMailbox, args: &Args) -> Result<Vec<usize>, Fault> {
    let mut chosen = Vec::new();
    if args.selection.is_empty() {
        if args.action != MailreadAction::List && folder.len() > 1 && !args.filters() {
            let fault = Fault::new(Kind::Usage, format!("no selection among {} messages", folder.len()));
            return Err(fault.with_hint("select by list numbers, `last` or `all`"));
        }
        chosen.extend(1..=folder.len());
    }
    for selection in &args.selection {
        one(folder, selection, &mut chosen)?;
    }
    let mut seen = vec![false; folder.len() + 1];
    chosen.retain(|number| seen.get_mut(*number).is_some_and(|seen| !std::mem::replace(seen, true)));
    if args.filters() {
        let mut header = Vec::new();
        let mut kept = Vec::new();
        for number in chosen {
            if matches(folder, number, args, &mut header)? {
                kept.push(number);
            }
        }
        return Ok(kept);
    }
    Ok(chosen)
}

/// True if the arguments can select more than one message, even if they do not.
pub(super) fn may_be_several(args: &Args) -> bool {
    match args.selection.as_slice() {
        [] => args.filters(),
        [one] => one != "last" && !one.starts_with('<') && one.parse::<usize>().is_err(),
        _ => true,
    }
}

fn one(folder: &OpenMailbox, selection: &str, chosen: &mut Vec<usize>) -> Result<(), Fault> {
    let count = folder.len();
    let bad = |why: &str| Fault::new(Kind::Usage, format!("{selection}: {why}"));
    match selection {
        "all" => {
            chosen.extend(1..=count);
            return Ok(());
        }
        "last" if count > 0 => {
            chosen.push(count);
            return Ok(());
        }
        _ => {}
    }
    if selection.starts_with('<') {
        let before = chosen.len();
        let mut header = Vec::new();
        for number in 1..=count {
            folder.header(number, &mut header)?;
            let [id] = scan::pick(&header, ["message-id"]);
            if id.is_some_and(|id| scan::identifiers(id).iter().any(|id| id == selection)) {
                chosen.push(number);
            }
        }
        if chosen.len() == before {
            return Err(Fault::new(Kind::NoInput, format!("{selection}: no such message")));
        }
        return Ok(());
    }
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let (first, last) = match selection.split_once('-') {
        Some((first, "")) => (number(first), Some(count)),
        Some((first, last)) => (number(first), number(last)),
        None => (number(selection), number(selection)),
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Err(bad("not a selection").with_hint("numbers (3), ranges (2-5, 7-), last, all, or a <Message-ID>"));
    };
    if first > count || last > count {
        return Err(Fault::new(Kind::NoInput, format!("{selection}: there are {count} messages")));
    }
    if first > last {
        return Err(bad("the range runs backwards"));
    }
    chosen.extend(first..=last);
    Ok(())
}

fn matches(folder: &OpenMailbox, number: usize, args: &Args, header: &mut Vec<u8>) -> Result<bool, Fault> {
    if args.unread && !folder.is_unread(number) {
        return Ok(false);
    }
    if args.from.is_none() && args.to.is_none() && args.subject.is_none() {
        return Ok(true);
    }
    folder.header(number, header)?;
    let charset = scan::HeaderCharset::of(header);
    let holds = |name: &str, wanted: &str| {
        scan::all(header, name).any(|value| charset.text(value).to_lowercase().contains(&wanted.to_lowercase()))
    };
    Ok(args.from.as_deref().is_none_or(|wanted| holds("from", wanted))
        && args.to.as_deref().is_none_or(|wanted| holds("to", wanted) || holds("cc", wanted))
        && args.subject.as_deref().is_none_or(|wanted| holds("subject", wanted)))
}
