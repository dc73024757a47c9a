//! One file per tool: its arguments, its records, its `run()`. Each file reads like the tool's man page.

mod dns_key;
pub mod dnsq;
pub mod dnsserve;
mod ftp_args;
mod ftp_itemize;
mod ftp_pick;
mod ftp_progress;
mod ftp_report;
mod ftp_select;
mod ftp_usage;
mod ftp_words;
pub mod ftpdo;
pub mod ftpget;
pub mod ftpls;
pub mod ftpput;
pub mod ftpserve;
mod guides;
mod mail_words;
pub mod mailq_edit;
pub mod mailq_ls;
pub mod mailq_run;
pub mod mailread;
mod message_content;
mod queue_open;
mod smtp_account;
pub mod smtpsend;
pub mod smtpserve;

/// The tables of foreign options and their equivalents, by tool. The manual pages contain them.
pub const FOREIGN_WORDS: &[(&str, &[crate::cli::foreign::ForeignWords])] = &[
    ("dnsq", &[dnsq::FOREIGN_WORDS]),
    ("ftpdo", &[ftp_words::DO, ftp_words::VERBS, ftp_words::ALL]),
    ("ftpget", &[ftp_words::GET, ftp_words::ALL]),
    ("ftpls", &[ftp_words::LS, ftp_words::ALL]),
    ("ftpput", &[ftp_words::PUT, ftp_words::ALL]),
    ("mailq-edit", &[mail_words::EDIT]),
    ("mailq-ls", &[mail_words::LS]),
    ("mailq-run", &[mail_words::RUN]),
    ("mailread", &[mail_words::READ]),
    ("smtpsend", &[smtpsend::FOREIGN_WORDS]),
];

/// The name of a tool, and the function that builds its command line.
pub type Listed = (&'static str, fn() -> clap::Command);

/// Every tool with its command line. Man pages and completions are generated from it.
pub const ALL: &[Listed] = &[
    ("dnsq", dnsq::command),
    ("dnsserve", dnsserve::command),
    ("ftpdo", ftpdo::command),
    ("ftpget", ftpget::command),
    ("ftpls", ftpls::command),
    ("ftpput", ftpput::command),
    ("ftpserve", ftpserve::command),
    ("mailq-edit", mailq_edit::command),
    ("mailq-ls", mailq_ls::command),
    ("mailq-run", mailq_run::command),
    ("mailread", mailread::command),
    ("smtpsend", smtpsend::command),
    ("smtpserve", smtpserve::command),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Tool;

    /// The options of a tool, as the user writes them.
    fn options(command: &clap::Command) -> Vec<String> {
        let written = |known: &clap::Arg| {
            let long = known.get_long().into_iter().chain(known.get_all_aliases().unwrap_or_default());
            let short = known.get_short().into_iter().chain(known.get_all_short_aliases().unwrap_or_default());
            long.map(|it| format!("--{it}")).chain(short.map(|it| format!("-{it}"))).collect::<Vec<_>>()
        };
        command.get_arguments().flat_map(written).collect()
    }

    /// Asserts that the tool has every option in an answer to a foreign option, or that the tool named before it in the clause has it.
    fn assert_known(tool: &str, ours: &str) {
        let commands: std::collections::BTreeMap<&str, clap::Command> =
            ALL.iter().map(|(name, command)| (*name, command())).collect();
        for clause in ours.split([';', ',']) {
            let mut meant = tool;
            for word in clause.split([' ', '(', ')', ':']) {
                meant = commands.keys().copied().find(|name| *name == word).unwrap_or(meant);
                let known = !word.starts_with('-')
                    || ["--sendmail", "-h"].contains(&word)
                    || options(&commands[meant]).iter().any(|it| it == word);
                assert!(known, "{tool}: {ours}: {meant} has no {word}");
            }
        }
    }

    #[test]
    fn no_word_of_ours_is_called_foreign_and_ours_are_there() {
        for (tool, tables) in FOREIGN_WORDS {
            let (_, command) = ALL.iter().find(|(name, _)| name == tool).unwrap();
            let own = options(&command());
            tables.iter().copied().flatten().for_each(|(_, ours)| assert_known(tool, ours));
            let words = tables.first().into_iter().copied().flatten().flat_map(|(words, _)| words.split(' '));
            let wrong: Vec<_> = words.filter(|word| own.iter().any(|known| known == word)).collect();
            assert!(wrong.is_empty(), "{tool}: {wrong:?}");
        }
        for (tool, meanings) in [
            ("dnsq", dnsq::Args::FOREIGN_MEANINGS),
            ("ftpget", ftpget::Args::FOREIGN_MEANINGS),
            ("ftpls", ftpls::Args::FOREIGN_MEANINGS),
        ] {
            meanings.iter().for_each(|(_, ours)| assert_known(tool, ours));
        }
    }
}
