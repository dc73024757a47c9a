//! Joins the text of several parts, and reverses format=flowed (RFC 3676): each paragraph that a mailer broke into
//! lines becomes one line again.

/// Appends the text of a further part, on lines of its own.
pub fn append(text: &mut String, part: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(part);
}

/// Unflows the text of a `text/plain; format=flowed` part (section 4.2). `delsp`: the space that marks a soft line end
/// is not part of the text.
pub fn unflow(text: &str, delsp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The quote depth of a line whose end was soft.
    let mut open = None;
    for line in text.lines() {
        let unquoted = line.trim_start_matches('>');
        let depth = line.len() - unquoted.len();
        let content = unquoted.strip_prefix(' ').unwrap_or(unquoted);
        // The signature separator ends with a space and is a line of its own all the same (section 4.3). An empty line is
        // meant to be seen, whatever a careless mailer left at the end of the line before it.
        let is_separator = content == "-- ";
        if open != Some(depth) || is_separator || content.is_empty() {
            if open.is_some() {
                out.push('\n');
            }
            out.push_str(line.get(..depth).unwrap_or_default());
            if depth > 0 && !content.is_empty() {
                out.push(' ');
            }
        }
        open = (content.ends_with(' ') && !is_separator).then_some(depth);
        let cut = if delsp && open.is_some() { content.strip_suffix(' ') } else { None };
        out.push_str(cut.unwrap_or(content));
        if open.is_none() {
            out.push('\n');
        }
    }
    if open.is_some() {
        out.push('\n');
    }
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_on_lines_of_their_own() {
        let mut text = String::new();
        for part in ["", "one", "two\n", "", "three"] {
            append(&mut text, part);
        }
        assert_eq!(text, "one\ntwo\nthree");
    }

    #[test]
    fn paragraphs_come_back() {
        for (flowed, delsp, expected) in [
            ("one \ntwo\nthree\n", false, "one two\nthree\n"),
            ("Round \nCube", true, "RoundCube"),
            ("Round  \nCube \n\nx ", true, "Round Cube\n\nx"),
            ("a \r\nb\r\n\r\nc\r\n", false, "a b\n\nc\n"),
            // Space-stuffing, section 4.4.
            (" From here\n  two\n >no quote\n \n", false, "From here\n two\n>no quote\n\n"),
            // Quotes, section 4.5: only lines of one depth are joined.
            ("> a \n> b\n>> c \n>>d \n> e\nf\n", false, "> a b\n>> c d \n> e\nf\n"),
            (">\n> \n>x \nno quote\n", false, ">\n>\n> x \nno quote\n"),
            ("> > old style \n> > quote\n", false, "> > old style > quote\n"),
            // The signature separator, section 4.3.
            ("bye \n-- \nBob \nof X\n", false, "bye \n-- \nBob of X\n"),
            ("bye\n-- \nBob\n", true, "bye\n-- \nBob\n"),
            ("> -- \n> Bob \n> X\n", true, "> -- \n> BobX\n"),
            ("--  \nx\n", false, "--  x\n"),
            ("", false, ""),
            (" ", false, ""),
            ("\n\n", false, "\n\n"),
            ("never ends ", false, "never ends "),
            ("ü \nß", true, "üß"),
        ] {
            assert_eq!(unflow(flowed, delsp), expected, "{flowed:?}");
        }
    }

    proptest::proptest! {
        /// Encodes short lines as the example of section 4.2 does: stuffs spaces, and breaks after spaces.
        #[test]
        fn what_is_flowed_comes_back(words in proptest::collection::vec("[a-zA-Z>]{1,8}", 1..20), depth in 0..3usize) {
            let marks = ">".repeat(depth);
            let paragraph = words.join(" ");
            let lines: Vec<String> = words.iter().map(|word| format!("{marks} {word}")).collect();
            let expected = if depth == 0 { paragraph } else { format!("{marks} {paragraph}") };
            assert_eq!(unflow(&lines.join(" \r\n"), false), expected);
            assert_eq!(unflow(&lines.join("  \n"), true), expected);
        }
    }
}
