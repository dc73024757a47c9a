complete -c mailread -s m -l mailbox -d 'The mailbox: a Maildir, an mbox, a file with one message, or `-` for stdin (default: $MAIL, then ~/Maildir)' -r -F
complete -c mailread -l from -d 'Only messages whose From holds TEXT (in any case)' -r
complete -c mailread -l to -d 'Only messages whose To or Cc holds TEXT' -r
complete -c mailread -l subject -d 'Only messages whose Subject holds TEXT' -r
complete -c mailread -s o -l output-dir -d 'extract: write the files into DIR, created if missing (default: the working directory); `-` writes one part to stdout' -r -F
complete -c mailread -l part -d 'extract: these parts (1, 2.1 …) instead of all attachments; may be repeated' -r
complete -c mailread -l me -d 'reply: an address of mine, which is not answered; `*` stands for anything; may be repeated' -r
complete -c mailread -l add -d 'flag: set these: seen, replied, flagged, trashed, draft, passed, or Maildir letters' -r
complete -c mailread -l remove -d 'flag: take these away' -r
complete -c mailread -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c mailread -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailread -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailread -s u -l unread -d 'Only messages that nobody has read'
complete -c mailread -s H -l headers -d 'show: all header fields'
complete -c mailread -l raw -d 'show: the message exactly as it is stored; several as an mbox'
complete -c mailread -l no-reflow -d 'show, reply: leave the line ends of format=flowed text as they were sent'
complete -c mailread -s a -l all -d 'reply: to everybody'
complete -c mailread -s n -l dry-run -d 'extract, flag: say what would be done and do nothing'
complete -c mailread -l json -d 'Print JSON Lines: one object a record'
complete -c mailread -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c mailread -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailread -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailread -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c mailread -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailread -s V -l version -d 'Print version'
