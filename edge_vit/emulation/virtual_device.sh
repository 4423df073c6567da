#!/bin/sh
# Make one aarch64 "phone" inside the namespaces that virtual_device.py opened, and run its adb daemon in it.
# Arguments: FOLDER (new, the phone's root) USERLAND (unpacked Debian arm64) QEMU CPUINFO CPU PORT DATA_SIZE
set -eu
root=$1 userland=$2 qemu=$3 cpuinfo=$4 cpu=$5 port=$6 size=$7

# The table of binary formats belongs to this user namespace (kernel 6.7 on), so the machine's own is not touched. Flag F opens the
# emulator now, since inside the chroot its path would not exist.
formats=/proc/sys/fs/binfmt_misc
if [ ! -e $formats/register ]; then
    mount -t binfmt_misc binfmt_misc $formats
fi
if [ ! -e $formats/aarch64 ]; then
    magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":aarch64:M::$magic:$mask:$qemu:F" >$formats/register
fi

mkdir -p "$root"
mount -t tmpfs -o mode=755,size=64m tmpfs "$root"
cd "$root"
# A phone has its own programs in /system/bin; here it is empty, for tests to put some into.
mkdir -p usr etc dev proc sys tmp root run var data/local/tmp system/bin
for name in bin sbin lib; do ln -s "usr/$name" "$name"; done
mount --bind "$userland/usr" usr
mount --bind "$userland/etc" etc
mount -t tmpfs -o mode=777,size="$size" tmpfs data/local/tmp
mount -t proc proc proc
mount --bind "$cpuinfo" proc/cpuinfo
for name in null zero urandom; do
    : >dev/$name
    mount --bind /dev/$name dev/$name
done

# One little and one big core, described as a phone's kernel does.
cpus=sys/devices/system/cpu
mkdir -p $cpus/cpufreq
printf '0-1\n' | tee $cpus/possible $cpus/present >$cpus/online
describe() { # CORE CAPACITY MAX_KHZ
    mkdir -p $cpus/cpu$1 $cpus/cpufreq/policy$1
    printf '%s\n' "$2" >$cpus/cpu$1/cpu_capacity
    printf '%s\n' "$3" >$cpus/cpufreq/policy$1/cpuinfo_max_freq
    printf '%s\n' "$3" >$cpus/cpufreq/policy$1/scaling_cur_freq
    printf '%s\n' "$1" >$cpus/cpufreq/policy$1/related_cpus
    printf 'schedutil\n' >$cpus/cpufreq/policy$1/scaling_governor
}
describe 0 384 1800000
describe 1 1024 2400000

exec env -i QEMU_CPU="$cpu" ADBD_PORT="$port" HOME=/root PATH=/usr/sbin:/usr/bin:/system/bin TMPDIR=/data/local/tmp \
    LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/android chroot . /usr/sbin/adbd
