//! Options of Postfix, Exim, sendmail, nullmailer, mutt and mail(1) that the queue tools and mailread do not have, and their
//! equivalents.

use crate::cli::foreign::ForeignWords;

/// For `mailq-ls`.
pub(super) const LS: ForeignWords = &[
    ("-p -b -bp -bpu -bpa --list", "done anyway: the list is the default; --postfix prints it as Postfix does"),
    ("-C --config-dir", "--queue-dir DIR"),
    ("-j", "--json"),
    ("-f", "--sender ADDRESS; mailq-run --flush delivers"),
    ("-r -R", "--recipient ADDRESS"),
    ("-S", "--sender ADDRESS"),
    ("-i -I", "--json, which has queue_id; mailq-run ID delivers one message"),
    ("-z --frozen --hold", "--state held"),
    ("-x", "--state queued"),
    ("-o --older", "--older-than TIME"),
    ("-y --younger", "--newer-than TIME"),
    ("-a --all", "done anyway: every message is listed"),
    ("-d", "mailq-edit rm ID"),
    ("-A -Ac -Am", "--system-queue"),
    ("--flush", "mailq-run --flush"),
];

/// For `mailq-run`.
pub(super) const RUN: ForeignWords = &[
    ("-f -qf -qff --now", "--flush"),
    ("-i -I -M -qI", "the queue id as an argument"),
    ("-s -qR --site", "--domain DOMAIN"),
    ("-R", "--recipient ADDRESS or --domain DOMAIN"),
    ("-S", "--sender ADDRESS"),
    ("-p -bp", "mailq-ls"),
    ("-d", "mailq-edit rm ID"),
    ("-b -bd --daemon --interval -D", "--watch"),
    ("-C -c --config-dir", "--config FILE"),
    ("-r --relayhost --remotes --relay", "--smarthost URL"),
    ("-a", "--account NAME"),
    ("-O -o", "--config FILE with options of ours"),
];

/// For `mailq-edit`: options and verbs.
pub(super) const EDIT: ForeignWords = &[
    ("-d --delete", "the verb rm"),
    ("-H", "the verb release"),
    ("-r -R --requeue", "the verb retry, or reroute with --to URL"),
    ("-f", "the verb hold with --state queued"),
    ("-e --expire", "the verb bounce"),
    (
        "-M",
        "a verb: Mrm is rm, Mf hold, Mt release, M retry, Mg bounce, Mes readdress, Mvh show --header, Mvb show --body",
    ),
    ("-b", "show --body, or the verb bounce"),
    ("-i", "the queue id after the verb"),
    ("-s -p", "mailq-ls"),
    ("delete remove del drop discard purge kill", "rm"),
    ("freeze suspend defer pause stop", "hold"),
    ("thaw unhold unfreeze resume", "release"),
    ("requeue flush deliver kick run force", "retry"),
    ("fail cancel giveup return", "bounce"),
    ("cat view print postcat info", "show"),
    ("redirect edit-recipients", "readdress with --to ADDRESS"),
    ("route relay", "reroute with --to URL"),
    ("list ls", "mailq-ls"),
];

/// For `mailread`: options and actions.
pub(super) const READ: ForeignWords = &[
    ("-f --file --folder", "-m (--mailbox) MAILBOX"),
    ("-e --check-and-exit", "list --unread, which exits with 1 if there are none"),
    ("-s -c -b --attach --cc --bcc", "smtpsend, which sends mail"),
    ("-R --read-only -Z -z -y -p -x -i -N -I", "nothing: mailread asks no questions; see the actions"),
    ("-F", "list --from TEXT"),
    ("-d --debug", "-v"),
    ("-t --text", "show"),
    ("-A -S -L", "--from, --to, --subject or --unread"),
    ("headers from summary index ls h folders search", "list"),
    ("print type cat read view p more next", "show"),
    ("save write detach w s v copy mimeview", "extract"),
    ("answer respond followup group r g", "reply, with --all for everybody"),
    ("delete d trash rm expunge", "flag --add trashed"),
    ("undelete u", "flag --remove trashed"),
    ("mark seen unread new touch", "flag --add seen, or --remove seen"),
    ("forward resend bounce mail m f", "show --raw, and smtpsend"),
];
