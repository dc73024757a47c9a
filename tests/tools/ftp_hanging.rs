//! A file system that never answers stops the sessions that use it, and no other: FUSE, whose server never reads a request.

use crate::ailing::{address, unshared};
use crate::ftp_server::{Client, hash};
use crate::harness::{Captured, LIMIT, signal, temp_dir, wait};

/// Mounts it, and keeps its requests unread as long as the server runs.
const DEAD: &str = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 dead mail/dead";

/// More sessions than the runtime has threads hang in each operation on the tree; then strangers are served as ever.
#[test]
fn a_hanging_file_system_stops_its_own_sessions_only() {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
        return eprintln!("skipped: no root, or no FUSE");
    }
    let dir = temp_dir();
    std::fs::create_dir_all(dir.path().join("mail/dead")).unwrap();
    std::fs::write(dir.path().join("mail/file"), "alive").unwrap();
    let hash = hash("secret");
    std::fs::write(dir.path().join("users"), format!("joe:{hash}:dead/home:write\nann:{hash}::write\n")).unwrap();
    std::fs::set_permissions(dir.path().join("users"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = unshared(DEAD, "ftpserve", dir.path());
    let mut server = command.args(["--write", "--user-file", "users", "--anonymous", "--drain", "0"]).spawn().unwrap();
    let stderr = Captured::of(server.stderr.take().unwrap());
    let at = address(dir.path());
    let mut hung = Vec::new();
    for command in [
        "CWD dead/in",
        "MKD dead/new",
        "RMD dead/old",
        "DELE dead/file",
        "SIZE dead/file",
        "MDTM dead/file",
        "MLST dead/file",
        "RNFR dead/file",
        "STAT dead",
        "SITE CHMOD 600 dead/file",
        "MFMT 20200101000000 dead/file",
        "HASH dead/file",
        "RETR dead/file",
        "STOR dead/file",
        "APPE dead/file",
        "LIST dead",
        "NLST dead",
        "MLSD dead",
        "LIST dead/file",
        // The directory itself can be listed, and what lies in it cannot be looked at.
        "LIST",
        "MLSD",
    ] {
        let mut client = Client::login(at, "ann", "secret");
        let data = ["RETR", "STOR", "APPE", "LIST", "NLST", "MLSD"].iter().any(|verb| command.starts_with(verb));
        let data = data.then(|| client.data());
        client.send(&format!("{command}\r\n"));
        hung.push((command, client, data));
    }
    let mut login = Client::connect(at);
    login.ask("USER joe", 331);
    login.send("PASS secret\r\n");
    for name in ["ann", "anonymous"] {
        let mut client = Client::login(at, name, "secret");
        client.ask("PWD", 257);
        assert_eq!(client.get("RETR file").unwrap(), b"alive");
        if name == "ann" {
            assert!(client.put("new", b"new").starts_with("226"), "{stderr}");
            client.ask("MKD made", 257);
            client.ask("CWD made", 250);
            assert_eq!(client.get("NLST").unwrap(), b"");
        }
        client.ask("QUIT", 221);
    }
    let spoke: Vec<_> = hung.iter().filter(|(_, client, data)| data.is_none() && !client.is_silent()).collect();
    let spoke: Vec<_> = spoke.iter().map(|(command, ..)| command).collect();
    assert!(login.is_silent() && spoke.is_empty(), "{spoke:?} {stderr}");
    // What hangs does not keep the server from ending either.
    signal(server.id(), rustix::process::Signal::TERM);
    assert_eq!(wait(server, LIMIT).0.code(), Some(0), "{stderr}");
}
