// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which boots are repeated: those alone that the emulator spoiled before /init.

#[path = "../boot/emulation.rs"]
mod boots;

use boots::died_before_init;

const TIMER: &str = "[    0.170115] ..TIMER: vector=0x30 apic1=0 pin1=2 apic2=-1 pin2=-1
[    0.180112] Kernel panic - not syncing: timer doesn't work through Interrupt-remapped IO-APIC
[    0.180112] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.57+deb13-amd64 #1
";
const BREAKPOINT: &str = "[    1.412087] Oops: int3: 0000 [#1] PREEMPT SMP PTI
[    1.412087] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.57+deb13-amd64 #1
[    1.419211] Kernel panic - not syncing: Fatal exception in interrupt
";

#[test]
fn the_emulators_own_faults_are_repeated() {
    assert!(died_before_init(TIMER));
    assert!(died_before_init(BREAKPOINT));
}

#[test]
fn what_fails_after_init_or_for_another_reason_has_failed() {
    for log in [
        String::new(),
        "Loading, please wait...\n".to_owned(),
        format!("Loading, please wait...\n{BREAKPOINT}"),
        format!("[    1.2] vfio-early: 1 of 1 claimed in 3 ms\n{BREAKPOINT}"),
        format!("[    1.2] systemd[1]: Started vfio-early.service.\n{TIMER}"),
        BREAKPOINT.replace("swapper/0", "vfio-early"),
        BREAKPOINT.replace("swapper/0", "init"),
        BREAKPOINT.replace("int3", "0002"),
        "[    1.4] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n".to_owned(),
        "[    1.4] Kernel panic - not syncing: No working init found.\n".to_owned(),
        "[    0.1] ..MP-BIOS bug: 8254 timer not connected to IO-APIC\n".to_owned(),
    ] {
        assert!(!died_before_init(&log), "repeated: {log}");
    }
}
