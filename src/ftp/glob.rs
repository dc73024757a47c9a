//! Globs over names and paths: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, `**` for any number of directories, `\` before a
//! literal character. Characters are those of UTF-8; bytes that are not UTF-8 are characters of their own.

use std::fmt;

use crate::fault::{Fault, Kind};

/// The longest glob, in bytes.
pub const MAX_GLOB: usize = 4096;
/// The most globs to which the braces of one glob may expand.
pub const MAX_ALTERNATIVES: usize = 256;
/// The characters that make a text a glob.
const SPECIAL: &[u8] = b"*?[{";

/// One glob.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// The expansions of the braces, each a path of components.
    alternatives: Vec<Vec<Component>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Component {
    /// `**`: any number of directories, including none.
    Deep,
    /// One name.
    Name(Vec<GlobToken>),
}

#[derive(Clone, PartialEq, Eq)]
enum GlobToken {
    /// This character.
    Is(u32),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[a-z]`; `true`: negated.
    Class(bool, Vec<(u32, u32)>),
}

/// The state of a walk down a tree: the components to match next, as (alternative, position).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobWalk(Vec<(usize, usize)>);

impl GlobWalk {
    /// True if nothing below can match.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// `Usage`: an unclosed brace or bracket, an empty or too long glob, too many alternatives, or another syntax error.
    pub fn new(text: &str) -> Result<Glob, Fault> {
        Glob::from_bytes(text.as_bytes())
    }

    /// Parses a glob from bytes that need not be UTF-8.
    ///
    /// # Errors
    /// As [`Glob::new`].
    pub fn from_bytes(text: &[u8]) -> Result<Glob, Fault> {
        let shown = String::from_utf8_lossy(text).into_owned();
        let bad = |why: &str| Fault::new(Kind::Usage, format!("glob {shown:?}: {why}"));
        if text.is_empty() || text.len() > MAX_GLOB {
            return Err(bad("empty, or too long"));
        }
        let mut alternatives = Vec::new();
        for plain in expand(characters(text)).map_err(bad)? {
            let components = plain.split(|letter| *letter == u32::from('/')).filter(|component| !component.is_empty());
            let components: Result<Vec<Component>, _> = components.map(component).collect();
            alternatives.push(components.map_err(bad)?);
        }
        // A leading slash ties a glob of one component to the top; the empty component stands for it.
        if text.starts_with(b"/") {
            alternatives.iter_mut().for_each(|path| path.insert(0, Component::Name(Vec::new())));
        }
        Ok(Glob { text: shown, alternatives })
    }

    /// True if a text contains a character that makes it a glob.
    pub fn is_special(text: &[u8]) -> bool {
        text.iter().any(|byte| SPECIAL.contains(byte))
    }

    /// Escapes a text, so that it matches only itself.
    pub fn escape(text: &[u8]) -> Vec<u8> {
        let mut escaped = Vec::with_capacity(text.len());
        for byte in text {
            if SPECIAL.contains(byte) || matches!(byte, b'\\' | b'}' | b']' | b',') {
                escaped.push(b'\\');
            }
            escaped.push(*byte);
        }
        escaped
    }

    /// True if the glob matches this relative path. A glob without a `/` is matched against the last name alone, one
    /// with a `/` against the whole path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let names: Vec<Vec<u32>> = path.split(|byte| *byte == b'/').map(characters).collect();
        self.alternatives.iter().any(|wanted| match wanted.as_slice() {
            [Component::Name(tokens)] => names.last().is_some_and(|name| name_matches(tokens, name)),
            [Component::Name(top), rest @ ..] if top.is_empty() => path_matches(rest, &names),
            wanted => path_matches(wanted, &names),
        })
    }

    /// The start of a walk that expands the glob below a directory, as shells do: each component matches the names of
    /// one directory.
    pub fn walk(&self) -> GlobWalk {
        let first = |path: &[Component]| usize::from(matches!(path.first(), Some(Component::Name(n)) if n.is_empty()));
        let states = self.alternatives.iter().enumerate().map(|(at, path)| (at, first(path)));
        self.closure(states.collect())
    }

    /// Advances the walk by one name of the current directory. Returns whether the glob matches the name, and the walk
    /// below it if it is a directory. Only an explicit dot matches a leading dot.
    pub fn step(&self, walk: &GlobWalk, name: &[u8]) -> (bool, GlobWalk) {
        self.advance(walk, name, true)
    }

    /// The walk below a name that is a link: only a component that matches the name itself follows the link, `**` does not.
    pub fn step_through(&self, walk: &GlobWalk, name: &[u8]) -> GlobWalk {
        self.advance(walk, name, false).1
    }

    fn advance(&self, walk: &GlobWalk, name: &[u8], deep: bool) -> (bool, GlobWalk) {
        let letters = characters(name);
        let hidden = name.starts_with(b".");
        let (mut matched, mut below) = (false, Vec::new());
        for &(alternative, at) in &walk.0 {
            let Some(path) = self.alternatives.get(alternative) else { continue };
            let (found, next) = match path.get(at) {
                Some(Component::Deep) => (deep && !hidden, at),
                Some(Component::Name(tokens)) => {
                    let dot = tokens.first() == Some(&GlobToken::Is(u32::from('.')));
                    ((dot || !hidden) && name_matches(tokens, &letters), at + 1)
                }
                None => continue,
            };
            if found {
                matched |= path.len() == at + 1;
                below.push((alternative, next));
            }
        }
        (matched, self.closure(below))
    }

    /// Adds the states in which `**` matches nothing; removes those at the end of their path.
    fn closure(&self, states: Vec<(usize, usize)>) -> GlobWalk {
        let mut closed = Vec::with_capacity(states.len());
        for (alternative, mut at) in states {
            let Some(path) = self.alternatives.get(alternative) else { continue };
            while at < path.len() {
                if !closed.contains(&(alternative, at)) {
                    closed.push((alternative, at));
                }
                if path.get(at) != Some(&Component::Deep) {
                    break;
                }
                at += 1;
            }
        }
        GlobWalk(closed)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

/// The characters of a text; each byte that is not UTF-8 becomes a number outside the Unicode scalar values.
fn characters(text: &[u8]) -> Vec<u32> {
    let mut letters = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        letters.extend(chunk.valid().chars().map(u32::from));
        letters.extend(chunk.invalid().iter().map(|byte| 0xDC00 + u32::from(*byte)));
    }
    letters
}

/// Expands the braces of a glob.
fn expand(glob: Vec<u32>) -> Result<Vec<Vec<u32>>, &'static str> {
    let (mut done, mut open) = (Vec::new(), vec![glob]);
    while let Some(glob) = open.pop() {
        let Some((start, parts, end)) = braces(&glob)? else {
            done.push(glob);
            continue;
        };
        if done.len() + open.len() + parts.len() > MAX_ALTERNATIVES {
            return Err("its braces stand for too many globs");
        }
        let (head, tail) = (glob.get(..start).unwrap_or_default(), glob.get(end..).unwrap_or_default());
        // Reversed, since `pop` takes the last one first: the alternatives keep their order.
        open.extend(parts.into_iter().rev().map(|part| [head, part, tail].concat()));
    }
    Ok(done)
}

/// The start of the first brace expression, the parts between its commas, and the start of the text after it.
type Braces<'a> = (usize, Vec<&'a [u32]>, usize);

/// The first brace expression of a glob.
fn braces(glob: &[u32]) -> Result<Option<Braces<'_>>, &'static str> {
    let is = |letter: u32, wanted: char| letter == u32::from(wanted);
    let (mut start, mut depth, mut cuts) = (0, 0, Vec::new());
    let mut at = 0;
    while let Some(&letter) = glob.get(at) {
        if is(letter, '\\') {
            at += 1;
        } else if is(letter, '[') {
            let class = glob.get(at..).unwrap_or_default();
            at += class_end(class).ok_or("a bracket is not closed")?;
        } else if is(letter, '{') {
            depth += 1;
            if depth == 1 {
                start = at;
                cuts.push(at);
            }
        } else if depth == 1 && is(letter, ',') {
            cuts.push(at);
        } else if depth > 0 && is(letter, '}') {
            depth -= 1;
            if depth == 0 {
                cuts.push(at);
                let parts = cuts.windows(2).filter_map(|pair| glob.get(pair.first()? + 1..*pair.last()?));
                return Ok(Some((start, parts.collect(), at + 1)));
            }
        }
        at += 1;
    }
    if depth > 0 { Err("a brace is not closed") } else { Ok(None) }
}

/// The position of the `]` that closes the class at the start of `glob`. Directly after `[` or `[!` it is literal.
fn class_end(glob: &[u32]) -> Option<usize> {
    let mut at = 1;
    if glob.get(at).is_some_and(|letter| *letter == u32::from('!') || *letter == u32::from('^')) {
        at += 1;
    }
    let first = at;
    loop {
        match char::from_u32(*glob.get(at)?) {
            Some(']') if at > first => return Some(at),
            Some('/') => return None,
            Some('\\') => at += 2,
            _ => at += 1,
        }
    }
}

/// Parses one component of a path of globs.
fn component(glob: &[u32]) -> Result<Component, &'static str> {
    let star = u32::from('*');
    if glob == [star, star] {
        return Ok(Component::Deep);
    }
    let mut tokens = Vec::with_capacity(glob.len());
    let mut at = 0;
    while let Some(&letter) = glob.get(at) {
        match char::from_u32(letter) {
            Some('*') if tokens.last() == Some(&GlobToken::Any) => {}
            Some('*') => tokens.push(GlobToken::Any),
            Some('?') => tokens.push(GlobToken::One),
            Some('\\') => {
                at += 1;
                tokens.push(GlobToken::Is(*glob.get(at).ok_or("nothing follows the backslash")?));
            }
            Some('[') => {
                let class = glob.get(at..).unwrap_or_default();
                let end = class_end(class).ok_or("a bracket is not closed")?;
                tokens.push(class_of(class.get(1..end).unwrap_or_default())?);
                at += end;
            }
            _ => tokens.push(GlobToken::Is(letter)),
        }
        at += 1;
    }
    Ok(Component::Name(tokens))
}

/// Parses the text between the brackets.
fn class_of(inner: &[u32]) -> Result<GlobToken, &'static str> {
    let is = |letter: Option<&u32>, wanted: char| letter == Some(&u32::from(wanted));
    let negated = is(inner.first(), '!') || is(inner.first(), '^');
    let mut letters = inner.get(usize::from(negated)..).unwrap_or_default().iter().peekable();
    let mut ranges = Vec::new();
    let first = |letters: &mut std::iter::Peekable<std::slice::Iter<'_, u32>>| match letters.next() {
        Some(letter) if *letter == u32::from('\\') => letters.next().copied(),
        letter => letter.copied(),
    };
    while let Some(low) = first(&mut letters) {
        let mut ahead = letters.clone();
        let high = match is(ahead.next(), '-') && ahead.peek().is_some() {
            true => {
                letters.next();
                first(&mut letters).ok_or("nothing follows the backslash")?
            }
            false => low,
        };
        if low > high {
            return Err("a range in brackets runs backwards");
        }
        ranges.push((low, high));
    }
    Ok(GlobToken::Class(negated, ranges))
}

/// Matches a whole name. Backtracking concerns only the last `*`, so the number of steps is bounded by the product of
/// both lengths.
fn name_matches(tokens: &[GlobToken], name: &[u32]) -> bool {
    let (mut token, mut letter) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(token), name.get(letter)) {
            (None, None) => return true,
            (Some(GlobToken::Any), _) => {
                star = Some((token + 1, letter));
                token += 1;
                continue;
            }
            (Some(wanted), Some(found)) if wanted.takes(*found) => {
                (token, letter) = (token + 1, letter + 1);
                continue;
            }
            _ => {}
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                (token, letter) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

impl GlobToken {
    fn takes(&self, letter: u32) -> bool {
        match self {
            GlobToken::Is(wanted) => *wanted == letter,
            GlobToken::One | GlobToken::Any => true,
            GlobToken::Class(negated, ranges) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated
            }
        }
    }
}

/// Matches a whole path; as with `*`, backtracking concerns only the last `**`.
fn path_matches(wanted: &[Component], names: &[Vec<u32>]) -> bool {
    let (mut at, mut name) = (0, 0);
    let mut deep: Option<(usize, usize)> = None;
    loop {
        match (wanted.get(at), names.get(name)) {
            (None, None) => return true,
            // At the end it stands for at least one name: what is below, not the directory itself.
            (Some(Component::Deep), Some(_)) => {
                deep = Some((at + 1, name));
                at += 1;
                if at == wanted.len() {
                    return true;
                }
                continue;
            }
            (Some(Component::Name(tokens)), Some(found)) if name_matches(tokens, found) => {
                (at, name) = (at + 1, name + 1);
                continue;
            }
            _ => {}
        }
        match deep {
            Some((after, from)) if from < names.len() => {
                deep = Some((after, from + 1));
                (at, name) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, path: &str) -> bool {
        Glob::new(glob).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn names() {
        for (glob, yes, no) in [
            ("*", "a|.hidden|a/b|", ""),
            ("*.txt", "a.txt|.txt|deep/er/a.txt", "a.txt.gz|txt"),
            ("a?c", "abc|a\u{fc}c", "ac|abbc|aB"),
            ("[a-c]x", "ax|cx", "dx|x|-x"),
            ("[!a-c]x", "dx|\u{fc}x", "ax"),
            ("[]x]", "]|x", "a"),
            ("[a-]", "a|-", "b"),
            ("[\u{e4}-\u{fc}]", "\u{f6}", "a"),
            ("{a,b,}c", "ac|bc|c", "cc"),
            ("{a,{b,c}d}e", "ae|bde|cde", "be|ade"),
            ("x\\*y", "x*y", "xay"),
            ("a*b*c", "abc|axxbyyc|abcbc", "ab|acb"),
            ("[{]", "{", "a"),
            ("a,b}", "a,b}", "a"),
        ] {
            for name in yes.split('|') {
                assert!(matches(glob, name), "{glob} matches {name}");
            }
            for name in no.split('|').filter(|name| !name.is_empty()) {
                assert!(!matches(glob, name), "{glob} does not match {name}");
            }
        }
        assert!(Glob::from_bytes(b"\xff?").unwrap().matches(b"\xff\xfe"), "bytes that are not UTF-8");
    }

    #[test]
    fn paths() {
        for (glob, yes, no) in [
            ("a/*", "a/b", "a|a/b/c|x/a/b"),
            ("/a", "a", "b/a"),
            ("/*.txt", "a.txt", "b/a.txt"),
            ("**/a", "a|b/a|b/c/a", "ab|a/b"),
            ("a/**", "a/b|a/b/c", "a|b/a"),
            ("a/**/b", "a/b|a/x/b|a/x/y/b", "a/x|b"),
            ("a/**/b/**/c", "a/b/c|a/x/b/y/c|a/b/b/c", "a/c|a/b"),
            ("{a/b,c}/d", "a/b/d|c/d", "a/d|b/d"),
        ] {
            for path in yes.split('|') {
                assert!(matches(glob, path), "{glob} matches {path}");
            }
            for path in no.split('|') {
                assert!(!matches(glob, path), "{glob} does not match {path}");
            }
        }
    }

    #[test]
    fn a_walk_finds_what_matches() {
        /// Walks through the names of a path: whether the last one matches.
        fn found(glob: &str, path: &str) -> bool {
            let glob = Glob::new(glob).unwrap();
            let (mut walk, mut matched) = (glob.walk(), false);
            for name in path.split('/') {
                (matched, walk) = glob.step(&walk, name.as_bytes());
            }
            matched
        }
        for (glob, path, expected) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("20??/*.csv", "2026/x.csv", true),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", ".a/x", false),
            ("**", "a/b", true),
            ("a/**", "a", false),
            ("{a,b/c}", "b/c", true),
            ("{a,b/c}", "b", false),
            ("/a", "a", true),
        ] {
            assert_eq!(found(glob, path), expected, "{glob} {path}");
        }
        let glob = Glob::new("a/b").unwrap();
        assert!(glob.step(&glob.walk(), b"x").1.is_over(), "no need to look into x");
        assert!(!glob.step(&glob.walk(), b"a").1.is_over());
        let deep = Glob::new("**/b").unwrap();
        assert!(!deep.step(&deep.walk(), b"a").1.is_over() && deep.step_through(&deep.walk(), b"a").is_over());
        assert!(!glob.step_through(&glob.walk(), b"a").is_over());
    }

    #[test]
    fn what_is_no_glob() {
        let long = "x".repeat(MAX_GLOB + 1);
        for bad in ["", "{a", "[a", "[z-a]", "a\\", "[a/b]", "{1,2,3,4}{1,2,3,4}{1,2,3,4}{1,2,3,4}{1,2}", long.as_str()]
        {
            assert_eq!(Glob::new(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
        assert!(Glob::new(&"x".repeat(MAX_GLOB)).is_ok());
        assert_eq!(Glob::new("{1,2,3,4}{1,2,3,4}{1,2,3,4}{1,2,3,4}").unwrap().alternatives.len(), 256);
    }

    #[test]
    fn escaped_it_matches_itself() {
        for name in ["a*b?[c]{d,e}\\", "plain", "\u{fc}"] {
            let glob = Glob::from_bytes(&Glob::escape(name.as_bytes())).unwrap();
            assert!(glob.matches(name.as_bytes()) && !glob.matches(b"aXbY"), "{name}");
        }
        assert!(Glob::is_special(b"a*") && !Glob::is_special(b"a,b}"));
    }

    #[test]
    fn a_hard_case_ends() {
        let glob = format!("{}b", "a*".repeat(200));
        assert!(!Glob::new(&glob).unwrap().matches(&b"a".repeat(4000)));
    }
}
