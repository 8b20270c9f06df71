// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cards: which functions are soldered together, and go to one guest.
//!
//! A slot is not always a card. The display of a processor (an APU) shares its slot with the processor's USB controllers and
//! its security processor, which the host needs. And a card that brings a PCIe switch of its own (Intel Arc) has its audio
//! function in another slot, behind another port of that switch.

use crate::machine::Machine;
use crate::pci::{Address, Slot};

use super::{Device, Inventory, device};

/// A card.
#[derive(Clone, Debug, Default)]
pub struct Card<'a> {
    /// Its functions, by address. Never a bridge.
    pub functions: Vec<&'a Device>,
    /// The functions of its display's slot that are not part of it, by address. Never a bridge.
    pub left: Vec<&'a Device>,
}

impl Inventory {
    /// The card that a device is part of. What shares the slot of a display and has another vendor ID is part of the card
    /// only if it is in the same IOMMU group, for which the details of both have to be read, or if neither has its group yet.
    pub fn card<'a>(&'a self, device: &'a Device) -> Card<'a> {
        let alone = || Card { functions: vec![device], left: Vec::new() };
        if device.is_virtual() || device.identity.class.is_bridge() {
            return alone();
        }
        if is_display(device) {
            return self.card_of_display(device);
        }
        // Part of the card of a display, in its slot or behind its switch?
        for display in self.devices.iter().filter(|display| is_display(display)) {
            let near = display.address.slot() == device.address.slot() || self.switch_of(display).is_some();
            if near && self.is_part(display, device) {
                return self.card_of_display(display);
            }
        }
        // The rest of such a slot, and the functions of a chipset, stand each for themselves.
        let slot = || self.slot_of(device);
        if slot().any(|other| is_display(other) || is_of_the_board(other)) {
            return alone();
        }
        Card { functions: slot().filter(|other| !other.is_virtual()).collect(), left: Vec::new() }
    }

    /// The functions that share a slot or a card with any of these, by address: those whose details [`Inventory::card`] needs.
    pub fn near(&self, addresses: &[Address]) -> Vec<Address> {
        let cards = addresses.iter().filter_map(|address| self.device(*address)).map(|device| self.card(device));
        let members: Vec<Address> = cards.flat_map(|card| card.functions).map(|device| device.address).collect();
        let slots: Vec<Slot> = addresses.iter().chain(&members).map(|address| address.slot()).collect();
        let near = self.devices.iter().map(|device| device.address).filter(|address| slots.contains(&address.slot()));
        near.collect()
    }

    fn card_of_display<'a>(&'a self, display: &'a Device) -> Card<'a> {
        let functions = self.devices.iter().filter(|other| self.is_part(display, other)).collect();
        let left = self
            .slot_of(display)
            .filter(|other| !other.is_virtual() && !other.identity.class.is_bridge() && !self.is_part(display, other));
        Card { functions, left: left.collect() }
    }

    /// Whether a function is part of the card of this display.
    fn is_part(&self, display: &Device, other: &Device) -> bool {
        if other.address == display.address {
            return true;
        }
        if other.is_virtual() || other.identity.class.is_bridge() {
            return false;
        }
        let same_vendor = other.identity.vendor == display.identity.vendor;
        if other.address.slot() == display.address.slot() {
            let group = |device: &Device| device.detail.as_ref().and_then(|detail| detail.group);
            let chipset = self.slot_of(display).any(|one| one.identity.class.is_bridge());
            let known = group(display).is_some() || self.is_grouped_later(display) && self.is_grouped_later(other);
            return !chipset && (same_vendor || known && group(display) == group(other));
        }
        let Some(switch) = self.switch_of(display).filter(|_| same_vendor && !is_display(other)) else { return false };
        // Where another display is behind the same switch, what is in neither slot may belong to either.
        let below = |device: &Device| device.chain.contains(&switch);
        let mut displays = self.devices.iter().filter(|device| is_display(device) && below(device));
        below(other) && displays.all(|device| device.address.slot() == display.address.slot())
    }

    /// The upstream port of the switch that is part of a display's card: the switch directly above it, if both its ports have
    /// the vendor ID of the display. One of the board, or of a Thunderbolt dock, is further up or made by somebody else.
    fn switch_of(&self, display: &Device) -> Option<Address> {
        let here = |address: &&Address| address.domain == display.address.domain;
        let mut above = display.chain.iter().filter(here).rev().skip(1);
        let (down, up) = (above.next()?, above.next()?);
        // There is a root port above a switch.
        above.next()?;
        let own = |address: &Address| {
            let identity = self.device(*address).map(|device| device.identity);
            identity.is_some_and(|port| port.class.is_pci_bridge() && port.vendor == display.identity.vendor)
        };
        (own(down) && own(up)).then_some(*up)
    }

    fn slot_of<'a>(&'a self, device: &Device) -> impl Iterator<Item = &'a Device> {
        let slot = device.address.slot();
        self.devices.iter().filter(move |other| other.address.slot() == slot)
    }

    /// Finds out which displays are behind a switch of their own, and what else is behind it: the bridges above each display
    /// and, where the nearest ones have its vendor ID, above all that might be part of its card. One system call each.
    pub(super) fn read_switches(&mut self, machine: &dyn Machine) {
        self.fill_chains(machine, &is_display);
        let displays = self.devices.iter().filter(|device| is_display(device) && self.switch_of(device).is_some());
        let vendors: Vec<u16> = displays.map(|display| display.identity.vendor).collect();
        self.fill_chains(machine, &|device| {
            !device.identity.class.is_bridge() && vendors.contains(&device.identity.vendor)
        });
    }

    /// Reads the bridges above these devices.
    pub fn read_chains(&mut self, machine: &dyn Machine, addresses: &[Address]) {
        self.fill_chains(machine, &|device| addresses.contains(&device.address));
    }

    /// Reads the bridges above the devices that are `wanted` and have not been looked at yet.
    fn fill_chains(&mut self, machine: &dyn Machine, wanted: &dyn Fn(&Device) -> bool) {
        let unknown = self.devices.iter().filter(|device| device.chain.is_empty() && wanted(device));
        let addresses: Vec<Address> = unknown.map(|device| device.address).collect();
        for address in addresses {
            if let Some(device) = self.device_mut(address) {
                device.chain = device::chain(machine, address);
            }
        }
    }
}

/// A display that is no virtual function.
fn is_display(device: &Device) -> bool {
    device.identity.class.is_display() && !device.is_virtual()
}

/// A function of the chipset or the processor: a bridge, or the placeholder (class 1300) at the head of many slots of AMD's.
fn is_of_the_board(device: &Device) -> bool {
    device.identity.class.is_bridge() || device.identity.class.base() == 0x13
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Detail, IommuFacts};
    use crate::pci::{Class, Identity};

    /// A machine of these devices: `ADDRESS VENDOR CLASS GROUP`, indented by two for each bridge above; without a group, `-`.
    fn machine(text: &str) -> Inventory {
        let mut above: Vec<Address> = Vec::new();
        let mut devices = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let hex = |word: &str| u32::from_str_radix(word, 16).unwrap();
            let address: Address = words[0].parse().unwrap();
            let vendor = u16::try_from(hex(words[1])).unwrap();
            above.truncate(line.chars().take_while(|letter| *letter == ' ').step_by(2).count());
            above.push(address);
            let detail =
                Detail { group: words[3].parse().ok(), is_virtual: words.contains(&"vf"), ..Detail::default() };
            let identity = Identity { vendor, device: 1, subvendor: 0, subdevice: 0, class: Class(hex(words[2]) << 8) };
            devices.push(Device { address, identity, chain: above.clone(), physical: None, detail: Some(detail) });
        }
        devices.sort_unstable_by_key(|device| device.address);
        Inventory { devices, ..Inventory::default() }
    }

    /// `CARD` or `CARD | LEFT`, without the domain.
    fn card(machine: &Inventory, address: &str) -> String {
        let card = machine.card(machine.device(address.parse().unwrap()).unwrap());
        let text = |devices: &[&Device]| {
            let words: Vec<String> =
                devices.iter().map(|device| device.address.to_string().replace("0000:", "")).collect();
            words.join(" ")
        };
        let left = text(&card.left);
        text(&card.functions) + if left.is_empty() { "" } else { " | " } + &left
    }

    #[test]
    fn a_slot_is_not_always_a_card() {
        let apu = machine(
            "00:08.1 1022 0604 3\n  0e:00.0 1002 0300 4\n  0e:00.1 1002 0403 5\n  0e:00.2 1022 1080 6\n  \
             0e:00.3 1022 0c03 7\n  0e:00.6 1022 0403 8\n00:08.3 1022 0604 9\n  0f:00.0 1022 1300 10\n  \
             0f:00.3 1022 0c03 11\n00:1f.0 8086 0601 12\n00:1f.3 8086 0403 12\n00:1f.6 8086 0200 12",
        );
        assert_eq!(card(&apu, "0e:00.0"), "0e:00.0 0e:00.1 | 0e:00.2 0e:00.3 0e:00.6");
        assert_eq!(card(&apu, "0e:00.1"), "0e:00.0 0e:00.1 | 0e:00.2 0e:00.3 0e:00.6");
        for alone in ["0e:00.2", "0e:00.3", "0f:00.3", "00:1f.3", "00:1f.6"] {
            assert_eq!(card(&apu, alone), alone);
        }
        // In one group nothing can go without the rest.
        let one_group = machine(
            "00:08.1 1022 0604 2\n  04:00.0 1002 0300 2\n  04:00.1 1002 0403 2\n  04:00.2 1022 1080 2\n  \
             04:00.7 1022 1300 5",
        );
        assert_eq!(card(&one_group, "04:00.0"), "04:00.0 04:00.1 04:00.2 | 04:00.7");
        // No group, as without an IOMMU, is not the same group.
        let groupless = machine("00:01.0 1002 0300 -\n00:01.1 1022 0c03 -\n00:01.2 1002 0403 -");
        assert_eq!(card(&groupless, "00:01.0"), "00:01.0 00:01.2 | 00:01.1");
        // Before Linux 6.15, the drivers bring the groups of what an SMMU translates for.
        let iommu = IommuFacts { driver: Some("arm_smmu_v3"), ..IommuFacts::default() };
        let later = Inventory { kernel: "6.12.1-arm64".to_owned(), iommu, ..groupless };
        assert_eq!(card(&later, "00:01.0"), "00:01.0 00:01.1 00:01.2");
        let chipset = machine("00:01.0 1106 0601 1\n00:01.1 1106 0300 1\n00:01.2 1106 0403 1");
        assert_eq!(card(&chipset, "00:01.1"), "00:01.1 | 00:01.2");
    }

    #[test]
    fn a_slot_often_is_a_card() {
        let cards = machine(
            "00:01.0 8086 0604 1\n  01:00.0 10de 0300 10\n  01:00.1 10de 0403 11\n  01:00.2 10de 0c03 12\n  \
             01:00.3 10de 0c80 13\n00:02.0 8086 0300 2\n00:02.1 8086 0380 2\n00:03.0 8086 0604 3\n  \
             03:00.0 8086 0200 30\n  03:00.1 8086 0200 31\n  03:00.2 8086 0200 32 vf",
        );
        for function in ["01:00.0", "01:00.3"] {
            assert_eq!(card(&cards, function), "01:00.0 01:00.1 01:00.2 01:00.3");
        }
        assert_eq!(card(&cards, "00:02.0"), "00:02.0 00:02.1");
        assert_eq!(card(&cards, "00:02.1"), "00:02.0 00:02.1");
        assert_eq!(card(&cards, "03:00.1"), "03:00.0 03:00.1");
        assert_eq!(card(&cards, "03:00.2"), "03:00.2", "a virtual function is a card of its own");
    }

    #[test]
    fn a_card_may_bring_a_switch() {
        let arc = "    02:01.0 8086 0604 3\n      03:00.0 8086 0300 20\n    02:04.0 8086 0604 4\n      04:00.0 8086 0403 21\n";
        let plain = machine(&["00:01.0 8086 0604 1\n  01:00.0 8086 0604 2\n", arc].concat());
        assert_eq!(card(&plain, "03:00.0"), "03:00.0 04:00.0");
        assert_eq!(card(&plain, "04:00.0"), "03:00.0 04:00.0");
        // Two displays behind it: what is in no slot of theirs may belong to either.
        let two = "    02:05.0 8086 0604 5\n      05:00.0 8086 0380 22\n      05:00.1 8086 0403 22\n";
        let double = machine(&["00:01.0 8086 0604 1\n  01:00.0 8086 0604 2\n", arc, two].concat());
        assert_eq!(card(&double, "03:00.0"), "03:00.0");
        assert_eq!(card(&double, "05:00.0"), "05:00.0 05:00.1");
        // A dock of the same maker: what is behind the dock's switch alone is not of the card.
        let dock = machine(
            "00:07.0 8086 0604 1\n  01:00.0 8086 0604 2\n    02:00.0 8086 0604 3\n      05:00.0 8086 0604 4\n        \
             06:01.0 8086 0604 5\n          07:00.0 8086 0300 6\n        06:04.0 8086 0604 7\n          \
             08:00.0 8086 0403 8\n    02:02.0 8086 0604 9\n      09:00.0 8086 0200 10",
        );
        assert_eq!(card(&dock, "07:00.0"), "07:00.0 08:00.0");
        // A switch of the board, a root port of the same maker, and somebody else's function behind the card's own switch.
        let board = machine(
            "00:01.0 8086 0604 1\n  01:00.0 10b5 0604 2\n    02:08.0 10b5 0604 3\n      03:00.0 10de 0300 4\n    \
             02:10.0 10b5 0604 5\n      04:00.0 10de 0403 6\n00:02.0 8086 0604 7\n  05:00.0 8086 0604 8\n    \
             06:00.0 8086 0300 9\n    06:01.0 8086 0403 10\n00:03.0 8086 0604 11\n  07:00.0 1002 0604 12\n    \
             08:00.0 1002 0604 13\n      09:00.0 1002 0300 14\n    08:01.0 1002 0604 15\n      0a:00.0 1102 0403 16",
        );
        for alone in ["03:00.0", "04:00.0", "06:00.0", "09:00.0", "0a:00.0"] {
            assert_eq!(card(&board, alone), alone);
        }
    }
}
