complete -c ftpserve -l tls -d 'When TLS starts, if there is a certificate: if the client asks (AUTH TLS), always (AUTH TLS), or before the first byte' -r -f -a "try\t'If the client asks for it'
starttls\t'By AUTH TLS, before anything else'
implicit\t'Before the first byte'"
complete -c ftpserve -l pasv-ports -d 'Ports for passive data connections' -r
complete -c ftpserve -l pasv-address -d 'The address that PASV shows (behind NAT)' -r
complete -c ftpserve -l max-file-size -d 'The largest file that may be uploaded' -r
complete -c ftpserve -l min-free -d 'Refuse uploads when the file system has less free space than this' -r
complete -c ftpserve -l idle -d 'End connections on which nothing was said for this time' -r
complete -c ftpserve -l timeout -d 'Break off transfers that stand still for this time' -r
complete -c ftpserve -l xferlog -d 'Append a line per transfer of a file to FILE, in the form of wu-ftpd\'s xferlog(5)' -r -F
complete -c ftpserve -l greeting -d 'What the greeting says' -r
complete -c ftpserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated' -r
complete -c ftpserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c ftpserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c ftpserve -l max-rate-per-address -d 'Take at most N new connections a minute from one address, half of them at once; 0: as many as come' -r
complete -c ftpserve -l address-file -d 'Write the URLs that are served to FILE, one a line, once they are' -r -F
complete -c ftpserve -l drain -d 'After INT or TERM let open connections finish for this time' -r
complete -c ftpserve -l cert -d 'Offer TLS with this certificate chain (PEM); may be repeated: a client gets the first that holds the name it asks for' -r -F
complete -c ftpserve -l key -d 'The certificate\'s key (PEM), if not in the same file; one for each --cert' -r -F
complete -c ftpserve -l self-signed -d 'Offer TLS with a certificate made for NAME at start; may be repeated' -r
complete -c ftpserve -l cert-out -d 'Write the certificate that --self-signed made to FILE, for clients\' --ca-cert' -r -F
complete -c ftpserve -l client-ca -d 'Take only clients with a certificate of the authorities in FILE (PEM): nothing is done before TLS has shown one' -r -F
complete -c ftpserve -l min-rate -d 'Break off a client that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpserve -l user-file -d 'Who may log in: lines of NAME:HASH[:HOME[:FLAGS]], hashes made by --hash-password' -r -F
complete -c ftpserve -l log -d 'Append the log, one line of text per event, to FILE (made for its owner alone, no link); HUP opens it again' -r -F
complete -c ftpserve -l syslog -d 'Send the log to the local syslog daemon: daemon, mail, ftp, auth, local0 …' -r
complete -c ftpserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c ftpserve -l reload-every -d 'Look so often whether the files of the certificate have changed; 0: only HUP reads them again' -r
complete -c ftpserve -l run-as -d 'Started as root: become USER once ports are bound and keys are read (default: the owner of what is served)' -r
complete -c ftpserve -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c ftpserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpserve -l write -d 'Let clients upload, delete, rename and make directories'
complete -c ftpserve -l upload-only -d 'As --write, but nothing can be downloaded'
complete -c ftpserve -l drop-box -d 'New files go in; nothing is listed, downloaded or overwritten'
complete -c ftpserve -l anonymous -d 'With --user-file: let anonymous look and download, too'
complete -c ftpserve -l auth-in-clear -d 'Take passwords without TLS from other hosts, too'
complete -c ftpserve -l require-tls-reuse -d 'A data connection inside TLS must resume the session of its control connection'
complete -c ftpserve -l lenient-tls-end -d 'Take an upload inside TLS that ends without a close notice as complete'
complete -c ftpserve -l no-active -d 'Refuse active mode (PORT, EPRT)'
complete -c ftpserve -l fsync -d 'Report an upload as complete only when it is on the disk'
complete -c ftpserve -l keep-partial -d 'Keep what came of an upload that broke off, if its name was free'
complete -c ftpserve -l append -d 'Let APPE, and REST with STOR, write into any file; otherwise only into what an upload of the same user left that broke off'
complete -c ftpserve -l hash-password -d 'Ask for a password (without a terminal: read it from stdin), print its hash for the user file, and end'
complete -c ftpserve -l check-config -d 'Read everything as a start would, say what is wrong, and end: with 0, or 78'
complete -c ftpserve -l i-know -d 'Let --run-as name root'
complete -c ftpserve -l no-sandbox -d 'Open any file that the user may open, not only what was named'
complete -c ftpserve -l json -d 'Print JSON Lines: one object a record'
complete -c ftpserve -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c ftpserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpserve -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c ftpserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpserve -s V -l version -d 'Print version'
