complete -c dnsq -l name -d 'Query NAME even if it looks like a type; may be repeated' -r
complete -c dnsq -s t -l type -d 'Query this type; may be repeated' -r -f -a "A\t''
NS\t''
MD\t''
MF\t''
CNAME\t''
SOA\t''
MB\t''
MG\t''
MR\t''
NULL\t''
WKS\t''
PTR\t''
HINFO\t''
MINFO\t''
MX\t''
TXT\t''
RP\t''
AFSDB\t''
X25\t''
ISDN\t''
RT\t''
NSAP\t''
NSAP-PTR\t''
SIG\t''
KEY\t''
PX\t''
GPOS\t''
AAAA\t''
LOC\t''
NXT\t''
EID\t''
NIMLOC\t''
SRV\t''
ATMA\t''
NAPTR\t''
KX\t''
CERT\t''
A6\t''
DNAME\t''
SINK\t''
OPT\t''
APL\t''
DS\t''
SSHFP\t''
IPSECKEY\t''
RRSIG\t''
NSEC\t''
DNSKEY\t''
DHCID\t''
NSEC3\t''
NSEC3PARAM\t''
TLSA\t''
SMIMEA\t''
HIP\t''
NINFO\t''
RKEY\t''
TALINK\t''
CDS\t''
CDNSKEY\t''
OPENPGPKEY\t''
CSYNC\t''
ZONEMD\t''
SVCB\t''
HTTPS\t''
DSYNC\t''
HHIT\t''
BRID\t''
SPF\t''
UINFO\t''
UID\t''
GID\t''
UNSPEC\t''
NID\t''
L32\t''
L64\t''
LP\t''
EUI48\t''
EUI64\t''
NXNAME\t''
TKEY\t''
TSIG\t''
IXFR\t''
AXFR\t''
MAILB\t''
MAILA\t''
ANY\t''
URI\t''
CAA\t''
AVC\t''
DOA\t''
AMTRELAY\t''
RESINFO\t''
WALLET\t''
CLA\t''
IPN\t''
TA\t''
DLV\t''"
complete -c dnsq -s c -l class -d 'Query this class: IN, CH, HS, NONE or ANY' -r -f -a "IN\t''
CH\t''
HS\t''
NONE\t''
ANY\t''"
complete -c dnsq -s x -l reverse -d 'Query the name of an address (PTR); may be repeated' -r
complete -c dnsq -s p -l port -d 'Port of the servers' -r
complete -c dnsq -l format -d 'Print one line per answer record, with {name} {ttl} {class} {rtype} {rdata} {qname} {qtype} {status} {server} and the members of the data ({exchange}, {address} …)' -r
complete -c dnsq -s o -d 'Write a transferred zone to FILE when it is complete; with -f the records as they arrive' -r -F
complete -c dnsq -s y -d 'Sign queries with this key (TSIG); it is visible in the process list' -r
complete -c dnsq -s k -l key-file -d 'Sign queries with the key in FILE, in BIND\'s format' -r -F
complete -c dnsq -l subnet -d 'Query on behalf of this network, ADDRESS[/PREFIX] (RFC 7871)' -r
complete -c dnsq -l cookie -d 'Send a cookie, random or HEX (RFC 7873)' -r
complete -c dnsq -l padding -d 'Pad the query to a multiple of BYTES (RFC 7830) [default: 128 on encrypted transports, 0 = never]' -r
complete -c dnsq -l ednsopt -d 'Send this EDNS option, by number or by dig\'s name for it; may be repeated' -r
complete -c dnsq -l bufsize -d 'Announce this size for UDP answers' -r
complete -c dnsq -l timeout -d 'Wait TIME for each answer [default: 5; 3 in bulk]' -r
complete -c dnsq -l tries -d 'Send a query N times over UDP [default: 3; 6 in bulk]' -r
complete -c dnsq -l max-time -d 'Give up each question after this time; in bulk, the whole run [default: 60; none in bulk]' -r
complete -c dnsq -l ndots -d 'With --search: names with N dots are tried unchanged first [default: that of resolv.conf]' -r
complete -c dnsq -l resolv-conf -d 'Read servers and search list from FILE instead of /etc/resolv.conf' -r -F
complete -c dnsq -l hosts -d 'With --search: read FILE instead of /etc/hosts' -r -F
complete -c dnsq -s b -l bind -d 'Query from this local address (and port)' -r
complete -c dnsq -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy. For TCP, TLS and HTTPS only' -r
complete -c dnsq -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c dnsq -l cert -d 'Client certificate (PEM)' -r -F
complete -c dnsq -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c dnsq -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c dnsq -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c dnsq -l hints -d 'Begin the trace at the servers in FILE, a root hints file' -r -F
complete -c dnsq -l anchor -d 'Trust the anchors in FILE instead of the root\'s: DS or DNSKEY records, BIND\'s or unbound\'s file, root-anchors.xml' -r -F
complete -c dnsq -l at -d 'Validate as of TIME: RFC 3339, a date, YYYYMMDDHHMMSS, or seconds since 1970' -r
complete -c dnsq -l min-days -d 'With --probe: end with status 1 if a certificate of the server\'s chain ends in fewer days' -r
complete -c dnsq -s f -l file -d 'Query the names in FILE, NAME or NAME TYPE… per line; may be repeated' -r -F
complete -c dnsq -l servers -d 'Query the servers in FILE, one per line' -r -F
complete -c dnsq -l rate -d 'Send at most N queries per second' -r
complete -c dnsq -l concurrency -d 'Have at most N questions in flight [default: 1000 for each server]' -r
complete -c dnsq -l max-time-per-name -d 'Give up a name after this time, all tries together' -r
complete -c dnsq -l wildcards -d 'Detect names that exist only by a wildcard: drop or mark their records' -r -f -a "drop\t''
mark\t''"
complete -c dnsq -l threads -d 'Use N threads, which share the names, the rate and the windows' -r
complete -c dnsq -l resume -d 'Resume an interrupted run: FILE records its progress' -r -F
complete -c dnsq -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c dnsq -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c dnsq -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c dnsq -l short -d 'Print only the data, one record per line'
complete -c dnsq -l json-rfc8427 -d 'Print JSON in the format of RFC 8427'
complete -c dnsq -l idn -d 'Print international names in Unicode'
complete -c dnsq -s r -d 'dig\'s `-r` (no ~/.digrc) and `-m` (debugging of memory): there is neither'
complete -c dnsq -s u -d 'dig\'s time in microseconds'
complete -c dnsq -l dnssec -d 'Request DNSSEC records (DO)'
complete -c dnsq -l no-recurse -d 'Do not request recursion (RD off)'
complete -c dnsq -l cd -d 'Request no validation by the resolver (CD)'
complete -c dnsq -l ad -d 'Request the resolver\'s verdict (AD); the default, off with +noadflag'
complete -c dnsq -l nsid -d 'Request the server\'s identity (RFC 5001)'
complete -c dnsq -l expire -d 'Request the zone\'s expiry timer (RFC 7314)'
complete -c dnsq -l keepalive -d 'Request the idle timeout of the connection (RFC 7828)'
complete -c dnsq -l no-edns -d 'Query without EDNS'
complete -c dnsq -l mix-case -d 'Randomize the case of letters, which the answer must repeat (0x20)'
complete -c dnsq -l tcp -d 'Query over TCP'
complete -c dnsq -l ignore-truncation -d 'Accept a truncated answer, without a retry over TCP'
complete -c dnsq -l race -d 'Query all servers at once; the first good answer wins'
complete -c dnsq -l no-failover -d 'Accept SERVFAIL and other errors as the answer instead of trying the next server'
complete -c dnsq -l search -d 'Resolve names as the system does: the hosts file first, then short names with the search list'
complete -c dnsq -s 4 -l ipv4 -d 'Query servers over IPv4 only'
complete -c dnsq -s 6 -l ipv6 -d 'Query servers over IPv6 only'
complete -c dnsq -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c dnsq -l trace -d 'Resolve from the root servers (or from @SERVER) downwards, and print every step'
complete -c dnsq -l validate -d 'Validate the answer (DNSSEC) from a trust anchor downwards, and print the chain; bogus data is not printed'
complete -c dnsq -l compare -d 'Query every authoritative server of the name\'s zone, and report those that disagree on the serial or the answer; with -f for each name of the file'
complete -c dnsq -l probe -d 'Tell what the servers (tls://, https://, quic://) show of themselves: protocol, certificates and their end, trust; ask for `. NS` unless a name is given'
complete -c dnsq -l ordered -d 'Print records in the order of the names'
complete -c dnsq -l json -d 'Print JSON Lines: one object per record'
complete -c dnsq -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c dnsq -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c dnsq -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c dnsq -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c dnsq -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dnsq -s V -l version -d 'Print version'
complete -c dnsq -a "A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY PX GPOS AAAA LOC NXT EID NIMLOC SRV ATMA NAPTR KX CERT A6 DNAME SINK OPT APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA SMIMEA HIP NINFO RKEY TALINK CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS DSYNC HHIT BRID SPF UINFO UID GID UNSPEC NID L32 L64 LP EUI48 EUI64 NXNAME TKEY TSIG IXFR AXFR MAILB MAILA ANY URI CAA AVC DOA AMTRELAY RESINFO WALLET CLA IPN TA DLV IN CH HS NONE ANY +aaflag +aaonly +additional +adflag +all +answer +authority +badcookie +besteffort +bufsize +cdflag +class +cmd +comments +cookie +crypto +defname +dnssec +do +edns +ednsflags +ednsnegotiation +ednsopt +expandaaaa +expire +fail +https +https-get +https-post +identify +idnin +idnout +ignore +json +keepalive +keepopen +multiline +ndots +nsid +nssearch +onesoa +opcode +padding +qid +qr +question +quic +raflag +rdflag +recurse +retry +rrcomments +search +short +showbadcookie +showsearch +split +stats +subnet +tcflag +tcp +time +timeout +tls +tls-ca +tls-certfile +tls-hostname +tls-keyfile +tls-pin +tls-sni +trace +tries +ttlid +ttlunits +unknownformat +vc +yaml +zflag"
