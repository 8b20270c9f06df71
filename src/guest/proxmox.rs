// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest as lines of a Proxmox VE configuration file (qm.conf(5)).

use std::fmt::Write as _;

use super::firmware::{Firmware, Rom};
use super::options::Os;
use super::{Guest, qemu};

/// The most `hostpciN` lines that there can be.
const MOST: usize = 16;
/// Where the names of ROM files are looked up.
const ROMS: &str = "/usr/share/kvm";

/// The lines. An error says why there are none.
pub fn proxmox(guest: &Guest) -> Result<String, String> {
    if guest.cards.len() > MOST {
        return Err(format!("{} cards: Proxmox VE gives a guest {MOST} at most", guest.cards.len()));
    }
    let mut text = "# Lines for /etc/pve/qemu-server/VMID.conf, in place of those with the same names.\n".to_owned();
    for note in &guest.notes {
        let _ = writeln!(text, "# {note}");
    }
    let placement = &guest.placement;
    let count = placement.vcpus.len();
    let windows = guest.options.os == Os::Windows;
    let mut args = Vec::new();
    let mut add = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    add("machine", "q35");
    add("ostype", if windows { "win11" } else { "l26" });
    if guest.firmware == Firmware::Uefi {
        add("bios", "ovmf");
    }
    add("cpu", if guest.options.hide_kvm { "host,hidden=1" } else { "host" });
    add("sockets", "1");
    add("cores", &count.to_string());
    let pinned = guest.pinned();
    if !pinned.is_empty() {
        add("affinity", &pinned);
    }
    add("memory", &guest.memory.mib.to_string());
    add("balloon", "0");
    if !guest.nodes.is_empty() {
        add("numa", "1");
        let vcpus = if count > 1 { format!("0-{}", count.saturating_sub(1)) } else { "0".to_owned() };
        let nodes: Vec<String> = guest.nodes.iter().map(ToString::to_string).collect();
        // The separator of its lists is the semicolon.
        add("numa0", &format!("cpus={vcpus},hostnodes={},memory={},policy=bind", nodes.join(";"), guest.memory.mib));
    }
    // It knows these two sizes.
    if let Some(page) = guest.memory.page.filter(|page| matches!(page, 2 | 1024)) {
        add("hugepages", &page.to_string());
    }
    let mut copies = String::new();
    for (card, index) in guest.cards.iter().zip(0_usize..) {
        let functions: Vec<String> = card.iter().map(|function| function.address.to_string()).collect();
        let mut value = functions.join(";") + ",pcie=1";
        // One setting for the card: it is about its first function.
        match card.first().map(|first| &first.rom) {
            Some(Rom::File(file)) => {
                let name =
                    format!("{}.rom", functions.first().map(String::as_str).unwrap_or_default().replace(':', "-"));
                let _ = writeln!(copies, "# cp {file} {ROMS}/{name}");
                let _ = write!(value, ",romfile={name}");
            }
            Some(Rom::Off(_)) => value.push_str(",rombar=0"),
            Some(Rom::Device) | None => {}
        }
        add(&format!("hostpci{index}"), &value);
    }
    // What there is no setting for: threads, and exactly these enlightenments.
    if placement.threads > 1 {
        args.push(format!(
            "-smp {count},sockets=1,cores={},threads={},maxcpus={count}",
            placement.cores, placement.threads
        ));
    }
    if windows || guest.needs_topoext() {
        args.push(format!("-cpu {}", qemu::processor(guest)));
    }
    if !args.is_empty() {
        add("args", &args.join(" "));
    }
    Ok(copies + &text)
}
