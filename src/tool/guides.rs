//! The short help of each tool: the options that matter most, and three examples.

use crate::cli::help::HelpGuide;

const fn guide(options: &'static str, examples: &'static [(&'static str, &'static str)]) -> HelpGuide {
    HelpGuide { options, examples, needs_arguments: true }
}

pub(super) const FTPGET: HelpGuide = guide(
    "target recursive adopt input newer exclude delete user retry dry_run",
    &[
        ("Fetch a file into the working directory", "ftpget ftp://ftp.example.org/pub/README"),
        ("Mirror a tree, with TLS; try again three times", "ftpget -r --retry 3 -o pub ftpes://ftp.example.org/pub/"),
        ("Unpack without a file in between", "ftpget -o - ftp://ftp.example.org/pub/a.tar.gz | tar xz"),
    ],
);

pub(super) const FTPPUT: HelpGuide = guide(
    "recursive in_place replace append no_clobber exclude delete user retry dry_run",
    &[
        ("Store a file; its name stays", "ftpput report.pdf ftpes://robot@ftp.example.org/inbox/"),
        ("Store the output of a command", "pg_dump shop | ftpput - ftpes://robot@ftp.example.org/shop.sql"),
        ("Make the server's tree equal to ours", "ftpput -r --delete site ftp://www@www.example.org/htdocs/"),
    ],
);

pub(super) const FTPLS: HelpGuide = guide(
    "long recursive sort reverse name types min_size newer older du user json",
    &[
        ("List a directory with sizes and times", "ftpls -l ftp://ftp.example.org/pub/"),
        ("Find the ISO images of this week", "ftpls -R --newer 7d --name '*.iso' ftp://ftp.example.org/pub/"),
        ("Read the size of a file in a script", "ftpls --json ftp://ftp.example.org/a.gz | jq .size_bytes"),
    ],
);

pub(super) const FTPDO: HelpGuide = guide(
    "parents recursive force long to older dry_run keep_going user json",
    &[
        ("Make a directory with its parents", "ftpdo ftpes://robot@ftp.example.org/inbox mkdir -p 2026/11"),
        ("Remove old files; -n only prints them", "ftpdo ftp://ftp.example.org/log rm -n --older 30d '*.gz'"),
        ("Run several commands in one session", "ftpdo ftpes://robot@ftp.example.org/ < commands.txt"),
    ],
);

pub(super) const FTPSERVE: HelpGuide = guide(
    "listen write upload_only drop_box anonymous user_file hash_password cert self_signed tls",
    &[
        ("Serve a directory on loopback, read-only", "ftpserve ."),
        ("Let users in, inside TLS only", "ftpserve --listen [::]:21 --user-file users --tls starttls --cert a.pem ."),
        ("Take files for a script", "ftpserve --json --drop-box inbox | jq 'select(.type==\"arrived\").file'"),
    ],
);

pub(super) const DNSQ: HelpGuide = guide(
    "types reverse short format json tcp trace validate compare file",
    &[
        ("Query two types of one name", "dnsq example.org MX TXT"),
        ("Query a server by DNS over TLS; print data alone", "dnsq @tls://192.0.2.53 --short example.org SOA"),
        ("Query the names in a file, many at a time", "dnsq -f names.txt @192.0.2.53 --json A AAAA"),
    ],
);

pub(super) const DNSSERVE: HelpGuide = guide(
    "listen zone forward allow_transfer key_file check strict no_include json log",
    &[
        ("Serve a zone on a port of your own", "dnsserve --listen 127.0.0.1:5353 example.zone"),
        ("Check a zone file before it is served", "dnsserve --check --strict example.zone"),
        ("Serve a zone and forward other names", "dnsserve --forward 192.0.2.53 example.zone"),
    ],
);

pub(super) const SMTPSEND: HelpGuide = guide(
    "from to subject body attach server account mx queue header_recipients dry_run",
    &[
        ("Send a text through a server", "df -h | smtpsend --server smtp://localhost --to root@example.org -s Disks"),
        ("Send a file by the default account", "smtpsend --to ops@example.org -s Report --body a.txt --attach a.csv"),
        ("Queue a complete message for mailq-run", "smtpsend -t --queue < message.eml"),
    ],
);

pub(super) const SMTPSERVE: HelpGuide = guide(
    "listen domain mailboxes aliases relay_from submission user_file hash_password cert queue_dir capture",
    &[
        ("Receive mail of a domain into Maildirs", "smtpserve --listen [::]:25 --domain bob.test --mailboxes mail"),
        ("Print the first message that a program under test sends", "smtpserve --capture - --expect 1"),
        ("Count the refusals", "smtpserve --json --domain bob.test --mailboxes mail | grep -c refused"),
    ],
);

pub(super) const MAILQ_LS: HelpGuide = HelpGuide {
    needs_arguments: false,
    ..guide(
        "count summary sender recipient domain state older_than queue_dir postfix json",
        &[
            ("List the mail for a domain", "mailq-ls --domain bob.test"),
            ("Count messages, recipients and bytes", "mailq-ls -c"),
            ("Hold the mail of a sender", "mailq-ls --sender news@alice.test | mailq-edit hold -"),
        ],
    )
};

pub(super) const MAILQ_RUN: HelpGuide = HelpGuide {
    needs_arguments: false,
    ..guide(
        "watch flush dry_run domain route smarthost account expire concurrency queue_dir",
        &[
            ("Deliver once, from cron", "mailq-run -q"),
            ("Stay, and deliver through the server of an account", "mailq-run --watch --account work"),
            ("Print the next server of each destination", "mailq-run -n --domain bob.test"),
        ],
    )
};

pub(super) const MAILQ_EDIT: HelpGuide = guide(
    "sender recipient domain state older_than to header message dry_run queue_dir",
    &[
        ("Hold a message", "mailq-edit hold 03vhn8q2k1d40"),
        (
            "Send the mail for a domain by another server",
            "mailq-edit reroute --domain bob.test --to smtp://mx.bob.test",
        ),
        ("Print a message", "mailq-edit show --message 03vhn8q2k1d40"),
    ],
);

pub(super) const MAILREAD: HelpGuide = guide(
    "mailbox unread from to subject raw output_dir part add remove dry_run",
    &[
        ("List unread messages", "mailread list --unread"),
        ("Save the attachments of the last message", "mailread extract last -o attachments"),
        ("Begin the answer to message 3", "mailread reply 3 > answer.eml"),
    ],
);
