#!/bin/sh
# ftpget and ftpput beside curl, wget, lftp and ncftp, from vsftpd and pure-ftpd.
. "$(dirname "$0")/common.sh"

size=$(scaled 2048)
files=$(scaled 5000)
dirs=$(scaled 50)

machine
mkdir -p served/many back here empty
head -c $((size * 1048576)) /dev/zero > served/big
head -c 16 /dev/urandom > served/tiny
for dir in $(seq "$dirs"); do
    mkdir "served/many/$dir"
    for file in $(seq $((files / dirs))); do head -c 4096 /dev/zero > "served/many/$dir/$file"; done
done
cp served/big here/big
cp -r served/many here/many
chmod -R a+rwX served

# Anonymous, so that no contestant pays for a password hash.
if need vsftpd vsftpd vsftpd; then
    port=$(free_port)
    cat > vsftpd.conf <<CONF
listen=YES
listen_address=127.0.0.1
listen_port=$port
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
    # shellcheck disable=SC2046
    background vsftpd "$port" $(peer_env vsftpd) vsftpd "$work/vsftpd.conf"
    vsftpd=127.0.0.1:$port
fi
if need pure-ftpd pure-ftpd pure-ftpd pure-ftpd-common; then
    port=$(free_port)
    # MD5-crypt of "secret", so that logging in costs little: pure-pw itself would choose a hash that takes seconds.
    hash='$1$salt$ez2vlPGdaLYkJam5pWs/Y1'
    echo "bench:$hash:1000:1000::$work/served/./::::::::::::" > passwd
    # shellcheck disable=SC2046
    $(peer_env pure-ftpd) pure-pw mkdb "$work/pdb" -f "$work/passwd"
    # shellcheck disable=SC2046
    background pure "$port" $(peer_env pure-ftpd) pure-ftpd -S "127.0.0.1,$port" -E -H -A -C 60 -c 60 \
        -l "puredb:$work/pdb" -u 1000 -g "$work/pure.pid"
    pure=bench:secret@127.0.0.1:$port
fi
have() { command -v "$1" > /dev/null; }

for server in vsftpd pure; do
    eval "at=\${$server:-}"
    [ -n "$at" ] || continue
    {
        printf 'ours\tftpget -q -o back/big ftp://%s/big\trm -f back/big\n' "$at"
        printf 'curl\tcurl -s -o back/big ftp://%s/big\trm -f back/big\n' "$at"
        if have wget; then printf 'wget\twget -q -O back/big ftp://%s/big\trm -f back/big\n' "$at"; fi
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; get big -o back/big"\trm -f back/big\n' "$at"; fi
    } | measure "$size MiB to a file on tmpfs, from $server" --unit MiB --count "$size"
    rm -f back/big
    {
        printf 'ours\tftpget -q -o - ftp://%s/big > /dev/null\n' "$at"
        printf 'curl\tcurl -s ftp://%s/big > /dev/null\n' "$at"
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; cat big" > /dev/null\n' "$at"; fi
    } | measure "$size MiB to stdout, from $server" --unit MiB --count "$size"
    {
        printf 'ours\tftpput -q here/big ftp://%s/up\trm -f served/up\n' "$at"
        printf 'ours --in-place\tftpput -q --in-place here/big ftp://%s/up\trm -f served/up\n' "$at"
        printf 'curl\tcurl -s -T here/big ftp://%s/up\trm -f served/up\n' "$at"
        if have lftp; then printf 'lftp\tlftp -c "open ftp://%s; put here/big -o up"\trm -f served/up\n' "$at"; fi
    } | measure "$size MiB up, to $server" --unit MiB --count "$size"
    rm -f served/up
    for dir in $(seq "$dirs"); do
        for file in $(seq $((files / dirs))); do
            printf 'url = "ftp://%s/many/%s/%s"\noutput = "back/tree/%s/%s"\n' "$at" "$dir" "$file" "$dir" "$file"
        done
    done > urls
    {
        printf 'ours -r\tftpget -q -r -o back/tree ftp://%s/many/\trm -rf back/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -P8\tlftp -c "open ftp://%s; mirror --parallel=8 many back/tree" > /dev/null 2>&1\trm -rf back/tree\n' "$at"
        fi
        printf 'curl -Z, ready list\tcurl -s -Z --parallel-max 8 --create-dirs -K urls 2> /dev/null\trm -rf back/tree\n'
    } | measure "$files files of 4 KiB in $dirs directories, from $server" --unit files --count "$files"
    {
        printf 'ours -r\tftpput -q -r here/many ftp://%s/tree/\trm -rf served/tree\n' "$at"
        printf 'ours -r --in-place\tftpput -q -r --in-place here/many ftp://%s/tree/\trm -rf served/tree\n' "$at"
        if have lftp; then
            printf 'lftp mirror -R -P8\tlftp -c "open ftp://%s; mirror -R --parallel=8 here/many tree" > /dev/null 2>&1\trm -rf served/tree\n' "$at"
        fi
    } | measure "$files files of 4 KiB in $dirs directories, to $server" --unit files --count "$files"
    rm -rf back/tree served/tree
    {
        printf 'ours\tftpget -q -o back/tiny ftp://%s/tiny\trm -f back/tiny\n' "$at"
        printf 'curl\tcurl -s -o back/tiny ftp://%s/tiny\n' "$at"
        if have wget; then printf 'wget\twget -q -O back/tiny ftp://%s/tiny\n' "$at"; fi
        if have ncftpget; then printf 'ncftpget\tncftpget -V -C ftp://%s/tiny back/tiny\n' "$at"; fi
    } | ROUNDS=21 measure "one file of 16 bytes, from $server"
done
