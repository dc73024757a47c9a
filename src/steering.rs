//! Characters that control a terminal or deceive the reader: the one table for all output of untrusted text.

/// True for control characters, and for those that reorder or hide visible text (Unicode's bidirectional controls,
/// zero-width characters, line separators, tags). The two joiners are not included: Persian, Hindi and emoji need them.
pub fn steers(character: char) -> bool {
    character.is_control()
        || has_no_width(character)
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2065}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// As [`steers`], and true for the two joiners as well: for names and short words, which may hold no invisible character.
pub fn steers_or_joins(character: char) -> bool {
    steers(character) || matches!(character, '\u{200c}' | '\u{200d}')
}

/// True for characters without width or any other effect: prose is the same without them.
pub fn has_no_width(character: char) -> bool {
    matches!(character, '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// True if a stranger may choose this file name: it holds no control or hidden characters, and no program takes it for an
/// option.
pub fn is_plain_name(name: &[u8]) -> bool {
    !name.starts_with(b"-") && !name.utf8_chunks().any(|chunk| chunk.valid().chars().any(steers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_steers_nothing() {
        for character in "aü\u{20ac}日 \u{a0}\u{ad}\u{1f600}\u{fe0f}\u{200c}\u{200d}".chars() {
            assert!(!steers(character), "{character:?}");
        }
        let bad = "\0\n\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200b}\u{200e}\u{2028}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\u{feff}\u{fff9}\u{e0041}";
        for character in bad.chars() {
            assert!(steers(character) && steers_or_joins(character), "{character:?}");
        }
        assert!(steers_or_joins('\u{200d}') && has_no_width('\u{200b}') && !has_no_width('\u{202e}'));
    }
}
