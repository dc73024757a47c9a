//! Arguments that are not UTF-8: taken where they name files, and told apart from all others where they must be text.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use applayer::tool::ALL;
use clap::builder::ValueParser;

use crate::harness::{server, temp_dir, tool};

fn odd(text: &str) -> OsString {
    OsString::from_vec(text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect())
}

/// Every argument of every tool.
#[test]
fn an_argument_that_must_be_text_is_named() {
    let files = [ValueParser::path_buf(), ValueParser::os_string()].map(|parser| parser.type_id());
    let mut tried = 0;
    for (name, command) in ALL {
        let mut command = command();
        command.build();
        for arg in command.get_arguments() {
            let taken = files.contains(&arg.get_value_parser().type_id());
            if taken || !arg.get_action().takes_values() || arg.is_last_set() {
                continue;
            }
            let given = match (arg.get_long(), arg.get_short()) {
                (Some(long), _) => odd(&format!("--{long}=x?")),
                (None, Some(short)) => odd(&format!("-{short}x?")),
                // What stands before it is a word of some kind.
                (None, None) if arg.get_index().is_none_or(|index| index == 1) => odd("x?"),
                (None, None) => continue,
            };
            let done = tool(name).arg(&given).run();
            // clap names the argument itself where only some words fit.
            let words = arg.get_value_parser().possible_values().is_some();
            done.exits(64).says(if words { "possible values" } else { "not UTF-8: x\\xff" });
            assert!(done.stderr.contains(&arg.to_string()), "{arg} is not named\n{done}");
            tried += 1;
        }
        tool(name).arg(odd("--no-such-?")).run().exits(64).says("--no-such-");
    }
    assert!(tried > 200, "{tried} arguments were tried");
    // The one that is wrong, not the one that may be so.
    let done = tool("smtpsend").args([odd("--accounts=a?"), odd("--from"), odd("b?")]).run();
    done.exits(64).says("--from").says("b\\xff");
    tool("ftpls").args([odd("ftp://u:secret?@127.0.0.1:1/"), odd("--include=?")]).run().exits(64).says("--include");
}

#[test]
fn names_of_files_are_bytes() {
    let (tree, dir) = (temp_dir(), temp_dir());
    let ftp = server("ftpserve").arg("--write").arg(tree.path()).start();
    let url = |name: &str| odd(&format!("ftp://{}/{name}", ftp.addr));
    let run = |name: &str, args: &[OsString]| tool(name).args(args).dir(dir.path()).run();
    std::fs::write(dir.path().join(odd("l?")), "text").unwrap();
    run("ftpput", &[odd("l?"), url("a?")]).silent_success();
    run("ftpput", &[odd("l?"), url("")]).silent_success();
    assert_eq!(std::fs::read(tree.path().join(odd("a?"))).unwrap(), b"text");
    let listed = run("ftpls", &[url("")]);
    assert!(listed.stdout.starts_with(b"a\xff\n") || listed.stdout.ends_with(b"\na\xff\n"), "{listed}");
    assert_eq!(run("ftpls", &[url("a?")]).silent_success().stdout, b"a\xff\n");
    run("ftpget", &[url("a?"), "-o".into(), odd("here?")]).silent_success();
    run("ftpget", &["--base".into(), url(""), "-i".into(), odd("names?")]).exits(66).says("names");
    std::fs::write(dir.path().join(odd("names?")), [url("a?").as_bytes(), b"\n"].concat()).unwrap();
    run("ftpget", &["-i".into(), odd("names?"), odd("--report=r?")]).silent_success();
    assert!(dir.path().join(odd("a?")).exists() && dir.path().join(odd("r?")).exists());
    run("ftpdo", &[url(""), "rm".into(), odd("a?")]).silent_success();
    assert!(!tree.path().join(odd("a?")).exists());
    std::fs::write(dir.path().join(odd("pw?")), "x\n").unwrap();
    std::fs::set_permissions(dir.path().join(odd("pw?")), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    run("ftpls", &["--user".into(), "anonymous".into(), odd("--password-file=pw?"), url("")]).silent_success();
    std::fs::write(dir.path().join(odd("q?")), "www.example.test\n").unwrap();
    let dns = crate::dns::example();
    run("dnsq", &[format!("@{}", dns.addr).into(), odd("-fq?"), odd("-oout?")]).silent_success();
    assert!(std::fs::metadata(dir.path().join(odd("out?"))).unwrap().len() > 0);
}
