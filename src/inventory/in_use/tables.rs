// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsers of tables in /proc. A malformed line is skipped and does not affect the others; invalid UTF-8 is replaced.

use procfs_core::process::MountInfo;

/// The line of /proc/driver/nvidia/gpus/ADDRESS/information with the minor number.
pub(crate) const DEVICE_MINOR: &str = "Device Minor:";

/// A mounted file system, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device number, `259:2`. The major number is 0 if the file system has no block device, or several.
    pub device_number: String,
    /// The mount point.
    pub mount_point: String,
    /// The file system type.
    pub fs_type: String,
    /// The mount source, often a path below /dev.
    pub source: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

impl Mount {
    /// Whether its device number is that of a block device.
    pub(super) fn has_block_device(&self) -> bool {
        !self.device_number.starts_with("0:")
    }

    /// What the file system is stored on: a device number, a ZFS pool or the mount source.
    pub(super) fn storage(&self) -> &str {
        match self.fs_type.as_str() {
            _ if self.has_block_device() => &self.device_number,
            "zfs" => self.source.split('/').next().unwrap_or_default(),
            _ => &self.source,
        }
    }
}

/// The mounted file systems, in the order of the table.
pub(crate) fn mounts(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &str| {
        let info = MountInfo::from_line(line).ok()?;
        Some(Mount {
            device_number: info.majmin,
            mount_point: unescape(info.mount_point.to_str()?),
            fs_type: info.fs_type,
            source: unescape(&info.mount_source.unwrap_or_default()),
            read_only: info.mount_options.contains_key("ro") || info.super_options.contains_key("ro"),
        })
    };
    // Line by line, because `MountInfos` fails for the whole table.
    String::from_utf8_lossy(table).lines().filter_map(mount).collect()
}

/// The paths of block devices and files in /proc/swaps.
pub(crate) fn swaps(table: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(table);
    text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()).map(unescape).collect()
}

/// The interfaces with a default route in /proc/net/route or /proc/net/ipv6_route, without duplicates.
pub(crate) fn default_routes(route: &[u8], ipv6_route: &[u8]) -> Vec<String> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let mut found: Vec<String> = Vec::new();
    // The columns of destination, mask or prefix length, flags, and interface.
    for (table, [destination, mask, flags, interface]) in [(route, [1, 7, 3, 0]), (ipv6_route, [0, 1, 8, 9])] {
        for line in String::from_utf8_lossy(table).lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let word = |column: usize| words.get(column).copied().unwrap_or("?");
            let flags = u32::from_str_radix(word(flags), 16).unwrap_or(0);
            let name = word(interface);
            let is_default = [word(destination), word(mask)].iter().all(|word| word.bytes().all(|digit| digit == b'0'));
            if is_default && flags & (UP | REJECT) == UP && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// The minor number of a display's device file, from /proc/driver/nvidia/gpus/ADDRESS/information.
pub(crate) fn device_minor(table: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(table);
    text.lines().find_map(|line| line.strip_prefix(DEVICE_MINOR)?.trim().parse().ok())
}

/// Decodes octal escapes such as `\040`, by which these tables represent blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel escapes in mountinfo and swaps.
    fn escape(text: &str) -> String {
        text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
    }

    #[test]
    fn mounts_are_read() {
        let table = b"25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            nonsense\n\
            30 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw,errors=remount-ro\n\
            99 30 0:44 /@home /mnt/my\\040disk rw - btrfs /dev/sda2 rw\n";
        let found = mounts(table);
        assert_eq!(found.len(), 3);
        assert_eq!((found[1].device_number.as_str(), found[1].source.as_str()), ("254:0", "/dev/mapper/vg0-root"));
        assert_eq!((found[2].mount_point.as_str(), found[2].fs_type.as_str()), ("/mnt/my disk", "btrfs"));
    }

    #[test]
    fn a_malformed_line_does_not_affect_the_others() {
        let good = "30 1 254:0 / /home rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
        for bad in [
            b"x 1 0:1 / / rw - tmpfs tmpfs rw".as_slice(),
            b"1 99999999999 0:1 / / rw - tmpfs tmpfs rw",
            b"1 2 0:1 / / rw shared:x - tmpfs tmpfs rw",
            b"1 2 0:1 / / rw shared:1",
            b"1 2 0:1 / / rw - tmpfs",
            b"",
            b"\xff\xfe\0",
        ] {
            let found = mounts(&[good.as_bytes(), bad, b"\n", good.as_bytes()].concat());
            assert_eq!(found.len(), 2, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn names_that_are_not_utf_8_are_kept() {
        let found = mounts(b"1 2 8:1 / /mnt/\xff rw - ext4 /dev/sda1 rw\n");
        assert_eq!(found[0].mount_point, "/mnt/\u{fffd}");
    }

    #[test]
    fn swaps_are_read_without_their_heading() {
        let table = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/dm-1                               partition\t999420\t\t0\t\t-2\n\
            /swap\\040file file 1 0 -3\n";
        assert_eq!(swaps(table), ["/dev/dm-1", "/swap file"]);
    }

    #[test]
    fn only_default_routes_that_are_up_count() {
        let route = b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            br0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            br0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
            down0\t00000000\t0101A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n";
        let none = "00000000000000000000000000000000";
        let v6 = format!(
            "{none} 00 {none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     wlan0\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n\
             fe800000000000000000000000000000 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth9\n"
        );
        assert_eq!(default_routes(route, v6.as_bytes()), ["br0", "wlan0"]);
    }

    #[test]
    fn the_minor_number_of_a_display_is_read() {
        let table =
            b"Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 142\n\xff\nDevice Minor: \t 1\nGPU Excluded:\t No\n";
        assert_eq!(device_minor(table), Some(1));
        for bad in ["", "Device Minor:", "Device Minor: \t -1", "Device Minor: 4294967296", "Other Device Minor: 1"] {
            assert_eq!(device_minor(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_minor_number_is_read_as_it_was_written(
            minor in any::<u32>(),
            blanks in "[ \t]{0,4}",
            before in prop::collection::vec(any::<u8>(), 0..100),
            after in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let line = format!("\nDevice Minor:{blanks}{minor}{blanks}\n");
            let other = device_minor(&before);
            let table = [before.as_slice(), line.as_bytes(), &after].concat();
            prop_assert_eq!(device_minor(&table), other.or(Some(minor)));
        }

        #[test]
        fn any_bytes_are_accepted(
            one in prop::collection::vec(any::<u8>(), 0..300), two in "[0-9a-f:/ \\\\\t\n-]{0,300}"
        ) {
            for bytes in [one.as_slice(), two.as_bytes()] {
                let lines = String::from_utf8_lossy(bytes).lines().count();
                prop_assert!(mounts(bytes).len() <= lines);
                prop_assert!(swaps(bytes).len() <= lines);
                prop_assert!(default_routes(bytes, &[]).len() <= lines);
                prop_assert!(default_routes(&[], bytes).len() <= lines);
                let _ = device_minor(bytes);
            }
        }

        #[test]
        fn a_mount_is_read_as_it_was_written(
            device_number in "[0-9]{1,3}:[0-9]{1,5}",
            mount_point in "/[a-z \\\\é\t\n-]{0,20}",
            optional in "(shared:[0-9]{1,3} )?(master:[0-9]{1,3} )?(propagate_from:[0-9] )?(unbindable )?([a-z]{1,5} )?",
            fs_type in "[a-z0-9.]{1,8}",
            source in "/[a-z/: \\\\]{0,20}|",
        ) {
            let line = format!(
                "1 2 {device_number} / {} rw {optional}- {fs_type} {} rw,a=b=c\n", escape(&mount_point), escape(&source)
            );
            prop_assert_eq!(mounts(line.as_bytes()), vec![Mount { device_number, mount_point, fs_type, source, read_only: false }]);
        }

        #[test]
        fn a_line_is_read_as_if_it_were_alone(
            lines in prop::collection::vec("[0-9]{1,3} [0-9]{1,3} 8:[0-9] / /[a-z]{0,4} rw (shared:[0-9x] )?-? ext4 [a-z/]{0,5}( rw)?|[ -~é]{0,40}", 0..8)
        ) {
            let alone: Vec<Mount> = lines.iter().flat_map(|line| mounts(line.as_bytes())).collect();
            prop_assert_eq!(mounts(lines.join("\n").as_bytes()), alone);
        }

        #[test]
        fn swaps_are_read_as_they_were_written(paths in prop::collection::vec("/[a-z \\\\é\t\n]{0,20}", 0..5)) {
            let lines: Vec<String> = paths.iter().map(|path| format!("\n{} file\t8\t0\t-2", escape(path))).collect();
            prop_assert_eq!(swaps(format!("Filename{}", lines.concat()).as_bytes()), paths);
        }
    }
}
