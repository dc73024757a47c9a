//! FTP clients: each feature against each server, in clear text and over TLS.

use std::path::Path;

use crate::ftp_clients::{Server, same_tree};
use crate::ftp_servers::Kind;
use crate::peers::{Trial, Verdict};

/// Each of these features against every server, in clear text and over TLS.
macro_rules! every_server {
    ($($feature:literal => $check:ident),+) => {
        [
            $crate::ftp_matrix::rows!("vsftpd", "", Vsftpd, Plain, $($feature => $check),+),
            $crate::ftp_matrix::rows!("vsftpd", "TLS: ", Vsftpd, Tls, $($feature => $check),+),
            $crate::ftp_matrix::rows!("pure-ftpd", "", Pure, Plain, $($feature => $check),+),
            $crate::ftp_matrix::rows!("pure-ftpd", "TLS: ", Pure, Tls, $($feature => $check),+),
            $crate::ftp_matrix::rows!("proftpd", "", Pro, Plain, $($feature => $check),+),
            $crate::ftp_matrix::rows!("proftpd", "TLS: ", Pro, Tls, $($feature => $check),+),
            $crate::ftp_matrix::rows!("pyftpdlib", "", Python, Plain, $($feature => $check),+),
            $crate::ftp_matrix::rows!("pyftpdlib", "TLS: ", Python, Tls, $($feature => $check),+),
            $crate::ftp_matrix::rows!("inetutils-ftpd", "", Inetutils, Plain, $($feature => $check),+),
        ]
        .concat()
    };
}

/// Features of one server, reached in one way.
macro_rules! rows {
    ($peer:literal, $label:literal, $kind:ident, $how:ident, $($feature:literal => $check:ident),+) => {
        [$($crate::peers::Trial {
            peer: $peer,
            feature: concat!($label, $feature),
            run: |peer: &$crate::peers::Peer| {
                let (kind, how) = ($crate::ftp_servers::Kind::$kind, $crate::servers::How::$how);
                $crate::ftp_clients::with_server(peer, kind, how, &[], |server| {
                    let work = $crate::harness::temp_dir();
                    $check(server, work.path())
                })
            },
        }),+]
    };
}

pub(crate) use {every_server, rows};

/// One row a peer × feature.
pub(crate) fn trials() -> Vec<Trial> {
    every_server!(
        "globs in URLs" => globs,
        "choosing, sorting, sums" => choosing,
        "listing by STAT" => by_stat,
        "mirror here, twice, with rules" => mirror_here,
        "mirror here, --delete" => mirror_here_delete,
        "mirror there, twice, --delete" => mirror_there,
        "byte 255 in names" => byte_255,
        "--charset: KOI8-R, Shift_JIS" => charset,
        "continue a part of a file" => continued,
        "--delete-source, --move-source" => sources,
        "--mode" => mode,
        "chmod" => chmod,
        "touch" => touch,
        "hash" => hash,
        "a script; rmdir; raw" => script,
        "rm -r of links" => links,
        "mirror there, --delete of links" => mirror_there_links
    )
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn globs(server: &Server, dir: &Path) -> Verdict {
    let done = server.run("ftpls", dir, &["--sort=name", &server.url("sub/deeper/1?")], 0);
    assert_eq!(lines(done.text()), ["10", "11", "12", "13", "14", "15", "16", "17", "18", "19"], "{done}");
    let done = server.run("ftpls", dir, &["--sort=name", &server.url("{hello,noth*}*")], 0);
    assert_eq!(lines(done.text()), ["hello.txt", "nothing"], "{done}");
    let done = server.run("ftpls", dir, &["--sort=name", &server.url("**/[a-h]*.txt")], 0);
    assert_eq!(lines(done.text()), ["hello.txt", "sub/a b.txt"], "{done}");
    server.run("ftpls", dir, &[&server.url("*.zip")], 1);
    std::fs::create_dir(dir.join("got")).unwrap();
    server.run("ftpget", dir, &["-o", "got/", &server.url("sub/deeper/2[0-4]")], 0);
    assert_eq!(std::fs::read_dir(dir.join("got")).unwrap().count(), 5);
    assert_eq!(std::fs::read(dir.join("got/23")).unwrap(), b"file 23\n");
    Verdict::Ok
}

fn choosing(server: &Server, dir: &Path) -> Verdict {
    let done = server.run("ftpls", dir, &["-R", "--type=f", "--min-size=100", &server.url("")], 0);
    assert_eq!(lines(done.text()), ["big.bin"], "{done}");
    let done = server.run("ftpls", dir, &["-R", "--older=2021-01-01", "--type=f", &server.url("")], 0);
    assert_eq!(lines(done.text()), ["hello.txt"], "a file of 29 February 2020: {done}");
    let done = server.run("ftpls", dir, &["--sort=size", "--type=f", "--name=[!.]*", &server.url("")], 0);
    assert_eq!(lines(done.text()), ["big.bin", "hello.txt", "nothing"], "{done}");
    let sum = done_sum(server, dir, "ftpls", &["--du", "--max-depth=1", "--json", "--exclude=.*", &server.url("")]);
    assert_eq!(sum, 3_000_000 + 6 + 7 + 6 + 5 + 2 + numbered(), "all files but the hidden one");
    let sum = done_sum(server, dir, "ftpdo", &["--json", &server.url(""), "du", "sub/deeper"]);
    assert_eq!(sum, 5 + numbered());
    Verdict::Ok
}

/// The bytes of the numbered files.
fn numbered() -> u64 {
    (0..60).map(|number| format!("file {number}\n").len() as u64).sum()
}

fn done_sum(server: &Server, dir: &Path, name: &str, args: &[&str]) -> u64 {
    let done = server.run(name, dir, args, 0);
    let last = done.records().pop().unwrap_or_else(|| panic!("{done}"));
    last["size_bytes"].as_u64().unwrap_or_else(|| panic!("{done}"))
}

fn by_stat(server: &Server, dir: &Path) -> Verdict {
    let done = server.run("ftpls", dir, &["--stat", "--sort=name", "--exclude=.*", &server.url("")], 0);
    assert_eq!(lines(done.text()), ["big.bin", "empty", "hello.txt", "nothing", "sub", "with space"], "{done}");
    let done = server.run("ftpls", dir, &["--stat", "--json", &server.url("sub/")], 0);
    assert!(
        done.records_of("entry").iter().any(|entry| entry["name"] == "a b.txt" && entry["size_bytes"] == 7),
        "{done}"
    );
    server.run("ftpls", dir, &["--stat", &server.url("nowhere/")], 66);
    Verdict::Ok
}

fn mirror_here(server: &Server, dir: &Path) -> Verdict {
    let args = ["-r", "--json", "--exclude=.*", "--exclude=/big.bin", "-o", "tree", &server.url("")];
    server.run("ftpget", dir, &args, 0);
    assert!(!dir.join("tree/big.bin").exists() && !dir.join("tree/.hidden").exists());
    same_tree(&server.root.join("sub"), &dir.join("tree/sub"), &server.run("ftpls", dir, &[&server.url("")], 0));
    let done = server.run("ftpget", dir, &args, 0);
    let again: Vec<_> = done.records_of("transfer").into_iter().filter(|record| record["status"] != "same").collect();
    assert!(again.is_empty(), "the second run transfers nothing: {again:?}\n{done}");
    Verdict::Ok
}

fn mirror_here_delete(server: &Server, dir: &Path) -> Verdict {
    std::fs::create_dir_all(dir.join("tree/gone")).unwrap();
    std::fs::write(dir.join("tree/gone/x"), "x").unwrap();
    std::fs::write(dir.join("tree/extra"), "x").unwrap();
    let done = server.run("ftpget", dir, &["-r", "--delete", "-o", "tree", &server.url("sub/")], 0);
    same_tree(&server.root.join("sub"), &dir.join("tree"), &done);
    Verdict::Ok
}

fn mirror_there(server: &Server, dir: &Path) -> Verdict {
    std::fs::create_dir_all(dir.join("tree/in ner")).unwrap();
    for name in ["a", "in ner/b", "in ner/c\u{fc}"] {
        std::fs::write(dir.join("tree").join(name), name).unwrap();
    }
    let args = ["-r", "--json", "--delete", "tree", &server.url("up/")];
    let done = server.run("ftpput", dir, &args, 0);
    same_tree(&dir.join("tree"), &server.root.join("up"), &done);
    std::fs::remove_file(dir.join("tree/in ner/b")).unwrap();
    let done = server.run("ftpput", dir, &args, 0);
    same_tree(&dir.join("tree"), &server.root.join("up"), &done);
    // A server that sets no times cannot tell an older file from a newer one of the same size.
    if server.kind != Kind::Pure && server.kind != Kind::Inetutils {
        let again = done.records_of("transfer").into_iter().filter(|record| record["status"] == "done").count();
        assert_eq!(again, 0, "the second run transfers nothing: {done}");
    }
    Verdict::Ok
}

/// Where the control connection is TELNET's that byte goes out twice (RFC 959, section 3.1), else once: sent wrong, one name is
/// another one.
fn byte_255(server: &Server, dir: &Path) -> Verdict {
    use std::os::unix::ffi::OsStrExt as _;
    if server.kind == Kind::Python {
        return Verdict::NotApplicable("takes names in UTF-8 only");
    }
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("d")).unwrap();
    for (number, name) in [&b"f"[..], b"\xfff", b"\xff\xfbx", b"x\xff", b"\xff\xff", b"\xff"].iter().enumerate() {
        let name = std::ffi::OsStr::from_bytes(name);
        std::fs::write(tree.join("d").join(name), format!("{number}")).unwrap();
        std::fs::create_dir(tree.join(name)).unwrap();
        std::fs::write(tree.join(name).join("f"), format!("in {number}")).unwrap();
    }
    let done = server.run("ftpput", dir, &["-r", "tree", &server.url("up/")], 0);
    same_tree(&tree, &server.root.join("up"), &done);
    let done = server.run("ftpget", dir, &["-r", "-o", "back", &server.url("up/")], 0);
    same_tree(&tree, &dir.join("back"), &done);
    let done = server.run("ftpdo", dir, &[&server.url("up/%FF/"), "stat", "f"], 0);
    assert!(!done.stdout.is_empty(), "{done}");
    Verdict::Ok
}

/// Names that the server keeps in other charsets: byte 255 and a backslash among them.
fn charset(server: &Server, dir: &Path) -> Verdict {
    use std::os::unix::ffi::OsStrExt as _;
    if server.kind == Kind::Python {
        return Verdict::NotApplicable("takes names in UTF-8 only");
    }
    let koi8: [(&[u8], &str); 3] = [(b"\xc6\xc1\xca\xcc", "файл"), (b"\xff", "Ъ"), (b"\xc5\xdd\xa3 1", "ещё 1")];
    let japanese: [(&[u8], &str); 2] = [(b"\x95\\", "表"), (b"\x83\\\x83t\x83g", "ソフト")];
    // pure-ftpd refuses every name with a backslash, which is the second byte of half of Japanese.
    let charsets = if server.kind == Kind::Pure { 1 } else { 2 };
    for (label, names) in [("koi8-r", &koi8[..]), ("shift_jis", &japanese)].into_iter().take(charsets) {
        let (tree, back) = (dir.join(label), dir.join(format!("back-{label}")));
        for (number, (_, name)) in names.iter().enumerate() {
            std::fs::create_dir_all(tree.join(name)).unwrap();
            std::fs::write(tree.join(name).join(name), format!("{number}")).unwrap();
        }
        let (local, url) = (tree.to_string_lossy().into_owned(), server.url(&format!("{label}/")));
        server.run("ftpput", dir, &["--charset", label, "-r", &local, &url], 0);
        for (number, (wire, _)) in names.iter().enumerate() {
            let wire = std::ffi::OsStr::from_bytes(wire);
            let there = std::fs::read_to_string(server.root.join(label).join(wire).join(wire)).unwrap();
            assert_eq!(there, number.to_string(), "{label}");
        }
        let to = back.to_string_lossy().into_owned();
        let done = server.run("ftpget", dir, &["--charset", label, "-r", "--delete", "-o", &to, &url], 0);
        same_tree(&tree, &back, &done);
        let name = names[0].1;
        let done = server.run("ftpls", dir, &["--charset", label, "--name", name, &url], 0);
        assert_eq!(done.text(), format!("{name}\n"));
    }
    Verdict::Ok
}

fn continued(server: &Server, dir: &Path) -> Verdict {
    let whole = std::fs::read(server.root.join("big.bin")).unwrap();
    std::fs::write(dir.join("big.bin"), &whole[..1_000_000]).unwrap();
    let done = server.run("ftpget", dir, &["-c", "--json", "-o", "big.bin", &server.url("big.bin")], 0);
    assert!(std::fs::read(dir.join("big.bin")).unwrap() == whole, "{done}");
    assert_eq!(done.records()[0]["resumed_from_bytes"], 1_000_000, "{done}");
    Verdict::Ok
}

fn sources(server: &Server, dir: &Path) -> Verdict {
    server.run("ftpget", dir, &["--delete-source", "-o", "x", &server.url("with%20space/x")], 0);
    assert!(!server.root.join("with space/x").exists() && std::fs::read(dir.join("x")).unwrap() == b"x\n");
    server.run("ftpget", dir, &["--move-source", "empty", "-o", "y", &server.url("hello.txt")], 0);
    assert!(server.root.join("empty/hello.txt").exists() && !server.root.join("hello.txt").exists());
    Verdict::Ok
}

fn mode_of(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o7777
}

fn mode(server: &Server, dir: &Path) -> Verdict {
    if server.kind == Kind::Vsftpd {
        return Verdict::NotApplicable("anonymous users may not change modes");
    }
    std::fs::write(dir.join("x"), "x").unwrap();
    server.run("ftpput", dir, &["--mode=640", "x", &server.url("x")], 0);
    assert_eq!(mode_of(&server.root.join("x")), 0o640);
    Verdict::Ok
}

fn chmod(server: &Server, dir: &Path) -> Verdict {
    if server.kind == Kind::Vsftpd {
        server.run("ftpdo", dir, &[&server.url(""), "chmod", "600", "hello.txt"], 69);
        return Verdict::NotApplicable("anonymous users may not change modes");
    }
    server.run("ftpdo", dir, &[&server.url(""), "chmod", "600", "hello.txt", "sub/a b.txt"], 0);
    assert_eq!((mode_of(&server.root.join("hello.txt")), mode_of(&server.root.join("sub/a b.txt"))), (0o600, 0o600));
    server.run("ftpdo", dir, &[&server.url(""), "chmod", "600", "nope"], 66);
    Verdict::Ok
}

fn touch(server: &Server, dir: &Path) -> Verdict {
    let args = [&server.url(""), "touch", "-d", "2020-02-29T12:00:00Z", "nothing", "fresh"];
    if server.kind == Kind::Inetutils {
        server.run("ftpdo", dir, &args, 69);
        return Verdict::NotApplicable("it sets no times");
    }
    server.run("ftpdo", dir, &args, 0);
    for name in ["nothing", "fresh"] {
        let modified = server.root.join(name).metadata().unwrap().modified().unwrap();
        let seconds = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds, 1_582_977_600, "{name}");
    }
    Verdict::Ok
}

fn hash(server: &Server, dir: &Path) -> Verdict {
    if server.kind != Kind::Pro {
        server.run("ftpdo", dir, &[&server.url(""), "hash", "hello.txt"], 69);
        return Verdict::NotApplicable("it computes none");
    }
    // printf 'hello\n' | sha256sum, sha1sum, md5sum
    for (algorithm, sum) in [
        ("sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        ("sha1", "f572d396fae9206628714fb2ce00f72e94f2258f"),
        ("md5", "b1946ac92492d2347c6235b4d2611184"),
    ] {
        let done = server.run("ftpdo", dir, &[&server.url(""), "hash", "-a", algorithm, "hello.txt"], 0);
        assert_eq!(done.text(), format!("{sum}  hello.txt\n"), "{done}");
    }
    server.run("ftpdo", dir, &[&server.url(""), "hash", "hello.txt", "sub/a b.txt"], 0);
    server.run("ftpdo", dir, &[&server.url(""), "hash", "nope"], 66);
    Verdict::Ok
}

fn script(server: &Server, dir: &Path) -> Verdict {
    let script =
        "mkdir -p 'n e w/a'\nmv hello.txt \"n e w/h.txt\"\nstat 'n e w/h.txt'\nmkdir gone\nrmdir gone\nraw NOOP\n";
    let done = server.script(dir, &["--json"], script);
    assert_eq!((done.status, done.records().len()), (0, 6), "{done}");
    assert_eq!(std::fs::read(server.root.join("n e w/h.txt")).unwrap(), b"hello\n");
    assert!(!server.root.join("gone").exists());
    let done = server.script(dir, &[], "rmdir sub\nrm big.bin\n");
    assert!(done.status == 69 && server.root.join("big.bin").exists(), "{done}");
    let done = server.script(dir, &["-k"], "rmdir sub\nrm big.bin\n");
    assert!(done.status == 3 && !server.root.join("big.bin").exists(), "{done}");
    Verdict::Ok
}

fn links(server: &Server, dir: &Path) -> Verdict {
    std::os::unix::fs::symlink("sub", server.root.join("link")).unwrap();
    std::os::unix::fs::symlink("../sub", server.root.join("empty/inner")).unwrap();
    let done = server.run("ftpls", dir, &["--json", "--name=link", &server.url("")], 0);
    let record = &done.records()[0];
    // A server may show the link or what it leads to; a tree is not entered through it unless it hides that.
    assert!(["symlink", "directory", "other"].contains(&record["entry_type"].as_str().unwrap()), "{done}");
    if server.kind == Kind::Inetutils {
        server.run("ftpdo", dir, &[&server.url(""), "rm", "-r", "link", "empty"], 69);
        assert!(server.root.join("sub/deeper/59").exists(), "what the links led to is still there");
        return Verdict::NotApplicable("it cannot remove links to directories");
    }
    server.run("ftpdo", dir, &[&server.url(""), "rm", "-r", "link", "empty"], 0);
    assert!(!server.root.join("link").is_symlink() && !server.root.join("empty").exists());
    assert!(server.root.join("sub/deeper/59").exists(), "what the links led to is still there");
    Verdict::Ok
}

fn mirror_there_links(server: &Server, dir: &Path) -> Verdict {
    server.run("ftpdo", dir, &[&server.url(""), "mkdir", "up"], 0);
    std::os::unix::fs::symlink("../sub", server.root.join("up/link")).unwrap();
    std::fs::create_dir(dir.join("tree")).unwrap();
    std::fs::write(dir.join("tree/x"), "x").unwrap();
    let done = server.any("ftpput", dir, &["-r", "--delete", "tree", &server.url("up/")]);
    assert!(server.root.join("sub/deeper/59").exists(), "what the link led to is still there: {done}");
    if server.kind == Kind::Inetutils {
        return Verdict::NotApplicable("it cannot remove links to directories");
    }
    assert_eq!(done.status, 0, "{done}");
    assert!(!server.root.join("up/link").is_symlink(), "{done}");
    Verdict::Ok
}
