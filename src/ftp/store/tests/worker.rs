//! A worker and a server that was broken into; a server and a worker that hangs or lies.

use std::os::fd::OwnedFd;

use rustix::net::SendFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::*;
use crate::ftp::session::RightRule;
use crate::ftp::store::wire::MAX_WORKER_MESSAGE;
use crate::net::helper::{pair, receive, send};

/// A worker for this login, and the socket of a server that may say anything.
fn hostile(tree: &Tree, rights: Rights) -> impl Fn(&[u8]) -> Vec<u8> {
    hostile_to(tree.store.login(None, None, rights).unwrap())
}

fn hostile_to(store: FtpStore) -> impl Fn(&[u8]) -> Vec<u8> {
    let (ours, theirs) = pair().unwrap();
    let worker = StoreWorker::new(store);
    std::thread::spawn(move || worker.serve(&theirs));
    move |bytes| {
        send(&ours, bytes, &[], SendFlags::NOSIGNAL).unwrap();
        receive(&ours, MAX_WORKER_MESSAGE).unwrap().expect("the worker goes on").0.unwrap()
    }
}

fn requests(path: &[u8]) -> Vec<WorkerRequest> {
    let path = || path.to_vec();
    let listing = |format| ListingRequest { path: path(), shown: path(), pattern: None, hidden: true, format };
    let range = || DigestRange { path: path(), from: 0, to: None };
    let ops = [
        StoreOp::Directory(path()),
        StoreOp::Exists(path()),
        StoreOp::Room(path(), u64::MAX),
        StoreOp::Facts(path()),
        StoreOp::SetFacts { path: path(), modified: Some(0), mode: Some(0o777) },
        StoreOp::Available(path()),
        StoreOp::Delete(path()),
        StoreOp::MakeDirectory(path()),
        StoreOp::RemoveDirectory(path()),
        StoreOp::Rename(path(), b"/new".to_vec(), true),
        StoreOp::Rename(b"/readme.txt".to_vec(), path(), false),
        StoreOp::List(listing(ListingFormat::Long)),
        StoreOp::Digest { of: range(), or: Some(range()), algorithm: ChecksumAlgorithm::Sha256 },
    ];
    let mut all: Vec<_> = ops.into_iter().map(WorkerRequest::Run).collect();
    for mode in [UploadMode::Whole, UploadMode::Unique, UploadMode::Append, UploadMode::At(1)] {
        all.extend([true, false].map(|replace| WorkerRequest::Receive { path: path(), mode, replace }));
    }
    for id in [0, 1, 2, 3, u32::MAX] {
        all.push(WorkerRequest::Piece(id));
        all.push(WorkerRequest::Wrote(id, 1));
        all.push(WorkerRequest::BrokeOff(id, 0, true));
        all.push(WorkerRequest::Commit(id, 0));
        all.push(WorkerRequest::Discard(id));
    }
    let lists = [ListingFormat::Long, ListingFormat::Names, ListingFormat::Facts(FactSet::default())];
    all.extend(lists.map(|format| WorkerRequest::List(listing(format), i64::MIN)));
    all.extend([WorkerRequest::Send(path()), WorkerRequest::Arrived(path()), WorkerRequest::Umask(u32::MAX)]);
    all.push(WorkerRequest::Usage);
    all
}

const PATHS: [&[u8]; 9] =
    [b"/readme.txt", b"/docs", b"/out", b"/../secret", b"../secret", b"/docs/../../secret", b"", b"/", b"/\0"];

/// All below the place, with modes and contents.
fn everything(tree: &Tree) -> Vec<String> {
    let (mut open, mut found) = (vec![tree.place.path().to_owned()], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is = path.symlink_metadata().unwrap();
            let text = is.is_file().then(|| std::fs::read_to_string(&path).unwrap());
            found.push(format!(
                "{} {:o} {:?} {text:?}",
                path.display(),
                is.permissions().mode(),
                is.modified().unwrap()
            ));
            open.extend(is.is_dir().then_some(path));
        }
    }
    found.sort();
    found
}

#[test]
fn messages_are_read_as_they_were_written() {
    for request in PATHS.iter().flat_map(|path| requests(path)) {
        assert_eq!(WorkerRequest::parse(&request.compose().unwrap()), Some(request));
    }
    assert_eq!(WorkerRequest::Send(vec![b'x'; MAX_WORKER_MESSAGE]).compose(), None);
    let longest = vec![0xff; crate::ftp::session::path::MAX_PATH];
    assert!(WorkerRequest::Run(StoreOp::Rename(longest.clone(), longest, true)).compose().is_some());
}

/// Rules of directories are the worker's to keep as well, also behind links.
#[test]
fn a_rule_of_a_directory_holds_in_the_worker() {
    let tree = Tree::new();
    std::fs::write(tree.top("docs/x"), "kept").unwrap();
    symlink("docs", tree.top("way")).unwrap();
    let store = tree.store.login(None, None, Rights::ALL).unwrap();
    let ask = hostile_to(store.with_rules([RightRule::new("/docs", Rights::NONE).unwrap()]));
    let before = std::fs::metadata(tree.top("docs/x")).unwrap();
    for request in [&b"/docs/x"[..], b"/docs/new", b"/way/x", b"/way/new"].into_iter().flat_map(requests) {
        let answer = WorkerAnswer::parse(&ask(&request.compose().unwrap()));
        let opened = matches!(answer, Some(WorkerAnswer::Sending(_) | WorkerAnswer::Receiving(_)));
        assert!(!opened, "{request:?}");
    }
    let after = std::fs::metadata(tree.top("docs/x")).unwrap();
    assert_eq!((tree.read("docs/x").as_str(), after.permissions()), ("kept", before.permissions()));
    assert_eq!(std::fs::read_dir(tree.top("docs")).unwrap().count(), 1);
}

/// The rights are the worker's to keep: whatever is asked for, nothing changes and nothing is read.
#[test]
fn a_session_gets_what_its_login_may_and_no_more() {
    let tree = Tree::new();
    let before = everything(&tree);
    for rights in [Rights::NONE, Rights { list: true, ..Rights::NONE }, Rights::READ_ONLY] {
        let ask = hostile(&tree, rights);
        for request in PATHS.iter().flat_map(|path| requests(path)) {
            let answer = WorkerAnswer::parse(&ask(&request.compose().unwrap()));
            let reads = matches!(answer, Some(WorkerAnswer::Sending(_)));
            assert!(!reads || rights.read, "{request:?}");
            assert!(!matches!(answer, Some(WorkerAnswer::Receiving(_))), "{request:?}");
        }
    }
    assert_eq!(everything(&tree), before);
    // With every right, and in any order, nothing outside of the tree is reached.
    let ask = hostile(&tree, Rights::ALL);
    let outside =
        |tree: &Tree| everything(tree).into_iter().filter(|line| line.contains("/secret")).collect::<Vec<_>>();
    let secret = outside(&tree);
    let all: Vec<_> = PATHS.iter().flat_map(|path| requests(path)).collect();
    for round in 0..3 {
        for request in all.iter().skip(round).step_by(round + 1).chain(&all) {
            let bytes = request.compose().unwrap();
            ask(&bytes);
            // Cut off, and with another byte in it.
            ask(&bytes[..bytes.len() / 2]);
            let mut changed = bytes.clone();
            changed[round * 7 % bytes.len()] ^= 0x11;
            ask(&changed);
        }
    }
    for junk in [&b"\0"[..], b"{}", b"[]", b"null", &[b'['; 60_000]] {
        assert!(matches!(WorkerAnswer::parse(&ask(junk)), Some(WorkerAnswer::Refused(StoreRefusal::Failed(_)))));
    }
    assert_eq!(outside(&tree), secret);
}

/// A drop box: what a session has just stored is its own, under its new name too.
#[test]
fn a_new_file_is_its_sessions_own() {
    let tree = Tree { worker: true, ..Tree::new() };
    let (ours, theirs) = pair().unwrap();
    let worker = StoreWorker::new(tree.store.login(None, None, Rights::DROP_BOX).unwrap());
    std::thread::spawn(move || worker.serve(&theirs));
    let session = WorkerTree::new(ours, Rights::DROP_BOX.into(), UploadLimits::default()).unwrap();
    let run = |op| session.run(op, 0, &|| true);
    let path = |name: &str| name.as_bytes().to_vec();
    assert_eq!(run(StoreOp::Delete(path("/readme.txt"))), Err(StoreRefusal::Denied));
    assert!(session.receive(b"/new", UploadMode::Whole, true).is_err());
    session.receive(b"/new", UploadMode::Whole, false).unwrap().0.commit().unwrap();
    assert_eq!(run(StoreOp::Rename(path("/new"), path("/readme.txt"), true)), Err(StoreRefusal::Denied));
    run(StoreOp::Rename(path("/new"), path("/newer"), false)).unwrap();
    assert_eq!(run(StoreOp::Delete(path("/new"))), Err(StoreRefusal::Denied));
    run(StoreOp::Delete(path("/newer"))).unwrap();
    assert_eq!(session.send(b"/readme.txt").map(drop), Err(StoreRefusal::Denied));
}

/// A worker that says this, whatever it is asked.
fn says(answer: &'static [u8]) -> WorkerTree {
    let (ours, theirs): (OwnedFd, OwnedFd) = pair().unwrap();
    std::thread::spawn(move || {
        while let Ok(Some(_)) = receive(&theirs, MAX_WORKER_MESSAGE) {
            if !answer.is_empty() && send(&theirs, answer, &[], SendFlags::NOSIGNAL).is_err() {
                return;
            }
        }
    });
    let tree = WorkerTree::new(ours, Rights::ALL.into(), UploadLimits::default()).unwrap();
    tree.shorten_patience(|socket| {
        set_socket_timeout(socket, Timeout::Recv, Some(std::time::Duration::from_millis(50))).unwrap();
    });
    tree
}

#[test]
fn a_worker_that_hangs_or_lies_fails_its_session_alone() {
    let hangs = says(b"");
    assert!(matches!(hangs.send(b"/x"), Err(StoreRefusal::Failed(why)) if why.contains("hangs")));
    assert!(hangs.lost().is_some());
    for answer in [&b"x"[..], b"{\"Sending\":3}", b"{\"Bytes\":-1}", b"+line\r\n", b"{\"Done\":[\"Done\",\"x\"]}"] {
        let lies = says(answer);
        assert!(matches!(lies.send(b"/x"), Err(StoreRefusal::Failed(_))), "{}", answer.escape_ascii());
        assert!(lies.receive(b"/x", UploadMode::Whole, true).is_err());
        assert!(lies.run(StoreOp::Delete(b"/x".to_vec()), 0, &|| true).is_err());
        assert!(lies.usage().is_err() && lies.arrived(b"/x").is_none());
    }
    assert_eq!(says(b"{\"Refused\":\"NotFound\"}").send(b"/x").map(drop), Err(StoreRefusal::NotFound));
}
