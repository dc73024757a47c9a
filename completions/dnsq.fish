complete -c dnsq -l name -d 'Ask for NAME even if it looks like a type; may be repeated' -r
complete -c dnsq -s t -l type -d 'Ask for this type; may be repeated' -r
complete -c dnsq -s c -l class -d 'Ask in this class' -r
complete -c dnsq -s x -l reverse -d 'Ask for the name of an address (PTR); may be repeated' -r
complete -c dnsq -s p -l port -d 'Ask on this port' -r
complete -c dnsq -l format -d 'Print a line for each answer record, with {name} {ttl} {class} {rtype} {rdata} {qname} {qtype} {status} {server} and the members of the data ({exchange}, {address} …)' -r
complete -c dnsq -s o -d 'Write a transferred zone to FILE, once it is complete; with -f the records, as they come' -r -F
complete -c dnsq -s y -d 'Sign queries with this key (TSIG); other users can see it in the list of processes' -r
complete -c dnsq -s k -l key-file -d 'Sign queries with the key in FILE, in BIND\'s form' -r -F
complete -c dnsq -l subnet -d 'Ask on behalf of this network, ADDRESS[/PREFIX] (RFC 7871)' -r
complete -c dnsq -l cookie -d 'Send a cookie, a random one or HEX (RFC 7873)' -r
complete -c dnsq -l padding -d 'Pad the query to a multiple of BYTES (RFC 7830) [default: 128 on encrypted transports, 0 = never]' -r
complete -c dnsq -l ednsopt -d 'Send this EDNS option, by number or by dig\'s name for it; may be repeated' -r
complete -c dnsq -l bufsize -d 'Announce that we take UDP answers of this size' -r
complete -c dnsq -l timeout -d 'Wait this long for each answer [default: 5; 3 in bulk]' -r
complete -c dnsq -l tries -d 'Send a query this often over UDP [default: 3; 6 in bulk]' -r
complete -c dnsq -l max-time -d 'End each question after this time; in bulk, the whole run [default: 60; none in bulk]' -r
complete -c dnsq -l ndots -d 'With --search: names with this many dots are tried as they are first [default: that of resolv.conf]' -r
complete -c dnsq -l resolv-conf -d 'Read servers and search list from FILE instead of /etc/resolv.conf' -r -F
complete -c dnsq -l hosts -d 'With --search: read FILE instead of /etc/hosts' -r -F
complete -c dnsq -s b -l bind -d 'Ask from this local address (and port)' -r
complete -c dnsq -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none. It carries TCP, TLS and HTTPS' -r
complete -c dnsq -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c dnsq -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c dnsq -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c dnsq -l pin -d 'Take servers whose certificate or public key has this SHA-256 digest only, whoever issued the certificate (hexadecimal or base64; repeatable); with --ca-cert or --tls-name the certificate is checked as well' -r
complete -c dnsq -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c dnsq -l hints -d 'Begin the trace at the servers of FILE, a root hints file' -r -F
complete -c dnsq -l anchor -d 'Trust the anchors in FILE instead of the root\'s: DS or DNSKEY records, BIND\'s or unbound\'s file, root-anchors.xml' -r -F
complete -c dnsq -l at -d 'Check as of TIME: RFC 3339, a date, YYYYMMDDHHMMSS, or seconds since 1970' -r
complete -c dnsq -l min-days -d 'With --probe: end with status 1 if a certificate of the server\'s chain ends in fewer days' -r
complete -c dnsq -s f -l file -d 'Ask for the names in FILE, a name or NAME TYPE… a line; may be repeated' -r -F
complete -c dnsq -l servers -d 'Ask the servers in FILE, one a line' -r -F
complete -c dnsq -l rate -d 'Send at most N queries a second' -r
complete -c dnsq -l concurrency -d 'Have at most N questions in flight [default: 1000 for each server]' -r
complete -c dnsq -l max-time-per-name -d 'Give a name up after this time, all tries together' -r
complete -c dnsq -l wildcards -d 'Find names that exist only because of a wildcard: print no record for them, or mark it' -r
complete -c dnsq -l threads -d 'Work with N threads, which share the names, the rate and the windows' -r
complete -c dnsq -l resume -d 'Take an interrupted run up again: FILE remembers how far it came' -r -F
complete -c dnsq -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c dnsq -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c dnsq -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c dnsq -l short -d 'Print the data alone, one datum a line'
complete -c dnsq -l json-rfc8427 -d 'Print JSON as RFC 8427 has it'
complete -c dnsq -l idn -d 'Print international names in their own letters'
complete -c dnsq -s r -d 'dig\'s `-r` (no ~/.digrc) and `-m` (debugging of memory): there is neither'
complete -c dnsq -s u -d 'dig\'s time in microseconds'
complete -c dnsq -l dnssec -d 'Ask for DNSSEC records too (DO)'
complete -c dnsq -l no-recurse -d 'Do not ask for recursion (RD off)'
complete -c dnsq -l cd -d 'Ask the resolver not to validate (CD)'
complete -c dnsq -l ad -d 'Ask whether the resolver validated (AD), as is done by default (not with +noadflag)'
complete -c dnsq -l nsid -d 'Ask for the server\'s identity (RFC 5001)'
complete -c dnsq -l expire -d 'Ask for the zone\'s expiry timer (RFC 7314)'
complete -c dnsq -l keepalive -d 'Ask how long the connection may stay idle (RFC 7828)'
complete -c dnsq -l no-edns -d 'Ask without EDNS'
complete -c dnsq -l mix-case -d 'Give letters random case, which the answer has to repeat (0x20)'
complete -c dnsq -l tcp -d 'Ask over TCP'
complete -c dnsq -l ignore-truncation -d 'Take a truncated answer as it is, without asking again over TCP'
complete -c dnsq -l race -d 'Ask all servers at once; the first good answer wins'
complete -c dnsq -l no-failover -d 'Take SERVFAIL and other errors as the answer instead of asking the next server'
complete -c dnsq -l search -d 'See names as the system does: the hosts file first, then short names with the search list'
complete -c dnsq -s 4 -l ipv4 -d 'Ask servers by IPv4 only'
complete -c dnsq -s 6 -l ipv6 -d 'Ask servers by IPv6 only'
complete -c dnsq -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c dnsq -l trace -d 'Ask from the servers of the root down (from @SERVER, if one is named), and show every step'
complete -c dnsq -l validate -d 'Check the answer\'s signatures (DNSSEC) from a trust anchor down, and show the chain; what is bogus is not printed'
complete -c dnsq -l compare -d 'Ask every authoritative server of the name\'s zone, and say who disagrees about its serial and the answer'
complete -c dnsq -l probe -d 'Tell what the servers (tls://, https://, quic://) show of themselves: protocol, certificates and their end, trust; ask for `. NS` unless a name is given'
complete -c dnsq -l ordered -d 'Print records in the order of the names'
complete -c dnsq -l json -d 'Print JSON Lines: one object a record'
complete -c dnsq -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c dnsq -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c dnsq -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c dnsq -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c dnsq -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dnsq -s V -l version -d 'Print version'
