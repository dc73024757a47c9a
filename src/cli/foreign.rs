//! Words of other tools: what stands for them here is said, instead of what clap guesses.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::words;
use crate::fault::{Fault, Kind};

/// Words that are not ours, and what stands for them here: any of the words on the left, which spaces separate, is answered with
/// the right; one that ends with `*` is a beginning.
pub type ForeignWords = &'static [(&'static str, &'static str)];

/// Words that are ours and mean something else elsewhere: whether a word, with the one that follows it, is meant so, and what
/// stands for it here.
pub type ForeignMeaning = (fn(&str, &str) -> bool, &'static str);

/// What stands here for the option or the verb that clap does not know: for the whole word, else for the letter of it.
pub fn word_here(error: &clap::Error, arguments: &[OsString], tables: &[ForeignWords]) -> Option<&'static str> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let given = match error.kind() {
        ErrorKind::UnknownArgument => text(ContextKind::InvalidArg)?,
        // A verb; the value of an option is no word of another tool.
        ErrorKind::InvalidValue if !text(ContextKind::InvalidArg)?.starts_with('-') => text(ContextKind::InvalidValue)?,
        _ => return None,
    };
    let given = given.split('=').next().unwrap_or_default();
    let letters = given.len() == 2 && given.starts_with('-');
    let wholes = arguments.iter().filter_map(|word| word.to_str()).filter(|word| letters && word.starts_with(given));
    wholes.chain([given]).find_map(|word| word_of(word, tables))
}

/// The end of a message about an unknown word: what stands here for it, else the nearest of our `words`, else nothing.
pub fn meant(given: &str, tables: &[ForeignWords], words: impl IntoIterator<Item = &'static str>) -> String {
    match word_of(given, tables) {
        Some(ours) => format!("; {}", answer(ours)),
        None => words::meant(given, words),
    }
}

/// What stands here for a foreign word, as it is told.
pub fn answer(ours: &str) -> String {
    match ours.strip_prefix("nothing: ") {
        Some(why) => format!("no option here: {why}"),
        None => format!("here it is {ours}"),
    }
}

/// What stands here for a word of another tool.
pub fn word_of(given: &str, tables: &[ForeignWords]) -> Option<&'static str> {
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
        if let Some((_, ours)) = meanings.iter().find(|(meant, _)| meant(text, next)) {
            return Err(Fault::new(Kind::Usage, format!("{text} is another tool's: here it is {ours}")));
        }
    }
    Ok(())
}
