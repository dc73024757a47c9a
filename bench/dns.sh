#!/bin/sh
# dnsq beside dig, kdig and drill: one question to NSD over UDP.
. "$(dirname "$0")/common.sh"

machine
need nsd nsd nsd || exit 1
port=$(free_port)
cat > a.zone <<'ZONE'
$ORIGIN example.test.
$TTL 300
@    IN SOA  ns hostmaster 1 3600 600 86400 60
     IN NS   ns
ns   IN A    127.0.0.1
www  IN A    192.0.2.1
ZONE
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
# shellcheck disable=SC2046
background nsd "$port" $(peer_env nsd) nsd -d -c "$work/nsd.conf"
{
    printf 'ours\tdnsq @127.0.0.1#%s www.example.test A\n' "$port"
    printf 'ours --short\tdnsq --short @127.0.0.1#%s www.example.test A\n' "$port"
    if need kdig kdig knot-dnsutils; then
        printf 'kdig\t%s kdig @127.0.0.1 -p %s www.example.test A\n' "$(peer_env kdig)" "$port"
    fi
    if need dig dig bind9-dnsutils; then
        printf 'dig\t%s dig @127.0.0.1 -p %s www.example.test A\n' "$(peer_env dig)" "$port"
    fi
    if need drill drill ldnsutils; then
        printf 'drill\t%s drill -p %s www.example.test A @127.0.0.1\n' "$(peer_env drill)" "$port"
    fi
} | ROUNDS=${ROUNDS:-31} measure "one A question over UDP, process start to exit" > out
cat out
