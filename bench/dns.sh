#!/bin/sh
# dnsq beside dig, kdig, drill and delv: one question to NSD over UDP, DNSSEC from the root's key down, and the transfer of a zone of 1,000,003 records from Knot;
# dnsserve beside NSD: CPU time a packet, which has a bound.
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
 rrl-ratelimit: 0
 rrl-whitelist-ratelimit: 0
remote-control:
 control-enable: no
zone:
 name: example.test
 zonefile: a.zone
CONF
# shellcheck disable=SC2046
background nsd "$port" $(peer_env nsd) nsd -d -c "$work/nsd.conf"
kdig='' dig='' drill=''
need kdig kdig knot-dnsutils && kdig="$(peer_env kdig) kdig"
need dig dig bind9-dnsutils && dig="$(peer_env dig) dig"
need drill drill ldnsutils && drill="$(peer_env drill) drill"
{
    printf 'ours\tdnsq @127.0.0.1#%s www.example.test A\n' "$port"
    printf 'ours --short\tdnsq --short @127.0.0.1#%s www.example.test A\n' "$port"
    [ -z "$kdig" ] || printf 'kdig\t%s @127.0.0.1 -p %s www.example.test A\n' "$kdig" "$port"
    [ -z "$dig" ] || printf 'dig\t%s @127.0.0.1 -p %s www.example.test A\n' "$dig" "$port"
    [ -z "$drill" ] || printf 'drill\t%s -p %s www.example.test A @127.0.0.1\n' "$drill" "$port"
} | ROUNDS=${ROUNDS:-31} measure "one A question over UDP, process start to exit" > out
cat out

# What one packet costs a server, whatever is in it.
nsd_pid=${servers##* } nsd_port=$port
serve dnsserve dnsserve --listen 127.0.0.1:0 a.zone
printf 'ours\t%s\t%s\nnsd\t%s\t%s\n' "$port" "${servers##* }" "$nsd_port" "$nsd_pid" |
    python3 "$here/dns_packets.py" "${ROUNDS:-5}" > out || { cat out; exit 1; }
cat out

# DNSSEC: root -> test -> example.test, signed now, all on one server; from the root's key down to the answer.
if need dnssec-signzone dnssec-signzone bind9-utils; then
    # shellcheck disable=SC2046
    $(peer_env dnssec-signzone) sh "$here/../tests/data/dns/signed/make.sh" "$work/signed"
    port=$(free_port)
    sed "s/127.0.0.1@.*/127.0.0.1@$port/; /^zone:/,\$d; s/nsd.pid/signed.pid/; s/xfrd$/signed.xfrd/; s/zonelist$/signed.list/" nsd.conf > signed.conf
    for zone in root test example.test hashed.test; do
        name=$zone
        [ "$zone" != root ] || name=.
        printf 'zone:\n name: %s\n zonefile: signed/%s.zone\n' "$name" "$zone" >> signed.conf
    done
    # shellcheck disable=SC2046
    background signed "$port" $(peer_env nsd) nsd -d -c "$work/signed.conf"
    read -r _ _ _ tag algorithm kind digest < signed/anchor
    echo "trust-anchors { . static-ds $tag $algorithm $kind \"$digest\"; };" > bind.keys
    delv=''
    need delv delv bind9-dnsutils && delv="$(peer_env delv) delv"
    for question in "www.example.test A" "www.hashed.test A" "x.wild.example.test TXT"; do
        {
            printf 'ours\tdnsq --validate --anchor signed/anchor @127.0.0.1#%s %s\n' "$port" "$question"
            [ -z "$drill" ] || printf 'drill -S\t%s -S -k signed/anchor -p %s %s @127.0.0.1\n' "$drill" "$port" "$question"
            [ -z "$delv" ] || printf 'delv\t%s -a bind.keys +root=. @127.0.0.1 -p %s %s\n' "$delv" "$port" "$question"
        } | ROUNDS=${ROUNDS:-31} measure "DNSSEC from the root's key: $question" > out
        cat out
    done
fi

need knot knotd knot || exit 0
names=$(scaled 1000000)
{
    printf '$ORIGIN big.test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n'
    seq "$names" | sed 's/.*/host&-with-a-name A 192.0.2.1/'
} > big.zone
port=$(free_port)
cat > knot.conf <<CONF
server:
  listen: 127.0.0.1@$port
  rundir: $work
database:
  storage: $work
log:
- target: stderr
  any: warning
acl:
- id: all
  address: 127.0.0.1
  action: transfer
template:
- id: default
  storage: $work
  semantic-checks: off
  zonefile-sync: -1
  journal-content: none
zone:
- domain: big.test
  file: big.zone
  acl: all
CONF
# shellcheck disable=SC2046
background knot "$port" $(peer_env knot) knotd -c "$work/knot.conf"
until dnsq --short "@127.0.0.1#$port" big.test SOA > /dev/null 2>&1; do sleep 0.1; done
{
    printf 'ours -o FILE\tdnsq @127.0.0.1#%s big.test AXFR -o %s/ours.zone\n' "$port" "$work"
    printf 'ours > file\tdnsq @127.0.0.1#%s big.test AXFR > %s/ours.txt\n' "$port" "$work"
    [ -z "$dig" ] || printf 'dig\t%s @127.0.0.1 -p %s big.test AXFR > %s/dig.txt\n' "$dig" "$port" "$work"
    [ -z "$kdig" ] || printf 'kdig\t%s @127.0.0.1 -p %s big.test AXFR > %s/kdig.txt\n' "$kdig" "$port" "$work"
    [ -z "$drill" ] || printf 'drill\t%s -p %s big.test AXFR @127.0.0.1 > %s/drill.txt\n' "$drill" "$port" "$work"
} | measure "AXFR of $((names + 3)) records to a file" --unit records --count $((names + 3)) > out
cat out
[ "$(grep -c . ours.zone)" -eq $((names + 4)) ] || { echo "a record is missing" >&2; exit 1; }
if [ -e dig.txt ]; then
    # What dig printed, without its comments, is what we wrote.
    grep -v '^;' dig.txt | grep . | cmp - ours.zone
fi
