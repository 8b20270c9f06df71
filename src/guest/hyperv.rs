// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enlightenments: parts of Hyper-V that KVM offers to Windows (QEMU's docs/system/i386/hyperv.rst).

/// An enlightenment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enlightenment {
    /// What libvirt calls it; the clock is a timer there.
    pub libvirt: &'static str,
    /// What QEMU calls it.
    pub qemu: &'static str,
    /// What it cannot do without, by QEMU's names: QEMU does not start otherwise (target/i386/kvm/kvm.c,
    /// `kvm_hyperv_properties`).
    needs: &'static [&'static str],
}

/// The clock.
pub(super) const CLOCK: &str = "hv-time";
/// Guests of the guest on Intel.
const NESTED: &str = "hv-evmcs";

/// What needs others stands below them.
const ALL: &[Enlightenment] = &[
    Enlightenment { libvirt: "relaxed", qemu: "hv-relaxed", needs: &[] },
    Enlightenment { libvirt: "vapic", qemu: "hv-vapic", needs: &[] },
    Enlightenment { libvirt: "spinlocks", qemu: "hv-spinlocks", needs: &[] },
    Enlightenment { libvirt: "vpindex", qemu: "hv-vpindex", needs: &[] },
    Enlightenment { libvirt: "runtime", qemu: "hv-runtime", needs: &[] },
    Enlightenment { libvirt: "hypervclock", qemu: CLOCK, needs: &[] },
    Enlightenment { libvirt: "synic", qemu: "hv-synic", needs: &["hv-vpindex"] },
    Enlightenment { libvirt: "stimer", qemu: "hv-stimer", needs: &["hv-synic", CLOCK] },
    Enlightenment { libvirt: "reset", qemu: "hv-reset", needs: &[] },
    Enlightenment { libvirt: "frequencies", qemu: "hv-frequencies", needs: &[] },
    Enlightenment { libvirt: "tlbflush", qemu: "hv-tlbflush", needs: &["hv-vpindex"] },
    Enlightenment { libvirt: "ipi", qemu: "hv-ipi", needs: &["hv-vpindex"] },
    Enlightenment { libvirt: "evmcs", qemu: NESTED, needs: &["hv-vapic"] },
];

/// The enlightenments of a guest: with the clock or without, and with what guests of its own need on Intel.
pub(super) fn enlightenments(clock: bool, nested_on_intel: bool) -> Vec<Enlightenment> {
    let mut chosen: Vec<Enlightenment> = Vec::new();
    for one in ALL {
        let wanted = match one.qemu {
            CLOCK => clock,
            NESTED => nested_on_intel,
            _ => true,
        };
        if wanted && one.needs.iter().all(|need| chosen.iter().any(|other| other.qemu == *need)) {
            chosen.push(*one);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(clock: bool, nested: bool) -> Vec<&'static str> {
        enlightenments(clock, nested).iter().map(|one| one.libvirt).collect()
    }

    #[test]
    fn everything_has_what_it_needs() {
        for (clock, nested) in [(true, true), (true, false), (false, true), (false, false)] {
            let chosen = enlightenments(clock, nested);
            for one in &chosen {
                for need in one.needs {
                    assert!(chosen.iter().any(|other| other.qemu == *need), "{} without {need}", one.qemu);
                }
            }
        }
    }

    #[test]
    fn timers_need_the_clock() {
        assert!(names(true, false).contains(&"stimer") && names(true, false).contains(&"hypervclock"));
        assert!(!names(false, false).contains(&"stimer") && names(false, false).contains(&"synic"));
        assert!(names(false, true).contains(&"evmcs") && !names(true, false).contains(&"evmcs"));
    }
}
