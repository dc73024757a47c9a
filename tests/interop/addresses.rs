//! What only a network of one's own shows: zones of link-local addresses, and addresses whose packets arrive nowhere.

use crate::harness::{LIMIT, binary, finish, temp_dir};
use crate::peers::{Peer, Trial, Verdict, trial};

/// One row a program × feature.
pub(crate) const TRIALS: &[Trial] = &[trial("unshare", "zones, black holes and families by all tools", all_tools)];

/// The script's commands, by name: status and words; a blank at the end stands for any words.
const EXPECTED: [(&str, &str); 11] = [
    ("passive", "0 hello"),
    ("active", "0 hello"),
    ("bind", "0 hello"),
    ("server", "0"),
    ("route", "0"),
    ("answer", "0 127.0.0.1"),
    ("race", "0"),
    ("transfer", "0"),
    ("bulk", "0 ns.a.test. 127.0.0.1"),
    ("nowhere", "75 "),
    ("family", "64 "),
];

fn all_tools(unshare: &Peer) -> Verdict {
    let (work, bin) = (temp_dir(), binary("dnsq"));
    let mut command = unshare.command("unshare", work.path());
    command.args(["-rmn", "sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/addresses.sh")]);
    command.arg(bin.parent().unwrap());
    let done = finish(command, "addresses.sh".into(), None, LIMIT);
    if done.status == 99 || (done.status == 1 && done.stdout.is_empty()) {
        return Verdict::Skipped(format!("no namespaces here: {}", done.stderr));
    }
    let mut wrong = String::new();
    for line in done.text().lines() {
        let (name, said) = line.split_once(": ").unwrap_or((line, ""));
        let expected = EXPECTED.iter().find(|(known, _)| *known == name).map(|(_, expected)| *expected);
        let right = expected.is_some_and(|expected| match expected.strip_suffix(' ') {
            Some(status) => said.starts_with(status) && said != status,
            None => said == expected || (name == "race" && said == "0 hello"),
        });
        if !right {
            wrong.push_str(line);
            wrong.push('\n');
        }
    }
    assert!(wrong.is_empty(), "{wrong}{}", done.stderr);
    assert_eq!(done.text().lines().count(), 4 * 4 * 13 + 1 + 7 + 5, "{done}");
    Verdict::Ok
}
