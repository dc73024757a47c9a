use super::*;
use crate::net::privilege;
use crate::net::sys::in_child;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

/// A numeric ID that no user of the system has.
const SERVER: u32 = 54321;
const BOB: u32 = 54331;
const EVE: u32 = 54332;

fn temporary() -> TemporaryFile {
    TemporaryFile { name: "1.M2P3".to_owned(), identity: FileIdentity { device: 1, inode: u64::MAX } }
}

fn requests() -> Vec<MailboxRequest> {
    let acts = [
        MailboxAct::Find,
        MailboxAct::Make,
        MailboxAct::Room,
        MailboxAct::Create,
        MailboxAct::Commit(temporary()),
        MailboxAct::Discard(temporary()),
        MailboxAct::HasRoom(MailboxLimit { bytes: 1, messages: 2 }, u64::MAX),
    ];
    let request =
        |act: &MailboxAct, place, name: &str| MailboxRequest { place, name: name.to_owned(), act: act.clone() };
    acts.iter()
        .flat_map(|act| {
            [request(act, 0, "bob"), request(act, 1, "j\u{f6}rg"), request(act, u16::MAX, &"x".repeat(255))]
        })
        .collect()
}

#[test]
fn requests_are_read_as_they_were_written_and_no_others() {
    for request in requests() {
        let bytes = request.compose();
        assert_eq!(MailboxRequest::parse(&bytes).as_ref(), Some(&request));
        let name = request.name.len() + 4;
        for cut in (0..bytes.len()).filter(|cut| *cut != name) {
            // What is left of the file's name is a name as well.
            let shorter = MailboxRequest::parse(&bytes[..cut]);
            assert!(shorter.is_none() || cut > name + 16, "{request:?} cut at {cut}");
        }
        assert!(MailboxRequest::parse(&[&bytes[..], b"/"].concat()).is_none());
        for number in (0..=u8::MAX).filter(|number| !(1..=7).contains(number)) {
            assert!(MailboxRequest::parse(&[&[number], &bytes[1..]].concat()).is_none());
        }
    }
    for name in ["", ".", "..", "../bob", "bob/new", "/", ".hidden", "a\0b", "a\nb"] {
        for request in requests() {
            assert!(MailboxRequest::parse(&MailboxRequest { name: name.to_owned(), ..request }.compose()).is_none());
        }
        for act in [MailboxAct::Commit, MailboxAct::Discard] {
            let act = act(TemporaryFile { name: name.to_owned(), ..temporary() });
            let request = MailboxRequest { place: 0, name: "bob".to_owned(), act };
            assert!(MailboxRequest::parse(&request.compose()).is_none(), "{name:?}");
        }
    }
}

struct Site {
    home: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { home: tempfile::tempdir().unwrap() };
        std::fs::set_permissions(site.home.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for (name, owner, mode) in [
            ("mail", 0, 0o755),
            ("mail/bob", BOB, 0o700),
            ("mail/bob/new", BOB, 0o700),
            ("mail/bob/cur", BOB, 0o700),
            ("mail/bob/tmp", BOB, 0o700),
            ("mail/eve", EVE, 0o700),
            ("mail/roots", 0, 0o755),
            ("mail/open.test", 0, 0o777),
            ("mail/open.test/bob", BOB, 0o700),
            ("mail/theirs.test", EVE, 0o755),
            ("mail/theirs.test/bob", BOB, 0o700),
            ("outside", BOB, 0o700),
            ("outside/tmp", BOB, 0o700),
            ("outside/new", BOB, 0o700),
        ] {
            std::fs::create_dir(site.at(name)).unwrap();
            std::fs::set_permissions(site.at(name), PermissionsExt::from_mode(mode)).unwrap();
            chown(site.at(name), Some(owner), Some(owner)).unwrap();
        }
        for name in ["mail/file", "mail/bob/kept", "outside/tmp/1.M2P3"] {
            std::fs::write(site.at(name), "kept").unwrap();
            chown(site.at(name), Some(BOB), Some(BOB)).unwrap();
        }
        symlink("bob", site.at("mail/link")).unwrap();
        symlink("../outside", site.at("mail/linked.test")).unwrap();
        symlink("nowhere", site.at("mail/dangling")).unwrap();
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// All files outside the mailboxes of bob and eve, with owners and modes.
    fn around(&self) -> Vec<String> {
        let (mut open, mut found) = (vec![self.home.path().to_owned()], Vec::new());
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let is = path.symlink_metadata().unwrap();
                found.push(format!("{} {}:{} {:o}", path.display(), is.uid(), is.gid(), is.mode()));
                let own = [self.at("mail/bob"), self.at("mail/eve")].contains(&path);
                open.extend((is.is_dir() && !own).then_some(path));
            }
        }
        found.sort();
        found
    }

    fn table(&self, root_too: bool) -> MailboxTable {
        let domains = ["open.test", "theirs.test", "linked.test", "gone.test"];
        MailboxTable {
            places: std::iter::once("mail".to_owned())
                .chain(domains.map(|domain| format!("mail/{domain}")))
                .map(|place| self.at(&place))
                .collect(),
            server: UnixIdentity::parse(&format!("{SERVER}:{SERVER}")).unwrap(),
            may_make: |name, create| create && name.starts_with("new"),
            create: true,
            root_too,
        }
    }
}

/// A compromised server may send any request: it reaches only the mailboxes of the table, each as its owner, and the
/// helper continues.
#[test]
fn a_hostile_server_gets_what_the_table_says_and_no_more() {
    if !privilege::is_root() {
        return eprintln!("skipped: not root");
    }
    let site = Site::new();
    let before = site.around();
    let sandbox = || {
        let mut sandbox = Sandbox::default();
        sandbox.write(site.at("mail"));
        sandbox
    };
    let said = in_child(|| {
        let owners = OwnersMailboxes::start(site.table(false), Some(sandbox())).unwrap();
        let mut wrong = String::new();
        let ask = |place, name: &str, act| owners.ask(place, name, act).map(drop).map_err(|fault| fault.kind);
        let table = [
            (0, "bob", Ok(())),
            (0, "eve", Ok(())),
            (0, "link", Err(Kind::Config)),
            (0, "dangling", Err(Kind::Config)),
            (0, "roots", Err(Kind::Config)),
            (0, "nobody", Err(Kind::NoInput)),
            (0, "../outside", Err(Kind::Protocol)),
            (0, "bob/new", Err(Kind::Protocol)),
            (0, "..", Err(Kind::Protocol)),
            (0, "b\0b", Err(Kind::Protocol)),
            (1, "bob", Err(Kind::Config)),
            (2, "bob", Err(Kind::Config)),
            (3, "bob", Err(Kind::Config)),
            (4, "bob", Err(Kind::NoInput)),
            (5, "bob", Err(Kind::Protocol)),
            (u16::MAX, "bob", Err(Kind::Protocol)),
        ];
        for (place, name, expected) in table {
            for act in [MailboxAct::Find, MailboxAct::Room, MailboxAct::Discard(temporary())] {
                let got = ask(place, name, act.clone());
                if got != expected {
                    wrong += &format!("{place} {name} {act:?}: {got:?}\n");
                }
            }
        }
        for (name, expected) in [
            ("root", Kind::Protocol),
            ("other", Kind::Protocol),
            ("newroot/x", Kind::Protocol),
            (".new", Kind::Protocol),
        ] {
            if ask(0, name, MailboxAct::Make) != Err(expected) {
                wrong += &format!("made {name}\n");
            }
        }
        // Every byte of every request changed, cut off and added to.
        for request in requests().into_iter().filter(|request| request.act != MailboxAct::Make) {
            let bytes = request.compose();
            for at in (0..bytes.len()).step_by(1 + bytes.len() / 24) {
                for changed in [0x00, 0x01, 0x2e, 0x2f, 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= changed;
                    drop(owners.helper.ask(&bytes));
                }
                drop(owners.helper.ask(&[&bytes[..at], &[0]].concat()));
            }
        }
        for size in [1, 300, 8192, 8193, 20_000] {
            if owners.helper.ask(&vec![b'/'; size]).is_ok() {
                wrong += &format!("{size} bytes\n");
            }
        }
        match owners.find(0, "bob") {
            Ok(true) if !owners.helper.has_ended() => wrong,
            end => wrong + &format!("in the end: {end:?}"),
        }
    });
    assert_eq!(said, "");
    assert_eq!(site.around(), before);
    assert_eq!(std::fs::read_to_string(site.at("mail/bob/kept")).unwrap(), "kept");
    for name in ["new", "cur"] {
        assert_eq!(std::fs::read_dir(site.at("mail/bob").join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_delivery_is_its_owners_from_the_first_byte() {
    if !privilege::is_root() {
        return eprintln!("skipped: not root");
    }
    let site = Site::new();
    let said = in_child(|| {
        let owners = Arc::new(OwnersMailboxes::start(site.table(true), None).unwrap());
        owners.make(0, "newest").unwrap();
        owners.make(0, "newest").unwrap();
        for (name, uid) in [("bob", BOB), ("eve", EVE), ("newest", SERVER), ("roots", 0)] {
            drop(owners.stage(0, name, b"", &mut &b"dropped"[..]).unwrap());
            let staged = owners.stage(0, name, b"head\r\n", &mut &b"body\r\n"[..]).unwrap();
            let Delivered { path, size_bytes } = staged.commit().unwrap();
            assert_eq!((std::fs::read(&path).unwrap().as_slice(), size_bytes), (&b"head\nbody\n"[..], 10));
            let mailbox = site.at("mail").join(name);
            for (path, mode) in [(path.as_path(), 0o600), (&mailbox, 0o700), (&mailbox.join("cur"), 0o700)] {
                let found = path.metadata().unwrap();
                assert!((found.uid(), found.gid()) == (uid, uid), "{}", path.display());
                assert!(name == "roots" || found.mode() & 0o777 == mode, "{} {:o}", path.display(), found.mode());
            }
            let count = |name: &str| std::fs::read_dir(mailbox.join(name)).unwrap().count();
            assert_eq!((count("tmp"), count("new"), path.parent() == Some(&mailbox.join("new"))), (0, 1, true));
            assert!(owners.room(0, name).unwrap().metadata().unwrap().uid() == uid);
        }
        let hidden = std::fs::read_dir(site.at("mail"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().as_bytes().starts_with(b"."));
        assert_eq!(hidden.count(), 0);
        String::new()
    });
    assert_eq!(said, "");
}
