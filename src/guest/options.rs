// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user asks of a guest.

use std::str::FromStr;

use crate::pci::Address;

/// What the description is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Elements of a libvirt domain.
    #[default]
    Libvirt,
    /// A command line of QEMU.
    Qemu,
    /// Lines of a Proxmox VE configuration file.
    Proxmox,
}

/// The operating system of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Os {
    /// Windows, which works best on what looks like Hyper-V.
    Windows,
    /// Linux, and everything else.
    #[default]
    Linux,
}

/// How many, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u16);

/// A size of memory in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// The name of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

/// What is asked for.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Options {
    /// `--format`
    pub format: Format,
    /// `--os`
    pub os: Os,
    /// `--vcpus`
    pub vcpus: Option<Count>,
    /// `--memory`
    pub memory: Option<Size>,
    /// `--hide-kvm`
    pub hide_kvm: bool,
    /// `--domain`
    pub domain: Option<Name>,
    /// `--iommufd`
    pub iommufd: bool,
    /// `--across-nodes`
    pub across_nodes: bool,
    /// Devices that are not claimed yet are described all the same, with a note: `libvirt` has always done that.
    pub unclaimed: bool,
    /// The devices.
    pub devices: Vec<Address>,
}

impl Options {
    /// What contradicts itself.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.devices.is_empty() {
            return Err("name a device by its address (vfio-early status lists them)");
        }
        match self.format {
            Format::Libvirt => Ok(()),
            _ if self.domain.is_some() => Err("--domain: only libvirt has domains; leave out --format"),
            Format::Proxmox if self.iommufd => Err("--iommufd: Proxmox VE has no setting for it"),
            Format::Qemu | Format::Proxmox => Ok(()),
        }
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "libvirt" => Ok(Self::Libvirt),
            "qemu" => Ok(Self::Qemu),
            "proxmox" => Ok(Self::Proxmox),
            _ => Err("it is libvirt, qemu or proxmox"),
        }
    }
}

impl FromStr for Os {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "windows" => Ok(Self::Windows),
            "linux" => Ok(Self::Linux),
            _ => Err("it is windows or linux"),
        }
    }
}

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse().ok().filter(|count| digits && *count > 0).map(Self).ok_or("it is a number from 1 to 65535")
    }
}

impl FromStr for Size {
    type Err = &'static str;

    /// `8G`, `8GiB`, `8192M`, `1T`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is a size such as 8G or 8192M";
        let end = word.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, unit) = word.split_at_checked(end).ok_or(WRONG)?;
        let unit = match unit {
            "M" | "MiB" => 1_u64,
            "G" | "GiB" => 1 << 10,
            "T" | "TiB" => 1 << 20,
            _ => return Err(WRONG),
        };
        let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        // No processor addresses more than 2^52 bytes.
        size.filter(|size| (1..=1 << 32).contains(size)).map(Self).ok_or(WRONG)
    }
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() || word.contains(|letter: char| letter == '/' || letter.is_control()) {
            return Err("it is a name without '/' and control characters");
        }
        Ok(Self(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!("8G".parse(), Ok(Size(8192)));
        assert_eq!("512MiB".parse(), Ok(Size(512)));
        assert_eq!("2T".parse(), Ok(Size(2 << 20)));
        for wrong in ["", "8", "G", "0G", "-1G", "8K", "8g", "99999999999999999999G", "18014398509481984G", "é"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_are_positive() {
        assert_eq!("6".parse(), Ok(Count(6)));
        for wrong in ["", "0", "-1", "+1", "65536", "six"] {
            assert!(wrong.parse::<Count>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_names() {
        assert_eq!("win 11".parse(), Ok(Name("win 11".to_owned())));
        assert!("".parse::<Name>().is_err() && "a/b".parse::<Name>().is_err() && "a\nb".parse::<Name>().is_err());
    }
}
