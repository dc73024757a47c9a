#!/bin/sh
# dnsq -f beside massdns and dig -f: A records of many names, half of them NXDOMAIN, from NSD.
. "$(dirname "$0")/common.sh"

names=$(scaled 500000)
machine
need nsd nsd nsd || exit 1
port=$(free_port)
python3 - "$names" <<'PY'
import sys
count = int(sys.argv[1])
with open("a.zone", "w") as zone, open("names", "w") as names:
    zone.write("$ORIGIN example.test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n")
    for number in range(count):
        names.write(f"h{number}.example.test\n")
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
head -n 20000 names > few
{
    printf 'ours --json\ttaskset -c 1 dnsq --json @127.0.0.1#%s -f names A > out\n' "$port"
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f names A > out\n' "$port"
    if need massdns massdns massdns; then
        massdns=$(peer_env massdns)
        printf 'massdns -o J\ttaskset -c 1 %s massdns -q -r resolvers -t A -o J -s 10000 -w out names\n' "$massdns"
        printf 'massdns -o S\ttaskset -c 1 %s massdns -q -r resolvers -t A -o S -s 10000 -w out names\n' "$massdns"
    fi
} | measure "A for $names names" --unit names --count "$names"
{
    printf 'ours --short\ttaskset -c 1 dnsq --short @127.0.0.1#%s -f few A > out\n' "$port"
    if need dig dig bind9-dnsutils; then
        printf 'dig -f\ttaskset -c 1 %s dig @127.0.0.1 -p %s +short -f few > out\n' "$(peer_env dig)" "$port"
    fi
} | measure "A for 20,000 names" --unit names --count 20000
