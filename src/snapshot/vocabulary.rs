// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words that name no person, machine or network: an allow-list. A word that is missing here is replaced, which does no harm.

/// Words of file systems and volumes, of devices, of systems, of programs, and of configurations. In lower case.
const WORDS: &str = "\
root swap swapfile swapper home data var log logs boot efi esp usr srv opt tmp mnt media cache tank pool rpool bpool dpool \
zpool vg lv vgs lvs luks crypt crypto cryptroot cryptswap cryptdata thin tmeta tdata tpool vm vms ct disk disks part \
partition raid mirror lib libvirt images image lxc lxd docker containers overlay snapshots snap backup backups iso local \
storage store subvol volume volumes zvol map mapper mapping mpath multipath md dm loop zram zd sr ram nbd rbd drbd bcache \
nvme nvmesubsys subsys mmcblk pmem dasd fd cciss nst st sg by id uuid path label partuuid partlabel diskseq designator gpt \
ext xfs btrfs zfs ntfs vfat exfat fat fuse fuseblk fusectl nfs nfsd cifs smb tmpfs devtmpfs devpts ramfs rootfs proc sysfs \
sys fs cgroup bpf debugfs tracefs securityfs configfs efivarfs efivars pstore mqueue hugetlbfs hugepages hugepage autofs \
binfmt misc squashfs erofs iso udf bcachefs ceph glusterfs virtiofs ecryptfs rpc pipefs selinuxfs smackfs resctrl none \
shm pts run lock user udev systemd dev kernel debug tracing config security firmware features connections devices holders \
slaves bdi acpi tables etc local main \
eth eno ens enp wlan wwan lo br bridge bond bonding team dummy tap tun veth vnet virbr vmbr fwbr fwln fwpr vlan macvtap \
macvlan ovs system wg docker usb sit gre nic net network \
card cards render controld dri snd pcm hw pcmc timer seq control accel input event fb graphics vfio noiommu kfd nvidia uvm \
modeset nvidiactl hda hdmi dp edp dvi vga vgaarb iommufd \
amd intel arm nouveau radeon amdgpu xe ast mgag xhci hcd ehci ohci uhci ahci igb igbvf ixgbe ixgbevf ice iavf mlx core mlxsw \
bnxt tg realtek iwlwifi ath brcmfmac mei me lpc ich smbus i2c isp pinctrl thunderbolt snd sof soundwire skl avs pcieport \
pci pcie pciback stub iommu type mdev nvgrace gpu qat vf vfs pf pfs qxl virtio bochs cirrus simpledrm simplefb simple \
framebuffer vesafb efifb hyperv drm ttm kvm kvmgt kvmfr irqbypass vhost vdpa mpt sas megaraid scsi sd mod usbhid uas hid \
nvidiafb rivafb drv driver drivers module modules builtin alias dep blacklist options softdep install remove include \
pre post ids enable disable denylist override noprobe yes no on off true false auto required optional keep release restore \
claim set match all one with function functions group allow id rom save reset rebar power bus flr pm \
bin sbin share modprobe ignore cmdline opts echo sleep sh insmod depmod \
gpu gpus guest guests passthrough host example test name file conf local custom default common base init initramfs \
initrd initcall dracut mkinitcpio grub vmlinuz vmlinux linux bzimage zimage img uki old recovery rescue fallback quiet \
splash ro rw console tty ttys ttyama hvc loglevel earlyprintk efi verbose panic nomodeset noresume text single emergency \
plymouth vt handoff rhgb thread \
generic lowlatency cloud pve arch zen lts hardened rt azure gcp aws oracle raspi rpi desktop server cachyos liquorix xanmod \
tkg amd64 x86 x aarch arm64 fc el bpo deb debian ubuntu fedora mint manjaro nixos gentoo void alpine suse opensuse \
tumbleweed rhel centos rocky alma proxmox trixie bookworm bullseye sid noble jammy \
xorg xwayland x gnome shell mutter kwin wayland plasmashell sway weston hyprland gdm sddm lightdm greetd cosmic comp \
pipewire wireplumber pulseaudio pulse qemu system kvm libvirtd virtqemud bhyve cloud hypervisor crosvm firefox chromium \
chrome steam obs blender ollama python ffmpeg nvtop btop persistenced smbd qemu-nbd lvmetad dmeventd mdadm zed multipathd \
usbmuxd fwupd logind journald udevd x86_64 aarch64 windows driverctl \
early tools member boot motd random xen control kvm ovmf code vars edk qemu hugepages kb mb gb tsc hpet pm clock \
processor vendor genuineintel authenticamd hygongenuine hypervisor";

/// Whether a word, in lower case, is known to be harmless.
pub(super) fn has(word: &str) -> bool {
    WORDS.split_ascii_whitespace().any(|known| known == word)
}

/// Parameters of the kernel command line whose values the program looks at, or which are about devices: kept as they are.
/// One that ends in `.` stands for all that begin so.
const LOOKED_AT: &[&str] = &[
    "acpi",
    "amd_iommu",
    "amd_iommu_dump",
    "amd_iommu_intr",
    "apic",
    "arm_smmu.",
    "arm_smmu_v3.",
    "cpu_init_udelay",
    "default_hugepagesz",
    "efi",
    "efifb",
    "hugepages",
    "hugepagesz",
    "initcall_blacklist",
    "intel_iommu",
    "intremap",
    "iommu",
    "iommu.",
    "iommufd.",
    "irqchip.",
    "isolcpus",
    "kvm.",
    "kvm_amd.",
    "kvm_intel.",
    "lockdown",
    "lsm",
    "mem",
    "memmap",
    "mitigations",
    "modprobe.blacklist",
    "module_blacklist",
    "noapic",
    "noefi",
    "nohz_full",
    "nointremap",
    "nomodeset",
    "nox2apic",
    "nosmp",
    "pci",
    "pci_stub.",
    "pcie_acs_override",
    "pcie_aspm",
    "pcie_port_pm",
    "pcie_ports",
    "quiet",
    "rcu_nocbs",
    "rd.driver.blacklist",
    "rd.driver.post",
    "rd.driver.pre",
    "ro",
    "rw",
    "splash",
    "swiotlb",
    "vfio.",
    "vfio_iommu_type1.",
    "vfio_pci.",
    "video",
    "x2apic_phys",
    "xen_pciback.",
    "xen",
    "vga",
    "loglevel",
    "rd.driver.export",
];

/// Whether a parameter, with `_` for `-`, is one of them.
pub(super) fn is_looked_at(parameter: &str) -> bool {
    let begins = |known: &str| known.ends_with('.') && parameter.starts_with(known);
    LOOKED_AT.iter().any(|known| *known == parameter || begins(known))
}

/// Other parameters whose names say nothing: only their values may.
const HARMLESS: &str = "\
BOOT_IMAGE BOOTIF root rootflags rootfstype rootdelay rootwait resume resume_offset init initrd console earlycon ip mac \
nameserver dns netroot nfsroot hostname cryptdevice cryptkey luks rd.luks rd.luks.uuid rd.luks.name rd.luks.options \
rd.luks.key rd.lvm rd.lvm.lv rd.lvm.vg rd.md rd.md.uuid rd.dm rd.auto rd.net.name rd.znet rd.neednet rd.iscsi.initiator \
systemd.hostname systemd.set_credential systemd.machine_id systemd.unit systemd.setenv systemd.run rd.systemd.unit \
vconsole.keymap vconsole.font locale.LANG rd.vconsole.keymap audit apparmor security selinux enforcing crashkernel zswap.enabled \
rd.break rd.debug debug net.ifnames biosdevname consoleblank usbcore.autosuspend transparent_hugepage threadirqs preempt \
root_trim zfs bootfs snd_hda_intel.power_save iso_scan subvol netcfg ksdevice inst.repo inst.ks user password passwd key";

/// Whether a parameter's name says nothing.
pub(super) fn is_harmless_parameter(parameter: &str) -> bool {
    HARMLESS.split_ascii_whitespace().any(|known| known.replace('-', "_") == parameter)
}

/// Attributes of sysfs whose content comes from the kernel, a driver or the hardware and is the same on other machines.
const ATTRIBUTES: &str = "\
acpi_path aer_dev cpus nested boot_display boot_vga class config control cpulist current_link_speed current_link_width d3cold_allowed dev device \
disable_denylist driver_override enabled ids iommu_group irq link_speed local_cpulist local_cpus max_link_speed \
max_link_width modalias msi_bus numa_node online physfn power_state present refcnt removable reserved_regions reset_method \
resource revision runtime_status size sriov_drivers_autoprobe sriov_numvfs sriov_offset sriov_stride sriov_totalvfs \
sriov_vf_device sriov_vf_total_msix state status subsystem_device subsystem_vendor thread_siblings_list tun_flags type vendor \
bound allow_unsafe_interrupts disable_bypass compatible lockdown current_clocksource ifindex possible";

/// Whether the content of a sysfs attribute is harmless whatever it is.
pub(super) fn is_harmless_attribute(name: &str) -> bool {
    let is_resize = name.starts_with("resource") && name.ends_with("_resize");
    is_resize || ATTRIBUTES.split_ascii_whitespace().any(|known| known == name)
}
