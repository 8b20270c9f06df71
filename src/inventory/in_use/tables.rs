// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of /proc that tell what the system stands on: bytes in, plain data out. A line that is none of such a table
//! is left out.

/// A mounted file system, as /proc/self/mountinfo has it (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of its block device, `259:2`; the major number is 0 where it has none, or several.
    pub number: String,
    /// Where it is mounted.
    pub point: String,
    /// The file system's type.
    pub kind: String,
    /// What is mounted: often a path below /dev.
    pub source: String,
}

impl Mount {
    /// Whether it has one block device, which its number names.
    pub(super) fn has_number(&self) -> bool {
        !self.number.starts_with("0:")
    }

    /// What it is on: a block device's number, a pool of ZFS, a source. Two mounts on the same are told once.
    pub(super) fn is_on(&self) -> &str {
        match self.kind.as_str() {
            _ if self.has_number() => &self.number,
            "zfs" => self.source.split('/').next().unwrap_or_default(),
            _ => &self.source,
        }
    }
}

/// The mounted file systems, in the order of the table.
pub(crate) fn mounts(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, what) = line.split_once(" - ")?;
        let (mut place, mut what) = (place.split(' ').skip(2), what.split(' '));
        Some(Mount {
            number: place.next()?.to_owned(),
            point: unescape(place.nth(1)?),
            kind: what.next()?.to_owned(),
            source: unescape(what.next()?),
        })
    };
    String::from_utf8_lossy(table).lines().filter_map(mount).collect()
}

/// What /proc/swaps names: the path of a block device or of a file.
pub(crate) fn swaps(table: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(table);
    text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()).map(unescape).collect()
}

/// The interfaces with a default route, by /proc/net/route and /proc/net/ipv6_route, each once.
pub(crate) fn default_routes(route: &[u8], ipv6_route: &[u8]) -> Vec<String> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let mut found: Vec<String> = Vec::new();
    // The columns of the destination, of its mask or its length, of the flags, and of the interface.
    for (table, [to, mask, flags, interface]) in [(route, [1, 7, 3, 0]), (ipv6_route, [0, 1, 8, 9])] {
        for line in String::from_utf8_lossy(table).lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let word = |column: usize| words.get(column).copied().unwrap_or("?");
            let flags = u32::from_str_radix(word(flags), 16).unwrap_or(0);
            let name = word(interface);
            let anywhere = [word(to), word(mask)].iter().all(|word| word.bytes().all(|digit| digit == b'0'));
            if anywhere && flags & (UP | REJECT) == UP && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// Blanks and backslashes stand as `\040` and the like in these tables.
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

    #[test]
    fn mounts_are_read() {
        let table = b"25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            nonsense\n\
            30 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw,errors=remount-ro\n\
            99 30 0:44 /@home /mnt/my\\040disk rw - btrfs /dev/sda2 rw\n";
        let found = mounts(table);
        assert_eq!(found.len(), 3);
        assert_eq!((found[1].number.as_str(), found[1].source.as_str()), ("254:0", "/dev/mapper/vg0-root"));
        assert_eq!((found[2].point.as_str(), found[2].kind.as_str()), ("/mnt/my disk", "btrfs"));
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

    proptest! {
        #[test]
        fn nothing_that_stands_there_is_too_much(
            one in prop::collection::vec(any::<u8>(), 0..300), two in "[0-9a-f:/ \\\\\t\n-]{0,300}"
        ) {
            for bytes in [one.as_slice(), two.as_bytes()] {
                let lines = String::from_utf8_lossy(bytes).lines().count();
                prop_assert!(mounts(bytes).len() <= lines);
                prop_assert!(swaps(bytes).len() <= lines);
                prop_assert!(default_routes(bytes, &[]).len() <= lines);
                prop_assert!(default_routes(&[], bytes).len() <= lines);
            }
        }

        #[test]
        fn a_mount_is_read_as_it_was_written(
            number in "[0-9]{1,3}:[0-9]{1,5}", point in "/[a-z \\\\é\t-]{0,20}", source in "[a-z/: \\\\]{0,20}",
        ) {
            let escape = |text: &str| {
                text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
            };
            let line = format!("1 2 {number} / {} rw shared:1 - ext4 {} rw\n", escape(&point), escape(&source));
            prop_assert_eq!(mounts(line.as_bytes()), vec![Mount { number, point, kind: "ext4".to_owned(), source }]);
        }
    }
}
