// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments, as argh declares them, and what it does not know: `--option=value`, `-h`, `--version`, global options behind
//! the command, exit status 2.

use std::ffi::OsString;

use argh::FromArgs;

/// Bind PCI devices to vfio-pci before any host driver, and report their state afterwards.
#[derive(FromArgs, Debug)]
#[argh(
    error_code(0, "all is as configured or asked"),
    error_code(1, "a claim or request was not met"),
    error_code(2, "bad usage or bad configuration; nothing was changed"),
    error_code(3, "the IOMMU is absent or disabled; nothing was changed"),
    error_code(4, "system error")
)]
pub(super) struct Arguments {
    /// examine the machine below this directory, or the one recorded in this file
    #[argh(option, default = "String::from(\"/\")", arg_name = "dir")]
    pub(super) root: String,
    /// say what is read and written, on standard error
    #[argh(switch, short = 'v')]
    pub(super) verbose: bool,
    /// print no results of a claim, only errors
    #[argh(switch, short = 'q')]
    pub(super) quiet: bool,
    #[argh(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum Command {
    Claim(Claim),
    Bind(Bind),
    Release(Release),
    Status(Status),
    Check(Check),
    Groups(Groups),
    Rom(Rom),
    Detect(Detect),
    Guest(Guest),
    Libvirt(Libvirt),
    Snapshot(Snapshot),
    Confirm(Confirm),
    Modules(Modules),
}

/// Bind the configured devices to their VFIO drivers.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "claim")]
pub(super) struct Claim {
    /// print the plan and change nothing
    #[argh(switch)]
    pub(super) dry_run: bool,
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// consider only the device at this address; may repeat
    #[argh(option, arg_name = "address")]
    pub(super) device: Vec<crate::pci::Address>,
}

/// Bind devices to their VFIO drivers now, configured or not; guards apply.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "bind")]
pub(super) struct Bind {
    /// print the plan and change nothing
    #[argh(switch)]
    pub(super) dry_run: bool,
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// also write the claims to /etc/vfio-early.d/ADDRESS.conf, for the next boots
    #[argh(switch)]
    pub(super) save: bool,
    /// the devices, and options as a claim has them (allow=in-use)
    #[argh(positional, arg_name = "address")]
    pub(super) words: Vec<String>,
}

/// Return devices to the host drivers.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "release")]
pub(super) struct Release {
    /// print the plan and change nothing
    #[argh(switch)]
    pub(super) dry_run: bool,
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// the devices; with=none leaves their other functions out, with=group takes all of their group
    #[argh(positional, arg_name = "address")]
    pub(super) words: Vec<String>,
}

/// Show the IOMMU, the state of every claim, the displays and their groups.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// every device, not only displays and what is in a group with them
    #[argh(switch)]
    pub(super) all: bool,
    /// text, prometheus (a file for node_exporter's text collector), nfd (one for Node Feature Discovery)
    #[argh(option, arg_name = "format")]
    pub(super) format: Option<String>,
    /// write to this file, which is replaced as a whole or not at all
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: Option<String>,
}

/// Check the configuration against this machine without changing anything.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub(super) struct Check {
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// check what an image holds: leave the running kernel's command line out
    #[argh(switch)]
    pub(super) image: bool,
}

/// Explain the IOMMU groups: their members, whether they are viable and isolated, and why.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "groups")]
pub(super) struct Groups {
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
    /// draw the tree of buses, with group numbers and isolation
    #[argh(switch)]
    pub(super) tree: bool,
    /// only the groups of these devices
    #[argh(positional)]
    pub(super) address: Vec<crate::pci::Address>,
}

/// Read, show, verify, extract from and repair option ROMs.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rom")]
pub(super) struct Rom {
    #[argh(subcommand)]
    pub(super) command: RomCommand,
}

/// The commands for option ROMs.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum RomCommand {
    Dump(Dump),
    Show(Show),
    Verify(Verify),
    Extract(Extract),
    Repair(Repair),
}

/// Read the option ROM of a device.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "dump")]
pub(super) struct Dump {
    /// the device
    #[argh(positional)]
    pub(super) address: crate::pci::Address,
    /// the new file; standard output without it
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: Option<String>,
    /// replace the file
    #[argh(switch)]
    pub(super) force: bool,
}

/// Show the contents of a ROM.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub(super) struct Show {
    /// a file, or the address of a device
    #[argh(positional)]
    pub(super) rom: String,
    /// the machine of the guest: x64, aarch64 and others; this one without it
    #[argh(option, arg_name = "machine")]
    pub(super) machine: Option<crate::rom::GuestMachine>,
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
}

/// Check whether a ROM can be used, and by which firmware.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify")]
pub(super) struct Verify {
    /// a file, or the address of a device
    #[argh(positional)]
    pub(super) rom: String,
    /// whether it is the ROM of the device at this address
    #[argh(option, arg_name = "address")]
    pub(super) device: Option<crate::pci::Address>,
    /// whether it is the ROM of a device with this ID
    #[argh(option, arg_name = "vvvv:dddd")]
    pub(super) id: Option<crate::pci::ExpectedId>,
    /// the machine of the guest: x64, aarch64 and others; this one without it
    #[argh(option, arg_name = "machine")]
    pub(super) machine: Option<crate::rom::GuestMachine>,
    /// print one JSON document
    #[argh(switch)]
    pub(super) json: bool,
}

/// Extract one image or the EFI driver from a ROM.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "extract")]
pub(super) struct Extract {
    /// the ROM
    #[argh(positional)]
    pub(super) file: String,
    /// the image with this number, from 0
    #[argh(option, arg_name = "n")]
    pub(super) image: Option<usize>,
    /// the EFI driver
    #[argh(switch)]
    pub(super) efi: bool,
    /// the machine of the guest: x64, aarch64 and others; this one without it
    #[argh(option, arg_name = "machine")]
    pub(super) machine: Option<crate::rom::GuestMachine>,
    /// decompress the driver
    #[argh(switch)]
    pub(super) raw: bool,
    /// the new file
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: String,
    /// replace the file
    #[argh(switch)]
    pub(super) force: bool,
}

/// Write a repaired copy of a ROM to a new file.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "repair")]
pub(super) struct Repair {
    /// the ROM
    #[argh(positional)]
    pub(super) file: String,
    /// the new file
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: String,
    /// give it to a device with this ID
    #[argh(option, arg_name = "vvvv:dddd")]
    pub(super) id: Option<crate::pci::ExpectedId>,
    /// the machine of the guest: x64, aarch64 and others; this one without it
    #[argh(option, arg_name = "machine")]
    pub(super) machine: Option<crate::rom::GuestMachine>,
    /// replace the file
    #[argh(switch)]
    pub(super) force: bool,
}

/// Propose a configuration for this machine.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "detect")]
pub(super) struct Detect {
    /// the new file, such as /etc/vfio-early.d/gpu.conf; standard output without it
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: Option<String>,
    /// replace the file
    #[argh(switch)]
    pub(super) force: bool,
}

/// Print what a guest needs for these devices: whole cards, their option ROMs, cores and memory near them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "guest")]
pub(super) struct Guest {
    /// libvirt (elements of a domain, or all of it), qemu (a command line), proxmox (lines of a configuration file)
    #[argh(option, arg_name = "format")]
    pub(super) format: Option<crate::guest::Format>,
    /// windows or linux
    #[argh(option, arg_name = "system")]
    pub(super) os: Option<crate::guest::Os>,
    /// how many vCPUs; all but one core near the devices where it is left out
    #[argh(option, arg_name = "n")]
    pub(super) vcpus: Option<crate::guest::Count>,
    /// how much memory, such as 16G
    #[argh(option, arg_name = "size")]
    pub(super) memory: Option<crate::guest::Size>,
    /// hide that it is a virtual machine, for drivers that refuse those
    #[argh(switch)]
    pub(super) hide_kvm: bool,
    /// print a whole libvirt domain with this name
    #[argh(option, arg_name = "name")]
    pub(super) domain: Option<crate::guest::Name>,
    /// use iommufd instead of VFIO's containers
    #[argh(switch)]
    pub(super) iommufd: bool,
    /// accept devices on several NUMA nodes
    #[argh(switch)]
    pub(super) across_nodes: bool,
    /// a function of each card
    #[argh(positional)]
    pub(super) address: Vec<crate::pci::Address>,
}

/// Print the libvirt elements for these devices, as guest does.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "libvirt")]
pub(super) struct Libvirt {
    /// a function of each card
    #[argh(positional)]
    pub(super) address: Vec<crate::pci::Address>,
}

/// Record this machine in one text file, for a bug report; --root FILE reads it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "snapshot")]
pub(super) struct Snapshot {
    /// the new file; standard output where it is left out
    #[argh(option, short = 'o', arg_name = "file")]
    pub(super) output: Option<String>,
    /// replace the file if it is there
    #[argh(switch)]
    pub(super) force: bool,
}

/// Print the kernel modules that an initramfs image needs for the claims.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "modules")]
pub(super) struct Modules {
    /// the release of the kernel that the image is for, if it is not the running one
    #[argh(option, arg_name = "release")]
    pub(super) kernel: Option<String>,
}

/// End the trial of the configuration: it is claimed at every boot (set trial yes).
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "confirm")]
pub(super) struct Confirm {
    /// do not confirm it: try it again at the next boot
    #[argh(switch)]
    pub(super) retry: bool,
}

/// What the arguments ask for.
pub(super) enum Parsed {
    /// A command.
    Run(Arguments),
    /// A text, as a result.
    Help(String),
    /// They cannot be understood.
    Wrong(String),
}

/// The switches that may stand before or behind the command.
const GLOBAL_SWITCHES: &[&str] = &["-v", "--verbose", "-q", "--quiet"];

/// Reads the arguments, the program's own name first.
pub(super) fn parse(arguments: Vec<OsString>) -> Parsed {
    let mut words = Vec::new();
    for argument in arguments.into_iter().skip(1) {
        match argument.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return Parsed::Wrong(format!("{} is not UTF-8", word.to_string_lossy())),
        }
    }
    let words = normalise(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.first() == Some(&"--version") {
        return Parsed::Help(format!("vfio-early {}", env!("CARGO_PKG_VERSION")));
    }
    if words.is_empty() || words == ["-v"] || words == ["-q"] {
        return Parsed::Wrong("a command is missing; vfio-early --help lists them".to_owned());
    }
    match Arguments::from_args(&["vfio-early"], &words) {
        Ok(arguments) => Parsed::Run(arguments),
        Err(exit) if exit.status.is_ok() => Parsed::Help(exit.output),
        Err(exit) => {
            let said: Vec<&str> = exit.output.split_whitespace().collect();
            Parsed::Wrong(format!("{}; vfio-early --help tells more", said.join(" ").trim_end_matches('.')))
        }
    }
}

/// Takes `--option=value` and `-o=value` apart, and moves the global options before the command.
fn normalise(words: Vec<String>) -> Vec<String> {
    let mut global = Vec::new();
    let mut rest = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word);
            rest.extend(words.by_ref());
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name.to_owned(), Some(value.to_owned())),
            _ => (word, None),
        };
        if name == "--root" {
            global.push(name);
            global.extend(value.or_else(|| words.next()));
        } else if GLOBAL_SWITCHES.contains(&name.as_str()) && value.is_none() {
            // argh refuses a switch that is given twice; -vv is harmless.
            if !global.contains(&name) {
                global.push(name);
            }
        } else if name == "-h" && value.is_none() {
            rest.push("--help".to_owned());
        } else if name == "--version" {
            global.insert(0, name);
        } else {
            rest.push(name);
            rest.extend(value);
        }
    }
    global.extend(rest);
    global
}
