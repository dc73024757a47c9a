#!/bin/sh
# ftp.sh [PART...]: ftpget, ftpput and ftpls beside curl, wget, lftp, ncftp and rclone, from vsftpd and pure-ftpd.
# Parts: big tls tlssmall small disk far tiny list memory; all of them if none is named.
. "$(dirname "$0")/common.sh"

size=$(scaled 2048)
files=$(scaled 5000)
dirs=$(scaled 50)
few=$(((dirs + 9) / 10))
entries=$(scaled 100000)
million=$(scaled 1000000)
parts=" ${*:-big tls tlssmall small disk far tiny list memory} "
part() { case $parts in *" $1 "*) ;; *) return 1 ;; esac; }
have() { command -v "$1" > /dev/null; }

machine
mkdir -p served/many served/few served/list back here empty
head -c 16 /dev/urandom > served/tiny
if part big || part tls; then
    head -c $((size * 1048576)) /dev/zero > served/big
    ln served/big here/big
fi
if part small || part disk || part far || part tlssmall; then
    for dir in $(seq "$dirs"); do
        mkdir "served/many/$dir"
        for file in $(seq $((files / dirs))); do head -c 4096 /dev/zero > "served/many/$dir/$file"; done
    done
    for dir in $(seq "$few"); do cp -r "served/many/$dir" "served/few/$dir"; done
    cp -r served/many served/few here/
fi
if part tls || part tlssmall; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem 2> /dev/null
    cat key.pem cert.pem > both.pem
    # What OpenSSL itself limits, whatever the server's own settings are.
    printf 'openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n' > tls12.cnf
    printf 'openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1.3\n' > tls13.cnf
fi
if part list; then (cd served/list && seq -f 'a-name-of-usual-length-%06.0f.txt' "$entries" | xargs touch); fi
chmod -R a+rwX served

# Anonymous at vsftpd, so that no contestant pays for a password hash; MD5-crypt of "secret" at pure-ftpd, so that logging in costs
# little: pure-pw itself would choose a hash that takes seconds.
vsftpd_conf() {
    cat <<CONF
listen=YES
listen_address=$1
listen_port=$2
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
anonymous_enable=YES
no_anon_password=YES
anon_root=$work/served
anon_world_readable_only=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
allow_writeable_chroot=YES
secure_chroot_dir=$work/empty
ftp_username=$(id -un)
xferlog_enable=NO
CONF
}
# shellcheck disable=SC2046,SC2016
if need vsftpd vsftpd vsftpd; then
    port=$(free_port)
    vsftpd_conf 127.0.0.1 "$port" > vsftpd.conf
    background vsftpd "$port" $(peer_env vsftpd) vsftpd "$work/vsftpd.conf"
    vsftpd=127.0.0.1:$port
    # vsftpd_tls NAME: with what it takes besides the configuration.
    vsftpd_tls() {
        {
            vsftpd_conf 127.0.0.1 "$port"
            printf 'ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n'
            printf 'require_ssl_reuse=YES\nssl_ciphers=HIGH\nrsa_cert_file=%s/cert.pem\nrsa_private_key_file=%s/key.pem\n' "$work" "$work"
        } > "$1.conf"
    }
    if part tls; then
        port=$(free_port)
        vsftpd_tls tls
        background tls "$port" $(peer_env vsftpd) vsftpd "$work/tls.conf"
        tls=127.0.0.1:$port
    fi
    for version in 12 13; do
        part tlssmall || break
        port=$(free_port)
        vsftpd_tls "vsftpd$version"
        background "vsftpd$version" "$port" env OPENSSL_CONF="$work/tls$version.cnf" $(peer_env vsftpd) vsftpd "$work/vsftpd$version.conf"
        eval "vsftpd$version=127.0.0.1:$port"
    done
fi
# shellcheck disable=SC2046,SC2016
if need pure-ftpd pure-ftpd pure-ftpd pure-ftpd-common; then
    port=$(free_port)
    hash='$1$salt$ez2vlPGdaLYkJam5pWs/Y1'
    echo "bench:$hash:1000:1000::$work/served/./::::::::::::" > passwd
    $(peer_env pure-ftpd) pure-pw mkdb "$work/pdb" -f "$work/passwd"
    pure_ftpd="$(peer_env pure-ftpd) pure-ftpd -E -H -A -L 200000:5 -C 60 -c 60 -l puredb:$work/pdb -u 1000 -g $work/pure.pid -S"
    background pure "$port" $pure_ftpd "127.0.0.1,$port"
    pure=bench:secret@127.0.0.1:$port
    for version in 12 13; do
        part tlssmall || break
        port=$(free_port)
        background "pure$version" "$port" env OPENSSL_CONF="$work/tls$version.cnf" ${pure_ftpd%-g *} -g "$work/pure$version.pid" -Y 2 -2 "$work/both.pem" -S "127.0.0.1,$port"
        eval "pure$version=bench:secret@127.0.0.1:$port"
    done
fi
# shellcheck disable=SC2046,SC2016
if part tlssmall && [ "$(id -u)" != 0 ]; then
    echo "proftpd: needs root, left out" >&2
elif part tlssmall && need proftpd proftpd proftpd-core proftpd-mod-crypto; then
    modules=$(find "$peers/proftpd" /usr/lib -name mod_tls.so 2> /dev/null | head -n 1)
    echo "bench:"'$1$salt$ez2vlPGdaLYkJam5pWs/Y1'":0:0::$work/served:/bin/sh" > users
    chmod 600 users
    for version in 12 13; do
        port=$(free_port)
        cat > "proftpd$version.conf" <<CONF
ModulePath ${modules%/*}
LoadModule mod_tls.c
ServerName peer
ServerType standalone
Port $port
DefaultAddress 127.0.0.1
User root
Group root
RootLogin on
RequireValidShell off
AuthOrder mod_auth_file.c
AuthUserFile $work/users
DefaultRoot ~
PidFile $work/proftpd$version.pid
ScoreboardFile $work/proftpd$version.scoreboard
DelayEngine off
WtmpLog off
UseReverseDNS off
AllowOverwrite on
Umask 022
MaxInstances 60
TLSEngine on
TLSRequired on
TLSProtocol TLSv1.2 TLSv1.3
TLSRSACertificateFile $work/cert.pem
TLSRSACertificateKeyFile $work/key.pem
TLSVerifyClient off
CONF
        [ "$version" = 13 ] || sed -i 's/^TLSProtocol.*/TLSProtocol TLSv1.2/' "proftpd$version.conf"
        background "proftpd$version" "$port" $(peer_env proftpd) proftpd -n -q -c "$work/proftpd$version.conf"
        eval "proftpd$version=bench:secret@127.0.0.1:$port"
    done
fi
at_of() { eval "at=\${$1:-}"; [ -n "$at" ]; }
# rclone_at USER:PASSWORD@HOST:PORT: the flags for that server.
rclone_at() {
    server=${1#*@} login=${1%@*}
    [ "$login" != "$1" ] || login=anonymous:x
    echo "--config /dev/null --ftp-host ${server%:*} --ftp-port ${server#*:} --ftp-user ${login%:*} --ftp-pass $(rclone obscure "${login#*:}")"
}

big() {
    {
        printf 'ours\tftpget -q -o back/big ftp://%s/big\trm -f back/big\n' "$at"
        printf 'curl\tcurl -s -o back/big ftp://%s/big\trm -f back/big\n' "$at"
        if have wget; then printf 'wget\twget -q -O back/big ftp://%s/big\trm -f back/big\n' "$at"; fi
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; get big -o back/big"\trm -f back/big\n' "$at"; fi
    } | measure "FTP: $size MiB to a file on tmpfs, from $1" --unit MiB --count "$size"
    rm -f back/big
    {
        printf 'ours\tftpget -q -o - ftp://%s/big > /dev/null\n' "$at"
        printf 'curl\tcurl -s ftp://%s/big > /dev/null\n' "$at"
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; cat big" > /dev/null\n' "$at"; fi
    } | measure "FTP: $size MiB to stdout, from $1" --unit MiB --count "$size"
    {
        printf 'ours\tftpput -q here/big ftp://%s/up\trm -f served/up\n' "$at"
        printf 'ours --in-place\tftpput -q --in-place here/big ftp://%s/up\trm -f served/up\n' "$at"
        printf 'curl\tcurl -s -T here/big ftp://%s/up\trm -f served/up\n' "$at"
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; put here/big -o up"\trm -f served/up\n' "$at"; fi
        if have ncftpput; then
            login=${at%@*}
            [ "$login" = "$at" ] && login= || login="-u ${login%:*} -p ${login#*:}"
            printf 'ncftpput\tncftpput -V %s -P %s -C 127.0.0.1 here/big up\trm -f served/up\n' "$login" "${at##*:}"
        fi
    } | measure "FTP: $size MiB up, to $1" --unit MiB --count "$size"
    rm -f served/up
}

encrypted() {
    {
        printf 'ours\tftpget -q --insecure -o back/big ftpes://%s/big\trm -f back/big\n' "$at"
        printf 'curl\tcurl -s -k --ssl-reqd -o back/big ftp://%s/big\trm -f back/big\n' "$at"
        if have lftp; then
            printf 'lftp\tlftp -c "set ssl:verify-certificate no; set ftp:ssl-allow-anonymous yes; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; open ftp://%s; get big -o back/big"\trm -f back/big\n' "$at"
        fi
    } | measure "FTP: $size MiB over TLS, from vsftpd" --unit MiB --count "$size"
    rm -f back/big
    {
        printf 'ours\tftpput -q --insecure here/big ftpes://%s/up\trm -f served/up\n' "$at"
        printf 'curl\tcurl -s -k --ssl-reqd -T here/big ftp://%s/up\trm -f served/up\n' "$at"
    } | measure "FTP: $size MiB up over TLS, to vsftpd" --unit MiB --count "$size"
    rm -f served/up
}

# tlssmall SERVER VERSION
tlssmall() {
    count=$((few * files / dirs))
    {
        printf 'ours -r\tftpput -q -r --insecure here/few ftpes://%s/tree/\trm -rf served/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -R -P8\tlftp -c "set ssl:verify-certificate no; set ftp:ssl-allow-anonymous yes; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; open ftp://%s; mirror -R --parallel=8 here/few tree" > /dev/null 2>&1\trm -rf served/tree\n' "$at"
        fi
    } | measure "FTP: $count files of 4 KiB over TLS 1.${2#1}, to $1" --unit files --count "$count"
    rm -rf served/tree
}

# memory: listings that a script makes up; what is asked for is the last column.
memory() {
    at=127.0.0.1:$(free_port)
    background listings "${at#*:}" python3 "$here/listings.py" "${at#*:}"
    for tree in 0x$((10 * million))x0 $((million / 100))x1000x1; do
        {
            printf 'ours: ftpls --du\tftpls -q --du ftp://%s/%s/ > /dev/null\n' "$at" "$tree"
            printf 'ours: ftpls -R\tftpls -q -R ftp://%s/%s/ > /dev/null\n' "$at" "$tree"
            printf 'ours: ftpls -R --sort size\tftpls -q -R --sort size ftp://%s/%s/ > /dev/null\n' "$at" "$tree"
            printf 'ours: ftpget -r -n --delete-source\tftpget -q -n -r --delete-source -o back/none ftp://%s/%s/ > /dev/null\n' "$at" "$tree"
            printf 'ours: ftpdo rm -r\tftpdo -q -n ftp://%s/ rm -r %s > /dev/null\n' "$at" "$tree"
        } | ROUNDS=1 measure "FTP: memory for the tree $tree (directories x files x levels below)" --unit entries --count $((10 * million))
    done
    for count in $((million / 10)) $million; do
        mkdir -p "here/links$count"
        python3 - "here/links$count" "$count" <<'PY'
import os, sys
first = None
for n in range(int(sys.argv[2])):
    path = f"{sys.argv[1]}/a-name-of-usual-length-{n:08}.txt"
    if n % 50000 == 0:
        open(path, "w").close()
        first = path
    else:
        os.link(first, path)
PY
        {
            printf 'ours: ftpput -r -n\tftpput -q -n -r here/links%s ftp://%s/0x%sx0/ > /dev/null\n' "$count" "$at" "$count"
            printf 'ours: ftpput -r -n --delete\tftpput -q -n -r --delete here/links%s ftp://%s/0x%sx0/ > /dev/null\n' "$count" "$at" "$count"
            printf 'ours: ftpget -r -n --delete\tftpget -q -n -r --delete -o here/links%s ftp://%s/0x%sx0/ > /dev/null\n' "$count" "$at" "$count"
        } | ROUNDS=1 measure "FTP: memory for $count files on both sides" --unit entries --count "$count"
        rm -rf "here/links$count"
    done
}

# small SERVER
small() {
    for dir in $(seq "$dirs"); do
        for file in $(seq $((files / dirs))); do
            printf 'url = "ftp://%s/many/%s/%s"\noutput = "back/tree/%s/%s"\n' "$at" "$dir" "$file" "$dir" "$file"
        done
    done > urls
    {
        printf 'ours -r\tftpget -q -r -o back/tree ftp://%s/many/\trm -rf back/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -P8\tlftp -c "open ftp://%s; mirror --parallel=8 many back/tree" > /dev/null 2>&1\trm -rf back/tree\n' "$at"
            printf 'lftp mirror -P8, tuned\tlftp -c "set ftp:sync-mode off; set ftp:use-size off; set ftp:use-mdtm off; open ftp://%s; mirror --parallel=8 many back/tree" > /dev/null 2>&1\trm -rf back/tree\n' "$at"
        fi
        if have rclone; then
            printf 'rclone copy\trclone copy --transfers 8 %s :ftp:many back/tree\trm -rf back/tree\n' "$(rclone_at "$at")"
        fi
        printf 'curl -Z, ready list\tcurl -s -Z --parallel-max 8 --ftp-method nocwd --create-dirs -K urls 2> /dev/null\trm -rf back/tree\n'
    } | measure "FTP: $files files of 4 KiB in $dirs directories, from $1" --unit files --count "$files"
    {
        printf 'ours -r\tftpput -q -r here/many ftp://%s/tree/\trm -rf served/tree\n' "$at"
        printf 'ours -r --in-place\tftpput -q -r --in-place here/many ftp://%s/tree/\trm -rf served/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -R -P8\tlftp -c "open ftp://%s; mirror -R --parallel=8 here/many tree" > /dev/null 2>&1\trm -rf served/tree\n' "$at"
            printf 'lftp mirror -R -P8, tuned\tlftp -c "set ftp:sync-mode off; open ftp://%s; mirror -R --parallel=8 here/many tree" > /dev/null 2>&1\trm -rf served/tree\n' "$at"
        fi
    } | measure "FTP: $files files of 4 KiB in $dirs directories, to $1" --unit files --count "$files"
    rm -rf back/tree served/tree
}

# To a real disk: ours is durable when it ends, so the others are followed by a sync of that file system. What a run brought is moved away
# and not deleted: ext4 passes by inodes that were freed in the last seconds, one by one, which would be most of what is measured.
disk() {
    disk=$(mktemp -d "${TMPDIR:-/var/tmp}/applayer-bench.XXXXXX")
    {
        printf 'ours -r\tftpget -q -r -o %s/tree ftp://%s/many/\tmv %s/tree %s/$(date +%%N) 2> /dev/null; sync -f %s\n' "$disk" "$at" "$disk" "$disk" "$disk"
        if have lftp; then
            printf 'lftp mirror -P8, tuned; sync\tlftp -c "set ftp:sync-mode off; set ftp:use-size off; set ftp:use-mdtm off; open ftp://%s; mirror --parallel=8 many %s/tree" > /dev/null 2>&1; sync -f %s\tmv %s/tree %s/$(date +%%N) 2> /dev/null; sync -f %s\n' "$at" "$disk" "$disk" "$disk" "$disk" "$disk"
        fi
        if have rclone; then
            printf 'rclone copy; sync\trclone copy --transfers 8 %s :ftp:many %s/tree; sync -f %s\tmv %s/tree %s/$(date +%%N) 2> /dev/null; sync -f %s\n' "$(rclone_at "$at")" "$disk" "$disk" "$disk" "$disk" "$disk"
        fi
    } | measure "FTP: $files files of 4 KiB in $dirs directories, from $1, durable on $(stat -f -c %T "$disk")" --unit files --count "$files"
    rm -rf "$disk"
}

# far SERVER COMMAND: between two network namespaces whose wire takes 20 ms each way.
far() {
    count=$((few * files / dirs))
    for dir in $(seq "$few"); do
        for file in $(seq $((files / dirs))); do
            printf 'url = "ftp://%s/few/%s/%s"\noutput = "back/tree/%s/%s"\n' "$at" "$dir" "$file" "$dir" "$file"
        done
    done > urls
    {
        printf 'ours -r\tftpget -q -r -o back/tree ftp://%s/few/\trm -rf back/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -P8, tuned\tlftp -c "set ftp:sync-mode off; set ftp:use-size off; set ftp:use-mdtm off; open ftp://%s; mirror --parallel=8 few back/tree" > /dev/null 2>&1\trm -rf back/tree\n' "$at"
        fi
        if have rclone; then
            printf 'rclone copy\trclone copy --transfers 8 %s :ftp:few back/tree\trm -rf back/tree\n' "$(rclone_at "$at")"
        fi
        printf 'curl -Z, ready list\tcurl -s -Z --parallel-max 8 --ftp-method nocwd --create-dirs -K urls 2> /dev/null\trm -rf back/tree\n'
    } | measure "FTP: $count files of 4 KiB at 40 ms, from $1" --unit files --count "$count" --within "$work/netdelay 20000 '$2'"
    {
        printf 'ours -r\tftpput -q -r here/few ftp://%s/tree/\trm -rf served/tree\n' "$at"
        printf 'ours -r --in-place\tftpput -q -r --in-place here/few ftp://%s/tree/\trm -rf served/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -R -P8, tuned\tlftp -c "set ftp:sync-mode off; open ftp://%s; mirror -R --parallel=8 here/few tree" > /dev/null 2>&1\trm -rf served/tree\n' "$at"
        fi
    } | measure "FTP: $count files of 4 KiB at 40 ms, to $1" --unit files --count "$count" --within "$work/netdelay 20000 '$2'"
    rm -rf back/tree served/tree
}

tiny() {
    {
        printf 'ours\tftpget -q -o back/tiny ftp://%s/tiny\trm -f back/tiny\n' "$at"
        printf 'curl\tcurl -s -o back/tiny ftp://%s/tiny\trm -f back/tiny\n' "$at"
        if have wget; then printf 'wget\twget -q -O back/tiny ftp://%s/tiny\trm -f back/tiny\n' "$at"; fi
        # Without the rm it would find its file and transfer nothing.
        if have ncftpget; then printf 'ncftpget\tncftpget -V -C ftp://%s/tiny back/tiny\trm -f back/tiny\n' "$at"; fi
    } | ROUNDS=21 measure "FTP: one file of 16 bytes, from $1"
}

list() {
    {
        printf 'ours\tftpls -q ftp://%s/list/ > /dev/null\n' "$at"
        printf 'ours --json\tftpls -q --json ftp://%s/list/ > /dev/null\n' "$at"
        printf 'curl\tcurl -s ftp://%s/list/ > /dev/null\n' "$at"
        if have lftp; then printf 'lftp cls\tlftp -c "open ftp://%s; cls -1 list" > /dev/null\n' "$at"; fi
    } | measure "FTP: a listing of $entries entries, from $1" --unit entries --count "$entries"
}

for server in vsftpd pure; do
    at_of "$server" || continue
    if part big; then big "$server"; fi
    if part small; then small "$server"; fi
    if part tiny; then tiny "$server"; fi
    if part list; then list "$server"; fi
done
if part tls && at_of tls; then encrypted; fi
if part tlssmall; then
    for server in vsftpd proftpd pure; do
        for version in 12 13; do
            if at_of "$server$version"; then tlssmall "$server" "$version"; fi
        done
    done
fi
if part memory; then memory; fi
if part disk && at_of pure; then disk pure; fi
if part far && [ "$(id -u)" != 0 ]; then
    echo "far: needs root, left out" >&2
elif part far; then
    cc -O1 -o netdelay "$here/netdelay.c"
    if at_of pure; then
        at=bench:secret@10.9.0.1:2121
        far pure "$pure_ftpd 10.9.0.1,2121"
    fi
    if at_of vsftpd; then
        at=10.9.0.1:2121
        vsftpd_conf 10.9.0.1 2121 > far.conf
        far vsftpd "$(peer_env vsftpd) vsftpd $work/far.conf"
    fi
fi
