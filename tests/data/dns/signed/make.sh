#!/bin/sh
# make.sh FOLDER [BEGIN END]: writes a signed hierarchy into FOLDER with BIND's dnssec-keygen and dnssec-signzone:
# root -> test -> example.test and siblings that are unsigned, wrong, expired, hashed, opt-out. BEGIN and END (YYYYMMDDHHMMSS)
# bound the signatures; without them they hold for a month from now. The root's anchor is FOLDER/anchor (a DS record).
# Each server has an address of its own: root 127.0.0.11, test 127.0.0.12, the others 127.0.0.13.
set -eu
out=$1 begin=${2:-now-3600} end=${3:-now+2592000}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# sign ZONE ALGORITHM BEGIN END [SIGNZONE-OPTION...] < zone file without SOA, NS and the server's address
sign() {
    zone=$1 algorithm=$2 from=$3 to=$4
    shift 4
    name=${zone%.}
    {
        printf '$ORIGIN %s\n$TTL 300\n' "$zone"
        printf '@ SOA %s hostmaster.test. 1 3600 600 86400 60\n' "$server"
        printf '@ NS %s\n' "$server"
        cat
    } > zone
    if [ "$algorithm" = none ]; then
        mv zone "$out/${name:-root}.zone"
        return
    fi
    key=$(dnssec-keygen -q -a "$algorithm" -f KSK "$zone")
    # One key for everything, save where the example has two.
    extra=-z
    if [ "$zone" = example.test. ]; then
        extra=
        cat "$(dnssec-keygen -q -a "$algorithm" "$zone").key" >> zone
    fi
    cat "$key.key" >> zone
    # shellcheck disable=SC2086
    dnssec-signzone -q -P $extra -O full -o "$zone" -s "$from" -e "$to" -f signed "$@" zone > /dev/null
    grep -v '^;' signed | tr -s ' \t' ' ' > "$out/${name:-root}.zone"
    dnssec-dsfromkey -2 "$key.key" >> dsset
}

server=ns.example.test.
sign example.test. ECDSAP256SHA256 "$begin" "$end" <<'ZONE'
ns          A     127.0.0.13
www         A     192.0.2.10
www         AAAA  2001:db8::10
@           MX    10 mail
mail        A     192.0.2.25
_25._tcp.mail TLSA 3 1 1 0D6FCE13243AA7AD0FCE13243AA7AD0FCE13243AA7AD0FCE13243AA7AD0FCE13
alias       CNAME www
two         CNAME alias
dangling    CNAME nothere
to-insecure CNAME www.insecure.test.
to-bogus    CNAME www.bogus.test.
to-hashed   CNAME www.hashed.test.
loop1       CNAME loop2
loop2       CNAME loop1
old         DNAME hashed.test.
x.ent       A     192.0.2.20
*.wild      TXT   "wild"
host.wild   A     192.0.2.30
*.walias    CNAME www
*.to-host   CNAME www.hashed.test.
*.to-wild   CNAME q.wild.hashed.test.
*.to-gone   CNAME nothere.hashed.test.
*.to-plain  CNAME www.insecure.test.
*.to-void   CNAME nothere.insecure.test.
sub         NS    ns.sub
ns.sub      A     127.0.0.13
ZONE
sign hashed.test. RSASHA256 "$begin" "$end" -3 aabb -H 2 <<'ZONE'
www         A     192.0.2.11
x.ent       A     192.0.2.21
*.wild      TXT   "wild"
sub         NS    ns.example.test.
ZONE
sign optout.test. ED25519 "$begin" "$end" -3 - -H 0 -A <<'ZONE'
www         A     192.0.2.12
sub         NS    ns.example.test.
x.ent       NS    ns.example.test.
ZONE
sign iterations.test. ECDSAP256SHA256 "$begin" "$end" -3 - -H 120 <<'ZONE'
www         A     192.0.2.13
ZONE
sign bogus.test. ECDSAP256SHA256 "$begin" "$end" <<'ZONE'
www         A     192.0.2.66
good        A     192.0.2.14
ZONE
sed -i 's/192\.0\.2\.66/192.0.2.67/' "$out/bogus.test.zone"
sign expired.test. ECDSAP256SHA256 20200101000000 20200201000000 <<'ZONE'
www         A     192.0.2.15
ZONE
sign future.test. ECDSAP256SHA256 20350101000000 20350201000000 <<'ZONE'
www         A     192.0.2.16
ZONE
sign stripped.test. ECDSAP256SHA256 "$begin" "$end" <<'ZONE'
www         A     192.0.2.17
ZONE
sed -i '/RRSIG A /d; /RRSIG NSEC /d; / NSEC /d' "$out/stripped.test.zone"
# The DS of another key.
sign mismatch.test. ECDSAP256SHA256 "$begin" "$end" <<'ZONE'
www         A     192.0.2.18
ZONE
sed -i '$d' dsset
cat >> dsset <<'DS'
mismatch.test. IN DS 12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
unsigned.test. IN DS 12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
algorithm.test. IN DS 12345 253 2 0000000000000000000000000000000000000000000000000000000000000000
DS
for zone in insecure unsigned algorithm lame; do
    sign $zone.test. none - - <<'ZONE'
www         A     192.0.2.19
ZONE
done
server=ns.sub.example.test.
sign sub.example.test. none - - <<'ZONE'
ns          A     127.0.0.13
www         A     192.0.2.40
ZONE

server=ns.test.
{
    cat dsset
    echo 'ns A 127.0.0.12'
    echo 'ns.example A 127.0.0.13'
    for zone in example hashed optout iterations bogus expired future stripped mismatch unsigned algorithm insecure; do
        echo "$zone NS ns.example"
    done
    # A server that answers for nothing, before one that does.
    echo 'lame NS ns'
    echo 'lame NS ns.example'
    echo 'nowhere NS ns.nowhere.invalid.'
} > test.zone
: > dsset
sign test. ECDSAP256SHA256 "$begin" "$end" < test.zone
server=root-server.
{
    cat dsset
    echo 'test. NS ns.test.'
    echo 'ns.test. A 127.0.0.12'
    echo 'root-server. A 127.0.0.11'
} > root.zone
: > dsset
sign . ECDSAP256SHA256 "$begin" "$end" < root.zone
cp dsset "$out/anchor"
printf '. 3600000 NS root-server.\nroot-server. 3600000 A 127.0.0.11\n' > "$out/hints"
