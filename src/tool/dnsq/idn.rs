//! Internationalized names in output.

/// Replaces the A-labels of a text by U-labels. An invalid name stays as it is.
pub(super) fn unicode(text: &str) -> String {
    let word = |word: &str| {
        if !word.to_ascii_lowercase().contains("xn--") {
            return word.to_owned();
        }
        let (shown, result) = idna::domain_to_unicode(word);
        if result.is_ok() && !shown.chars().any(char::is_control) { shown } else { word.to_owned() }
    };
    text.split_inclusive([' ', '\t', '\n', '\0'])
        .map(|piece| {
            let end = piece.trim_end_matches([' ', '\t', '\n', '\0']).len();
            let (name, blanks) = piece.split_at_checked(end).unwrap_or((piece, ""));
            word(name) + blanks
        })
        .collect()
}
