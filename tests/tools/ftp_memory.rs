//! Trees of any size take no more memory than small ones: each tool, in an address space that what grows with the entries
//! does not fit in.

use std::io::Write as _;
use std::path::Path;

use crate::ftp_peer::{FtpPeer, OPENING, ftp_peer};
use crate::harness::{Done, temp_dir, tool};

/// Entries of a listing, with long names: half of a kilobyte each is more than [`MOST_KIB`] leaves.
const COUNT: u32 = 40_000;
/// Address space of a tool; to begin with it takes less than 40,000.
const MOST_KIB: u64 = 50_000;

/// A server on which every directory lists so many lines, each the text and a number.
fn listing(line: &'static str) -> FtpPeer {
    ftp_peer(move |session, verb, path| {
        Some(match verb {
            "MLSD" => {
                let mut data = std::io::BufWriter::new(session.data(OPENING)?);
                (0..COUNT).try_for_each(|n| write!(data, "{line}{n:0240x}\r\n")).and_then(|()| data.flush()).ok();
                drop(data);
                "226 done\r\n".to_owned()
            }
            "MLST" => format!("250-Facts\r\n type=dir; {path}\r\n250 End\r\n"),
            "DELE" | "RMD" if path.ends_with('d') => "550 not empty\r\n".to_owned(),
            "DELE" => "250 gone\r\n".to_owned(),
            _ => return None,
        })
    })
}

fn run(server: &FtpPeer, dir: &Path, name: &str, args: &[&str]) -> Done {
    let args = args.iter().map(|arg| arg.replace("URL/", &server.url("")));
    tool(name).arg("-q").args(args).dir(dir).most_memory(MOST_KIB).run()
}

const FILES: &str = "type=file;size=2;modify=20201123050000; ";

#[test]
fn listings() {
    let count = COUNT as usize;
    for (line, name, args, status, printed) in [
        (FILES, "ftpget", &["-r", "-n", "-j1", "--delete", "-o", "D", "URL/"][..], 0, count + 1),
        (FILES, "ftpget", &["-r", "-n", "-j1", "--delete-source", "-o", "D", "URL/"], 0, 2 * count),
        (FILES, "ftpget", &["-r", "-j1", "--exclude", "*", "-o", "D", "URL/"], 0, 0),
        ("nonsense ", "ftpget", &["-r", "-n", "-j1", "-o", "D", "URL/"], 65, 0),
        (FILES, "ftpls", &["-R", "URL/"], 0, count),
        (FILES, "ftpls", &["--sort", "time", "--reverse", "URL/"], 0, count),
        (FILES, "ftpls", &["--du", "URL/"], 0, 1),
        (FILES, "ftpdo", &["URL/", "du"], 0, 1),
        (FILES, "ftpdo", &["-n", "URL/", "rm", "-r", "d"], 0, 1),
        ("nonsense ", "ftpput", &["-r", "-n", "-j1", "D", "URL/"], 65, 1),
        (FILES, "ftpput", &["-r", "-n", "-j1", "--delete", "D", "URL/"], 1, 1),
    ] {
        let (server, work) = (listing(line), temp_dir());
        std::fs::create_dir(work.path().join("D")).unwrap();
        std::fs::write(work.path().join("D/x"), "x").unwrap();
        let done = run(&server, work.path(), name, args);
        assert_eq!(done.status, status, "{name} {args:?}: {}", done.stderr);
        assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), printed, "{name} {args:?}");
        assert!(done.stderr.lines().count() < 50, "{name} {args:?}: {}", done.stderr);
    }
}

/// As many files here: sent, compared with what is there, and deleted.
#[test]
fn local_trees() {
    /// A file has no more names than this in some file systems.
    const NAMES: u32 = 50_000;
    let (work, server) = (temp_dir(), listing("type=file;size=2; "));
    std::fs::create_dir(work.path().join("D")).unwrap();
    for n in 0..COUNT / 2 {
        let (first, path) =
            (work.path().join(format!("D/{:0240x}", n / NAMES * NAMES)), work.path().join(format!("D/{n:0240x}")));
        match n % NAMES {
            0 => std::fs::write(path, "x").unwrap(),
            _ => std::fs::hard_link(first, path).unwrap(),
        }
    }
    let half = COUNT as usize / 2;
    for (name, args, status, printed) in [
        ("ftpput", &["-r", "-n", "-j1", "--always", "D", "URL/"][..], 0, half),
        ("ftpput", &["-r", "-n", "-j1", "D", "URL/"], 0, half),
        ("ftpput", &["-r", "-n", "-j1", "--delete", "--max-delete", "9", "D", "URL/"], 1, half),
        ("ftpget", &["-r", "-n", "-j1", "--delete", "-o", "D", "URL/"], 0, 2 * half),
    ] {
        let done = run(&server, work.path(), name, args);
        assert_eq!(done.status, status, "{name} {args:?}: {}", done.stderr);
        assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), printed, "{name} {args:?}");
    }
}
