complete -c mailread -s m -l mailbox -d 'Mailbox: a Maildir, an mbox, a file with one message, or `-` for stdin (default: $MAIL, then ~/Maildir)' -r -F
complete -c mailread -l from -d 'Only messages with TEXT in From (in any case)' -r
complete -c mailread -l to -d 'Only messages with TEXT in To or Cc' -r
complete -c mailread -l subject -d 'Only messages with TEXT in the subject' -r
complete -c mailread -s o -l output-dir -d 'extract: write the files into DIR, created if missing (default: the working directory); `-` writes one part to stdout' -r -F
complete -c mailread -l part -d 'extract: write these parts (1, 2.1 …) instead of all attachments; may be repeated' -r
complete -c mailread -l type -d 'extract: only parts of this type, in any case: application/pdf, image/*; may be repeated' -r
complete -c mailread -l name -d 'extract: only parts that were sent under such a name, in any case: \'*.pdf\'; may be repeated' -r
complete -c mailread -l flag -d 'extract: set these flags of each message whose parts were written: seen …' -r
complete -c mailread -l me -d 'reply: own address, which gets no answer; `*` matches any text; may be repeated' -r
complete -c mailread -l add -d 'flag: set these flags: seen, replied, flagged, trashed, draft, passed, or Maildir letters' -r -f -a "seen\t''
replied\t''
flagged\t''
trashed\t''
draft\t''
passed\t''"
complete -c mailread -l remove -d 'flag: remove these flags' -r -f -a "seen\t''
replied\t''
flagged\t''
trashed\t''
draft\t''
passed\t''"
complete -c mailread -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c mailread -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailread -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailread -s u -l unread -d 'Only unread messages'
complete -c mailread -s H -l headers -d 'show: print all header fields'
complete -c mailread -l raw -d 'show: print the message exactly as it is stored; several as an mbox'
complete -c mailread -l no-reflow -d 'show, reply: keep the line breaks of format=flowed text'
complete -c mailread -s a -l all -d 'reply: answer all recipients'
complete -c mailread -s n -l dry-run -d 'extract, flag: print the changes without making them'
complete -c mailread -l json -d 'Print JSON Lines: one object per record'
complete -c mailread -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailread -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailread -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailread -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c mailread -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailread -s V -l version -d 'Print version'
complete -c mailread -a "list show extract reply flag"
