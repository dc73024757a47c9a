//! Entry points of `ftp` that read a stranger's bytes: one line each, `(name, function)`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use applayer::ftp::address;
use applayer::ftp::charset::WireCharset;
use applayer::ftp::command::{FtpCommand, MAX_COMMAND_LINE};
use applayer::ftp::glob::Glob;
use applayer::ftp::listing::{Dialect, FactSet, Lister, ListingLine, format_mlsd};
use applayer::ftp::path::{FtpUrl, RemotePath, check_name};
use applayer::ftp::reply::FtpReplyReader;
use applayer::ftp::session::{FtpSession, Rights, SessionAction, SessionEvent, SessionPolicy, StoreRefusal};
use applayer::ftp::store::{WorkerAnswer, WorkerRequest};
use applayer::ftp::telnet;
use applayer::net::login::LoginVerdict;

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("ftp_command", ftp_command),
    ("ftp_session", ftp_session),
    ("ftp_reply", ftp_reply),
    ("ftp_listing", ftp_listing),
    ("ftp_listing_mlsd", ftp_listing_mlsd),
    ("ftp_listing_unix", ftp_listing_unix),
    ("ftp_listing_dos", ftp_listing_dos),
    ("ftp_listing_eplf", ftp_listing_eplf),
    ("ftp_listing_vms", ftp_listing_vms),
    ("ftp_listing_mvs", ftp_listing_mvs),
    ("ftp_listing_as400", ftp_listing_as400),
    ("ftp_listing_os2", ftp_listing_os2),
    ("ftp_address", ftp_address),
    ("ftp_url", ftp_url),
    ("ftp_glob", ftp_glob),
    ("ftp_path", ftp_path),
    ("ftp_charset", ftp_charset),
    ("ftp_worker", ftp_worker),
];

/// What a session and its worker read from each other is what the other would write.
fn ftp_worker(data: &[u8]) {
    if let Some(request) = WorkerRequest::parse(data) {
        assert!(request.compose().is_none_or(|bytes| WorkerRequest::parse(&bytes) == Some(request)));
    }
    if let Some(answer) = WorkerAnswer::parse(data) {
        assert!(answer.compose().is_none_or(|bytes| WorkerAnswer::parse(&bytes) == Some(answer)));
    }
}

/// However the bytes arrive, the same replies come out.
fn ftp_reply(data: &[u8]) {
    let read = |piece: usize| {
        let (mut reader, mut replies) = (FtpReplyReader::new(), Vec::new());
        for piece in data.chunks(piece.max(1)) {
            reader.push(piece);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(_) => return replies,
                }
            }
        }
        replies
    };
    assert_eq!(read(data.len()), read(1));
}

/// Any line is an entry, nothing or unknown; an entry has a name, and an MLSD line of it is read as the same name.
fn read_listing(mut lister: Lister, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let ListingLine::Entry(entry) = lister.line(line) {
            assert!(!entry.name.is_empty());
            if entry.name.contains(&b'\r') || matches!(entry.name.as_slice(), b"." | b"..") {
                continue;
            }
            match Lister::mlsd().line(&format_mlsd(&entry, FactSet::default())) {
                ListingLine::Entry(again) => assert_eq!(again.name, entry.name),
                other => panic!("{entry:?} became {other:?}"),
            }
        }
    }
    lister.finish();
}

/// 2026-11-23T05:52:22Z.
const NOW: i64 = 1_795_413_142;

fn ftp_listing(data: &[u8]) {
    read_listing(Lister::list(NOW), data);
    read_listing(Lister::saved(data.split(|byte| *byte == b'\n').next().unwrap_or_default(), NOW), data);
}

fn ftp_listing_mlsd(data: &[u8]) {
    read_listing(Lister::mlsd(), data);
}

fn ftp_listing_unix(data: &[u8]) {
    read_listing(Lister::of(Dialect::Unix, NOW), data);
}

fn ftp_listing_dos(data: &[u8]) {
    read_listing(Lister::of(Dialect::Dos, NOW), data);
}

fn ftp_listing_eplf(data: &[u8]) {
    read_listing(Lister::of(Dialect::Eplf, NOW), data);
}

fn ftp_listing_vms(data: &[u8]) {
    read_listing(Lister::of(Dialect::Vms, NOW), data);
}

fn ftp_listing_mvs(data: &[u8]) {
    read_listing(Lister::of(Dialect::MvsDatasets, NOW), data);
    read_listing(Lister::of(Dialect::MvsMembers, NOW), data);
}

fn ftp_listing_as400(data: &[u8]) {
    read_listing(Lister::of(Dialect::As400, NOW), data);
}

fn ftp_listing_os2(data: &[u8]) {
    read_listing(Lister::of(Dialect::Os2, NOW), data);
}

/// What parses comes back from its own wire form.
fn ftp_address(data: &[u8]) {
    if let Some(found) = address::parse_pasv(data) {
        assert_eq!(address::parse_pasv(address::format_pasv(found).as_bytes()), Some(found));
    }
    if let Some(found) = address::parse_epsv(data) {
        assert_eq!(address::parse_epsv(address::format_epsv(found).as_bytes()), Some(found));
    }
    if let Ok(found) = address::parse_eprt(data) {
        assert_eq!(address::parse_eprt(address::format_eprt(found).as_bytes()), Ok(found));
    }
}

/// A URL comes back from what it shows, without its password, and holds nothing that would be a second command.
fn ftp_url(data: &[u8]) {
    if let Ok(url) = FtpUrl::parse(&String::from_utf8_lossy(data)) {
        assert!(!url.path.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        let again = FtpUrl::parse(&url.to_string()).expect("what is shown is a URL");
        assert_eq!(again.path, url.path);
    }
}

/// The first line is a glob, the others are names: what a walk of one step finds, the glob matches; a name that is escaped
/// matches itself.
fn ftp_glob(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(glob) = Glob::from_bytes(lines.next().unwrap_or_default()) else { return };
    for name in lines.filter(|name| !name.is_empty() && !name.contains(&b'/')) {
        let (found, _) = glob.step(&glob.walk(), name);
        assert!(!found || glob.matches(name));
        if let Ok(itself) = Glob::from_bytes(&Glob::escape(name)) {
            assert!(itself.matches(name));
        }
    }
}

/// A path has one form, is its parent and its name, and no listed name leads out of its directory.
fn ftp_path(data: &[u8]) {
    let path = RemotePath::new(data);
    assert_eq!(RemotePath::new(path.as_bytes()), path);
    if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
        assert_eq!(parent.join(name), path);
    }
    if check_name(data).is_ok() {
        let below = RemotePath::new(b"/srv/root").join(data);
        assert_eq!(below.parent(), Some(RemotePath::new(b"/srv/root")));
        assert_eq!(RemotePath::new(below.as_bytes()), below);
    }
}

/// A name that makes sense in a charset is sent as the bytes that it came as, and keeps its slashes.
fn ftp_charset(data: &[u8]) {
    const LABELS: [&str; 8] =
        ["utf-8", "koi8-r", "shift_jis", "gb18030", "big5", "euc-jp", "windows-1252", "x-user-defined"];
    let Some((which, name)) = data.split_first() else { return };
    let charset = WireCharset::named(LABELS[usize::from(*which) % LABELS.len()]).expect("a charset");
    if let Some(text) = charset.decode(name) {
        assert_eq!(charset.encode(&text).as_deref(), Some(name));
        let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
        assert_eq!(slashes(&text), slashes(name));
    }
    // A server's listing has no more lines than before, and each is read as what it was.
    let mut lines = name.to_vec();
    let missing = charset.encode_lines(&mut lines);
    let ends = |bytes: &[u8]| bytes.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(ends(&lines) + missing, ends(name));
    assert!(lines.split_inclusive(|byte| *byte == b'\n').all(|line| charset.decode(line).is_some()));
    if let Ok(command) = FtpCommand::parse_in(Some(charset), name) {
        assert!(std::str::from_utf8(&command.encode().expect("what was parsed can be sent")).is_ok());
    }
}

/// What parses can be sent, and parses to the same again.
fn ftp_command(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(command) = FtpCommand::parse(line) {
            let wire = command.encode().expect("what was parsed can be sent");
            let line = wire.strip_suffix(b"\r\n").expect("a whole line");
            assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "one command stays one");
            // As it goes over a connection that speaks TELNET.
            let line = telnet::doubled(line);
            assert!(line.len() > MAX_COMMAND_LINE || FtpCommand::parse(&line) == Ok(command));
        }
    }
}

/// However the bytes arrive, the server's session says the same, and never connects to anybody but its client.
fn ftp_session(data: &[u8]) {
    let whole = talk(data, data.len().max(1));
    assert_eq!(whole, talk(data, 1));
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

fn talk(data: &[u8], piece: usize) -> Vec<u8> {
    let mut session = FtpSession::new(SessionPolicy {
        greeting: "ready".to_owned(),
        tls: true,
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
    let mut said = Vec::new();
    for piece in data.chunks(piece) {
        session.input(piece);
        while let Some(action) = session.poll() {
            answer(&mut session, action, &mut said);
        }
    }
    said
}

fn answer(session: &mut FtpSession, action: SessionAction, said: &mut Vec<u8>) {
    match action {
        SessionAction::Reply(reply) => {
            let bytes = reply.to_bytes();
            assert!(bytes.ends_with(b"\r\n"), "a whole line");
            said.extend_from_slice(&bytes);
        }
        SessionAction::Login { .. } => session.event(SessionEvent::Login(LoginVerdict::Right(Rights::ALL.into()))),
        SessionAction::Listen => session.event(SessionEvent::Listening(Some(SocketAddr::new(CLIENT, 50_000)))),
        SessionAction::Store(_) => session.event(SessionEvent::Stored(Err(StoreRefusal::NotFound))),
        SessionAction::Transfer(transfer) => {
            if let applayer::ftp::session::DataMode::Active(target) = transfer.via {
                assert!(target.ip() == CLIENT && target.port() >= 1024, "a bounce");
            }
            session.event(SessionEvent::Opened { size: None, name: None });
            session.event(SessionEvent::Ended(Ok(1)));
        }
        // TLS never begins here: what was sent ahead is dropped, so how it is cut would matter.
        SessionAction::StartTls
        | SessionAction::CertificateLogin { .. }
        | SessionAction::DropListener
        | SessionAction::StopTransfer
        | SessionAction::Umask(_)
        | SessionAction::Refused { .. }
        | SessionAction::Close => {}
    }
}
