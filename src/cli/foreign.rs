//! Words of other tools: messages name their equivalents here instead of clap's guess.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::words;
use crate::fault::{Fault, Kind};

/// Words of other tools and their equivalents here. The left side lists words, separated by spaces; the right side is the
/// equivalent of each. A word that ends with `*` is a prefix.
pub type ForeignWords = &'static [(&'static str, &'static str)];

/// A word of this tool that has another meaning in another tool: a test of the word and its successor for that meaning, and the
/// equivalent here.
pub type ForeignMeaning = (fn(&str, &str) -> bool, &'static str);

/// The equivalent here of the option or verb that clap does not know: of the whole word, else of its option letter.
pub fn word_here(error: &clap::Error, arguments: &[OsString], tables: &[ForeignWords]) -> Option<&'static str> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let given = match error.kind() {
        ErrorKind::UnknownArgument => text(ContextKind::InvalidArg)?,
        // A verb; values of options are not words of another tool.
        ErrorKind::InvalidValue if !text(ContextKind::InvalidArg)?.starts_with('-') => text(ContextKind::InvalidValue)?,
        _ => return None,
    };
    let given = given.split('=').next().unwrap_or_default();
    let letters = given.len() == 2 && given.starts_with('-');
    let wholes = arguments.iter().filter_map(|word| word.to_str()).filter(|word| letters && word.starts_with(given));
    wholes.chain([given]).find_map(|word| word_of(word, tables))
}

/// The end of a message about an unknown word: its equivalent here, else the nearest of `words`, else nothing.
pub fn meant(given: &str, tables: &[ForeignWords], words: impl IntoIterator<Item = &'static str>) -> String {
    match word_of(given, tables) {
        Some(ours) => format!("; {}", answer(ours)),
        None => words::meant(given, words),
    }
}

/// A clause with the equivalent here of a foreign word, or with the reason for its absence.
pub fn answer(ours: &str) -> String {
    match ours.strip_prefix("nothing: ") {
        Some(why) => format!("no option here: {why}"),
        None => format!("here it is {ours}"),
    }
}

/// The equivalent here of a word of another tool.
pub fn word_of(given: &str, tables: &[ForeignWords]) -> Option<&'static str> {
    let is_it = |word: &str| match word.strip_suffix('*') {
        Some(beginning) => given.starts_with(beginning),
        None => given == word,
    };
    tables.iter().copied().flatten().find(|(words, _)| words.split(' ').any(is_it)).map(|(_, ours)| *ours)
}

/// Refuses a word of this tool that is used in the meaning of another tool.
///
/// # Errors
/// [`Kind::Usage`], with the equivalent here.
pub fn refuse_meant_otherwise(arguments: &[OsString], meanings: &[ForeignMeaning]) -> Result<(), Fault> {
    let texts: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    for (at, text) in texts.iter().enumerate().skip(1) {
        let next = texts.get(at + 1).map_or("", |next| next);
        if let Some((_, ours)) = meanings.iter().find(|(meant, _)| meant(text, next)) {
            return Err(Fault::new(Kind::Usage, format!("{text} is another tool's: here it is {ours}")));
        }
    }
    Ok(())
}
