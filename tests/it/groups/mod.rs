// SPDX-License-Identifier: MIT OR Apache-2.0
//! The examination of groups, on machines that are each built for one question.

mod kernels;
mod machine;
mod recorded;

use std::time::Duration;

use proptest::prelude::*;
use vfio_early::groups::{Function, Group, Host, Isolated, examine};
use vfio_early::pci::{Address, Class};

use crate::support::time::Spent;

const ROOT_PORT: u16 = 4;
const UPSTREAM: u16 = 5;
const DOWNSTREAM: u16 = 6;
const TO_PCI: u16 = 7;
const ENDPOINT: u16 = 0;
const INTEGRATED: u16 = 9;
/// SV RR CR UF.
const ALL: u16 = 0x1d;

/// A PCI Express function; `path` is its path in /sys: `00:01.0/01:00.0`.
fn function(path: &str, id: (u16, u16), port: u16, group: u32) -> Function {
    let mut parents: Vec<Address> = path.split('/').map(|part| part.parse().unwrap()).collect();
    let address = parents.pop().unwrap();
    let mut config = vec![0; 4096];
    config[0..2].copy_from_slice(&id.0.to_le_bytes());
    config[2..4].copy_from_slice(&id.1.to_le_bytes());
    config[6] = 0x10;
    config[0x34] = 0x40;
    config[0x40] = 0x10;
    config[0x42..0x44].copy_from_slice(&(port << 4 | 2).to_le_bytes());
    let bridge = (4..9).contains(&port);
    config[0x0e] = u8::from(bridge);
    if port == ROOT_PORT {
        // Slot Implemented.
        config[0x43] |= 1;
    }
    let class = Class(if bridge { 0x06_04_00 } else { 0x03_00_00 });
    Function {
        address,
        parents,
        class,
        vendor: id.0,
        device: id.1,
        config,
        driver: None,
        sys_group: Some(group),
        ivrs_alias: None,
    }
}

fn with_acs(mut function: Function, implemented: u16, enabled: u16) -> Function {
    function.config[0x100..0x104].copy_from_slice(&[0x0d, 0, 1, 0]);
    function.config[0x104..0x106].copy_from_slice(&implemented.to_le_bytes());
    function.config[0x106..0x108].copy_from_slice(&enabled.to_le_bytes());
    function
}

fn multifunction(mut function: Function) -> Function {
    function.config[0x0e] |= 0x80;
    function
}

fn conventional(mut function: Function) -> Function {
    function.config[6] = 0;
    function.config.truncate(256);
    function
}

fn bound_to(mut function: Function, driver: &str) -> Function {
    function.driver = Some(driver.to_owned());
    function
}

fn port(path: &str, group: u32) -> Function {
    function(path, (0x1022, 0x1453), ROOT_PORT, group)
}

fn card(path: &str, group: u32) -> Function {
    function(path, (0x10de, 0x1e04), ENDPOINT, group)
}

fn groups(functions: &[Function]) -> Vec<Group> {
    examine(functions, &Host::default()).groups
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// A desktop: a card with two functions below a port with ACS, another card below a port without.
fn desktop() -> Vec<Function> {
    vec![
        with_acs(port("00:01.0", 1), ALL, ALL),
        bound_to(multifunction(card("00:01.0/01:00.0", 2)), "vfio-pci"),
        bound_to(card("00:01.0/01:00.1", 2), "snd_hda_intel"),
        port("00:02.0", 3),
        bound_to(card("00:02.0/02:00.0", 3), "nvme"),
    ]
}

#[test]
fn groups_of_a_desktop() {
    let all = desktop();
    let host = Host { group_types: &[(3, "DMA-FQ".to_owned())], kernel: Some((6, 1)), ..Host::default() };
    let examination = examine(&all, &host);
    assert!(examination.matches_kernel());
    let groups = &examination.groups;
    assert_eq!(
        groups.iter().map(|group| group.isolated).collect::<Vec<_>>(),
        [Isolated::NotNeeded, Isolated::Acs, Isolated::No]
    );
    assert!(!groups[1].viable);
    assert_eq!(groups[1].blockers[0].driver, "snd_hda_intel");
    assert_eq!(groups[1].explanation[0].missing.to_string(), "SV RR CR UF");
    assert_eq!(groups[2].explanation[0].bridge, Some(address("00:02.0")));
    assert_eq!(groups[2].explanation[0].devices, [address("02:00.0")]);
    assert_eq!(groups[2].isolated_slots, [address("00:01.0")]);
    assert_eq!(groups[2].r#type.as_deref(), Some("DMA-FQ"));
    let expected = "\
group 3 (DMA-FQ): not viable, not isolated
  0000:00:02.0  1022:1453  root port
  0000:02:00.0  10de:1e04  VGA controller  nvme
  bound to a host driver: 0000:02:00.0 nvme
  why: root port 0000:00:02.0 has no ACS capability (SV RR CR UF missing in hardware): it shares a group with 0000:02:00.0
  ports with an isolated slot: 0000:00:01.0
";
    assert_eq!(examination.text(&[address("02:00.0")]), expected);
    let json = vfio_early::json::to_string(&groups[0]);
    assert_eq!(
        json,
        "{\"id\":1,\"type\":null,\"devices\":[\"0000:00:01.0\"],\"viable\":true,\"blockers\":[],\
         \"isolated\":\"not-needed\",\"explanation\":[],\"recomputed\":[],\"parameter\":null,\"isolated_slots\":[],\
         \"acs\":[{\"device\":\"0000:00:01.0\",\"implemented\":[\"SV\",\"RR\",\"CR\",\"UF\"],\
         \"enabled\":[\"SV\",\"RR\",\"CR\",\"UF\"]}]}"
    );
}

#[test]
fn tree_of_a_desktop() {
    let expected = "\
|-= 0000:00:01.0 1022:1453 root port                                    group 1
| |-! 0000:01:00.0 10de:1e04 VGA controller vfio-pci                    group 2
| `-! 0000:01:00.1 10de:1e04 VGA controller snd_hda_intel               group 2
`-! 0000:00:02.0 1022:1453 root port                                    group 3
  `-. 0000:02:00.0 10de:1e04 VGA controller nvme                        group 3
= isolates by ACS  ~ by quirk  ! does not isolate  . not needed  ? unknown
";
    assert_eq!(examine(&desktop(), &Host::default()).tree(&[]), expected);
}

#[test]
fn disabled_controls_are_distinguished_from_missing_ones() {
    let mut all = vec![
        multifunction(with_acs(port("00:1c.0", 1), ALL, 0x11)),
        card("00:1c.0/01:00.0", 1),
        with_acs(port("00:1c.1", 1), 0x0d, 0),
        card("00:1c.1/02:00.0", 1),
    ];
    let group = &groups(&all)[0];
    assert_eq!(group.explanation[0].off.to_string(), "RR CR");
    assert_eq!(group.explanation[0].missing.to_string(), "RR CR");
    // The second port does not implement UF, which the kernel counts as enabled.
    assert_eq!(group.parameter.as_deref(), Some("pci=config_acs=xx111x1@0000:00:1c.0;xxx11x1@0000:00:1c.1"));
    let old = examine(&all, &Host { kernel: Some((6, 1)), ..Host::default() });
    assert!(old.text(&[]).contains("(Linux 6.11 or newer; running 6.1)"));
    // With the controls enabled, the ports are in different groups.
    all[0] = multifunction(with_acs(port("00:1c.0", 1), ALL, ALL));
    all[2] = with_acs(port("00:1c.1", 3), 0x0d, 0x0d);
    all[1].sys_group = Some(2);
    all[3].sys_group = Some(4);
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel());
    assert!(examination.groups.iter().all(|group| group.isolated == Isolated::Acs && group.parameter.is_none()));
}

#[test]
fn an_override_is_no_isolation() {
    // Two functions of a slot without ACS, which the kernel has in different groups.
    let all =
        [with_acs(port("00:01.0", 1), ALL, ALL), multifunction(card("00:01.0/01:00.0", 2)), card("00:01.0/01:00.1", 3)];
    let examination = examine(&all, &Host { acs_override: true, ..Host::default() });
    assert!(!examination.matches_kernel());
    let group = examination.group_of(address("01:00.0")).unwrap();
    assert_eq!(group.isolated, Isolated::Override);
    assert_eq!(group.recomputed, [vec![address("01:00.0"), address("01:00.1")]]);
    assert_eq!(group.explanation[0].devices, [address("01:00.0"), address("01:00.1")]);
    assert_eq!(examination.groups[0].isolated, Isolated::NotNeeded);
    assert_eq!(groups(&all)[1].isolated, Isolated::No);
    assert!(
        examination
            .text(&[])
            .contains("kernel group differs; recomputed from configuration space: 0000:01:00.0 0000:01:00.1\n")
    );
}

#[test]
fn a_group_larger_than_recomputed_is_reported() {
    let all = [
        with_acs(port("00:01.0", 1), ALL, ALL),
        card("00:01.0/01:00.0", 2),
        with_acs(port("00:02.0", 3), ALL, ALL),
        card("00:02.0/02:00.0", 2),
    ];
    let group = &groups(&all)[1];
    assert_eq!(group.devices, [address("01:00.0"), address("02:00.0")]);
    assert_eq!(group.recomputed, [vec![address("01:00.0")], vec![address("02:00.0")]]);
}

#[test]
fn kernel_quirks_isolate() {
    // A two-port network card without ACS that Intel has verified, below a PCH root port with chipset-specific controls.
    let mut pch = function("00:1c.0", (0x8086, 0x8c10), ROOT_PORT, 1);
    let nic = |path, group| function(path, (0x8086, 0x1521), ENDPOINT, group);
    let mut lpc = conventional(function("00:1f.0", (0x8086, 0x8c56), ENDPOINT, 4));
    lpc.class = Class(0x06_01_00);
    pch.config[0xdb] = 0x04;
    lpc.config[0xf0] = 1;
    let machine = |pch: &Function, lpc: &Function| {
        vec![pch.clone(), multifunction(nic("00:1c.0/01:00.0", 2)), nic("00:1c.0/01:00.1", 3), lpc.clone()]
    };
    let all = machine(&pch, &lpc);
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel(), "{}", examination.text(&[]));
    assert_eq!(examination.groups[1].isolated, Isolated::Quirk);
    assert!(
        examination
            .text(&[])
            .contains("isolates by kernel quirk: Intel PCH root port with chipset-specific controls (Linux 6.12)")
    );
    // The firmware gives no access to the controls: everything below the port shares a group.
    lpc.config[0xf0] = 0;
    let all = machine(&pch, &lpc);
    assert!(!examine(&all, &Host::default()).matches_kernel());
}

#[test]
fn wide_acs_registers_are_read() {
    let mut wide = with_acs(function("00:1b.0", (0x8086, 0xa167), ROOT_PORT, 1), ALL, 0);
    wide.config[0x108] = 0x1d;
    let all = [wide.clone(), card("00:1b.0/01:00.0", 2)];
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel());
    assert_eq!(examination.groups[0].acs[0].enabled.0, ALL);
    assert!(examination.text(&[]).contains("ACS on: SV RR CR UF"), "{}", examination.text(&[]));
    wide.config[0x108] = 0;
    let all = [wide, card("00:1b.0/01:00.0", 1)];
    let group = &groups(&all)[0];
    assert!(group.recomputed.is_empty());
    assert_eq!(group.parameter, None, "config_acs writes the register of the specification");
}

/// The groups as a kernel of this version has them.
fn groups_of(functions: &[Function], kernel: (u32, u32)) -> Vec<Group> {
    examine(functions, &Host { kernel: Some(kernel), ..Host::default() }).groups
}

#[test]
fn switched_off_chipset_controls_have_the_right_reason() {
    let mut pch = function("00:1c.0", (0x8086, 0x8c10), ROOT_PORT, 1);
    let mut lpc = conventional(function("00:1f.0", (0x8086, 0x8c56), ENDPOINT, 2));
    lpc.config[0xf0] = 1;
    let reason = |pch: &Function, lpc: &Function| {
        let all = [pch.clone(), function("00:1c.0/01:00.0", (0x1b21, 0x0612), ENDPOINT, 1), lpc.clone()];
        groups(&all)[0].explanation[0].text.clone()
    };
    let off = reason(&pch, &lpc);
    assert!(off.contains("the kernel has not enabled, though the firmware allows it"), "{off}");
    pch.config[0xdb] = 0x04;
    lpc.config[0xf0] = 0;
    let locked = reason(&pch, &lpc);
    assert!(locked.contains("the firmware prevents"), "{locked}");
}

#[test]
fn a_kernel_that_leaves_source_validation_off_does_not_miss_it() {
    for device in [0x80b5, 0x8090] {
        let down = |path, group| with_acs(function(path, (0x111d, device), DOWNSTREAM, group), ALL, ALL & !1);
        let all = [
            with_acs(port("00:02.0", 1), ALL, ALL),
            function("00:02.0/01:00.0", (0x111d, device), UPSTREAM, 2),
            down("00:02.0/01:00.0/02:00.0", 3),
            card("00:02.0/01:00.0/02:00.0/03:00.0", 4),
        ];
        let new = groups_of(&all, (7, 2));
        assert!(new.iter().all(|group| group.recomputed.is_empty() && group.parameter.is_none()), "{new:#?}");
        assert_eq!(new[3].isolated, Isolated::Acs);
        // Controls that it does use are missed all the same.
        let mut without = all.clone();
        without[2] = with_acs(without[2].clone(), ALL, ALL & !5);
        assert!(!groups_of(&without, (7, 2))[3].recomputed.is_empty());
        let old = groups_of(&all, (6, 12));
        assert!(!old[3].recomputed.is_empty() && old[3].parameter.is_some(), "{old:#?}");
    }
    let other = with_acs(function("00:02.0", (0x111d, 0x80b6), ROOT_PORT, 1), ALL, ALL & !1);
    assert!(!groups_of(&[other, card("00:02.0/01:00.0", 2)], (7, 2))[1].recomputed.is_empty());
}

#[test]
fn a_bridge_without_a_real_bus_forwards_requester_ids_on_new_kernels() {
    let all = [
        with_acs(port("00:02.0", 1), ALL, ALL),
        function("00:02.0/01:00.0", (0x1a03, 0x1150), TO_PCI, 2),
        conventional(function("00:02.0/01:00.0/02:00.0", (0x1a03, 0x2000), ENDPOINT, 2)),
        conventional(function("00:02.0/01:00.0/02:01.0", (0x1102, 0x0004), ENDPOINT, 2)),
    ];
    for (kernel, reason) in [((6, 12), "uses one requester ID"), ((7, 2), "has no ACS capability")] {
        let groups = groups_of(&all, kernel);
        let group = &groups[1];
        assert!(group.recomputed.is_empty() && group.devices.len() == 3, "{kernel:?} {group:#?}");
        assert_eq!(group.explanation.len(), 1, "{kernel:?} {group:#?}");
        assert!(group.explanation[0].text.contains(reason), "{kernel:?} {group:#?}");
    }
}

#[test]
fn a_quirk_that_the_running_kernel_lacks_is_named() {
    // Each of two functions isolates by a quirk, and /sys has them together.
    let nic = |path, group| multifunction(function(path, (0x8088, 0x5025), ENDPOINT, group));
    let lead = with_acs(port("00:01.0", 1), ALL, ALL);
    let together = groups(&[lead.clone(), nic("00:01.0/01:00.0", 2), nic("00:01.0/01:00.1", 2)]);
    let texts: Vec<&str> = together[1].explanation.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(together[1].recomputed.len(), 2);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("which the running kernel does not seem to have"), "{texts:?}");
    let apart = groups(&[lead, nic("00:01.0/01:00.0", 2), nic("00:01.0/01:00.1", 3)]);
    assert!(apart.iter().all(|group| group.explanation.is_empty() && group.recomputed.is_empty()), "{apart:#?}");
}

#[test]
fn aliases_that_no_table_of_the_kernel_has_are_followed() {
    // By the IVRS table: 00:04.0 uses the requester ID of 00:03.0.
    let user = |group| Function { ivrs_alias: Some((3, 0)), ..function("00:04.0", (0x1022, 1), INTEGRATED, group) };
    let owner = || function("00:03.0", (0x1022, 2), INTEGRATED, 1);
    let together = groups(&[owner(), user(1)]);
    assert!(together[0].recomputed.is_empty(), "{together:#?}");
    assert!(together[0].explanation[0].text.contains("uses the requester ID of another function"), "{together:#?}");
    assert!(!groups(&[owner(), user(2)])[0].recomputed.is_empty(), "the kernel would have put them together");
    // A Switchtec NTB says in its registers which IDs it uses: /sys is right in either case.
    let bridge =
        |group| Function { class: Class(0x06_80_00), ..function("00:01.0/01:04.0", (0x11f8, 0x8536), ENDPOINT, group) };
    let lead = || with_acs(port("00:01.0", 1), ALL, ALL);
    for group in [2, 3] {
        let found = groups(&[lead(), card("00:01.0/01:03.0", 2), bridge(group)]);
        assert!(found.iter().all(|group| group.recomputed.is_empty()), "{found:#?}");
    }
}

#[test]
fn a_parameter_for_several_ports_is_quoted() {
    let without = |path, group| with_acs(port(path, group), ALL, 1);
    let one = [without("00:01.0", 1), card("00:01.0/01:00.0", 1)];
    let text = |functions: &[Function], kernel| {
        examine(functions, &Host { kernel: Some(kernel), ..Host::default() }).text(&[])
    };
    assert!(!text(&one, (6, 12)).contains('`'));
    let two = [one[0].clone(), one[1].clone(), without("00:02.0", 2), card("00:02.0/02:00.0", 2)];
    let printed = text(&two, (6, 12));
    let quoted = "'\"pci=config_acs=xx111x1@0000:00:01.0;xx111x1@0000:00:02.0\"'";
    assert!(printed.contains(quoted), "{printed}");
    assert!(printed.contains("the first port only"), "{printed}");
    assert!(!text(&two, (7, 2)).contains("the first port only"));
}

#[test]
fn isolation_is_unknown_without_root() {
    let mut all = desktop();
    for function in &mut all {
        function.config.truncate(64);
    }
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel());
    assert!(examination.groups.iter().all(|group| group.isolated == Isolated::Unknown || group.devices.len() == 1));
    assert!(examination.text(&[]).contains("unknown (needs root)"));
    assert_eq!(examination.group_of(address("01:00.0")).unwrap().isolated, Isolated::Unknown);
    assert!(examination.groups.iter().all(|group| group.explanation.iter().all(|reason| reason.missing.is_empty())));
}

#[test]
fn requester_ids_are_shared_behind_conventional_bridges_and_by_dma_aliases() {
    let all = [
        with_acs(port("00:01.0", 1), ALL, ALL),
        function("00:01.0/01:00.0", (0x1b21, 0x1080), TO_PCI, 2),
        conventional(card("00:01.0/01:00.0/02:01.0", 2)),
        conventional(card("00:01.0/01:00.0/02:02.0", 2)),
        with_acs(port("00:02.0", 3), ALL, ALL),
        multifunction(with_acs(function("00:02.0/03:00.0", (0x1b4b, 0x9230), ENDPOINT, 4), ALL, ALL)),
        with_acs(function("00:02.0/03:00.1", (0x1b4b, 0x91a3), ENDPOINT, 4), ALL, ALL),
    ];
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel(), "{}", examination.text(&[]));
    let groups = &examination.groups;
    assert_eq!(groups[1].isolated, Isolated::Acs);
    assert_eq!(groups[1].explanation.len(), 1);
    assert_eq!(groups[1].explanation[0].devices, [address("02:01.0"), address("02:02.0")]);
    assert_eq!(groups[3].explanation[0].bridge, Some(address("03:00.0")));
    assert!(groups[3].explanation[0].text.contains("requester ID"));
}

#[test]
fn requester_ids_are_shared_even_behind_a_conventional_bridge_with_a_quirk() {
    // An AMD southbridge: by a kernel quirk its functions isolate, including its conventional bridge.
    let south = |path, device, group| multifunction(conventional(function(path, (0x1002, device), ENDPOINT, group)));
    let mut bridge = south("00:14.4", 0x4384, 2);
    bridge.config[0x0e] |= 1;
    let all = [
        south("00:14.0", 0x4385, 1),
        bridge,
        conventional(card("00:14.4/05:06.0", 2)),
        conventional(card("00:14.4/05:07.0", 2)),
    ];
    let examination = examine(&all, &Host { amd_iommu: true, ..Host::default() });
    assert!(examination.matches_kernel(), "{}", examination.text(&[]));
    assert_eq!(examination.groups[1].isolated, Isolated::Quirk);
}

#[test]
fn a_switch_without_acs_is_no_isolation_though_its_ports_are_in_different_groups() {
    let all = [
        with_acs(port("00:01.0", 1), ALL, ALL),
        function("00:01.0/01:00.0", (0x104c, 0x8232), UPSTREAM, 2),
        function("00:01.0/01:00.0/02:00.0", (0x104c, 0x8233), DOWNSTREAM, 3),
        card("00:01.0/01:00.0/02:00.0/03:00.0", 3),
        function("00:01.0/01:00.0/02:01.0", (0x104c, 0x8233), DOWNSTREAM, 4),
        card("00:01.0/01:00.0/02:01.0/04:00.0", 4),
    ];
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel());
    assert_eq!(examination.groups[2].isolated, Isolated::No);
    assert_eq!(examination.groups[3].isolated, Isolated::No);
}

#[test]
fn a_vmd_domain_shares_the_group_of_its_controller() {
    let mut controller = function("00:0e.0", (0x8086, 0x9a0b), INTEGRATED, 1);
    controller.class = Class(0x01_04_00);
    let all = [
        controller,
        with_acs(function("00:0e.0/10000:e0:06.0", (0x8086, 0x9a09), ROOT_PORT, 1), ALL, ALL),
        card("00:0e.0/10000:e0:06.0/10000:e1:00.0", 1),
    ];
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel(), "{}", examination.text(&[]));
    assert_eq!(examination.groups[0].explanation[0].bridge, Some(address("00:0e.0")));
}

#[test]
fn virtual_functions_below_acs_have_groups_of_their_own() {
    let mut all = vec![with_acs(port("00:01.0", 1), ALL, ALL), card("00:01.0/01:00.0", 2)];
    for (number, path) in ["00:01.0/01:00.2", "00:01.0/01:00.3", "00:01.0/02:00.0"].into_iter().enumerate() {
        let mut virtual_function = card(path, 3 + u32::try_from(number).unwrap());
        virtual_function.config[0..4].fill(0xff);
        all.push(virtual_function);
    }
    let examination = examine(&all, &Host::default());
    assert!(examination.matches_kernel(), "{}", examination.text(&[]));
    assert!(examination.groups.iter().skip(1).all(|group| group.isolated == Isolated::Acs));
}

#[test]
fn drivers_with_driver_managed_dma_block_nothing() {
    for (driver, viable) in [
        ("vfio-pci", true),
        ("mlx5_vfio_pci", true),
        ("nvgrace_gpu_vfio_pci", true),
        ("hisi-acc-vfio-pci", true),
        ("pci-stub", true),
        ("pcieport", true),
        ("nvidia", false),
        ("vfio-platform", false),
        ("xhci_hcd", false),
    ] {
        let all = [bound_to(card("00:03.0", 1), driver)];
        assert_eq!(groups(&all)[0].viable, viable, "{driver}");
    }
    // Since Linux 5.19 a driver of a bridge does, unless it is pcieport.
    let bridge = [bound_to(port("00:03.0", 1), "shpchp")];
    for (kernel, viable) in [((5, 10), true), ((5, 18), true), ((5, 19), false), ((6, 12), false)] {
        let host = Host { kernel: Some(kernel), ..Host::default() };
        assert_eq!(examine(&bridge, &host).groups[0].viable, viable, "{kernel:?}");
    }
}

/// `count` functions of 4096 bytes: root ports, with and without ACS, each with a switch and cards below it.
fn large(count: usize) -> Vec<Function> {
    let mut all = Vec::new();
    let mut group = 0;
    let mut domain = 0;
    while all.len() < count {
        for slot in 0..4 {
            let acs = slot % 2 == 0;
            let base = slot * 8 + 1;
            let root = format!("{domain:04x}:00:{slot:02x}.0");
            group += 1;
            let ported = port(&root, group);
            all.push(if acs { with_acs(ported, ALL, ALL) } else { ported });
            group += u32::from(acs);
            let up = format!("{root}/{domain:04x}:{base:02x}:00.0");
            all.push(function(&up, (1, 1), UPSTREAM, group));
            for down in 0..6 {
                group += u32::from(acs);
                let below = base + 2 + down;
                let path = format!("{up}/{domain:04x}:{:02x}:{down:02x}.0", base + 1);
                all.push(with_acs(function(&path, (1, 2), DOWNSTREAM, group), ALL, ALL));
                group += u32::from(acs);
                all.push(multifunction(card(&format!("{path}/{domain:04x}:{below:02x}:00.0"), group)));
                all.push(card(&format!("{path}/{domain:04x}:{below:02x}:00.1"), group));
            }
        }
        domain += 1;
    }
    all.truncate(count);
    all
}

fn examine_and_print(functions: &[Function]) {
    let examination = examine(functions, &Host::default());
    let text = examination.text(&[]).len() + examination.tree(&[]).len();
    let json = vfio_early::json::to_string(&examination.groups).len();
    assert!(text > 0 && json > 0);
}

/// The mean times for few and for many functions. The time advances in steps of some milliseconds, so each is run often.
fn times(few: &[Function], many: &[Function]) -> (Duration, Duration) {
    const RUNS: u32 = 40;
    let mean = |functions: &[Function]| {
        let start = Spent::now();
        (0..RUNS).for_each(|_| examine_and_print(functions));
        start.elapsed() / RUNS
    };
    let times = (mean(few), mean(many));
    println!("{} functions: {:?}, {} functions: {:?}", few.len(), times.0, many.len(), times.1);
    times
}

#[test]
fn large_machines_take_linear_time() {
    let (few, many) = (large(512), large(2048));
    assert!(examine(&many, &Host::default()).matches_kernel());
    let (quick, slow) = times(&few, &many);
    // Four times the functions: linear growth takes four times as long, quadratic growth sixteen times.
    assert!(slow < quick * 8, "512 functions take {quick:?}, 2048 take {slow:?}");
    // One group of all functions: the worst case for whatever compares each pair of members.
    let together = |count| {
        let mut all = vec![port("00:00.0", 0)];
        all.extend((1..count).map(|number| {
            let (bus, device, function) = (1 + number / 256, number / 8 % 32, number % 8);
            card(&format!("00:00.0/{bus:02x}:{device:02x}.{function}"), 0)
        }));
        all
    };
    let (quick, slow) = times(&together(512), &together(2048));
    assert!(slow < quick * 8, "512 functions take {quick:?}, 2048 take {slow:?}");
}

fn any_address() -> impl Strategy<Value = Address> {
    (0..2_u32, 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(domain, bus, device, function)| Address {
        domain: domain * 0x10000,
        bus,
        device,
        function,
    })
}

fn any_config() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let port = (0..12_u16, any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(port, implemented, enabled, header)| {
        let mut function = with_acs(function("00:00.0", (1, 1), port, 0), implemented, enabled);
        function.config[0x0e] ^= header & 0x81;
        function.config
    });
    prop_oneof![bytes, port.clone(), port.prop_map(|config| config[..64].to_vec())]
}

fn any_function() -> impl Strategy<Value = Function> {
    let ids = prop_oneof![
        Just((0x8086, 0x1521)),
        Just((0x1b4b, 0x9230)),
        Just((0x10b5, 0x87b0)),
        Just((0x8086, 0x8c10)),
        Just((0x8086, 0x2954)),
        any::<(u16, u16)>()
    ];
    let parents = proptest::collection::vec(any_address(), 0..4);
    (any_address(), parents, any::<u32>(), ids, any_config(), proptest::option::of(0..4_u32)).prop_map(
        |(address, parents, class, (vendor, device), config, sys_group)| Function {
            address,
            parents,
            class: Class(class & 0x00ff_ffff),
            vendor,
            device,
            config,
            driver: Some("driver".to_owned()),
            sys_group,
            ivrs_alias: Some((address.function, address.device)),
        },
    )
}

proptest! {
    #[test]
    fn each_function_is_in_one_group(all in proptest::collection::vec(any_function(), 0..40), amd in any::<bool>()) {
        let host = Host { amd_iommu: amd, ..Host::default() };
        let examination = examine(&all, &host);
        let mut members: Vec<Address> = examination.groups.iter().flat_map(|group| group.devices.clone()).collect();
        members.sort_unstable();
        let mut expected: Vec<&Function> = all.iter().collect();
        expected.sort_by_key(|function| function.address);
        expected.dedup_by_key(|function| function.address);
        let expected = expected.into_iter().filter(|function| function.sys_group.is_some());
        prop_assert_eq!(members, expected.map(|function| function.address).collect::<Vec<_>>());
        let tree = examination.tree(&[]);
        prop_assert!(tree.lines().all(|line| line.chars().count() <= 80), "{}", tree);
        prop_assert!(!examination.text(&[]).contains('\0'));
        vfio_early::json::to_string(&examination.groups);
    }

    /// The groups do not depend on the order of the functions.
    #[test]
    fn order_of_functions_does_not_matter(
        mut all in proptest::collection::vec(any_function(), 0..20).prop_shuffle(),
    ) {
        all.sort_by_key(|function| function.address);
        all.dedup_by_key(|function| function.address);
        let forward = examine(&all, &Host::default()).groups;
        all.reverse();
        prop_assert_eq!(forward, examine(&all, &Host::default()).groups);
    }
}
