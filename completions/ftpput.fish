complete -c ftpput -l links -d 'What to do about symbolic links in trees: skip (and say so), follow (store what they lead to)' -r
complete -c ftpput -l mode -l chmod -d 'Give every file these permission bits (SITE CHMOD)' -r
complete -c ftpput -s j -l jobs -d 'Connections; chosen by the round trip and the work if not given' -r
complete -c ftpput -l include -d 'Take only what matches a GLOB (repeatable; the first rule that matches decides)' -r
complete -c ftpput -l exclude -d 'Leave out what matches a GLOB, directories with all that is in them (repeatable)' -r
complete -c ftpput -l include-regex -d 'The same by a regular expression, which matches anywhere in the path (repeatable)' -r
complete -c ftpput -l exclude-regex -d 'Leave out by a regular expression (repeatable)' -r
complete -c ftpput -l max-size -d 'Leave larger files out' -r
complete -c ftpput -l min-size -d 'Leave smaller files out' -r
complete -c ftpput -l min-age -d 'Leave files out that were modified within this time: they may still be written' -r
complete -c ftpput -l max-age -d 'Leave files out that were modified longer ago' -r
complete -c ftpput -l max-delete -d 'Delete nothing if more than N files and directories would go' -r
complete -c ftpput -l rate -l limit-rate -d 'No more than so many bytes a second, all connections together' -r
complete -c ftpput -l port-range -d 'Listen for them on a port of this range' -r
complete -c ftpput -l pasv-address -d 'Where passive data connections go: the host of the control connection, or what the server says' -r -f -a "control\t''
trust\t''"
complete -c ftpput -l account -l ftp-account -d 'The account that a server asks for after the password (ACCT)' -r
complete -c ftpput -l charset -l remote-encoding -d 'Names at the server are in this charset (koi8-r, shift_jis ...); here they are UTF-8' -r
complete -c ftpput -l before -d 'Send this command after the login (repeatable; a leading `*`: it may fail)' -r
complete -c ftpput -l user -d 'Log in as NAME' -r
complete -c ftpput -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c ftpput -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c ftpput -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c ftpput -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c ftpput -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c ftpput -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c ftpput -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c ftpput -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c ftpput -l bind -d 'Connect from this local address' -r
complete -c ftpput -l connect-timeout -d 'Give up connecting after this time' -r
complete -c ftpput -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c ftpput -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c ftpput -l max-time -d 'End the whole run after this time' -r
complete -c ftpput -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c ftpput -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c ftpput -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c ftpput -l after -d 'Send this command when all is done and nothing failed (repeatable; a leading `*`: it may fail)' -r
complete -c ftpput -s Q -l quote -d 'As --before; with a leading `-` as --after (curl\'s -Q)' -r
complete -c ftpput -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c ftpput -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c ftpput -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c ftpput -s r -l recursive -d 'Store the contents of directories below the URL; files that have the same size and time there are left alone'
complete -c ftpput -s n -l dry-run -d 'Only say what would be stored and deleted'
complete -c ftpput -l in-place -d 'Write under the final name at once, without a temporary one'
complete -c ftpput -l replace -d 'Delete the old file before the complete upload gets its name, for servers that do not rename over a file'
complete -c ftpput -s a -l append -d 'Add to the end of the remote file'
complete -c ftpput -l no-resume -d 'Begin again instead of continuing what an earlier run left'
complete -c ftpput -l no-clobber -l only-missing -d 'Never replace a file that is there; with -r such files are left out, else that is an error'
complete -c ftpput -l keep-mode -d 'Give every file the permission bits that it has here (SITE CHMOD)'
complete -c ftpput -s B -l ascii -l use-ascii -d 'Transfer text: line ends become CRLF; the same as `;type=a` in the URL'
complete -c ftpput -l newer -l update -d 'Transfer a file only if it is newer than the other side\'s, whatever the sizes (single files too)'
complete -c ftpput -l size-only -d 'Files of the same size are the same, whatever their times (single files too)'
complete -c ftpput -l always -d 'Transfer what is the same on both sides too'
complete -c ftpput -l delete -d 'Delete what the source does not have, after all transfers and only if every listing was complete'
complete -c ftpput -l delete-first -d 'Delete before the transfers, as far as every listing is complete then'
complete -c ftpput -l allow-empty -d 'Delete also where the source is an empty directory'
complete -c ftpput -l verify -d 'Compare what was transferred with the server\'s checksum (HASH, XSHA256 ...) where it computes one, else size and time once more'
complete -c ftpput -l itemize -d 'Print one line per file or directory that is new, changed, deleted or skipped; with -n, what would be'
complete -c ftpput -s A -l active -d 'Let the server open data connections (EPRT, PORT); not through a proxy'
complete -c ftpput -l disable-epsv -d 'Ask for data connections with PASV, never with EPSV (IPv4)'
complete -c ftpput -l disable-eprt -d 'With --active: name the port with PORT, never with EPRT (IPv4)'
complete -c ftpput -l lock-step -d 'One command at a time, for servers that cannot do with several in one packet (found out by itself, too)'
complete -c ftpput -l data-clear -l ftp-ssl-control -d 'Inside TLS: files and listings in clear text (PROT C)'
complete -c ftpput -l ccc -l ftp-ssl-ccc -d 'Inside TLS: end it on the control connection after the login, for firewalls that read along (CCC)'
complete -c ftpput -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c ftpput -s 4 -l ipv4 -d 'IPv4 only'
complete -c ftpput -s 6 -l ipv6 -d 'IPv6 only'
complete -c ftpput -l json -d 'Print JSON Lines: one object a record'
complete -c ftpput -s q -l quiet -d 'No progress, warnings or hints; errors stay'
complete -c ftpput -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c ftpput -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c ftpput -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c ftpput -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ftpput -s V -l version -d 'Print version'
