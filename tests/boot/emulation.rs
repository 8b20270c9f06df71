// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU's emulation sometimes makes of a kernel on a busy machine, before there is anything of ours in it. Such a boot
//! says nothing about the program, and is repeated; any other that fails has failed.

/// Whether the log on the serial console is of a kernel that died in the emulator before it had started /init.
///
/// - The timer's interrupt, which does not come in time. The kernel gives up before it has any process
///   (arch/x86/kernel/apic/io_apic.c, `check_timer`).
/// - A breakpoint of the kernel's own patching (arch/x86/kernel/alternative.c, `poke_int3_handler` in 6.12), hit in a process
///   that is still the kernel's own: the one that becomes /init has the name `swapper/0` until then.
pub(crate) fn died_before_init(log: &str) -> bool {
    // What the images' own scripts and the program say.
    let started = ["Loading, please wait", "vfio-early:", "systemd[1]", "dracut"].iter().any(|word| log.contains(word));
    let timer = ["timer doesn't work through Interrupt-remapped IO-APIC", "IO-APIC + timer doesn't work"];
    if started {
        false
    } else if timer.iter().any(|text| log.lines().any(|line| line.contains("Kernel panic") && line.contains(text))) {
        true
    } else {
        let after = log.split_once("Oops: int3").map(|(_, after)| after);
        let process = after.and_then(|text| text.split_once("Comm: ")).map(|(_, process)| process);
        process.is_some_and(|process| process.starts_with("swapper/"))
    }
}
