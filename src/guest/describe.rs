// SPDX-License-Identifier: MIT OR Apache-2.0
//! From devices and resources to the description of a guest.

use crate::exit::{Exit, Failure};
use crate::inventory::{Device, Inventory, Processor, Resources};
use crate::pci::Address;
use crate::rom::JudgedRom;

use super::firmware::{self, Firmware};
use super::hyperv::enlightenments;
use super::options::{Format, Options, Os};
use super::{Function, Guest, placement};

/// Describes a guest with these cards. `roms`: the saved option ROMs of their functions. An error is an option that this
/// machine cannot meet.
pub fn describe(
    inventory: &Inventory,
    resources: &Resources,
    cards: &[Vec<&Device>],
    roms: &[(Address, JudgedRom)],
    options: &Options,
) -> Result<Guest, Failure> {
    let wrong = |message: String| Failure::Message(Exit::Usage, message);
    let mut notes = Vec::new();
    let saved = |device: &Device| roms.iter().find(|(address, _)| *address == device.address).map(|(_, rom)| rom);
    let processor = inventory.iommu.processor;
    let x86 = processor.is_x86();
    let kvm = resources.kvm != Some(false);
    let placement = placement::place(&resources.cores, options.vcpus).map_err(wrong)?;
    let (memory, note) = placement::memory(resources, options.memory).map_err(wrong)?;
    if needs_memory(options) {
        notes.extend(note);
    }
    if !kvm {
        notes.push("this machine has no KVM: the guest is emulated, which is slow".to_owned());
    }
    if placement.vcpus.iter().any(Vec::is_empty) {
        notes.push("no vCPU is pinned: there are too few cores near the devices".to_owned());
    }
    let (mut clock, mut chosen) = (false, Vec::new());
    let mut firmware = Firmware::Usual;
    if options.os == Os::Windows && x86 {
        if kvm {
            match (resources.clock_source.as_deref(), options.hide_kvm) {
                (Some("tsc"), false) => clock = true,
                (Some("tsc"), true) => notes.push(
                    "no hypervclock, and no stimer, which needs it: drivers that refuse virtual machines look for it"
                        .to_owned(),
                ),
                (source, _) => notes.push(format!(
                    "no hypervclock, and no stimer, which needs it: the host's clock source is {} and not tsc",
                    source.unwrap_or("unknown")
                )),
            }
            chosen = enlightenments(clock, resources.nested && processor == Processor::Intel);
        }
        let displays: Vec<(&Device, Option<&JudgedRom>)> = cards
            .iter()
            .flatten()
            .filter(|device| device.identity.class.is_display())
            .map(|device| (*device, saved(device)))
            .collect();
        let (decided, note) = firmware::firmware(&displays);
        firmware = decided;
        notes.extend(note);
        if firmware == Firmware::Uefi && options.format == Format::Qemu && resources.firmware.is_none() {
            notes.push("no UEFI firmware for QEMU was found: install OVMF".to_owned());
        }
    }
    let mut described = Vec::new();
    for card in cards {
        let mut functions = Vec::new();
        for (device, number) in card.iter().zip(numbers(card)) {
            let rom = firmware::rom(device.address, saved(device));
            notes.extend(firmware::rom_note(device.address, &rom, saved(device)));
            functions.push(Function { address: device.address, number, rom });
        }
        // A slot needs a function 0, which says that there are others.
        functions.sort_by_key(|function| function.number);
        described.push(functions);
    }
    Ok(Guest {
        options: options.clone(),
        cards: described,
        nodes: super::nodes(cards),
        placement,
        memory,
        processor,
        kvm,
        enlightenments: chosen,
        firmware,
        firmware_files: resources.firmware,
        notes,
        unclaimed: false,
    })
}

/// Whether the description says how much memory there is.
fn needs_memory(options: &Options) -> bool {
    options.memory.is_some() || options.domain.is_some() || options.format != Format::Libvirt
}

/// The numbers of functions in a slot of the guest: those that they have on the host, where all are in one slot with a
/// function 0; else the display first.
fn numbers(card: &[&Device]) -> Vec<usize> {
    let slot = |device: &&Device| card.first().is_some_and(|first| first.address.slot() == device.address.slot());
    if card.iter().all(slot)
        && card.iter().any(|device| device.address.function == 0)
        && !card.iter().any(|device| device.is_virtual())
    {
        return card.iter().map(|device| usize::from(device.address.function)).collect();
    }
    let mut order: Vec<&&Device> = card.iter().collect();
    order.sort_by_key(|device| (!device.identity.class.is_display(), device.address));
    card.iter().map(|device| order.iter().position(|other| other.address == device.address).unwrap_or(0)).collect()
}
