complete -c mailq-ls -l sender -d 'From this sender; `<>` for bounces' -r
complete -c mailq-ls -l recipient -d 'To this recipient' -r
complete -c mailq-ls -l domain -d 'To recipients of this domain' -r
complete -c mailq-ls -l state -d 'In this state: queued, active or held' -r
complete -c mailq-ls -l reason -d 'Whose last outcome has this text' -r
complete -c mailq-ls -l older-than -d 'Queued at least so long ago' -r
complete -c mailq-ls -l newer-than -d 'Queued at most so long ago' -r
complete -c mailq-ls -l queue-dir -d 'The queue\'s directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c mailq-ls -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c mailq-ls -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c mailq-ls -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c mailq-ls -s c -l count -d 'Print how many messages, recipients and bytes there are, instead of a list'
complete -c mailq-ls -s s -l summary -d 'Print how many recipients of which age there are for each domain, instead of a list'
complete -c mailq-ls -l system-queue -d 'The queue of the machine, or what the calling user submitted to it if he may not open it'
complete -c mailq-ls -l postfix -d 'Print the list as Postfix\'s mailq does'
complete -c mailq-ls -l json -d 'Print JSON Lines: one object a record'
complete -c mailq-ls -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c mailq-ls -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c mailq-ls -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c mailq-ls -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c mailq-ls -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailq-ls -s V -l version -d 'Print version'
