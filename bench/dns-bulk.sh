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
cat > nsd.conf <<CONF
server:
 ip-address: 127.0.0.1@$port
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
head -n 100000 names > some
few=$(wc -l < few) some=$(wc -l < some)
ours_json='grep -c "^{.type.:.answer" out'

bulk() { python3 "$here/dns_bulk.py" "$@"; }

{
    printf 'ours --json\ttaskset -c 1 dnsq --json @127.0.0.1#%s -f names A\t%s\n' "$port" "$ours_json"
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f names A\twc -l < out\n' "$port"
    if need dnsperf dnsperf dnsperf; then
        printf 'dnsperf\ttaskset -c 1 %s dnsperf -s 127.0.0.1 -p %s -d queries -n 1 -c 1 -T 1 -q 1000 -t 5\t%s\n' \
            "$(peer_env dnsperf)" "$port" "sed -n 's/.*completed: *\\([0-9]*\\).*/\\1/p' out"
    fi
    if need massdns massdns massdns; then
        massdns=$(peer_env massdns)
        printf 'massdns -o J\ttaskset -c 1 %s massdns -q -r resolvers -t A -o J -s 1000 names\twc -l < out\n' "$massdns"
        printf 'massdns -o J -s 10000\ttaskset -c 1 %s massdns -q -r resolvers -t A -o J -s 10000 names\twc -l < out\n' "$massdns"
    fi
} | bulk "A for $names names" "$names"
{
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f few A\twc -l < out\n' "$port"
    if need dig dig bind9-dnsutils; then
        printf 'dig -f\ttaskset -c 1 %s dig @127.0.0.1 -p %s +noall +comments -f few\tgrep -c HEADER out\n' \
            "$(peer_env dig)" "$port"
    fi
    if [ "$port" = 53 ] && need adns adnshost adns-tools; then # adns can ask on port 53 only
        printf 'adnshost\ttaskset -c 1 %s adnshost --config "nameserver 127.0.0.1" -a -t a -f < few\twc -l < out\n' "$(peer_env adns)"
    fi
} | bulk "A for $few names" "$few"

# Loss and delay: the relay shares the server's core.
cc -O2 -o relay "$here/relay.c"
lossy=$(free_port)
taskset -c 0 ./relay "$lossy" "$port" 0 10 2> relay.log &
servers="$servers $!"
far=$(free_port)
taskset -c 0 ./relay "$far" "$port" 30000 0 2> relay2.log &
servers="$servers $!"
for case in "1 % loss:$lossy" "30 ms:$far"; do
    relayed=${case##*:}
    echo "127.0.0.1:$relayed" > resolvers
    {
        printf 'ours --json\ttaskset -c 1 dnsq --json @127.0.0.1#%s -f some A\t%s\n' "$relayed" "$ours_json"
        if need massdns massdns massdns; then
            printf 'massdns -o J\ttaskset -c 1 %s massdns -q -r resolvers -t A -o J -s 1000 some\twc -l < out\n' "$(peer_env massdns)"
        fi
    } | bulk "A for $some names, ${case%:*}" "$some"
done
