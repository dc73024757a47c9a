//! Paths as a session sees them: `/` is the root of the served tree, and `..` does not leave it.

use super::action::StoreRefusal;
pub use super::pattern::matches;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 4000;
/// The longest name in a path, in bytes, as on Linux.
pub const MAX_NAME: usize = 255;
/// The most names in a path.
pub const MAX_DEPTH: usize = 256;

/// The absolute, normalized form of `path` relative to `cwd`: no `.`, no `..`, no `//`, no `/` at the end. This is
/// purely textual: the store, which never trusts text, must prevent links from leading out of the tree.
///
/// # Errors
/// `BadName`: the path contains a NUL, or it is too long or too deep.
pub fn resolve(cwd: &[u8], path: &[u8]) -> Result<Vec<u8>, StoreRefusal> {
    let base: &[u8] = if path.first() == Some(&b'/') { b"" } else { cwd };
    let mut names: Vec<&[u8]> = Vec::new();
    for name in base.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name if name.len() > MAX_NAME || name.contains(&0) => return Err(StoreRefusal::BadName),
            name => names.push(name),
        }
    }
    let mut normal = Vec::with_capacity(base.len() + path.len() + 1);
    for name in &names {
        normal.push(b'/');
        normal.extend_from_slice(name);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    if names.len() > MAX_DEPTH || normal.len() > MAX_PATH { Err(StoreRefusal::BadName) } else { Ok(normal) }
}

/// Like [`resolve`], for a new name: control bytes would act as escape sequences on a terminal.
///
/// # Errors
/// As [`resolve`]; `BadName` for control bytes, `Exists` for the root.
pub fn resolve_new(cwd: &[u8], path: &[u8]) -> Result<Vec<u8>, StoreRefusal> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(StoreRefusal::BadName);
    }
    match resolve(cwd, path)? {
        top if top == b"/" => Err(StoreRefusal::Exists),
        path => Ok(path),
    }
}

/// A path as the 257 reply quotes it: quotes doubled (RFC 959, appendix II).
pub fn quote(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(b'"');
        }
    }
    quoted.push(b'"');
    quoted
}

/// The quoted name at the beginning of an argument, as [`quote`] writes it, and the rest; `None` without quotes.
pub fn unquote(argument: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = argument.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        rest = match rest {
            [b'"', b'"', tail @ ..] => {
                name.push(b'"');
                tail
            }
            [b'"', tail @ ..] => return Some((name, tail)),
            [byte, tail @ ..] => {
                name.push(*byte);
                tail
            }
            [] => return None,
        };
    }
}

/// Splits the options of clients (`-a`, `-lA`) off the argument of LIST and NLST: (hidden names wanted, path).
pub fn without_options(argument: &[u8]) -> (bool, &[u8]) {
    let (mut hidden, mut rest) = (false, argument);
    while let [b'-', ..] = rest {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (option, tail) = rest.split_at(end);
        hidden |= option.iter().any(|letter| matches!(letter, b'a' | b'A'));
        rest = tail.trim_ascii_start();
    }
    (hidden, rest)
}

/// Splits off a last name that contains `*` or `?`: (directory, pattern).
pub fn split_pattern(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(start);
    (name.iter().any(|byte| matches!(byte, b'*' | b'?')) && name.len() <= MAX_NAME).then_some((directory, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off() {
        for name in [&b"a"[..], b"", b"a \" b", b"\"\"", b"x\"", b"\""] {
            let quoted = [quote(name), b" 1 2".to_vec()].concat();
            assert_eq!(unquote(&quoted), Some((name.to_vec(), &b" 1 2"[..])), "{name:?}");
        }
        for none in [&b"a"[..], b"", b"\"a", b"a\"b\"", b"\"a\"\""] {
            assert_eq!(unquote(none), None, "{none:?}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (cwd, path, normal) in [
            ("/", "a", "/a"),
            ("/", "", "/"),
            ("/a/b", "..", "/a"),
            ("/a/b", "../../../../etc/passwd", "/etc/passwd"),
            ("/a", "/b//c/./d/", "/b/c/d"),
            ("/a", "./b/../c", "/a/c"),
            ("/a", "..b", "/a/..b"),
            ("/a", "...", "/a/..."),
            ("/a", "~", "/a/~"),
            ("/a", "c:\\x", "/a/c:\\x"),
            ("/a", " b ", "/a/ b "),
            ("/a", "/..", "/"),
        ] {
            let found = resolve(cwd.as_bytes(), path.as_bytes()).map(|p| String::from_utf8_lossy(&p).into_owned());
            assert_eq!(found.as_deref(), Ok(normal), "{path} in {cwd}");
        }
    }

    #[test]
    fn lengths_have_limits() {
        assert!(resolve(b"/", &[b'x'; MAX_NAME]).is_ok());
        assert_eq!(resolve(b"/", &[b'x'; MAX_NAME + 1]), Err(StoreRefusal::BadName));
        let deep = |depth: usize| b"/d".repeat(depth);
        assert!(resolve(b"/", &deep(MAX_DEPTH)).is_ok());
        assert_eq!(resolve(b"/", &deep(MAX_DEPTH + 1)), Err(StoreRefusal::BadName));
        assert_eq!(resolve(&deep(MAX_DEPTH), b"e"), Err(StoreRefusal::BadName));
        assert!(resolve(b"/", &deep(MAX_DEPTH + 1).iter().copied().chain(*b"/..").collect::<Vec<_>>()).is_ok());
        let long = [b"/".to_vec(), vec![b'x'; 249]].concat();
        assert!(resolve(b"/", &long.repeat(16)).is_ok());
        assert_eq!(resolve(&long.repeat(16), b"e"), Err(StoreRefusal::BadName), "4002 bytes");
    }

    #[test]
    fn new_names_hold_no_control_bytes() {
        assert_eq!(resolve_new(b"/", b"a\x1b[2J"), Err(StoreRefusal::BadName));
        assert_eq!(resolve_new(b"/", b"a\x7f"), Err(StoreRefusal::BadName));
        assert_eq!(resolve_new(b"/", b"/"), Err(StoreRefusal::Exists));
        assert_eq!(resolve_new(b"/", "grüße".as_bytes()), Ok("/grüße".as_bytes().to_vec()));
        assert_eq!(resolve_new(b"/", b"gr\xfc\xdfe"), Ok(b"/gr\xfc\xdfe".to_vec()));
    }

    #[test]
    fn options_and_patterns() {
        assert_eq!(without_options(b"-la dir x"), (true, &b"dir x"[..]));
        assert_eq!(without_options(b"-l -A"), (true, &b""[..]));
        assert_eq!(without_options(b"-L x-y"), (false, &b"x-y"[..]));
        assert_eq!(without_options(b"x -a"), (false, &b"x -a"[..]));
        assert_eq!(split_pattern(b"a/b*"), Some((&b"a/"[..], &b"b*"[..])));
        assert_eq!(split_pattern(b"*"), Some((&b""[..], &b"*"[..])));
        assert_eq!(split_pattern(b"a*/b"), None);
    }

    #[test]
    fn patterns_match() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.txt", "a.txt.txt", true),
            ("*a*b", "xaxbxab", true),
            ("**", "x", true),
            ("", "x", false),
            ("x", "", false),
            ("[ab]", "a", false),
            ("{a,b}*", "{a,b}c", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        // The worst case that a client can request is still quick.
        let pattern = b"*a".repeat(MAX_NAME / 2);
        assert!(!matches(&pattern, &[b'a'; MAX_NAME - 1].iter().copied().chain([b'b']).collect::<Vec<_>>()));
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote(b"/a\"b"), b"\"/a\"\"b\"");
    }
}
