//! The names that a stranger's mail may give to a new mailbox.

use unicode_normalization::char::is_combining_mark;

/// True if a reader sees all of a name, in its order: no spaces but inner blanks, nothing invisible, nothing that changes the
/// direction of writing, no private-use characters or noncharacters, and no combining mark without a letter before it.
pub(super) fn is_plain_name(name: &str) -> bool {
    let hidden = |c: char| (c.is_whitespace() && c != ' ') || c.is_control() || is_hidden(c);
    !name.chars().any(hidden) && name == name.trim() && !name.starts_with(is_combining_mark)
}

/// Unicode's default ignorable code points, format characters, fillers, interlinear marks, private use and noncharacters.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names() {
        for name in
            ["bob", "a b", "o'neill", "gr\u{fc}\u{df}e", "\u{5c71}\u{7530}", "\u{645}\u{62d}", "\u{1f600}", "-x"]
        {
            assert!(is_plain_name(name), "{name:?}");
        }
        for name in [
            "\u{202e}bob",
            "a\u{200b}b",
            "a\u{2066}b",
            "b\u{ad}b",
            "\u{feff}b",
            "b\u{2028}",
            "b\u{a0}b",
            "b\u{3000}",
            " b",
            "b ",
            "b\u{85}",
            "b\u{9b}",
            "\u{301}b",
            "b\u{e001}",
            "b\u{e0041}",
            "b\u{fe0f}",
            "b\u{3164}",
            "b\u{fffd}",
            "\u{200d}",
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
