complete -c mailq-edit -l sender -d 'Only from this sender; `<>` for bounces' -r
complete -c mailq-edit -l recipient -d 'Only to this recipient' -r
complete -c mailq-edit -l domain -d 'Only to recipients of this domain' -r
complete -c mailq-edit -l state -d 'Only in this state: queued, active or held' -r -f -a "queued\t''
active\t''
held\t''"
complete -c mailq-edit -l reason -d 'Only with this text in the last outcome' -r
complete -c mailq-edit -l older-than -d 'Only queued at least this long ago' -r
complete -c mailq-edit -l newer-than -d 'Only queued at most this long ago' -r
complete -c mailq-edit -l to -d 'New address (`readdress`) or next server (`reroute`, `default` for the configured routing)' -r
complete -c mailq-edit -l helo -d 'With `bounce`: host name in the report (default: the name of this host)' -r
complete -c mailq-edit -l bounce-to -d 'With `bounce`: report mail with an empty sender to ADDRESS' -r
complete -c mailq-edit -l queue-dir -d 'Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-edit -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c mailq-edit -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-edit -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-edit -l message -d 'With `show`: print the message exactly as it is queued'
complete -c mailq-edit -l header -d 'With `show`: print the message\'s header'
complete -c mailq-edit -l body -d 'With `show`: print the message\'s body'
complete -c mailq-edit -s n -l dry-run -d 'Print the changes without making them'
complete -c mailq-edit -l json -d 'Print JSON Lines: one object per record'
complete -c mailq-edit -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-edit -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-edit -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-edit -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c mailq-edit -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-edit -s V -l version -d 'Print version'
complete -c mailq-edit -a "hold release retry rm bounce show readdress reroute"
complete -c mailq-edit -a '(mailq-ls -q 2>/dev/null | cut -f 1 | sort -u)'
