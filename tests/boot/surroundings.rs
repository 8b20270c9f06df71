// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots in surroundings that are not as usual: no room, no memory, a module loader that never returns, no streams, a locked
//! kernel, an initramfs that stays.

use crate::cases::{Case, Expect, Expected, GPU, usual};
use crate::lab::Contents;
use crate::machine::Machine;

/// A modprobe that never comes back for VFIO's modules.
const ENDLESS: &str = "\
real=$(command -v modprobe)
cp -L \"$real\" /lab/modprobe
rm -f \"$real\"
printf '#!/bin/sh\\ncase \"$*\" in *vfio*) sleep 1000 ;; *) exec /lab/modprobe \"$@\" ;; esac\\n' >\"$real\"
chmod 755 \"$real\"
echo \"$real\" >/lab/place
";

/// A modprobe that loads VFIO's modules once the second network card is gone. QEMU is told when to take it out.
const UNPLUG: &str = "\
[ ! -e /lab/place ] || exit 0
real=$(command -v modprobe)
cp -L \"$real\" /lab/modprobe
rm -f \"$real\"
cat >\"$real\" <<'END'
#!/bin/sh
case \"$*\" in
*vfio*)
	echo '@@ ready' >/dev/ttyS1
	while [ -e /sys/bus/pci/devices/0000:03:00.0 ]; do sleep 1; done
	;;
esac
exec /lab/modprobe \"$@\"
END
chmod 755 \"$real\"
echo \"$real\" >/lab/place
";

const MENDED: &str = "cp -f /lab/modprobe \"$(cat /lab/place)\"\n";

/// What is plugged in.
#[rustfmt::skip]
const SLOTS: &[&str] = &[
    "0000:04:00.0", "0000:04:00.1", "0000:04:00.2", "0000:04:00.3", "0000:04:00.4", "0000:04:00.5", "0000:04:00.6", "0000:04:00.7",
    "0000:05:00.0", "0000:05:00.1", "0000:05:00.2", "0000:05:00.3", "0000:05:00.4", "0000:05:00.5", "0000:05:00.6", "0000:05:00.7",
    "0000:06:00.0", "0000:06:00.1", "0000:06:00.2", "0000:06:00.3", "0000:06:00.4", "0000:06:00.5", "0000:06:00.6", "0000:06:00.7",
    "0000:07:00.0", "0000:07:00.1", "0000:07:00.2", "0000:07:00.3", "0000:07:00.4", "0000:07:00.5", "0000:07:00.6", "0000:07:00.7",
    "0000:08:00.0", "0000:08:00.1", "0000:08:00.2", "0000:08:00.3", "0000:08:00.4", "0000:08:00.5", "0000:08:00.6", "0000:08:00.7",
    "0000:09:00.0", "0000:09:00.1", "0000:09:00.2", "0000:09:00.3", "0000:09:00.4", "0000:09:00.5", "0000:09:00.6", "0000:09:00.7",
    "0000:0a:00.0", "0000:0a:00.1", "0000:0a:00.2", "0000:0a:00.3", "0000:0a:00.4", "0000:0a:00.5", "0000:0a:00.6", "0000:0a:00.7",
    "0000:0b:00.0", "0000:0b:00.1", "0000:0b:00.2", "0000:0b:00.3", "0000:0b:00.4", "0000:0b:00.5", "0000:0b:00.6", "0000:0b:00.7",
];

/// What each command says on a kernel that keeps its secrets, and a snapshot of it.
const LOCKED: &str = "\
ask lockdown cat /sys/kernel/security/lockdown
[ -e /sys/kernel/security/lockdown ] || { mount -t securityfs none /sys/kernel/security; ask lockdown cat /sys/kernel/security/lockdown; }
ask check vfio-early check
ask groups vfio-early groups --json
ask detect vfio-early detect
ask rom vfio-early rom dump 02:00.0 -o /run/one.rom
ask release vfio-early release 03:00.0
ask bind vfio-early bind 03:00.0
ask snapshot vfio-early snapshot -o /run/snap.txt
ask snapshot-status vfio-early --root /run/snap.txt status
";

/// The initramfs as the root for good: a disk is mounted and a network card has the default route.
const STAYS: &str = "\
{ modprobe -a ext4 e1000e; sleep 1
for disk in /sys/class/block/nvme*n*; do [ \"$(cat $disk/size)\" != 131072 ] || name=${disk##*/}; done
busybox mke2fs /dev/$name && mkdir -p /data && mount -t ext4 /dev/$name /data
nic=$(ls /sys/bus/pci/devices/0000:02:00.0/net)
busybox ip link set \"$nic\" up
busybox ip addr add 10.0.2.15/24 dev \"$nic\" && busybox ip route add default via 10.0.2.2; } >/lab/setup 2>&1
for claim in '04:00.0 id=1b36:0010' '06:00.0 id=1b36:0010' '02:00.0 id=8086:10d3' '03:00.0 id=8086:10d3'; do echo \"claim $claim\"; done >/etc/vfio-early.conf
ask root cat /proc/self/mountinfo /proc/net/route /lab/setup
ask in-use vfio-early check --json
ask in-use-claim vfio-early claim --device 0000:04:00.0 --device 0000:02:00.0
";

const SILENT: &str = "\
vfio-early claim <&- >&- 2>&-; status=$?
echo '@@ closed-exit'; echo $status
vfio-early status <&- >&- 2>&-; status=$?
echo '@@ closed-status-exit'; echo $status
";

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "full-run",
            about: "/run is full: the devices are claimed all the same",
            configuration: "claim 01:00.0 with=functions\n",
            overlay: &[
                (
                    "lab/before",
                    "mkdir -p /run/vfio-early\nmount -t tmpfs -o size=4k none /run/vfio-early\ncat /init >/run/vfio-early/rest 2>/dev/null\n",
                ),
                ("lab/after", "umount /run/vfio-early\n"),
            ],
            expect: Expect::Boot(Expected {
                claimed: GPU,
                status: 4,
                says: &["/run/vfio-early/report.json: No space left on device"],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "no-memory",
            about: "a few megabytes of memory are left",
            configuration: "claim 01:00.0 with=functions\n",
            overlay: &[
                (
                    "lab/before",
                    "mkdir -p /lab/fill && mount -t tmpfs -o size=100% none /lab/fill\n\
                     free=$(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)\n\
                     busybox dd if=/dev/zero of=/lab/fill/x bs=1024k count=$((free / 1024 - 12)) 2>/dev/null\n\
                     echo \"lab: memory $(sed -n 2,3p /proc/meminfo | tr -d '\\n')\" >/dev/kmsg\n",
                ),
                ("lab/after", "rm -f /lab/fill/x; umount /lab/fill\n"),
            ],
            expect: Expect::Boot(Expected { claimed: GPU, told: &[("log", "lab: memory")], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "endless-modprobe",
            about: "modprobe never returns for vfio-pci: the devices go back to the host, and the boot goes on",
            configuration: "set step-timeout 3\nclaim 01:00.0 with=functions\n",
            overlay: &[("lab/before", ENDLESS), ("lab/after", MENDED)],
            expect: Expect::Boot(Expected {
                given_back: GPU,
                status: 1,
                says: &["timed out after 3 s"],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "unplugged",
            about: "a device is taken out during the claim: the others are claimed",
            machine: Machine::Unplugged,
            configuration: "set step-timeout 100\nclaim 03:00.0\nclaim 01:00.0 with=functions\n",
            overlay: &[("lab/before", UNPLUG), ("lab/after", MENDED)],
            expect: Expect::Boot(Expected {
                claimed: GPU,
                gone: &["0000:03:00.0"],
                status: 1,
                says: &["0000:03:00.0"],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "plugged",
            about: "64 functions are plugged in at once, all of them claimed",
            machine: Machine::Plugged,
            configuration: "claim 1af4:1044 match=all\n",
            overlay: &[],
            expect: Expect::Boot(Expected {
                plugged: SLOTS,
                told: &[("log", "lab: plugged in: 64"), ("status", "all 64 claimed devices are ready for a guest")],
                ..Expected::default()
            }),
            slow: true,
            ..usual()
        },
        Case {
            name: "no-streams",
            about: "/dev/null is missing, and the standard streams are closed",
            configuration: "claim 01:00.0 with=functions\n",
            overlay: &[
                // Not when the claim is run again: the shell of the evidence needs it.
                ("lab/before", "[ -e /lab/once ] || { echo >/lab/once; rm -f /dev/null; }\n"),
                ("lab/after", "rm -f /dev/null; mknod -m 666 /dev/null c 1 3\n"),
                ("lab/more", SILENT),
            ],
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[("closed-exit", "0"), ("closed-status-exit", "0")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "lockdown",
            about: "lockdown=confidentiality: devices are claimed, released and bound, and every command answers",
            configuration: "claim 01:00.0 with=functions\nclaim 02:00.0\nclaim 03:00.0\n",
            cmdline: "lockdown=confidentiality",
            overlay: &[("lab/more", LOCKED)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:02:00.0", "0000:03:00.0"],
                told: &[
                    ("lockdown", "[confidentiality]"),
                    ("check-exit", "0"),
                    ("groups-exit", "0"),
                    ("release-exit", "0"),
                    ("bind-exit", "0"),
                    ("snapshot-exit", "0"),
                    ("snapshot-status-exit", "0"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "initramfs-stays",
            about: "an initramfs that is the root for good: what it stands on is refused",
            machine: Machine::Layers,
            contents: Contents {
                files: &[(
                    "lab/initramfs-tools/hooks/in-use",
                    "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n\
                     manual_add_modules ext4 e1000e\n",
                )],
                ..Contents::default()
            },
            overlay: &[("lab/more", STAYS)],
            expect: Expect::Boot(Expected {
                told: &[
                    ("root", " / / rw - rootfs"),
                    ("in-use-exit", "1"),
                    ("in-use", "is in use: mounted at /data"),
                    ("in-use", "0000:02:00.0 (8086:10d3) is in use: default route"),
                    ("in-use", "\"device\":\"0000:06:00.0\",\"state\":\"pending\""),
                    ("in-use", "\"device\":\"0000:03:00.0\",\"state\":\"pending\""),
                    ("in-use-claim-exit", "1"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
    ]
}
