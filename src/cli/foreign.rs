//! Words of other tools: what stands for them here is said, instead of what clap guesses.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::fault::{Fault, Kind};

/// Words that are not ours, and what stands for them here: any of the words on the left, which spaces separate, is answered with
/// the right; one that ends with `*` is a beginning.
pub type ForeignWords = &'static [(&'static str, &'static str)];

/// Words that are ours and mean something else elsewhere, with spaces between them; what follows such a word if that is meant,
/// and what stands for it here.
pub type ForeignMeaning = (&'static str, fn(&str) -> bool, &'static str);

/// What stands here for the word that clap does not know.
pub fn word_here(error: &clap::Error, tables: &[ForeignWords]) -> Option<&'static str> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(given))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let given = given.split('=').next().unwrap_or_default();
    let is_it = |word: &str| match word.strip_suffix('*') {
        Some(beginning) => given.starts_with(beginning),
        None => given == word,
    };
    tables.iter().copied().flatten().find(|(words, _)| words.split(' ').any(is_it)).map(|(_, ours)| *ours)
}

/// Refuses a word of ours that is meant as another tool's.
///
/// # Errors
/// [`Kind::Usage`], with what stands for it here.
pub fn refuse_meant_otherwise(arguments: &[OsString], meanings: &[ForeignMeaning]) -> Result<(), Fault> {
    let texts: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    for (at, text) in texts.iter().enumerate().skip(1) {
        let next = texts.get(at + 1).map_or("", |next| next);
        let is_it = |words: &str| words.split(' ').any(|word| word == text);
        if let Some((_, _, ours)) = meanings.iter().find(|(words, meant, _)| is_it(words) && meant(next)) {
            return Err(Fault::new(Kind::Usage, format!("{text} is another tool's: here it is {ours}")));
        }
    }
    Ok(())
}

/// Holds tables against a tool's command line: no word of ours is called foreign in the first, which is the tool's own, and what
/// stands for foreign ones is there.
#[cfg(test)]
pub(crate) fn assert_agree(command: &clap::Command, tables: &[ForeignWords], meanings: &[ForeignMeaning]) {
    let flags: Vec<String> = command
        .get_arguments()
        .flat_map(|known| {
            let long = known.get_long().into_iter().chain(known.get_all_aliases().unwrap_or_default());
            let short = known.get_short().into_iter().chain(known.get_all_short_aliases().unwrap_or_default());
            long.map(|it| format!("--{it}")).chain(short.map(|it| format!("-{it}"))).collect::<Vec<_>>()
        })
        .collect();
    let known = |flag: &str| flag == "--sendmail" || flags.iter().any(|known| known == flag);
    let answers =
        tables.iter().copied().flatten().map(|(_, ours)| ours).chain(meanings.iter().map(|(_, _, ours)| ours));
    for ours in answers.filter(|ours| !ours.starts_with("ftp")) {
        for flag in ours.split([' ', ',', ')', '(']).filter(|word| word.starts_with('-')) {
            assert!(known(flag.trim_end_matches(';')), "{}: {ours}: {flag}", command.get_name());
        }
    }
    let own = tables.iter().take(1).copied().flatten().flat_map(|(words, _)| words.split(' '));
    let wrong: Vec<_> = own.filter(|word| !word.starts_with('-') || flags.iter().any(|known| known == word)).collect();
    assert!(wrong.is_empty(), "{}: {wrong:?}", command.get_name());
}
