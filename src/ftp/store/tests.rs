//! The store on real directories.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::listing::{EntryType, FactSet};
use crate::ftp::session::{DigestRange, ListingFormat, ListingRequest, UploadMode};

struct Tree {
    place: tempfile::TempDir,
    store: FtpStore,
}

impl Tree {
    fn new() -> Tree {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("docs")).unwrap();
        std::fs::write(top.join("readme.txt"), "hello world").unwrap();
        std::fs::write(place.path().join("secret"), "secret").unwrap();
        symlink("../secret", top.join("out")).unwrap();
        let store = FtpStore::open(&top, Rights::ALL, UploadLimits::default()).unwrap();
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

    fn run(&self, op: StoreOp) -> Result<StoreAnswer, StoreRefusal> {
        self.store.run(op, 1_700_000_000, &|| true)
    }

    fn put(&self, path: &str, mode: UploadMode, replace: bool, bytes: &[u8]) -> Result<(), StoreRefusal> {
        let (mut upload, _) = self.store.receive(path.as_bytes(), mode, replace)?;
        upload.write(bytes)?;
        upload.commit()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.top(name)).unwrap()
    }

    fn list(&self, path: &str, format: ListingFormat) -> String {
        let shown = path.trim_start_matches('/').as_bytes().to_vec();
        let listing = ListingRequest { path: path.into(), shown, pattern: None, hidden: false, format };
        let mut lines = self.store.list(listing, 1_700_000_000).unwrap();
        let mut out = Vec::new();
        while lines.next_piece(&mut out).unwrap() {}
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A tree with unnamed files, and one as on file systems without them.
fn both() -> [Tree; 2] {
    let (first, mut second) = (Tree::new(), Tree::new());
    second.store.unnamed_files = false;
    [first, second]
}

#[test]
fn uploads_appear_whole() {
    for tree in both() {
        let before = tree.names();
        let (mut upload, _) = tree.store.receive(b"/readme.txt", UploadMode::Whole, true).unwrap();
        upload.write(b"new").unwrap();
        assert_eq!(tree.read("readme.txt"), "hello world", "not before it is complete");
        assert!(!tree.list("/", ListingFormat::Names).contains("upload"), "and hidden until then");
        upload.commit().unwrap();
        assert_eq!(tree.read("readme.txt"), "new");
        assert_eq!(tree.names(), before, "nothing is left over");

        let (mut upload, _) = tree.store.receive(b"/readme.txt", UploadMode::Whole, true).unwrap();
        upload.write(b"half").unwrap();
        drop(upload);
        assert_eq!(tree.read("readme.txt"), "new", "an upload that breaks off changes nothing");
        assert_eq!(tree.names(), before);

        tree.put("/fresh", UploadMode::Whole, true, b"fresh").unwrap();
        assert_eq!(tree.read("fresh"), "fresh");
    }
}

#[test]
fn an_upload_keeps_the_mode_and_respects_read_only_files() {
    for tree in both() {
        std::fs::set_permissions(tree.top("readme.txt"), PermissionsExt::from_mode(0o640)).unwrap();
        tree.put("/readme.txt", UploadMode::Whole, true, b"x").unwrap();
        assert_eq!(std::fs::metadata(tree.top("readme.txt")).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::set_permissions(tree.top("readme.txt"), PermissionsExt::from_mode(0o444)).unwrap();
        assert_eq!(tree.put("/readme.txt", UploadMode::Whole, true, b"y"), Err(StoreRefusal::Denied));
    }
}

#[test]
fn nothing_is_replaced_without_the_right() {
    for tree in both() {
        assert_eq!(tree.put("/readme.txt", UploadMode::Whole, false, b"x"), Err(StoreRefusal::Exists));
        // The name is taken while the upload runs.
        let (upload, _) = tree.store.receive(b"/late", UploadMode::Whole, false).unwrap();
        std::fs::write(tree.top("late"), "first").unwrap();
        assert_eq!(upload.commit(), Err(StoreRefusal::Exists));
        assert_eq!(tree.read("late"), "first");
        assert_eq!(tree.names(), ["docs", "late", "out", "readme.txt"]);
    }
}

#[test]
fn partial_uploads_are_kept_where_the_name_is_free() {
    for tree in both() {
        for (path, kept) in [("/readme.txt", "hello world"), ("/part", "half")] {
            let (mut upload, _) = tree.store.receive(path.as_bytes(), UploadMode::Whole, true).unwrap();
            upload.write(b"half").unwrap();
            upload.broke_off(true);
            assert_eq!(tree.read(path.trim_start_matches('/')), kept);
        }
        // What broke off is continued by whoever began it, from what is there, and breaks off again in place.
        let (mut upload, _) = tree.store.receive(b"/part", UploadMode::At(4), true).unwrap();
        upload.write(b" and").unwrap();
        upload.broke_off(false);
        assert_eq!(tree.read("part"), "half and");
        let others = tree.store.clone().owned_by("somebody else");
        for mode in [UploadMode::At(8), UploadMode::Append] {
            assert_eq!(others.receive(b"/part", mode, true).map(drop), Err(StoreRefusal::NotBroken), "{mode:?}");
            assert_eq!(
                tree.store.receive(b"/readme.txt", mode, true).map(drop),
                Err(StoreRefusal::NotBroken),
                "a whole file, {mode:?}"
            );
        }
        tree.put("/part", UploadMode::Append, true, b" half").unwrap();
        assert_eq!(tree.read("part"), "half and half");
        assert_eq!(tree.put("/part", UploadMode::At(4), true, b""), Err(StoreRefusal::NotBroken), "it is whole now");
        // Changed by somebody else in between: it is not what broke off.
        let (mut upload, _) = tree.store.receive(b"/changed", UploadMode::Whole, true).unwrap();
        upload.write(b"half").unwrap();
        upload.broke_off(true);
        std::fs::OpenOptions::new().append(true).open(tree.top("changed")).unwrap().write_all(b"!").unwrap();
        assert_eq!(tree.put("/changed", UploadMode::At(4), true, b""), Err(StoreRefusal::NotBroken));
        std::fs::remove_file(tree.top("changed")).unwrap();
        assert_eq!(tree.names(), ["docs", "out", "part", "readme.txt"]);
    }
}

#[test]
fn in_place_uploads() {
    let mut tree = Tree::new();
    tree.store.limits.append = true;
    tree.put("/readme.txt", UploadMode::Append, true, b"!").unwrap();
    assert_eq!(tree.read("readme.txt"), "hello world!");
    tree.put("/readme.txt", UploadMode::At(6), true, b"you").unwrap();
    assert_eq!(tree.read("readme.txt"), "hello you", "what was behind is cut off");
    assert_eq!(tree.put("/readme.txt", UploadMode::At(10), true, b""), Err(StoreRefusal::BadOffset));
    assert_eq!(tree.put("/nothing", UploadMode::At(1), true, b""), Err(StoreRefusal::NotFound));
    tree.put("/log", UploadMode::Append, true, b"line").unwrap();
    assert_eq!(tree.read("log"), "line");
    assert_eq!(tree.put("/docs", UploadMode::Append, true, b""), Err(StoreRefusal::NotFile));
    assert_eq!(tree.put("/docs", UploadMode::Whole, true, b""), Err(StoreRefusal::NotFile));
    let _first = tree.store.receive(b"/log", UploadMode::Append, true).unwrap();
    assert_eq!(tree.store.receive(b"/log", UploadMode::Append, true).map(|_| ()), Err(StoreRefusal::Busy));
}

#[test]
fn unique_names_are_free_names() {
    for tree in both() {
        std::fs::write(tree.top("docs/scan.pdf.1"), "").unwrap();
        for expected in ["scan.pdf", "scan.pdf.2", "scan.pdf.3"] {
            let (upload, name) = tree.store.receive(b"/docs/scan.pdf", UploadMode::Unique, false).unwrap();
            assert_eq!(name.as_deref(), Some(expected.as_bytes()));
            upload.commit().unwrap();
            assert!(tree.top("docs").join(expected).exists());
        }
    }
}

#[test]
fn limits_hold() {
    let mut tree = Tree::new();
    tree.store.limits.max_file = 4;
    tree.put("/four", UploadMode::Whole, true, b"four").unwrap();
    assert_eq!(tree.put("/five5", UploadMode::Whole, true, b"five5"), Err(StoreRefusal::TooLarge));
    assert!(!tree.top("five5").exists());
    tree.store.limits = UploadLimits { min_free: u64::MAX, ..UploadLimits::default() };
    assert_eq!(tree.put("/x", UploadMode::Whole, true, b"x"), Err(StoreRefusal::Full));
    tree.store.limits = UploadLimits { sync: true, ..UploadLimits::default() };
    tree.put("/synced", UploadMode::Whole, true, b"x").unwrap();
    assert_eq!(tree.read("synced"), "x");
}

#[test]
fn links_that_leave_the_tree_look_like_nothing() {
    let tree = Tree::new();
    for path in ["/out", "/missing"] {
        let path = path.as_bytes();
        assert_eq!(tree.store.send(path).map(|_| ()), Err(StoreRefusal::NotFound));
        assert_eq!(tree.run(StoreOp::Facts(path.to_vec())), Err(StoreRefusal::NotFound));
        assert_eq!(
            tree.run(StoreOp::SetFacts { path: path.to_vec(), modified: None, mode: Some(0o600) }),
            Err(StoreRefusal::NotFound)
        );
        assert_eq!(tree.store.receive(path, UploadMode::At(1), true).map(|_| ()), Err(StoreRefusal::NotFound));
    }
    assert_eq!(tree.store.receive(b"/out", UploadMode::Append, true).map(|_| ()), Err(StoreRefusal::NotFound));
    assert_eq!(std::fs::read_to_string(tree.place.path().join("secret")).unwrap(), "secret");
    // Nor does a whole upload follow it, or take its place.
    assert_eq!(tree.put("/out", UploadMode::Whole, true, b"mine"), Err(StoreRefusal::NotFound));
    assert_eq!(std::fs::read_to_string(tree.place.path().join("secret")).unwrap(), "secret");
    assert_eq!(std::fs::read_link(tree.top("out")).unwrap(), PathBuf::from("../secret"));
}

#[test]
fn uploads_go_through_links_that_stay() {
    for tree in both() {
        symlink("../readme.txt", tree.top("docs/link")).unwrap();
        symlink("docs", tree.top("way")).unwrap();
        symlink("nowhere", tree.top("dangling")).unwrap();
        symlink("docs", tree.top("dir")).unwrap();
        for path in ["/docs/link", "/way/link"] {
            tree.put(path, UploadMode::Whole, true, path.as_bytes()).unwrap();
            assert_eq!(tree.read("readme.txt"), path);
            assert!(tree.top("docs/link").is_symlink(), "the link stays");
        }
        for (path, refusal) in [("/dangling", StoreRefusal::NotFound), ("/dir", StoreRefusal::NotFile)] {
            assert_eq!(tree.put(path, UploadMode::Whole, true, b"x"), Err(refusal), "{path}");
        }
        assert_eq!(tree.put("/docs/link", UploadMode::Whole, false, b"x"), Err(StoreRefusal::Exists));
        // Below a home the same link leads out.
        let home = tree.store.login(None, Some("docs"), Rights::ALL).unwrap();
        assert_eq!(home.receive(b"/link", UploadMode::Whole, true).map(|_| ()), Err(StoreRefusal::NotFound));
    }
}

#[test]
fn what_is_stored_over_a_file_has_its_owner_group_mode_and_attributes() {
    use std::os::unix::fs::MetadataExt;
    for tree in both() {
        let path = tree.top("readme.txt");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        // As root all of it; others keep their own group and user, which nothing changes.
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        }
        let tagged = rustix::fs::setxattr(&path, "user.tag", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
        let before = std::fs::metadata(&path).unwrap();
        tree.put("/readme.txt", UploadMode::Whole, true, b"new").unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
        let mut value = [0u8; 16];
        let length = rustix::fs::getxattr(&path, "user.tag", &mut value[..]);
        assert_eq!(length.is_ok_and(|length| &value[..length] == b"kept"), tagged);
    }
}

#[test]
fn no_mode_is_the_last_one() {
    for tree in both() {
        for mode in [0, 0o200, 0o644] {
            // Without /proc a file that may not be opened keeps its mode; root may open all of them.
            if tree.store.unnamed_files || rustix::process::geteuid().is_root() {
                let op = StoreOp::SetFacts { path: b"/readme.txt".to_vec(), modified: Some(1), mode: Some(mode) };
                assert_eq!(tree.run(op), Ok(StoreAnswer::Done), "{mode:o}");
                let mode_now = std::fs::metadata(tree.top("readme.txt")).unwrap().permissions().mode();
                assert_eq!(mode_now & 0o777, mode);
            }
        }
    }
}

#[test]
fn the_tree_is_opened_at_each_login() {
    let tree = Tree::new();
    std::fs::rename(tree.top(""), tree.place.path().join("before")).unwrap();
    std::fs::create_dir(tree.top("")).unwrap();
    std::fs::write(tree.top("new"), "new").unwrap();
    assert!(tree.store.send(b"/new").is_err() && tree.store.send(b"/readme.txt").is_ok(), "as it was opened");
    let login = tree.store.login(None, None, Rights::ALL).unwrap();
    assert!(login.send(b"/new").is_ok() && login.send(b"/readme.txt").is_err(), "as it is");
    assert_eq!(login.arrived(b"/new").unwrap().below, PathBuf::from("new"));
    std::fs::remove_file(tree.top("new")).unwrap();
    std::fs::remove_dir(tree.top("")).unwrap();
    assert_eq!(tree.store.login(None, None, Rights::ALL).map(|_| ()), Err(StoreRefusal::NotFound));
}

#[test]
fn a_mask_of_the_session_holds() {
    for tree in both() {
        let store = tree.store.clone().with_umask(0o002);
        let mode = |name: &str| std::fs::metadata(tree.top(name)).unwrap().permissions().mode() & 0o777;
        store.receive(b"/shared", UploadMode::Whole, true).unwrap().0.commit().unwrap();
        store.run(StoreOp::MakeDirectory(b"/ours".to_vec()), 0, &|| true).unwrap();
        assert_eq!((mode("shared"), mode("ours")), (0o664, 0o775));
    }
}

#[test]
fn acts_on_names() {
    let tree = Tree::new();
    let path = |path: &str| path.as_bytes().to_vec();
    assert_eq!(tree.run(StoreOp::Directory(path("/docs"))), Ok(StoreAnswer::Done));
    assert_eq!(tree.run(StoreOp::Directory(path("/"))), Ok(StoreAnswer::Done));
    assert_eq!(tree.run(StoreOp::Directory(path("/readme.txt"))), Err(StoreRefusal::NotDirectory));
    assert_eq!(tree.run(StoreOp::Directory(path("/readme.txt/x"))), Err(StoreRefusal::NotDirectory));
    assert_eq!(tree.run(StoreOp::MakeDirectory(path("/docs"))), Err(StoreRefusal::Exists));
    assert_eq!(tree.run(StoreOp::MakeDirectory(path("/no/such"))), Err(StoreRefusal::NotFound));
    assert_eq!(tree.run(StoreOp::MakeDirectory(path("/docs/new"))), Ok(StoreAnswer::Done));
    assert_eq!(tree.run(StoreOp::RemoveDirectory(path("/docs"))), Err(StoreRefusal::NotEmpty));
    assert_eq!(tree.run(StoreOp::Delete(path("/docs/new"))), Err(StoreRefusal::NotFile));
    assert_eq!(tree.run(StoreOp::RemoveDirectory(path("/docs/new"))), Ok(StoreAnswer::Done));
    assert_eq!(tree.run(StoreOp::RemoveDirectory(path("/"))), Err(StoreRefusal::Denied));
    assert_eq!(tree.run(StoreOp::Rename(path("/readme.txt"), path("/docs/r"), true)), Ok(StoreAnswer::Done));
    assert_eq!(tree.run(StoreOp::Exists(path("/readme.txt"))), Err(StoreRefusal::NotFound));
    assert_eq!(tree.run(StoreOp::Rename(path("/docs"), path("/docs/x"), true)), Err(StoreRefusal::BadName));
    let facts = StoreOp::SetFacts { path: path("/docs/r"), modified: Some(1_000_000_000), mode: Some(0o4604) };
    assert_eq!(tree.run(facts), Ok(StoreAnswer::Done));
    let Ok(StoreAnswer::Entry(entry)) = tree.run(StoreOp::Facts(path("/docs/r"))) else { panic!("no facts") };
    assert_eq!((entry.size, entry.mode, entry.entry_type), (Some(11), Some(0o604), EntryType::File));
    assert_eq!(entry.modified.map(|modified| modified.seconds), Some(1_000_000_000));
    assert_eq!(entry.perm.as_deref(), Some("adfrw"));
    let digest = StoreOp::Digest {
        of: DigestRange { path: path("/docs/r"), from: 0, to: Some(99) },
        or: None,
        algorithm: ChecksumAlgorithm::Crc32,
    };
    assert_eq!(tree.run(digest), Ok(StoreAnswer::Digest("0d4a1185".to_owned(), 11)));
    // A link itself is deleted, not what it points to.
    assert_eq!(tree.run(StoreOp::Delete(path("/out"))), Ok(StoreAnswer::Done));
    assert!(tree.place.path().join("secret").exists());
    let name = [b"/docs/", TEMPORARY_PREFIX, b"1"].concat();
    std::fs::write(tree.place.path().join("top").join(String::from_utf8_lossy(&name).trim_start_matches('/')), "")
        .unwrap();
    assert_eq!(tree.run(StoreOp::Delete(name.clone())), Err(StoreRefusal::NotFound));
    assert_eq!(tree.store.send(&name).map(|_| ()), Err(StoreRefusal::NotFound));
}

#[test]
fn special_files_are_not_opened() {
    let tree = Tree::new();
    let fifo = tree.top("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(tree.store.send(b"/fifo").map(|_| ()), Err(StoreRefusal::NotFile));
    assert_eq!(tree.store.send(b"/docs").map(|_| ()), Err(StoreRefusal::NotFile));
    assert_eq!(tree.put("/fifo", UploadMode::Append, true, b""), Err(StoreRefusal::NotFile));
    assert_eq!(tree.put("/fifo", UploadMode::Whole, true, b""), Err(StoreRefusal::NotFile));
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
    let home = tree.store.login(None, Some("docs"), Rights::READ_ONLY).unwrap();
    assert!(home.send(b"/mine").is_ok());
    assert_eq!(home.send(b"/../readme.txt").map(|_| ()), Err(StoreRefusal::NotFound));
    assert_eq!(home.rights(), Rights::READ_ONLY);
    assert_eq!(tree.store.login(None, Some("nowhere"), Rights::ALL).map(|_| ()), Err(StoreRefusal::NotFound));
    assert!(
        tree.store.login(None, Some("../.."), Rights::ALL).unwrap().send(b"/readme.txt").is_ok(),
        "the root at most"
    );
    assert!(FtpStore::open(&tree.top("nowhere"), Rights::ALL, UploadLimits::default()).is_err());
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
    let names: Vec<String> = tree.list("/", ListingFormat::Names).lines().map(str::to_owned).collect();
    assert_eq!(names, ["absolute", "docs", "link", "out", "readme.txt"], "in order");
    let long = sorted(tree.list("/", ListingFormat::Long));
    assert!(long.iter().any(|line| line.starts_with("-rw") && line.ends_with(" readme.txt")), "{long:?}");
    assert!(long.iter().any(|line| line.starts_with('l') && line.ends_with(" link -> readme.txt")), "{long:?}");
    assert!(!long.iter().any(|line| line.contains("passwd")), "{long:?}");
    let facts = sorted(tree.list("/", ListingFormat::Facts(FactSet::default())));
    assert!(facts.iter().any(|line| line.starts_with("type=file;size=11;") && line.ends_with(" readme.txt")));
    std::fs::write(tree.top("docs/a"), "").unwrap();
    assert_eq!(tree.list("/docs", ListingFormat::Names), "docs/a\r\n");
    assert_eq!(tree.list("/docs/a", ListingFormat::Names), "docs/a\r\n");
    assert!(tree.list("/docs/a", ListingFormat::Long).ends_with(" docs/a\r\n"));
    let listing = |path: &str, pattern: &str, format| ListingRequest {
        path: path.into(),
        shown: Vec::new(),
        pattern: Some(pattern.into()),
        hidden: false,
        format,
    };
    let mut lines = tree.store.list(listing("/", "*.t?t", ListingFormat::Names), 0).unwrap();
    let mut out = Vec::new();
    assert!(!lines.next_piece(&mut out).unwrap());
    assert_eq!(out, b"readme.txt\r\n");
    assert!(tree.store.list(listing("/missing", "*", ListingFormat::Names), 0).is_err());
    let mlsd = ListingRequest {
        path: b"/readme.txt".to_vec(),
        shown: Vec::new(),
        pattern: None,
        hidden: true,
        format: ListingFormat::Facts(FactSet::default()),
    };
    assert_eq!(tree.store.list(mlsd, 0).map(|_| ()), Err(StoreRefusal::NotListed));
}

#[test]
fn long_listings_come_in_pieces() {
    let tree = Tree::new();
    for number in 0..2000 {
        std::fs::write(tree.top(&format!("docs/file-with-a-long-name-{number:06}")), "").unwrap();
    }
    let listing = ListingRequest {
        path: b"/docs".to_vec(),
        shown: Vec::new(),
        pattern: None,
        hidden: true,
        format: ListingFormat::Long,
    };
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
    let Ok(StoreAnswer::Lines(lines)) = tree.run(StoreOp::List(listing)) else { panic!("no lines") };
    assert_eq!(lines.len(), 2000);
}
