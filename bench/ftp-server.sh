#!/bin/sh
# ftp-server.sh [PART...]: ftpserve beside vsftpd, pure-ftpd and proftpd, with the same clients and the same user, whose password has
# the same SHA-512 hash everywhere. Parts: big tls small logins crowd idle readers; all of them if none is named.
# LONG=1 runs more rounds with larger files. It needs root: vsftpd's user is one of a private /etc/passwd.
. "$(dirname "$0")/common.sh"

[ "$(id -u)" -eq 0 ] || { echo "ftp-server.sh: needs root" >&2; exit 1; }
export ROUNDS="${ROUNDS:-$([ -n "${LONG:-}" ] && echo 7 || echo 3)}"
size=$([ -n "${LONG:-}" ] && echo 2048 || echo 512)
files=$(scaled 5000)
parts=" ${*:-big tls small logins crowd idle readers} "
part() { case $parts in *" $1 "*) ;; *) return 1 ;; esac; }

machine
chmod 711 "$work"
for server in ours vsftpd pure proftpd; do mkdir -p "served/$server/many"; done
mkdir -p here/many back empty
head -c $((size * 1048576)) /dev/zero > here/big
for dir in $(seq 50); do
    mkdir "here/many/$dir"
    for file in $(seq $((files / 50))); do head -c 4096 /dev/zero > "here/many/$dir/$file"; done
done
for server in ours vsftpd pure proftpd; do
    ln here/big "served/$server/big"
    cp -r here/many "served/$server/"
done
chown -R 1000:1000 served
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem 2> /dev/null
cat key.pem cert.pem > both.pem
hash=$(openssl passwd -6 -salt benchmark secret)

# contestant NAME CLEAR-PORT PID TLS-PORT TLS-PID: a line of the table that ftp_server.py reads.
contestant() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >> contestants; }

echo "bench:$hash::write" > users
chmod 600 users
limits="--listen 127.0.0.1:0 --max-clients 2800 --max-per-address 1400"
# shellcheck disable=SC2086
serve ours ftpserve --write --user-file users $limits ${FTPSERVE:-} served/ours
ours="$port ${servers##* }"
# shellcheck disable=SC2086
serve ourstls ftpserve --write --user-file users $limits --cert cert.pem --key key.pem ${FTPSERVE:-} served/ours
contestant ours $ours "$port" "${servers##* }"

if need vsftpd vsftpd vsftpd; then
    echo 'bench:x:1000:1000::/:/bin/sh' | cat /etc/passwd - > vsftpd.passwd
    echo "bench:$hash:19000:0:99999:7:::" | cat /etc/shadow - > vsftpd.shadow
    # vsftpd_conf PORT [LINES]
    vsftpd_conf() {
        printf '%s\n' listen=YES listen_address=127.0.0.1 listen_port="$1" background=NO seccomp_sandbox=NO anonymous_enable=NO \
            local_enable=YES local_root="$work/served/vsftpd" chroot_local_user=YES allow_writeable_chroot=YES write_enable=YES \
            local_umask=022 pam_service_name=other secure_chroot_dir="$work/empty" xferlog_enable=NO max_clients=0 max_per_ip=0 \
            lock_upload_files=NO check_shell=NO ${2:-}
    }
    # vsftpd_at PORT LOG
    vsftpd_at() {
        background "$2" "$1" unshare -m sh -c 'mount --bind vsftpd.passwd /etc/passwd && mount --bind vsftpd.shadow /etc/shadow && exec "$@"' \
            sh $(peer_env vsftpd) vsftpd "$work/$2.conf"
    }
    clear=$(free_port)
    vsftpd_conf "$clear" > vsftpd.conf
    vsftpd_at "$clear" vsftpd
    pid=${servers##* }
    port=$(free_port)
    vsftpd_conf "$port" "ssl_enable=YES force_local_logins_ssl=YES force_local_data_ssl=YES require_ssl_reuse=YES ssl_ciphers=HIGH
        rsa_cert_file=$work/cert.pem rsa_private_key_file=$work/key.pem" > vsftpdtls.conf
    vsftpd_at "$port" vsftpdtls
    contestant vsftpd "$clear" "$pid" "$port" "${servers##* }"
fi
if need pure-ftpd pure-ftpd pure-ftpd pure-ftpd-common; then
    echo "bench:$hash:1000:1000::$work/served/pure/./::::::::::::" > passwd
    $(peer_env pure-ftpd) pure-pw mkdb "$work/pdb" -f "$work/passwd"
    pure="$(peer_env pure-ftpd) pure-ftpd -E -H -A -L 200000:5 -C 3000 -c 3000 -l puredb:$work/pdb -u 1000"
    clear=$(free_port)
    background pure "$clear" $pure -g "$work/pure.pid" -S "127.0.0.1,$clear"
    pid=${servers##* }
    port=$(free_port)
    background puretls "$port" $pure -g "$work/puretls.pid" -Y 2 -2 "$work/both.pem" -S "127.0.0.1,$port"
    contestant pure-ftpd "$clear" "$pid" "$port" "${servers##* }"
fi
if need proftpd proftpd proftpd-core proftpd-mod-crypto; then
    modules=$(find "$peers/proftpd" /usr/lib -name mod_tls.so 2> /dev/null | head -n 1)
    echo "bench:$hash:1000:1000::$work/served/proftpd:/bin/sh" > proftpd.users
    chmod 600 proftpd.users
    # proftpd_at PORT LOG [LINES]
    proftpd_at() {
        {
            printf '%s\n' "ServerName peer" "ServerType standalone" "Port $1" "DefaultAddress 127.0.0.1" "User root" "Group root" \
                "RequireValidShell off" "AuthOrder mod_auth_file.c" "AuthUserFile $work/proftpd.users" "DefaultRoot ~" \
                "PidFile $work/$2.pid" "ScoreboardFile $work/$2.scoreboard" "DelayEngine off" "WtmpLog off" "UseReverseDNS off" \
                "AllowOverwrite on" "AllowStoreRestart on" "Umask 022" "MaxInstances 3000" "TransferLog none" "SystemLog none"
            [ -z "${3:-}" ] || printf "$3"
        } > "$2.conf"
        background "$2" "$1" $(peer_env proftpd) proftpd -n -q -c "$work/$2.conf"
    }
    clear=$(free_port)
    proftpd_at "$clear" proftpd
    pid=${servers##* }
    port=$(free_port)
    proftpd_at "$port" proftpdtls "ModulePath ${modules%/*}\nLoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSProtocol TLSv1.2 TLSv1.3\n\
TLSRSACertificateFile $work/cert.pem\nTLSRSACertificateKeyFile $work/key.pem\nTLSVerifyClient off\n"
    contestant proftpd "$clear" "$pid" "$port" "${servers##* }"
fi
# shellcheck disable=SC2086
python3 "$here/ftp_server.py" "$size" "$files" $parts < contestants
