#!/bin/sh
# dnsq -f beside dnsperf, adnshost, massdns and dig -f: A records of many names, half of them NXDOMAIN, from NSD; then with
# loss and with delay, by a small relay. Prints names per CPU second, user and system time, memory, and what was answered.
. "$(dirname "$0")/common.sh"

names=$(scaled 500000)
machine
need nsd nsd nsd || exit 1
port=$(free_port)
python3 - "$names" <<'PY'
import random, sys
count = int(sys.argv[1])
order = list(range(count))
random.Random(1).shuffle(order)
with open("a.zone", "w") as zone, open("names", "w") as names:
    zone.write("$ORIGIN example.test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n")
    for number in order:
        names.write(f"h{number}.example.test\n")
    for number in range(count):
        if number % 20 < 8:
            zone.write(f"h{number} A 192.0.{number // 256 % 256}.{number % 256}\n")
        elif number % 20 == 8:
            zone.write(f"h{number} CNAME h{number - 8}\n")
        elif number % 20 == 9:
            zone.write(f"h{number} TXT x\n")
PY
# adns asks on port 53 only: NSD listens there too, on an address of its own, where that is allowed.
adns=127.0.0.9
python3 -c "import socket; socket.socket().bind(('$adns', 53))" 2> /dev/null || adns=
cat > nsd.conf <<CONF
server:
 ip-address: 127.0.0.1@$port
${adns:+ ip-address: $adns@53}
 server-count: 1
 username: ""
 chroot: ""
 database: ""
 zonesdir: $work
 rrl-ratelimit: 0
 rrl-whitelist-ratelimit: 0
 pidfile: $work/nsd.pid
 xfrdfile: $work/xfrd
 xfrdir: $work
 zonelistfile: $work/zonelist
remote-control:
 control-enable: no
zone:
 name: example.test
 zonefile: a.zone
CONF
# The server has one core, the contestants the other.
# shellcheck disable=SC2046
background nsd "$port" taskset -c 0 $(peer_env nsd) nsd -d -c "$work/nsd.conf"
echo "127.0.0.1:$port" > resolvers
sed 's/$/ A/' names > queries
head -n 20000 names > few
head -n 400000 names > some
few=$(wc -l < few) some=$(wc -l < some)
ours_json='grep -c "^{.type.:.answer" out'

# massdns is in few distributions: it is taken where it is.
massdns=$(command -v massdns || true)
[ -n "$massdns" ] || echo "massdns: not here, left out" >&2

bulk() { python3 "$here/dns_bulk.py" "$@"; }

{
    printf 'ours --json\ttaskset -c 1 dnsq --json @127.0.0.1#%s -f names A\t%s\n' "$port" "$ours_json"
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f names A\twc -l < out\n' "$port"
    # With a thousand in flight dnsperf overruns the server's socket buffer and waits for what is lost; with 200 it is at
    # its best.
    if need dnsperf dnsperf dnsperf; then
        for flight in 1000 200; do
            printf 'dnsperf -q %s\ttaskset -c 1 %s dnsperf -s 127.0.0.1 -p %s -d queries -n 1 -c 1 -T 1 -q %s -t 5\t%s\n' \
                "$flight" "$(peer_env dnsperf)" "$port" "$flight" "sed -n 's/.*completed: *\\([0-9]*\\).*/\\1/p' out"
        done
    fi
    if [ -n "$massdns" ]; then
        printf 'massdns -o J\ttaskset -c 1 %s -q -r resolvers -t A -o J -s 1000 names\twc -l < out\n' "$massdns"
        printf 'massdns -o J -s 10000\ttaskset -c 1 %s -q -r resolvers -t A -o J -s 10000 names\twc -l < out\n' "$massdns"
    fi
} | bulk "A for $names names" "$names"
{
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f few A\twc -l < out\n' "$port"
    if need dig dig bind9-dnsutils; then
        printf 'dig -f\ttaskset -c 1 %s dig @127.0.0.1 -p %s +noall +comments -f few\tgrep -c HEADER out\n' \
            "$(peer_env dig)" "$port"
    fi
    if [ -n "$adns" ] && need adns adnshost adns-tools; then
        printf 'adnshost\ttaskset -c 1 %s adnshost --config "nameserver %s" -a -t a -f < few\t%s\n' \
            "$(peer_env adns)" "$adns" 'grep -c "^[0-9]* [0-9]* [a-z]* [0-9]* " out'
    fi
} | bulk "A for $few names" "$few"

# Loss and delay: the relay shares the server's core. What it allows by itself is the measure of the run with loss, the
# window (1000) divided by the delay that of the runs with delay.
cc -O2 -o relay "$here/relay.c"
relay() {
    relayed=$(free_port)
    taskset -c 0 ./relay "$relayed" "$port" "$1" "$2" 2> relay.log &
    servers="$servers $!"
    echo "127.0.0.1:$relayed" > "resolvers$relayed"
}
{
    for case in "no loss:0:0" "1 % loss:0:10" "30 ms:30000:0" "30 ms, 1 % loss:30000:10"; do
        what=${case%%:*} rest=${case#*:}
        relay "${rest%:*}" "${rest#*:}"
        printf 'ours --json, %s\ttaskset -c 1 dnsq --json @127.0.0.1#%s -f some A\t%s\n' "$what" "$relayed" "$ours_json"
        if [ -n "$massdns" ]; then
            printf 'massdns -o J, %s\ttaskset -c 1 %s -q -r resolvers%s -t A -o J -s 1000 some\twc -l < out\n' \
                "$what" "$massdns" "$relayed"
        fi
    done
} > lossy
bulk "A for $some names through a relay" "$some" < lossy
