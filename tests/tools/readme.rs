//! The FTP pipes of the README, pasted into a shell: as they stand, but for the host.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{LIMIT, binary, finish, server, temp_dir};

/// The fenced block of the README that holds `part`.
pub(crate) fn block(part: &str) -> String {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.find(|block| block.contains(part)).unwrap_or_else(|| panic!("no pipe of the README has {part:?}"))
}

/// Runs a script in `dir` with our tools in its PATH; stdout.
pub(crate) fn paste(dir: &Path, script: &str) -> String {
    let tools = binary("ftpls").parent().unwrap().to_owned();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "-c", script]).current_dir(dir).env_clear();
    crate::harness::stay_root(&mut command);
    command.env("PATH", path).env("HOME", dir).env("APPLAYER_QUEUE", dir.join("queue"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = finish(command, script.to_owned(), None, LIMIT);
    assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{done}");
    done.text().to_owned()
}

#[test]
fn serve_list_and_fetch() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("README.md"), "x".repeat(1234)).unwrap();
    let place = dir.path().join("where").display().to_string();
    // Without job control in a script, the job's number means its process all the same.
    let script = format!("set -m\n{}", block("--address-file").replace("/tmp/where", &place));
    let said = paste(dir.path(), &script);
    assert!(said.contains("README.md\n") && said.contains("1234"), "{said}");
}

#[test]
fn a_mirror_from_cron() {
    let dir = temp_dir();
    let root = dir.path().join("pub/sub");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("small"), "x").unwrap();
    let server = server("ftpserve").arg(dir.path()).start();
    let here = |block: String| block.replace("ftp.example.net", &server.addr.to_string());
    let cron = block("ftpget -q -r");
    let line = cron.lines().find(|line| line.contains("ftpget")).unwrap();
    let command: Vec<&str> = line.split_whitespace().skip(5).collect();
    let script = here(command.join(" ")).replace("/srv/mirror/", "mirror/");
    paste(dir.path(), &script);
    assert_eq!(std::fs::read(dir.path().join("mirror/sub/small")).unwrap(), b"x");
}
