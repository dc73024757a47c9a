//! Plays the transcripts of tests/data/ftp/server: `C:` a client line, `S:` a reply line, `A:` an action other than a
//! reply, `D:` an instruction for the driver (`hold` transfers, `end`, `fail WHY`, `secured`, `idle`, `drain`, or an
//! option of the policy). A small stub checks logins and serves the tree.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::ftp::listing::{EntryType, ListingEntry, Modified};

mod replies;

struct Player {
    session: FtpSession,
    tree: BTreeMap<Vec<u8>, Option<u64>>,
    hold: bool,
    running: bool,
    ports: u16,
    log: Vec<String>,
}

impl Player {
    fn new(policy: SessionPolicy) -> Player {
        let tree = [
            ("/", None),
            ("/docs", None),
            ("/docs/a b.txt", Some(3)),
            ("/readme.txt", Some(11)),
            ("/say \"hi\"", None),
            ("/full", Some(0)),
        ];
        let tree = tree.into_iter().map(|(path, size)| (path.as_bytes().to_vec(), size)).collect();
        Player { session: FtpSession::new(policy), tree, hold: false, running: false, ports: 50_000, log: Vec::new() }
    }

    fn pump(&mut self) {
        while let Some(action) = self.session.poll() {
            match action {
                SessionAction::Reply(reply) => {
                    let text = String::from_utf8(reply.to_bytes()).unwrap();
                    self.log.extend(text.lines().map(|line| format!("S: {line}")));
                }
                SessionAction::Login { user, password } => {
                    let rights = match (user.as_slice(), password.expose().as_slice()) {
                        (b"anonymous", _) => Some(Rights::READ_ONLY),
                        (b"drop", b"secret") => Some(Rights::DROP_BOX),
                        (b"up", b"secret") => Some(Rights::UPLOAD_ONLY),
                        (b"joe", b"secret") => Some(Rights::ALL),
                        _ => None,
                    };
                    self.session.event(SessionEvent::Login(
                        rights.map_or(LoginVerdict::Wrong, |rights| LoginVerdict::Right(rights.into())),
                    ));
                }
                SessionAction::Listen => {
                    self.log.push("A: listen".to_owned());
                    self.ports += 1;
                    let ip = if self.session.policy.peer.is_ipv4() {
                        IpAddr::from([192, 0, 2, 1])
                    } else {
                        IpAddr::V6(Ipv6Addr::LOCALHOST)
                    };
                    let address = (self.ports != 50_100).then(|| SocketAddr::new(ip, self.ports));
                    self.session.event(SessionEvent::Listening(address));
                }
                SessionAction::Store(op) => {
                    let result = self.store(op);
                    self.session.event(SessionEvent::Stored(result));
                }
                SessionAction::Transfer(transfer) => self.transfer(&transfer),
                SessionAction::StartTls => self.log.push("A: start tls".to_owned()),
                SessionAction::DropListener => self.log.push("A: drop listener".to_owned()),
                SessionAction::Umask(mask) => self.log.push(format!("A: umask {mask:03o}")),
                SessionAction::StopTransfer => {
                    self.log.push("A: stop".to_owned());
                    if std::mem::take(&mut self.running) {
                        self.session.event(SessionEvent::Ended(Err(TransferFailure::Aborted)));
                    }
                }
                SessionAction::Refused { .. } | SessionAction::CertificateLogin { .. } => {}
                SessionAction::Close => self.log.push("A: close".to_owned()),
            }
        }
    }

    fn transfer(&mut self, transfer: &DataTransfer) {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let task = match &transfer.task {
            TransferTask::Send { path, from, to: None } => format!("send {} {from}", text(path)),
            TransferTask::Send { path, from, to: Some(to) } => format!("send {} {from} {to}", text(path)),
            TransferTask::Receive { path, mode, replace } => {
                format!("receive {} {mode:?}{}", text(path), if *replace { "" } else { " new" })
            }
            TransferTask::List(listing) => {
                let pattern = listing.pattern.as_deref().map(|pattern| format!(" {}", text(pattern)));
                format!("list {}{}", text(&listing.path), pattern.unwrap_or_default())
            }
        };
        let via = match transfer.via {
            DataMode::Passive => "passive".to_owned(),
            DataMode::Active(address) => format!("to {address}"),
        };
        let marks = [(transfer.ascii, " ascii"), (transfer.protect, " tls")];
        let marks: String = marks.into_iter().filter(|(on, _)| *on).map(|(_, mark)| mark).collect();
        self.log.push(format!("A: {task} {via}{marks}"));
        let (path, name) = match &transfer.task {
            TransferTask::Send { path, .. } => (path, None),
            TransferTask::List(listing) => (&listing.path, None),
            TransferTask::Receive { mode: UploadMode::Unique, path, .. } => (path, Some(b"unique.1".to_vec())),
            TransferTask::Receive { path, .. } => (path, None),
        };
        if path.ends_with(b"/full") {
            return self.session.event(SessionEvent::Ended(Err(TransferFailure::Refused(StoreRefusal::Full))));
        }
        let found = self.tree.get(path);
        let size = match (&transfer.task, found) {
            (TransferTask::Send { .. }, Some(size)) => *size,
            (TransferTask::Send { .. } | TransferTask::List(_), None) => {
                return self.session.event(SessionEvent::Ended(Err(TransferFailure::Refused(StoreRefusal::NotFound))));
            }
            _ => None,
        };
        self.session.event(SessionEvent::Opened { size, name });
        self.running = self.hold;
        if !self.hold {
            self.session.event(SessionEvent::Ended(Ok(3)));
        }
    }

    fn store(&mut self, op: StoreOp) -> Result<StoreAnswer, StoreRefusal> {
        let get = |path: &[u8]| self.tree.get(path).copied().ok_or(StoreRefusal::NotFound);
        let entry = |path: &[u8], size: Option<u64>| {
            let mut entry =
                ListingEntry::new(path, if size.is_some() { EntryType::File } else { EntryType::Directory });
            (entry.size, entry.modified) = (size, Some(Modified::utc(1_700_000_000)));
            entry
        };
        match op {
            StoreOp::Directory(path) | StoreOp::Room(path, _) => match get(&path)? {
                None => Ok(StoreAnswer::Done),
                Some(_) => Err(StoreRefusal::NotDirectory),
            },
            StoreOp::Exists(path) | StoreOp::SetFacts { path, .. } => get(&path).map(|_| StoreAnswer::Done),
            StoreOp::Available(path) => get(&path).map(|_| StoreAnswer::Bytes(1 << 30)),
            StoreOp::Facts(path) => Ok(StoreAnswer::Entry(Box::new(entry(&path, get(&path)?)))),
            StoreOp::Delete(path) | StoreOp::RemoveDirectory(path) => {
                self.tree.remove(&path).map(|_| StoreAnswer::Done).ok_or(StoreRefusal::NotFound)
            }
            StoreOp::MakeDirectory(path) => match self.tree.insert(path, None) {
                None => Ok(StoreAnswer::Done),
                Some(_) => Err(StoreRefusal::Exists),
            },
            StoreOp::Rename(from, to, _) => {
                let size = self.tree.remove(&from).ok_or(StoreRefusal::NotFound)?;
                self.tree.insert(to, size);
                Ok(StoreAnswer::Done)
            }
            StoreOp::List(listing) => {
                get(&listing.path)?;
                Ok(StoreAnswer::Lines(vec![b"-rw-r--r-- 1 0 0 11 Nov 14  2023 readme.txt".to_vec()]))
            }
            StoreOp::Digest { of, or, .. } => {
                let meant = if get(&of.path).is_err() { or.unwrap_or(of) } else { of };
                let DigestRange { path, from, to } = meant;
                let size = get(&path)?.ok_or(StoreRefusal::NotFile)?;
                Ok(StoreAnswer::Digest(format!("d1{from:02x}"), to.unwrap_or(size)))
            }
        }
    }

    fn directive(&mut self, text: &str) {
        let end = |player: &mut Player, result| {
            player.running = false;
            player.session.event(SessionEvent::Ended(result));
        };
        match text {
            "hold" => self.hold = true,
            "end" => end(self, Ok(3)),
            "fail broken" => end(self, Err(TransferFailure::Broken)),
            "fail stalled" => end(self, Err(TransferFailure::Stalled)),
            "fail connection" => end(self, Err(TransferFailure::NoConnection)),
            "fail tls" => end(self, Err(TransferFailure::Tls)),
            "secured" => self.session.event(SessionEvent::Secured),
            "idle" => self.session.event(SessionEvent::Idle),
            "drain" => self.session.event(SessionEvent::Drain),
            other => panic!("no such directive: {other}"),
        }
    }
}

pub(super) fn policy() -> SessionPolicy {
    SessionPolicy {
        greeting: "ready".to_owned(),
        tls: false,
        tls_required: false,
        clear_passwords: true,
        tls_implicit: false,
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        pasv_address: None,
        active: true,
        umask: 0o022,
        certificates: false,
        charset: None,
    }
}

/// Plays a transcript, with the client's bytes in pieces of `size`. The client lines of one block are sent together,
/// since only the order of the replies may depend on their timing.
fn play(transcript: &str, size: usize) -> Vec<String> {
    let mut policy = policy();
    let mut lines = transcript.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).peekable();
    while let Some(option) = lines.next_if(|line| line.starts_with("D: policy ")) {
        match option.trim_start_matches("D: policy ") {
            "tls" => policy.tls = true,
            "tls required" => (policy.tls, policy.tls_required) = (true, true),
            "tls implicit" => (policy.tls, policy.tls_required, policy.tls_implicit) = (true, true, true),
            "no clear passwords" => policy.clear_passwords = false,
            "ipv6" => policy.peer = IpAddr::V6(Ipv6Addr::LOCALHOST),
            "no active" => policy.active = false,
            "pasv address" => policy.pasv_address = Some(Ipv4Addr::new(203, 0, 113, 7)),
            other => panic!("no such policy: {other}"),
        }
    }
    let mut player = Player::new(policy);
    player.pump();
    let mut waiting = Vec::new();
    while let Some(line) = lines.next() {
        match line.split_once(": ").unwrap_or_else(|| panic!("no transcript line: {line}")) {
            ("C", text) => {
                let text =
                    text.replace("\\r", "\r").replace("\\x1b", "\x1b").replace("\\0", "\0").replace("\\xff", "\u{ff}");
                // What the client writes is Latin-1 here, so that byte 255 can stand in a transcript.
                waiting.extend(text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()));
                waiting.extend_from_slice(b"\r\n");
            }
            ("D", text) => {
                player.log.push(line.to_owned());
                player.directive(text);
            }
            ("S" | "A", _) => {}
            other => panic!("no such line: {other:?}"),
        }
        if !lines.peek().is_some_and(|next| next.starts_with("C: ")) {
            for piece in waiting.chunks(size) {
                player.session.input(piece);
                player.pump();
            }
            waiting.clear();
        }
        player.pump();
    }
    player.log
}

fn transcripts() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ftp/server");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn expected(transcript: &str) -> Vec<String> {
    let kept = |line: &&str| line.starts_with("S: ") || line.starts_with("A: ") || line.starts_with("D: ");
    let log = transcript.lines().filter(kept).filter(|line| !line.starts_with("D: policy "));
    log.map(str::to_owned).collect()
}

#[test]
fn transcripts_are_played_as_written() {
    let found = transcripts();
    assert!(found.len() >= 10, "{} transcripts", found.len());
    for (name, transcript) in found {
        for size in [usize::MAX, 1, 2, 3, 7] {
            let played = play(&transcript, size);
            let expected = expected(&transcript);
            for at in 0..played.len().max(expected.len()) {
                assert_eq!(played.get(at), expected.get(at), "{name}, in pieces of {size}, line {at} of what was said");
            }
        }
    }
}

#[test]
fn any_end_of_the_connection_leaves_a_session_that_takes_no_harm() {
    for (name, transcript) in transcripts() {
        let input: Vec<u8> = transcript
            .lines()
            .filter_map(|line| line.strip_prefix("C: "))
            .flat_map(|line| format!("{line}\r\n").into_bytes())
            .collect();
        for end in 0..=input.len() {
            let mut player = Player::new(policy());
            player.session.input(&input[..end]);
            player.pump();
            player.session.event(SessionEvent::Drain);
            player.pump();
            assert!(player.log.len() < 1000, "{name}");
        }
    }
}

#[test]
fn a_client_cannot_make_us_hold_more_than_the_bounds() {
    let mut player = Player::new(policy());
    player.hold = true;
    player.session.input(b"USER joe\r\nPASS secret\r\nPASV\r\nRETR readme.txt\r\n");
    player.pump();
    let mut sent = 0;
    while player.session.wants_input() {
        player.session.input(&b"NOOP\r\n".repeat(1000));
        player.pump();
        sent += 1000;
        assert!(sent < 100_000);
    }
    assert!(player.session.queue.len() <= MAX_QUEUED);
    assert!(player.session.lines.pending().len() < 2 * MAX_READ_AHEAD);
    let before = player.log.len();
    player.directive("end");
    player.pump();
    assert_eq!(player.log.len() - before, sent + 1, "all of them are answered in the end");
}

#[test]
fn a_line_without_end_is_answered_once() {
    let mut player = Player::new(policy());
    player.pump();
    for _ in 0..100 {
        player.session.input(&[b'x'; 1000]);
        player.pump();
    }
    player.session.input(b"\r\nNOOP\r\n");
    player.pump();
    assert_eq!(player.log, ["S: 220 ready", "S: 500 Command line too long.", "S: 200 OK."]);
}

#[test]
fn events_out_of_turn_change_nothing() {
    for event in [
        SessionEvent::Secured,
        SessionEvent::Login(LoginVerdict::Right(Rights::ALL.into())),
        SessionEvent::Listening(None),
        SessionEvent::Stored(Ok(StoreAnswer::Done)),
        SessionEvent::Opened { size: None, name: None },
        SessionEvent::Ended(Ok(1)),
    ] {
        let mut player = Player::new(policy());
        player.pump();
        player.session.event(event.clone());
        player.session.input(b"PWD\r\n");
        player.pump();
        assert_eq!(player.log.last().unwrap(), "S: 530 Please log in with USER and PASS.", "{event:?}");
    }
}

#[test]
fn passwords_stay_out_of_debug_output() {
    let mut session = FtpSession::new(policy());
    session.input(b"USER joe\r\nPASS s3cret\r\n");
    let actions: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    assert!(actions.iter().any(|action| matches!(action, SessionAction::Login { .. })));
    assert!(!format!("{actions:?} {session:?}").contains("s3cret"));
}

#[test]
fn what_waits_behind_a_transfer_is_bounded_in_bytes() {
    let mut player = Player::new(policy());
    player.hold = true;
    player.session.input(b"USER joe\r\nPASS secret\r\nEPSV\r\nSTOR up\r\n");
    player.pump();
    let line = [b"MKD ", "x".repeat(4000).as_bytes(), b"\r\n"].concat();
    let mut sent = 0;
    while player.session.wants_input() {
        player.session.input(&line);
        player.pump();
        sent += 1;
        assert!(sent * line.len() < MAX_READ_AHEAD + 2 * line.len(), "it takes everything");
    }
    player.log.clear();
    player.directive("end");
    player.pump();
    assert_eq!(player.log.iter().filter(|line| line.starts_with("S: 553")).count(), sent, "each is answered");
    assert!(player.session.wants_input());
}

/// A driver that checks that the session requests only permitted actions. The login `joe` with `secret` may do everything.
struct Watcher {
    session: FtpSession,
    granted: bool,
    codes: Vec<u16>,
    /// The end of every act and transfer from here on.
    failure: Option<TransferFailure>,
    /// The number of acts on the tree.
    acts: u32,
}

impl Watcher {
    fn line(&mut self, line: &[u8]) {
        self.codes.clear();
        self.session.input(line);
        self.session.input(b"\r\n");
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(action) = self.session.poll() {
            self.answer(action);
        }
    }

    fn answer(&mut self, action: SessionAction) {
        let inside = |path: &[u8]| {
            let normal = path.starts_with(b"/") && path.split(|byte| *byte == b'/').all(|name| name != b"..");
            assert!(normal, "a path outside the root: {}", String::from_utf8_lossy(path));
        };
        match action {
            SessionAction::Reply(reply) => {
                // USER, REIN and AUTH end a login.
                self.granted &= !matches!(reply.code, 220 | 234 | 331);
                self.codes.push(reply.code);
            }
            SessionAction::Login { password, .. } => {
                self.granted = password.expose() == b"secret";
                self.session.event(SessionEvent::Login(match self.granted {
                    true => LoginVerdict::Right(Rights::ALL.into()),
                    false => LoginVerdict::Wrong,
                }));
            }
            SessionAction::StartTls => self.session.event(SessionEvent::Secured),
            SessionAction::Listen => {
                assert!(self.granted, "a listener without a login");
                let address = SocketAddr::from(([192, 0, 2, 1], 50_000));
                self.session.event(SessionEvent::Listening(Some(address)));
            }
            SessionAction::Store(op) => {
                assert!(self.granted, "without a login: {op:?}");
                match &op {
                    StoreOp::Rename(from, to, _) => [from, to].into_iter().for_each(|path| inside(path)),
                    StoreOp::List(listing) => inside(&listing.path),
                    StoreOp::Directory(path)
                    | StoreOp::Room(path, _)
                    | StoreOp::Exists(path)
                    | StoreOp::Facts(path)
                    | StoreOp::SetFacts { path, .. }
                    | StoreOp::Available(path)
                    | StoreOp::Delete(path)
                    | StoreOp::MakeDirectory(path)
                    | StoreOp::RemoveDirectory(path) => inside(path),
                    StoreOp::Digest { of, or, .. } => {
                        [Some(of), or.as_ref()].into_iter().flatten().for_each(|range| inside(&range.path))
                    }
                }
                self.acts += 1;
                let missing = op.clone() == StoreOp::Directory(b"/missing".to_vec());
                let result = match &self.failure {
                    Some(TransferFailure::Refused(refusal)) => Err(refusal.clone()),
                    _ if missing => Err(StoreRefusal::NotFound),
                    _ => Ok(fitting(&op)),
                };
                self.session.event(SessionEvent::Stored(result));
            }
            SessionAction::Transfer(transfer) => {
                assert!(self.granted, "without a login: {transfer:?}");
                match &transfer.task {
                    TransferTask::Send { path, .. } | TransferTask::Receive { path, .. } => inside(path),
                    TransferTask::List(listing) => inside(&listing.path),
                }
                self.session.event(SessionEvent::Opened { size: None, name: None });
                self.session.event(SessionEvent::Ended(self.failure.clone().map_or(Ok(1), Err)));
            }
            SessionAction::DropListener
            | SessionAction::CertificateLogin { .. }
            | SessionAction::StopTransfer
            | SessionAction::Umask(_)
            | SessionAction::Refused { .. }
            | SessionAction::Close => {}
        }
    }
}

/// The answer of a tree in which every name is a file.
fn fitting(op: &StoreOp) -> StoreAnswer {
    match op {
        StoreOp::Facts(path) => {
            let mut entry = ListingEntry::new(path.clone(), EntryType::File);
            (entry.size, entry.modified) = (Some(3), Some(Modified::utc(1_700_000_000)));
            StoreAnswer::Entry(Box::new(entry))
        }
        StoreOp::List(_) => StoreAnswer::Lines(Vec::new()),
        StoreOp::Digest { .. } => StoreAnswer::Digest("d1".to_owned(), 3),
        StoreOp::Available(_) => StoreAnswer::Bytes(1 << 30),
        _ => StoreAnswer::Done,
    }
}

/// Arbitrary bytes, or a known verb with an argument that may be significant to it.
fn lines() -> impl proptest::strategy::Strategy<Value = Vec<Vec<u8>>> {
    use proptest::prelude::*;
    let verbs = "USER PASS REIN AUTH PBSZ PROT CWD CDUP PWD TYPE REST RANG PASV EPSV PORT EPRT RETR STOR STOU APPE LIST \
                 ALLO AVBL MD5 MFF MFCT XCRC XMD5 LANG HOST CLNT NLST MLSD MLST STAT SIZE MDTM MFMT DELE MKD RMD RNFR RNTO SITE HASH OPTS ABOR NOOP";
    let arguments = [
        "",
        "joe",
        "secret",
        "../..",
        "/../x",
        "missing",
        "a/../../b",
        "A",
        "I",
        "ALL",
        "TLS",
        "0",
        "P",
        "1 5",
        "UMASK 002",
        "CHMOD 600 a",
        "UTIME 202601010000 a",
        "\"a\" 1 5",
        "modify=20260101000000; a",
        "en",
    ];
    let verbs: Vec<&str> = verbs.split_whitespace().collect();
    let known = (prop::sample::select(verbs), prop::sample::select(arguments.to_vec()))
        .prop_map(|(verb, argument)| format!("{verb} {argument}").trim_end().as_bytes().to_vec());
    let bytes = prop::collection::vec(any::<u8>().prop_filter("no line end", |byte| !b"\r\n".contains(byte)), 0..40);
    prop::collection::vec(prop_oneof![4 => known, 1 => bytes], 0..40)
}

proptest::proptest! {
    #[test]
    fn no_input_does_harm(lines in lines(), login: bool) {
        let mut watcher = Watcher::new(false);
        assert_eq!(watcher.codes, [220]);
        let login = if login { vec![b"USER joe".to_vec(), b"PASS secret".to_vec()] } else { Vec::new() };
        for line in login.into_iter().chain(lines) {
            let state = |session: &FtpSession| {
                let user = session.user().map(<[u8]>::to_vec);
                (user, session.cwd.clone(), session.ascii, session.protect, session.only_epsv)
            };
            let before = state(&watcher.session);
            watcher.line(&line);
            let (codes, shown) = (&watcher.codes, String::from_utf8_lossy(&line));
            assert!(codes.iter().all(|code| (100..600).contains(code)), "{shown:?}: {codes:?}");
            let last: Vec<u16> = codes.iter().copied().filter(|code| *code >= 200).collect();
            if watcher.session.closed {
                assert!(matches!(last.as_slice(), [221 | 421 | 530] | [_, 421]), "{shown:?}: {codes:?}");
                return Ok(());
            }
            assert_eq!(last.len(), 1, "one final reply to {shown:?}: {codes:?}");
            assert_eq!(codes.last(), last.last(), "nothing after the final reply to {shown:?}: {codes:?}");
            if last[0] >= 400 {
                assert_eq!(before, state(&watcher.session), "{shown:?} was refused: {codes:?}");
            }
        }
    }
}

impl Watcher {
    fn new(login: bool) -> Watcher {
        let session = FtpSession::new(policy());
        let mut watcher = Watcher { session, granted: false, codes: Vec::new(), failure: None, acts: 0 };
        watcher.poll();
        if login {
            ["USER joe", "PASS secret"].iter().for_each(|line| watcher.line(line.as_bytes()));
        }
        watcher
    }
}

/// Any command, repeated without end, leads to the end of the session, unless it uses the tree; then each has one
/// reply. The verbs are those that the parser knows.
#[test]
fn every_command_repeated_comes_to_an_end() {
    let words = include_str!("../command.rs").split('"').skip(1).step_by(2);
    let mut verbs: Vec<&str> =
        words.filter(|word| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())).collect();
    verbs.sort_unstable();
    verbs.dedup();
    assert!(["NOOP", "FEAT", "CWD", "RETR", "HASH", "PROT"].iter().all(|verb| verbs.contains(verb)), "{verbs:?}");
    verbs.extend(["UNKNOWN", "\u{1}"]);
    let arguments = [
        "",
        "joe",
        "secret\r\nUSER joe",
        "/a",
        "A",
        "0",
        "1 5",
        "TLS",
        "P",
        "20260101000000 a",
        "UTF8 ON",
        "192,0,2,9,200,1",
    ];
    let lines =
        verbs.iter().flat_map(|verb| arguments.map(|argument| format!("{verb} {argument}").trim_end().to_owned()));
    let lines =
        lines.chain(["USER joe\r\nPASS secret", "USER anonymous\r\nPASS x\r\nREIN", "EPSV\r\nABOR"].map(str::to_owned));
    for line in lines {
        for login in [false, true] {
            let mut watcher = Watcher::new(login);
            let (mut sent, mut work) = (0, watcher.session.work());
            while !watcher.session.closed {
                watcher.line(line.as_bytes());
                sent += 1;
                assert!(watcher.codes.len() <= 6 && watcher.session.actions.is_empty());
                let worked = watcher.session.work() - std::mem::replace(&mut work, watcher.session.work());
                if sent == 20_000 {
                    assert!(login && worked > 0, "{line:?} for ever, with a login: {login}");
                    break;
                }
            }
            assert!(login || sent <= MAX_BEFORE_LOGIN + 1, "{line:?}: {sent} without a login");
        }
    }
}

#[test]
fn a_mirror_goes_on() {
    let mut watcher = Watcher::new(true);
    for _ in 0..12_500 {
        for line in ["TYPE I", "SIZE a", "MDTM a", "EPSV", "REST 5", "RETR a", "NOOP", "CWD /missing"] {
            watcher.line(line.as_bytes());
            assert!(!watcher.session.closed, "{line}: {:?}", watcher.codes);
        }
    }
}
