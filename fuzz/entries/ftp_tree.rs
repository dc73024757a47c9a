//! The server's session with a real tree: whatever a client says, nothing outside of the root is read, made, changed or
//! removed; every command has one final reply, in the order of the commands, however the bytes arrive.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use applayer::ftp::reply::FtpReplyReader;
use applayer::ftp::session::{
    DataTransfer, FtpSession, Rights, SessionAction, SessionEvent, SessionPolicy, StoreRefusal, TransferFailure,
    TransferTask,
};
use applayer::ftp::store::{FtpStore, FtpTree, NameRules, UploadLimits};
use applayer::net::login::LoginVerdict;

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[("ftp_tree", ftp_tree)];

/// In each file, and in some names, outside of the root; no input has it.
const MARKER: &[u8] = b"7d0c4e-beyond";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
/// 2026-11-23T05:52:22Z.
const NOW: i64 = 1_795_413_142;

/// The first byte says how the others are cut, and what the login may do.
fn ftp_tree(data: &[u8]) {
    let Some((first, said)) = data.split_first() else { return };
    if said.windows(6).any(|bytes| MARKER.starts_with(bytes)) {
        return;
    }
    let rights = match first >> 6 {
        0 => Rights::DROP_BOX,
        1 => Rights::READ_ONLY,
        _ => Rights::ALL,
    };
    let lines = play(said.split_inclusive(|byte| *byte == b'\n'), rights);
    let piece = usize::from(first & 63).max(1);
    assert_eq!(play(said.chunks(piece), rights), lines, "the same in pieces of {piece}");
}

/// A place with a root, and beside it what nobody may reach.
struct Place {
    place: tempfile::TempDir,
    store: FtpStore,
    before: Vec<(PathBuf, [u64; 5], Vec<u8>)>,
}

impl Place {
    fn new(rights: Rights) -> Place {
        let memory = Path::new("/dev/shm");
        let place = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let place = place.expect("a directory");
        let make = |path: &str, bytes: Option<&[u8]>| {
            let path = place.path().join(path);
            bytes.map_or_else(|| fs::create_dir(&path), |bytes| fs::write(&path, bytes)).expect("made");
        };
        let marked = format!("beyond/{}", String::from_utf8_lossy(MARKER));
        for (path, bytes) in [
            ("beyond", None),
            ("beyond/d", None),
            (&marked, Some(MARKER)),
            ("beyond/f", Some(MARKER)),
            ("root", None),
            ("root/d", None),
            ("root/d/a", Some(&b"a\r\n"[..])),
            ("root/f", Some(b"one\ntwo\n")),
            ("root/denied", Some(MARKER)),
        ] {
            make(path, bytes);
        }
        let root = place.path().join("root");
        let absolute = place.path().join("beyond");
        for (target, name) in [
            (Path::new("f"), "l"),
            (Path::new("../beyond"), "o"),
            (Path::new("../beyond/f"), "p"),
            (&absolute, "q"),
            (Path::new("../root/d"), "d/r"),
            (Path::new("denied"), "s"),
        ] {
            symlink(target, root.join(name)).expect("a link");
        }
        let store = FtpStore::open(&root, rights, UploadLimits { append: true, ..UploadLimits::default() });
        let names = NameRules { hide: vec!["h*".to_owned()], deny: vec!["denied".to_owned()] };
        let mut new = Place { place, store: store.expect("a tree").with_names(names), before: Vec::new() };
        new.before = new.outside();
        new
    }

    /// Everything beside the root, and the denied file in it.
    fn outside(&self) -> Vec<(PathBuf, [u64; 5], Vec<u8>)> {
        let top = self.place.path();
        let (mut waiting, mut found) = (vec![top.to_owned(), top.join("root/denied")], Vec::new());
        while let Some(path) = waiting.pop() {
            let about = fs::symlink_metadata(&path).expect("it stays");
            let changed = about.ctime().cast_unsigned() * 1_000_000_000 + about.ctime_nsec().cast_unsigned();
            let numbers = [about.ino(), about.mode().into(), about.nlink(), about.mtime().cast_unsigned(), changed];
            let bytes = if about.is_file() { fs::read(&path).expect("bytes") } else { Vec::new() };
            if about.is_dir() {
                let inside = fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path());
                waiting.extend(inside.filter(|path| *path != top.join("root")));
            }
            found.push((path, numbers, bytes));
        }
        found.sort();
        found
    }
}

/// Plays the pieces; the codes of all replies.
fn play<'a>(pieces: impl Iterator<Item = &'a [u8]>, rights: Rights) -> Vec<u16> {
    let place = Place::new(rights);
    let mut driver = Driver {
        place: &place,
        rights,
        sent: Vec::new(),
        replies: FtpReplyReader::new(),
        codes: Vec::new(),
        closed: false,
    };
    let mut session = FtpSession::new(SessionPolicy {
        greeting: "ready".to_owned(),
        tls: false,
        tls_required: false,
        clear_passwords: true,
        tls_implicit: false,
        peer: CLIENT,
        pasv_address: None,
        active: true,
        umask: 0o022,
        certificates: false,
        charset: None,
    });
    for piece in std::iter::once(&b""[..]).chain(pieces) {
        session.input(piece);
        while let Some(action) = session.poll() {
            driver.act(&mut session, action);
        }
        let finals = driver.codes.iter().filter(|code| **code >= 200).count() as u64;
        // A client that errs too often hears so behind the reply to its last command.
        let farewell = u64::from(driver.closed && driver.codes.last() == Some(&421));
        let expected = session.commands() + 1;
        assert!((expected..=expected + farewell).contains(&finals), "one final reply each: {finals} of {expected}");
    }
    assert_eq!(driver.replies.next_reply(), Ok(None), "no half of a reply");
    assert!(!driver.sent.windows(MARKER.len()).any(|bytes| bytes == MARKER), "what is outside was sent");
    assert_eq!(place.outside(), place.before, "what is outside has changed");
    driver.codes
}

struct Driver<'a> {
    place: &'a Place,
    rights: Rights,
    /// All bytes that the client gets, on either connection.
    sent: Vec<u8>,
    replies: FtpReplyReader,
    codes: Vec<u16>,
    closed: bool,
}

impl Driver<'_> {
    fn act(&mut self, session: &mut FtpSession, action: SessionAction) {
        match action {
            SessionAction::Reply(reply) => {
                let bytes = reply.to_bytes();
                self.sent.extend_from_slice(&bytes);
                self.replies.push(&bytes);
                let read = self.replies.next_reply().expect("a reply by the grammar").expect("a whole reply");
                assert_eq!(read.code, reply.code);
                self.codes.push(read.code);
            }
            SessionAction::CertificateLogin { .. } => panic!("no certificate was shown"),
            SessionAction::Login { .. } => session.event(SessionEvent::Login(LoginVerdict::Right(self.rights.into()))),
            SessionAction::Listen => {
                session.event(SessionEvent::Listening(Some(SocketAddr::new(CLIENT, 50_000))));
            }
            SessionAction::Store(op) => session.event(SessionEvent::Stored(self.place.store.run(op, NOW, &|| true))),
            SessionAction::Transfer(transfer) => match self.transfer(session, transfer) {
                Ok(bytes) => session.event(SessionEvent::Ended(Ok(bytes))),
                Err(refusal) => session.event(SessionEvent::Ended(Err(TransferFailure::Refused(refusal)))),
            },
            SessionAction::StartTls
            | SessionAction::DropListener
            | SessionAction::StopTransfer
            | SessionAction::Umask(_)
            | SessionAction::Refused { .. } => {}
            SessionAction::Close => self.closed = true,
        }
    }

    fn transfer(&mut self, session: &mut FtpSession, transfer: DataTransfer) -> Result<u64, StoreRefusal> {
        let store = &self.place.store;
        let opened = |session: &mut FtpSession, name| session.event(SessionEvent::Opened { size: None, name });
        match transfer.task {
            TransferTask::Send { path, .. } => {
                let (mut file, _) = store.send(&path)?;
                opened(session, None);
                file.read_to_end(&mut self.sent).map_err(|error| StoreRefusal::Failed(error.to_string()))?;
                Ok(1)
            }
            TransferTask::List(listing) => {
                let mut lines = store.list(listing, NOW)?;
                opened(session, None);
                while lines.next_piece(&mut self.sent)? {}
                Ok(1)
            }
            TransferTask::Receive { path, mode, replace } => {
                let (mut upload, name) = FtpTree::Local(store.clone()).receive(&path, mode, replace)?;
                opened(session, name);
                upload.write(b"sent")?;
                // Every other name is one of an upload that breaks off.
                match path.last().is_some_and(|byte| byte % 2 == 0) {
                    true => upload.commit()?,
                    false => upload.broke_off(true),
                }
                Ok(4)
            }
        }
    }
}
