complete -c smtpserve -l domain -d 'Take mail for this domain; may be repeated' -r
complete -c smtpserve -l mailboxes -d 'The directory of the mailboxes: DIR/USER or DIR/DOMAIN/USER, each a Maildir; only those that exist get mail' -r -F
complete -c smtpserve -l relay-from -d 'Relay for clients of this network, ADDRESS or ADDRESS/BITS; may be repeated' -r
complete -c smtpserve -l hostname -d 'Our name in the greeting (default: the first domain, else the host\'s name)' -r
complete -c smtpserve -l tls -d 'When TLS starts: by STARTTLS if the client asks, by STARTTLS before anything else, or before the first byte' -r -f -a "starttls\t'By STARTTLS, if the client asks for it'
required\t'By STARTTLS, before anything else is done'
implicit\t'Before the first byte'"
complete -c smtpserve -l max-size -d 'The largest message taken' -r
complete -c smtpserve -l max-recipients -d 'The most recipients of one message' -r
complete -c smtpserve -l max-hops -d 'Refuse a message that went through this many servers: it goes round in circles' -r
complete -c smtpserve -l newlines -d 'What becomes of a line that ends with LF alone' -r -f -a "reject\t'The message is refused and the connection ends'
normalize\t'It counts as CRLF, except at the end of a message'"
complete -c smtpserve -l timeout -d 'How long to wait for a silent client' -r
complete -c smtpserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated' -r
complete -c smtpserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c smtpserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c smtpserve -l max-rate-per-address -d 'Take at most N new connections a minute from one address, half of them at once; 0: as many as come' -r
complete -c smtpserve -l address-file -d 'Write the URLs that are served to FILE, one a line, once they are' -r -F
complete -c smtpserve -l drain -d 'After INT or TERM let open connections finish for this time' -r
complete -c smtpserve -l cert -d 'Offer TLS with this certificate chain (PEM); may be repeated: a client gets the first that holds the name it asks for' -r -F
complete -c smtpserve -l key -d 'The certificate\'s key (PEM), if not in the same file; one for each --cert' -r -F
complete -c smtpserve -l self-signed -d 'Offer TLS with a certificate made for NAME at start; may be repeated' -r
complete -c smtpserve -l cert-out -d 'Write the certificate that --self-signed made to FILE, for clients\' --ca-cert' -r -F
complete -c smtpserve -l client-ca -d 'Take only clients with a certificate of the authorities in FILE (PEM): nothing is done before TLS has shown one' -r -F
complete -c smtpserve -l min-rate -d 'Break off a client that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c smtpserve -l user-file -d 'Who may log in: lines of NAME:HASH[:HOME[:FLAGS]], hashes made by --hash-password' -r -F
complete -c smtpserve -l log -d 'Append the log, one line of text per event, to FILE (made for its owner alone, no link); HUP opens it again' -r -F
complete -c smtpserve -l syslog -d 'Send the log to the local syslog daemon: daemon, mail, ftp, auth, local0 …' -r
complete -c smtpserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c smtpserve -l reload-every -d 'Look so often whether the files of the certificate have changed; 0: only HUP reads them again' -r
complete -c smtpserve -l run-as -d 'Started as root: become USER once ports are bound and keys are read (default: the owner of what is served)' -r
complete -c smtpserve -l queue-dir -d 'The queue\'s directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c smtpserve -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c smtpserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c smtpserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c smtpserve -l create -d 'Make a mailbox for whoever gets mail'
complete -c smtpserve -l lmtp -d 'Speak LMTP (RFC 2033): one answer a recipient'
complete -c smtpserve -l auth-in-clear -d 'Take passwords without TLS, too'
complete -c smtpserve -l strict-syntax -d 'Refuse commands that break the grammar of RFC 5321: addresses without <>, with comments or a dot too many, names in EHLO'
complete -c smtpserve -l hash-password -d 'Ask for a password (without a terminal: read it from stdin), print its hash for the user file, and end'
complete -c smtpserve -l check-config -d 'Read everything as a start would, say what is wrong, and end: with 0, or 78'
complete -c smtpserve -l i-know -d 'Let --run-as name root'
complete -c smtpserve -l no-sandbox -d 'Open any file that the user may open, not only what was named'
complete -c smtpserve -l json -d 'Print JSON Lines: one object a record'
complete -c smtpserve -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c smtpserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c smtpserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c smtpserve -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c smtpserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c smtpserve -s V -l version -d 'Print version'
