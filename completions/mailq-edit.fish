complete -c mailq-edit -l sender -d 'From this sender; `<>` for bounces' -r
complete -c mailq-edit -l recipient -d 'To this recipient' -r
complete -c mailq-edit -l domain -d 'To recipients of this domain' -r
complete -c mailq-edit -l state -d 'In this state: queued, active or held' -r
complete -c mailq-edit -l reason -d 'Whose last outcome has this text' -r
complete -c mailq-edit -l older-than -d 'Queued at least so long ago' -r
complete -c mailq-edit -l newer-than -d 'Queued at most so long ago' -r
complete -c mailq-edit -l to -d 'With `readdress`: the new address; with `reroute`: the next hop, or `default` for the usual way' -r
complete -c mailq-edit -l helo -d 'With `bounce`: our name in the report (default: the host\'s)' -r
complete -c mailq-edit -l bounce-to -d 'With `bounce`: tell ADDRESS of what cannot be returned because the sender is empty' -r
complete -c mailq-edit -l queue-dir -d 'The queue\'s directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-edit -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c mailq-edit -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-edit -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-edit -l message -d 'With `show`: print the message itself, exactly as it is queued'
complete -c mailq-edit -l header -d 'With `show`: print the message\'s header'
complete -c mailq-edit -l body -d 'With `show`: print the message\'s body'
complete -c mailq-edit -s n -l dry-run -d 'Say what would be changed, and change nothing'
complete -c mailq-edit -l json -d 'Print JSON Lines: one object a record'
complete -c mailq-edit -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-edit -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-edit -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-edit -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c mailq-edit -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-edit -s V -l version -d 'Print version'
