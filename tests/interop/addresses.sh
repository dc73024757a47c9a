#!/bin/sh
# addresses.sh BIN: in a network and mount namespace of its own, prints what became of each command: `NAME: STATUS OUTPUT`.
# `left` is an interface with a link-local address; 2001:db8:9::2 beyond it is a black hole: its packets arrive nowhere.
set -u
bin=$1
ip link set lo up && ip link add left type veth peer name right || exit 99
mount -t tmpfs none . && cd . || exit 99
for end in left right; do
    ip link set $end up
done
ip addr add fe80::9/64 dev left nodad
ip addr add 2001:db8:9::1/64 dev left nodad
ip neigh add 2001:db8:9::2 lladdr 02:00:00:00:00:99 dev left nud permanent
index=$(ip -o link show left | cut -d: -f1)
printf '127.0.0.1 localhost\n2001:db8:9::2 two.test\n127.0.0.1 two.test\n::1 six.test\n' > hosts
mount --bind hosts /etc/hosts || exit 99
printf '@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 127.0.0.1\n@ 60 MX 1 two\ntwo 60 AAAA 2001:db8:9::2\ntwo 60 A 127.0.0.1\n' > zone
mkdir tree mail && echo hello > tree/f && echo text > body

pids=
serve() {
    "$bin/$@" --run-as root --i-know --address-file ready > /dev/null 2> errors & pids="$pids $!"
    until [ -s ready ]; do kill -0 $! || { cat errors; exit 1; }; sleep 0.05; done
    rm ready
}
try() {
    name=$1 tool=$2
    shift 2
    said=$("$bin/$tool" "$@" 2>&1 < /dev/null) && status=0 || status=$?
    echo "$name: $status" $said
}
mail() {
    way=$1
    shift
    try "$way" smtpsend --from a@a.test --to b@a.test --body body --tls none "$@"
}
queued() {
    way=$1
    shift
    "$bin/smtpsend" --queue --queue-dir queue --from a@a.test --to b@a.test --body body
    try "$way" mailq-run --strict --queue-dir queue "$@"
    rm -r queue
}
start() {
    serve ftpserve tree --write --listen "$1:2121"
    serve smtpserve --domain a.test --mailboxes mail --create --listen "$1:2525"
    serve dnsserve --zone a.test=zone --allow-transfer 2001:db8:9::/64 --allow-transfer 127.0.0.0/8 --listen "$1:5353"
}
stop() {
    kill $pids
    wait
    pids=
}

# Zones, as names, numbers and as URLs have them, at servers for all addresses and for this one.
for listen in "[::]" "[fe80::9%left]" "[fe80::9%25left]" "[fe80::9%$index]"; do
    start "$listen"
    for zone in %left %25left "%$index" "%25$index"; do
        there="fe80::9$zone"
        try passive ftpget "ftp://[$there]:2121/f" -o -
        try active ftpget -A --bind "[$there]" "ftp://[$there]:2121/f" -o -
        try bind ftpget --bind "$there" "ftp://[$there]:2121/f" -o -
        mail server --server "[$there]:2525"
        mail server --server "smtp://[$there]:2525" --bind "$there"
        queued route --route "*=[$there]:2525" --resolver "[$there]:5353"
        queued route --route "*=smtp://[$there]:2525" --bind "[$there]"
        for name in "@[$there]:5353" "@$there#5353" "@tcp://[$there]:5353"; do
            try answer dnsq "$name" --short ns.a.test
        done
        try answer dnsq "@$there" -p 5353 --short ns.a.test
        try answer dnsq "@[$there]" -p 5353 -b "$there" --short ns.a.test
        try answer dnsq "@[$there]:5353" -b "[$there]#5400" --short ns.a.test
    done
    stop
done
try nowhere ftpget "ftp://[fe80::9%25none0]:2121/f" -o -

# A black hole costs its head start: nobody waits for five minutes.
start "[::]"
try race ftpget --connect-timeout 5m ftp://two.test:2121/f -o -
mail race --connect-timeout 5m --server two.test:2525
mail race --connect-timeout 5m --mx --mx-port 2525 --resolver 127.0.0.1:5353
queued race --connect-timeout 5m --mx-port 2525 --resolver 127.0.0.1:5353
try answer dnsq --timeout 5m @tcp://two.test:5353 --short ns.a.test
try transfer dnsq --timeout 5m @tcp://two.test:5353 --short a.test AXFR -o copy
echo ns.a.test > names
try bulk dnsq --timeout 5m @tcp://two.test:5353 --short -f names

# Names without an address that may be used.
try family ftpget -4 ftp://six.test:2121/f -o -
try family ftpls --bind 127.0.0.1 ftp://six.test:2121/
mail family --server six.test:2525 -4
try family smtpsend --from a@a.test --to b@ns.a.test --body body \
    --mx --mx-port 2525 --resolver 127.0.0.1:5353 --bind fe80::9%left
try family dnsq -4 @tcp://six.test:5353 a.test
stop
