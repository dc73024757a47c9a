//! The store on real directories.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::ftp::checksum::Algorithm;
use crate::ftp::listing::{EntryType, FactSet};
use crate::ftp::session::{Format, How, Listing};

struct Tree {
    place: tempfile::TempDir,
    store: Store,
}

impl Tree {
    fn new() -> Tree {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("docs")).unwrap();
        std::fs::write(top.join("readme.txt"), "hello world").unwrap();
        std::fs::write(place.path().join("secret"), "secret").unwrap();
        symlink("../secret", top.join("out")).unwrap();
        let store = Store::open(&top, Rights::ALL, Limits::default()).unwrap();
        Tree { place, store }
    }

    fn top(&self, name: &str) -> PathBuf {
        self.place.path().join("top").join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.top(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn run(&self, op: Op) -> Result<Answer, Refusal> {
        self.store.run(op, 1_700_000_000, &|| true)
    }

    fn put(&self, path: &str, how: How, replace: bool, bytes: &[u8]) -> Result<(), Refusal> {
        let (mut upload, _) = self.store.receive(path.as_bytes(), how, replace)?;
        upload.file().write_all(bytes).unwrap();
        upload.wrote(bytes.len() as u64)?;
        upload.commit()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.top(name)).unwrap()
    }

    fn list(&self, path: &str, format: Format) -> String {
        let shown = path.trim_start_matches('/').as_bytes().to_vec();
        let listing = Listing { path: path.into(), shown, pattern: None, hidden: false, format };
        let mut lines = self.store.list(listing, 1_700_000_000).unwrap();
        let mut out = Vec::new();
        while lines.next_piece(&mut out).unwrap() {}
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// With unnamed files, and as on file systems that have none.
fn both() -> [Tree; 2] {
    let (first, mut second) = (Tree::new(), Tree::new());
    second.store.unnamed_files = false;
    [first, second]
}

#[test]
fn uploads_appear_whole() {
    for tree in both() {
        let before = tree.names();
        let (mut upload, _) = tree.store.receive(b"/readme.txt", How::Whole, true).unwrap();
        upload.file().write_all(b"new").unwrap();
        upload.wrote(3).unwrap();
        assert_eq!(tree.read("readme.txt"), "hello world", "not before it is complete");
        assert!(!tree.list("/", Format::Names).contains("upload"), "and hidden until then");
        upload.commit().unwrap();
        assert_eq!(tree.read("readme.txt"), "new");
        assert_eq!(tree.names(), before, "nothing is left over");

        let (upload, _) = tree.store.receive(b"/readme.txt", How::Whole, true).unwrap();
        upload.file().write_all(b"half").unwrap();
        drop(upload);
        assert_eq!(tree.read("readme.txt"), "new", "an upload that breaks off changes nothing");
        assert_eq!(tree.names(), before);

        tree.put("/fresh", How::Whole, true, b"fresh").unwrap();
        assert_eq!(tree.read("fresh"), "fresh");
    }
}

#[test]
fn an_upload_keeps_the_mode_and_respects_read_only_files() {
    for tree in both() {
        std::fs::set_permissions(tree.top("readme.txt"), PermissionsExt::from_mode(0o640)).unwrap();
        tree.put("/readme.txt", How::Whole, true, b"x").unwrap();
        assert_eq!(std::fs::metadata(tree.top("readme.txt")).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::set_permissions(tree.top("readme.txt"), PermissionsExt::from_mode(0o444)).unwrap();
        assert_eq!(tree.put("/readme.txt", How::Whole, true, b"y"), Err(Refusal::Denied));
    }
}

#[test]
fn nothing_is_replaced_without_the_right() {
    for tree in both() {
        assert_eq!(tree.put("/readme.txt", How::Whole, false, b"x"), Err(Refusal::Exists));
        // The name is taken while the upload runs.
        let (upload, _) = tree.store.receive(b"/late", How::Whole, false).unwrap();
        std::fs::write(tree.top("late"), "first").unwrap();
        assert_eq!(upload.commit(), Err(Refusal::Exists));
        assert_eq!(tree.read("late"), "first");
        assert_eq!(tree.names(), ["docs", "late", "out", "readme.txt"]);
    }
}

#[test]
fn partial_uploads_are_kept_where_the_name_is_free() {
    for tree in both() {
        for (path, kept) in [("/readme.txt", "hello world"), ("/part", "half")] {
            let (upload, _) = tree.store.receive(path.as_bytes(), How::Whole, true).unwrap();
            upload.file().write_all(b"half").unwrap();
            upload.keep_partial();
            assert_eq!(tree.read(path.trim_start_matches('/')), kept);
        }
        let (upload, _) = tree.store.receive(b"/readme.txt", How::At(2), true).unwrap();
        upload.keep_partial();
        assert_eq!(tree.read("readme.txt"), "hello world", "in place, nothing is cut off");
        assert_eq!(tree.names(), ["docs", "out", "part", "readme.txt"]);
    }
}

#[test]
fn in_place_uploads() {
    let tree = Tree::new();
    tree.put("/readme.txt", How::Append, true, b"!").unwrap();
    assert_eq!(tree.read("readme.txt"), "hello world!");
    tree.put("/readme.txt", How::At(6), true, b"you").unwrap();
    assert_eq!(tree.read("readme.txt"), "hello you", "what was behind is cut off");
    assert_eq!(tree.put("/readme.txt", How::At(10), true, b""), Err(Refusal::BadOffset));
    assert_eq!(tree.put("/nothing", How::At(1), true, b""), Err(Refusal::NotFound));
    tree.put("/log", How::Append, true, b"line").unwrap();
    assert_eq!(tree.read("log"), "line");
    assert_eq!(tree.put("/docs", How::Append, true, b""), Err(Refusal::NotFile));
    assert_eq!(tree.put("/docs", How::Whole, true, b""), Err(Refusal::NotFile));
    let _first = tree.store.receive(b"/log", How::Append, true).unwrap();
    assert_eq!(tree.store.receive(b"/log", How::Append, true).map(|_| ()), Err(Refusal::Busy));
}

#[test]
fn unique_names_are_free_names() {
    for tree in both() {
        std::fs::write(tree.top("docs/upload.1"), "").unwrap();
        let (upload, name) = tree.store.receive(b"/docs", How::Unique, false).unwrap();
        assert_eq!(name.as_deref(), Some(&b"upload.2"[..]));
        upload.commit().unwrap();
        assert!(tree.top("docs/upload.2").exists());
    }
}

#[test]
fn limits_hold() {
    let mut tree = Tree::new();
    tree.store.limits.max_file = 4;
    tree.put("/four", How::Whole, true, b"four").unwrap();
    assert_eq!(tree.put("/five5", How::Whole, true, b"five5"), Err(Refusal::Full));
    assert!(!tree.top("five5").exists());
    tree.store.limits = Limits { min_free: u64::MAX, ..Limits::default() };
    assert_eq!(tree.put("/x", How::Whole, true, b"x"), Err(Refusal::Full));
    tree.store.limits = Limits { sync: true, ..Limits::default() };
    tree.put("/synced", How::Whole, true, b"x").unwrap();
    assert_eq!(tree.read("synced"), "x");
}

#[test]
fn links_that_leave_the_tree_look_like_nothing() {
    let tree = Tree::new();
    for path in ["/out", "/missing"] {
        let path = path.as_bytes();
        assert_eq!(tree.store.send(path).map(|_| ()), Err(Refusal::NotFound));
        assert_eq!(tree.run(Op::Facts(path.to_vec())), Err(Refusal::NotFound));
        assert_eq!(tree.run(Op::SetMode(path.to_vec(), 0o600)), Err(Refusal::NotFound));
        assert_eq!(tree.store.receive(path, How::At(1), true).map(|_| ()), Err(Refusal::NotFound));
    }
    assert_eq!(tree.store.receive(b"/out", How::Append, true).map(|_| ()), Err(Refusal::NotFound));
    assert_eq!(std::fs::read_to_string(tree.place.path().join("secret")).unwrap(), "secret");
    // A whole upload takes the place of the link and leaves what it points to alone.
    tree.put("/out", How::Whole, true, b"mine").unwrap();
    assert_eq!(std::fs::read_to_string(tree.place.path().join("secret")).unwrap(), "secret");
    assert_eq!(tree.read("out"), "mine");
}

#[test]
fn acts_on_names() {
    let tree = Tree::new();
    let path = |path: &str| path.as_bytes().to_vec();
    assert_eq!(tree.run(Op::Directory(path("/docs"))), Ok(Answer::Done));
    assert_eq!(tree.run(Op::Directory(path("/"))), Ok(Answer::Done));
    assert_eq!(tree.run(Op::Directory(path("/readme.txt"))), Err(Refusal::NotDirectory));
    assert_eq!(tree.run(Op::Directory(path("/readme.txt/x"))), Err(Refusal::NotDirectory));
    assert_eq!(tree.run(Op::MakeDirectory(path("/docs"))), Err(Refusal::Exists));
    assert_eq!(tree.run(Op::MakeDirectory(path("/no/such"))), Err(Refusal::NotFound));
    assert_eq!(tree.run(Op::MakeDirectory(path("/docs/new"))), Ok(Answer::Done));
    assert_eq!(tree.run(Op::RemoveDirectory(path("/docs"))), Err(Refusal::NotEmpty));
    assert_eq!(tree.run(Op::Delete(path("/docs/new"))), Err(Refusal::NotFile));
    assert_eq!(tree.run(Op::RemoveDirectory(path("/docs/new"))), Ok(Answer::Done));
    assert_eq!(tree.run(Op::RemoveDirectory(path("/"))), Err(Refusal::Denied));
    assert_eq!(tree.run(Op::Rename(path("/readme.txt"), path("/docs/r"))), Ok(Answer::Done));
    assert_eq!(tree.run(Op::Exists(path("/readme.txt"))), Err(Refusal::NotFound));
    assert_eq!(tree.run(Op::Rename(path("/docs"), path("/docs/x"))), Err(Refusal::BadName));
    assert_eq!(tree.run(Op::SetModified(path("/docs/r"), 1_000_000_000)), Ok(Answer::Done));
    assert_eq!(tree.run(Op::SetMode(path("/docs/r"), 0o4604)), Ok(Answer::Done));
    let Ok(Answer::Entry(entry)) = tree.run(Op::Facts(path("/docs/r"))) else { panic!("no facts") };
    assert_eq!((entry.size, entry.mode, entry.entry_type), (Some(11), Some(0o604), EntryType::File));
    assert_eq!(entry.modified.map(|modified| modified.seconds), Some(1_000_000_000));
    assert_eq!(entry.perm.as_deref(), Some("adfrw"));
    let digest = Op::Digest { path: path("/docs/r"), algorithm: Algorithm::Crc32, from: 0, to: Some(99) };
    assert_eq!(tree.run(digest), Ok(Answer::Digest("0d4a1185".to_owned(), 11)));
    // A link itself is deleted, not what it points to.
    assert_eq!(tree.run(Op::Delete(path("/out"))), Ok(Answer::Done));
    assert!(tree.place.path().join("secret").exists());
    let name = [b"/docs/", TEMPORARY_PREFIX, b"1"].concat();
    std::fs::write(tree.place.path().join("top").join(String::from_utf8_lossy(&name).trim_start_matches('/')), "")
        .unwrap();
    assert_eq!(tree.run(Op::Delete(name.clone())), Err(Refusal::NotFound));
    assert_eq!(tree.store.send(&name).map(|_| ()), Err(Refusal::NotFound));
}

#[test]
fn special_files_are_not_opened() {
    let tree = Tree::new();
    let fifo = tree.top("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(tree.store.send(b"/fifo").map(|_| ()), Err(Refusal::NotFile));
    assert_eq!(tree.store.send(b"/docs").map(|_| ()), Err(Refusal::NotFile));
    assert_eq!(tree.put("/fifo", How::Append, true, b""), Err(Refusal::NotFile));
    assert_eq!(tree.put("/fifo", How::Whole, true, b""), Err(Refusal::NotFile));
}

#[test]
fn files_are_sent_as_they_are() {
    let tree = Tree::new();
    let (mut file, size) = tree.store.send(b"/readme.txt").unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), size), ("hello world", 11));
}

#[test]
fn homes_are_roots() {
    let tree = Tree::new();
    std::fs::write(tree.top("docs/mine"), "x").unwrap();
    let home = tree.store.login(Some("docs"), Rights::READ_ONLY).unwrap();
    assert!(home.send(b"/mine").is_ok());
    assert_eq!(home.send(b"/../readme.txt").map(|_| ()), Err(Refusal::NotFound));
    assert_eq!(home.rights(), Rights::READ_ONLY);
    assert_eq!(tree.store.login(Some("nowhere"), Rights::ALL).map(|_| ()), Err(Refusal::NotFound));
    assert!(tree.store.login(Some("../.."), Rights::ALL).unwrap().send(b"/readme.txt").is_ok(), "the root at most");
    assert!(Store::open(&tree.top("nowhere"), Rights::ALL, Limits::default()).is_err());
}

#[test]
fn listings() {
    let tree = Tree::new();
    std::fs::write(tree.top(".hidden"), "").unwrap();
    std::fs::write(tree.top("evil\r\nname"), "").unwrap();
    symlink("readme.txt", tree.top("link")).unwrap();
    symlink("/etc/passwd", tree.top("absolute")).unwrap();
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.split_terminator("\r\n").map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(tree.list("/", Format::Names)), ["absolute", "docs", "link", "out", "readme.txt"]);
    let long = sorted(tree.list("/", Format::Long));
    assert!(long.iter().any(|line| line.starts_with("-rw") && line.ends_with(" readme.txt")), "{long:?}");
    assert!(long.iter().any(|line| line.starts_with('l') && line.ends_with(" link -> readme.txt")), "{long:?}");
    assert!(!long.iter().any(|line| line.contains("passwd")), "{long:?}");
    let facts = sorted(tree.list("/", Format::Facts(FactSet::default())));
    assert!(facts.iter().any(|line| line.starts_with("type=file;size=11;") && line.ends_with(" readme.txt")));
    std::fs::write(tree.top("docs/a"), "").unwrap();
    assert_eq!(tree.list("/docs", Format::Names), "docs/a\r\n");
    assert_eq!(tree.list("/docs/a", Format::Names), "docs/a\r\n");
    assert!(tree.list("/docs/a", Format::Long).ends_with(" docs/a\r\n"));
    let listing = |path: &str, pattern: &str, format| Listing {
        path: path.into(),
        shown: Vec::new(),
        pattern: Some(pattern.into()),
        hidden: false,
        format,
    };
    let mut lines = tree.store.list(listing("/", "*.t?t", Format::Names), 0).unwrap();
    let mut out = Vec::new();
    assert!(!lines.next_piece(&mut out).unwrap());
    assert_eq!(out, b"readme.txt\r\n");
    assert!(tree.store.list(listing("/missing", "*", Format::Names), 0).is_err());
    let mlsd = Listing {
        path: b"/readme.txt".to_vec(),
        shown: Vec::new(),
        pattern: None,
        hidden: true,
        format: Format::Facts(FactSet::default()),
    };
    assert_eq!(tree.store.list(mlsd, 0).map(|_| ()), Err(Refusal::NotDirectory));
}

#[test]
fn long_listings_come_in_pieces() {
    let tree = Tree::new();
    for number in 0..2000 {
        std::fs::write(tree.top(&format!("docs/file-with-a-long-name-{number:06}")), "").unwrap();
    }
    let listing =
        Listing { path: b"/docs".to_vec(), shown: Vec::new(), pattern: None, hidden: true, format: Format::Long };
    let mut lines = tree.store.list(listing.clone(), 0).unwrap();
    let (mut pieces, mut total) = (0, 0);
    loop {
        let mut out = Vec::new();
        let more = lines.next_piece(&mut out).unwrap();
        assert!(out.len() < 40 << 10, "{}", out.len());
        total += out.iter().filter(|byte| **byte == b'\n').count();
        pieces += 1;
        if !more {
            break;
        }
    }
    assert_eq!(total, 2000);
    assert!(pieces > 2);
    let Ok(Answer::Lines(lines)) = tree.run(Op::List(listing)) else { panic!("no lines") };
    assert_eq!(lines.len(), 2000);
}
