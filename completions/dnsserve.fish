complete -c dnsserve -l zone -d 'A zone file whose relative names belong to NAME; may be repeated' -r
complete -c dnsserve -l forward -d 'Hand questions for other names to this server; may be repeated' -r
complete -c dnsserve -l allow-forward -d 'Forward the questions of this network (ADDRESS or ADDRESS/PREFIX) instead of those of this host and its networks; may be repeated' -r
complete -c dnsserve -l allow-transfer -d 'Let this network (ADDRESS or ADDRESS/PREFIX) transfer zones; nobody else may' -r
complete -c dnsserve -s k -l key-file -d 'Let whoever signs with the key in FILE (TSIG, in BIND\'s form) transfer zones, and sign the answers; may be repeated' -r -F
complete -c dnsserve -l max-zone-size -d 'Read at most this much for a zone, with all files that it includes' -r
complete -c dnsserve -l max-records -d 'Take at most N records a zone' -r
complete -c dnsserve -l max-generate -d 'Let $GENERATE make at most N records a zone' -r
complete -c dnsserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated' -r
complete -c dnsserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c dnsserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c dnsserve -l max-rate-per-address -d 'Take at most N new connections a minute from one address, half of them at once; 0: as many as come' -r
complete -c dnsserve -l address-file -d 'Write the URLs that are served to FILE, one a line, once they are' -r -F
complete -c dnsserve -l drain -d 'After INT or TERM let open connections finish for this time' -r
complete -c dnsserve -l log -d 'Append the log, one line of text per event, to FILE (made for its owner alone, no link); HUP opens it again' -r -F
complete -c dnsserve -l syslog -d 'Send the log to the local syslog daemon: daemon, mail, ftp, auth, local0 …' -r
complete -c dnsserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c dnsserve -l reload-every -d 'Look so often whether the files of the certificate have changed; 0: only HUP reads them again' -r
complete -c dnsserve -l run-as -d 'Started as root: become USER once ports are bound and keys are read (default: the owner of what is served)' -r
complete -c dnsserve -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c dnsserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c dnsserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c dnsserve -l check -d 'Read and check the zone files, say what they hold and what is wrong or odd in them, and end'
complete -c dnsserve -l strict -d 'Serve no zone, and end --check with 65, if one of the zones has an error or a warning'
complete -c dnsserve -l no-include -d 'Refuse $INCLUDE, for zone files of strangers'
complete -c dnsserve -l check-config -d 'Read everything as a start would, say what is wrong, and end: with 0, or 78'
complete -c dnsserve -l i-know -d 'Let --run-as name root'
complete -c dnsserve -l no-sandbox -d 'Open any file that the user may open, not only what was named'
complete -c dnsserve -l json -d 'Print JSON Lines: one object a record'
complete -c dnsserve -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c dnsserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c dnsserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c dnsserve -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c dnsserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dnsserve -s V -l version -d 'Print version'
