//! kill -9 of smtpserve while it delivers to lists and programs: every message that it said 250 to is with every member.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;

use crate::crash::{collect, queued_subjects, submit_to};
use crate::harness::{memory_dir, rounds, server};
use crate::random::{Random, first_seed};

/// The subjects of the messages below `folder`; each is whole.
fn subjects(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
    let whole = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nEND\n"), "half a message: {}", path.display());
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    files.map(whole).collect()
}

#[test]
fn crash_in_a_list_leaves_nobody_out() {
    for seed in rounds(3, 10).map(|round| first_seed() + round as u64) {
        let mut random = Random(seed);
        let (queue, mail) = (memory_dir(), memory_dir());
        let at = |name: &str| mail.path().join(name);
        for mailbox in ["bob", "eve", "joe"] {
            std::fs::create_dir(at(mailbox)).unwrap();
        }
        let (out, program) = (at("out.d"), at("program.sh"));
        std::fs::create_dir_all(out.join("whole")).unwrap();
        // A program that is careful with its own files.
        let text = format!("#!/bin/sh\ncat > {0}/$MESSAGE_ID && mv {0}/$MESSAGE_ID {0}/whole/\n", out.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let aliases = format!("list: bob, eve, joe, away@c.test\nrun: bob, |{}\n", program.display());
        std::fs::write(at("aliases.txt"), aliases).unwrap();
        let smtpserve = server("smtpserve").args(["--domain", "bob.test", "--alias-commands", "--queue-dir"]);
        let smtpserve = smtpserve.arg(queue.path()).arg("--aliases").arg(at("aliases.txt"));
        let smtpserve = smtpserve.arg("--mailboxes").arg(mail.path()).start();
        let (promise, promised) = mpsc::channel();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, promise) = (smtpserve.addr, promise.clone());
                let size = if client == 0 { 300_000 } else { 2_000 };
                std::thread::spawn(move || {
                    let _ = submit_to(address, ["list@bob.test", "run@bob.test"], client, size, &promise);
                })
            })
            .collect();
        drop(promise);
        let mut kept: Vec<String> = promised.iter().take(random.below(12) as usize).collect();
        smtpserve.kill();
        kept.extend(promised.iter());
        clients.into_iter().for_each(|client| client.join().unwrap());
        let found = ["bob/new", "eve/new", "joe/new", "out.d/whole"].map(|folder| (folder, subjects(&at(folder))));
        let queued: Vec<String> = queued_subjects(queue.path()).into_keys().collect();
        for (folder, subjects) in found.into_iter().chain([("the queue", queued)]) {
            let once: BTreeSet<&String> = subjects.iter().collect();
            let lost: Vec<_> = kept.iter().filter(|subject| !once.contains(subject)).collect();
            assert!(lost.is_empty(), "seed {seed}: promised to {folder} and lost: {lost:?}");
            assert_eq!(once.len(), subjects.len(), "seed {seed}: twice in {folder}");
        }
        collect(queue.path());
    }
}
