complete -c mailq-ls -l sender -d 'Only from this sender; `<>` for bounces' -r
complete -c mailq-ls -l recipient -d 'Only to this recipient' -r
complete -c mailq-ls -l domain -d 'Only to recipients of this domain' -r
complete -c mailq-ls -l state -d 'Only in this state: queued, active or held' -r -f -a "queued\t''
active\t''
held\t''"
complete -c mailq-ls -l reason -d 'Only with this text in the last outcome' -r
complete -c mailq-ls -l older-than -d 'Only queued at least this long ago' -r
complete -c mailq-ls -l newer-than -d 'Only queued at most this long ago' -r
complete -c mailq-ls -l queue-dir -d 'Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-ls -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c mailq-ls -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-ls -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-ls -s c -l count -d 'Print the number of messages, recipients and bytes instead of a list'
complete -c mailq-ls -s s -l summary -d 'Print the number of recipients per domain and age instead of a list'
complete -c mailq-ls -l system-queue -d 'Use the system queue; without access to it, the caller\'s own submissions'
complete -c mailq-ls -l postfix -d 'Print the list as Postfix\'s mailq does'
complete -c mailq-ls -l json -d 'Print JSON Lines: one object per record'
complete -c mailq-ls -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-ls -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-ls -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-ls -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c mailq-ls -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-ls -s V -l version -d 'Print version'
complete -c mailq-ls -a '(mailq-ls -q 2>/dev/null | cut -f 1 | sort -u)'
