#!/bin/busybox sh
# The guest's first process: puts the machine's own file system under a layer of memory, and runs the tests in it. What is written stays in that layer, but for
# the share, /run/guest, which the machine sees. Ends the guest by QEMU's isa-debug-exit at port 0xf4 (244), with the status of the tests; a kernel that panics never gets there.
B=/bin/busybox

finish() {
  $B sync
  $B printf "\\$($B printf %03o "$1")" | $B dd of=/dev/port bs=1 seek=244 count=1 2>/dev/null
  $B poweroff -f
}

must() {
  "$@" && return
  echo "init: failed: $*"
  finish 9
}

must $B mount -t proc proc /proc
must $B mount -t sysfs sys /sys
must $B mount -t devtmpfs dev /dev
for module in $($B cat /lib/boot.list); do must $B insmod "/lib/modules/$module.ko"; done

must $B mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro machine /machine
must $B mount -t tmpfs -o size=75% changes /changes
must $B mkdir /changes/upper /changes/work
must $B mount -t overlay -o lowerdir=/machine,upperdir=/changes/upper,workdir=/changes/work root /root

for folder in proc sys dev; do must $B mount --rbind "/$folder" "/root/$folder"; done
must $B mkdir -p /dev/pts /dev/shm /dev/hugepages
must $B mount -t devpts devpts /dev/pts
must $B mount -t tmpfs shm /dev/shm
must $B mount -t hugetlbfs hugetlbfs /dev/hugepages
must $B mount -t tmpfs run /root/run
must $B mkdir -p /root/run/guest
must $B mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=none share /root/run/guest
for module in $($B cat /lib/later.list); do must $B insmod "/lib/modules/$module.ko"; done
$B ip link set lo up

must test -x /root/run/guest/start
$B chroot /root /run/guest/start
finish $?
