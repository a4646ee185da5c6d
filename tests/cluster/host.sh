#!/usr/bin/env bash
# The first process of a host made of namespaces (hosts.py): its disks, its name, its sshd; then it buries its dead.
#
#   host.sh NAME DISK SHARED BASE     as process 1 of new network, PID, mount, UTS and IPC namespaces; SHARED may be empty
set -euo pipefail
name=$1 disk=$2 shared=$3 base=$4

hostname "$name"
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/study /run/sshd
[ -z "$shared" ] || mount --bind "$shared" /mnt/study
mount --bind "$disk/hosts" /etc/hosts
mount --bind /dev/null /etc/resolv.conf
# The interpreter may lie in the home folder that is about to be hidden.
case $base/ in /root/*)
  mkdir -p "$disk/root${base#/root}"
  mount --bind "$base" "$disk/root${base#/root}"
  ;;
esac
cp "$disk/sshd_config" "$disk/host_key" /run/
chmod 600 /run/host_key
mount --rbind "$disk/root" /root
mount --bind "$disk/tmp" /tmp # last: the disk itself may lie below /tmp
cd /root
export HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
/usr/sbin/sshd -D -f /run/sshd_config -E /run/sshd.log &
until [ -e /run/sshd.pid ]; do sleep 0.05; done
touch /root/.ready
trap : TERM INT
while :; do wait || true; sleep 1; done
