// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of machines whose owner could have called things anything: no secret is in the file, and every reading command
//! says the same over it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use vfio_early::json::Value;
use vfio_early::machine::{Node, Tree, print};

use crate::support::disk::Scratch;
use crate::support::program::{program, run, tree};

const COMMANDS: &[&str] = &[
    "status --json --all",
    "check --json",
    "check --image --json",
    "groups --json",
    "claim --dry-run --json",
    "detect",
    "modules",
    "libvirt 65:00.0",
    "libvirt 01:00.0",
];

/// What answers have to agree in: everything but texts and what they are about.
const COMPARED: &[&str] = &[
    "address",
    "device",
    "state",
    "driver",
    "guard",
    "code",
    "severity",
    "op",
    "iommu_group",
    "viable",
    "isolated",
    "id",
    "devices",
    "blockers",
    "driver_override",
    "numa_node",
    "boot_vga",
    "reset_methods",
    "kind",
    "target",
    "stage",
    "line",
];

fn essence(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| essence(value, out)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if COMPARED.contains(&key.as_str()) && !matches!(value, Value::List(_) | Value::Object(_)) {
                    out.push(format!("{key}={value:?}"));
                } else if key == "reset_methods" {
                    out.push(format!("{value:?}"));
                } else {
                    essence(value, out);
                }
            }
        }
        _ => {}
    }
}

/// The exit status, and what matters of the answer.
fn answer(root: &Path, arguments: &str) -> (i32, Vec<String>) {
    let ran = run(&mut program(root, arguments));
    let mut found = Vec::new();
    match vfio_early::json::read(&ran.stdout) {
        Some(value) => essence(&value, &mut found),
        None => {
            found
                .push(ran.stdout.lines().filter(|line| line.contains("claim ") || line.contains("<address")).collect());
        }
    }
    // The order of what is wrong may follow the names.
    found.sort();
    (ran.status, found)
}

/// A name that is in no list of words: it must not be in the file.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,5}[qjx]z[a-z0-9]{2,6}", "[A-Z][a-z]{2,6}[qjx]q[0-9]{1,4}"]
}

/// A name that means something to the program or to the file's format: it may stay, and must do no harm.
fn odd() -> impl Strategy<Value = String> {
    select(vec![
        "vfio",
        "pci",
        "sys",
        "dev",
        "devices",
        "net",
        "block",
        "root",
        "name1",
        "name12",
        "config",
        "vfio-pci",
        "claim",
        "on",
        "0000",
        "0000:01:00.0",
        "10de",
        "10de:1e04",
        "nouveau",
        "i915",
        "driver",
        "lib",
        "etc",
        "proc",
        "features",
        "rootfs",
        "zfs",
        "hex",
        "at",
        "x = y",
        "a -> b",
        "a ! EIO",
        "report.json",
        "early",
        "intel_iommu",
        "dm-0",
        "eth0",
        "lo",
    ])
    .prop_map(ToOwned::to_owned)
}

#[derive(Debug, Clone)]
struct Owner {
    host: String,
    user: String,
    password: String,
    volume: String,
    interface: String,
    comment: String,
    process: String,
    mac: String,
    address: String,
    uuid: String,
    serial: String,
}

fn owner(word: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Owner> {
    let words = prop::collection::vec(word, 7);
    (
        words,
        "(52|5e|02)[0-9a-f]{10}",
        "(1[0-9]{2}|2[0-4][0-9])(\\.(1[1-9][0-9])){3}",
        "[a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9]{12}",
        "S[0-9A-Z]{3}NX[0-9A-Z]{8}",
    )
        .prop_map(|(words, mac, address, uuid, serial)| Owner {
            host: words[0].clone(),
            user: words[1].clone(),
            password: words[2].clone(),
            volume: words[3].clone(),
            // No `/`, `:` or blank is in the name of a network interface (net/core/dev.c, `dev_valid_name`).
            interface: words[4].replace([':', '/', ' '], ""),
            comment: words[5].clone(),
            process: words[6].clone(),
            mac,
            address,
            uuid,
            serial,
        })
}

/// A machine with this owner's names wherever people put names.
fn machine(base: &str, owner: &Owner, wrong: bool) -> Tree {
    let Owner { host, user, password, volume, interface, comment, process, mac, address, uuid, serial } = owner;
    let short = host.split('.').next().unwrap_or(host);
    let colons: Vec<&str> = mac.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    let mut tree = tree(base, "");
    let mut put = |path: &str, text: &str| tree.put(path, Node::File(text.as_bytes().to_vec()));
    put(
        "/proc/cmdline",
        &format!(
            "BOOT_IMAGE=/vmlinuz-6.12.0-{user} root=/dev/mapper/{short}--vg-root ro rd.lvm.lv={short}-vg/{volume} quiet \
             ip={address}::{address}:255.255.255.0:{host}:eth0:off BOOTIF=01-{dashes} mac={mac} ifname=lan0:{colons} \
             systemd.set_credential=passwd.plaintext-password.root:{password} luks.key={user}:{password} {password} \
             {user}.{password}={host} rd.luks.name={uuid}={volume} root=UUID={uuid} \"{user} {host}\" intel_iommu=on \
             resume=/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_{serial}-part2 nfsroot={address}:/srv/{user} \
             systemd.hostname={host} vfio-pci.ids=10de:1e04 module_blacklist=nouveau user_{user}=1\n",
            dashes = colons.join("-"),
            colons = colons.join(":"),
        ),
    );
    let blank = |text: &str| text.replace('\\', "\\134").replace(' ', "\\040");
    let (u, v, h) = (blank(user), blank(volume), blank(host));
    put(
        "/proc/self/mountinfo",
        &format!(
            "22 29 0:20 / /sys rw shared:7 - sysfs sysfs rw\n\
             29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/{h}--vg-{v} rw,errors=remount-ro\n\
             40 29 0:50 / /home/{u}/nas rw shared:2 - cifs //{h}.corp.example/{u} rw,username={u},password={p},addr={address}\n\
             41 29 0:51 /@{u} /home/{u} rw - btrfs /dev/sda2 rw,subvol=/@{u}\n\
             42 29 0:52 / /media/{u}/{uuid} rw - fuse.{u} {u}@{h}:/ rw\n\
             43 29 0:53 / /tank/{v} rw - zfs {v}/{u} rw\n",
            p = blank(password),
        ),
    );
    put("/proc/swaps", &format!("Filename\tType\tSize\tUsed\tPriority\n/home/{u}/swap file 1 0 -2\n"));
    put(
        "/proc/net/route",
        &format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n{interface}\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        ),
    );
    put("/proc/4711/comm", &format!("{process}\n"));
    put(
        "/run/udev/data/b8:2",
        &format!("S:disk/by-id/{serial}\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL={volume}\nE:ID_SERIAL={serial}\n"),
    );
    put(
        "/etc/modprobe.d/vfio.conf",
        &format!(
            "# {user} wrote this for {host}\noptions vfio-pci ids=10de:1e04\ninstall {user} /home/{user}/{password}.sh {address}\nblacklist nouveau\nsoftdep {volume} pre: vfio-pci\n"
        ),
    );
    put(&format!("/etc/modprobe.d/{}.conf", user.replace(['/', ' '], "")), "options vfio-pci disable_denylist=1\n");
    let broken = if wrong {
        format!(
            "claim {user} id={password}\n{host} {password}\nset {user} {host}\nclaim 01:00.0 {user}={password} allow={volume}\n"
        )
    } else {
        String::new()
    };
    put(
        "/etc/vfio-early.conf",
        &format!("# {comment}, {user}@{host}\nclaim 10de:* match=all # for {user}\nset iommu optional\n{broken}"),
    );
    put(
        &format!("/etc/vfio-early.d/{}.conf", host.replace(['/', ' '], "")),
        &format!("# {password}\u{85}\u{2028}\nset framebuffer keep\n"),
    );
    put("/etc/vfio-early.d/10-gpu.conf", "set on-failure keep\n");
    tree.put("/proc/4711/fd/5", Node::Link("/dev/dri/card0".to_owned()));
    tree.put("/proc/4711/fd/6", Node::Link(format!("/home/{user}/{password}")));
    let place = format!("/sys/devices/virtual/net/{}", interface.replace(['/', ' '], ""));
    tree.put(&format!("{place}/ifindex"), Node::File(b"2\n".to_vec()));
    tree.put(&format!("{place}/lower_enx{mac}"), Node::Link(format!("../enx{mac}")));
    tree.put(
        &format!("/sys/class/net/{}", interface.replace(['/', ' '], "")),
        Node::Link(format!("../../devices/virtual/net/{}", interface.replace(['/', ' '], ""))),
    );
    tree.put(&format!("/sys/devices/virtual/net/enx{mac}/ifindex"), Node::File(b"3\n".to_vec()));
    tree.put(&format!("/sys/class/net/enx{mac}"), Node::Link(format!("../../devices/virtual/net/enx{mac}")));
    tree.put("/sys/devices/virtual/block/dm-0/dm/name", Node::File(format!("{short}--vg-{volume}\n").into_bytes()));
    tree.put("/sys/devices/virtual/block/dm-0/slaves/sda2", Node::Directory);
    tree.put("/sys/class/block/dm-0", Node::Link("../../devices/virtual/block/dm-0".to_owned()));
    tree.put("/sys/dev/block/254:0", Node::Link("../../devices/virtual/block/dm-0".to_owned()));
    tree.put(&format!("/sys/fs/btrfs/{uuid}/devices/sda2"), Node::Directory);
    tree.put(&format!("/proc/spl/kstat/zfs/{}/io", volume.replace(['/', ' '], "")), Node::File(Vec::new()));
    tree
}

/// Holds a snapshot against its machine.
fn hold(base: &str, owner: &Owner, wrong: bool) -> Result<String, TestCaseError> {
    let scratch = Scratch::new("hostile");
    let (at, copy) = (scratch.0.join("machine"), scratch.0.join("copy"));
    fs::write(&at, print(&machine(base, owner, wrong))).unwrap();
    let text = run(&mut program(&at, "snapshot")).stdout;
    fs::write(&copy, &text).unwrap();
    for command in COMMANDS {
        let (there, here) = (answer(&at, command), answer(&copy, command));
        prop_assert_eq!(&here, &there, "{}: {} for {:?}\n{}", base, command, owner, text);
    }
    let again = run(&mut program(&copy, "snapshot")).stdout;
    prop_assert_eq!(&again, &text);
    Ok(text)
}

fn bases() -> impl Strategy<Value = &'static str> {
    select(vec!["two-identical-gpus-running", "luks-lvm-bond", "layers", "desktop-running", "amd-running"])
}

/// The same machines every time: what fails today has to fail tomorrow. PROPTEST_RNG_SEED=N draws others.
fn drawn() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let rng_seed = if usual.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { usual.rng_seed };
    ProptestConfig { cases: 40, failure_persistence: None, rng_seed, ..usual }
}

proptest! {
    #![proptest_config(drawn())]

    #[test]
    fn no_secret_is_in_a_snapshot(base in bases(), owner in owner(secret().boxed()), wrong in any::<bool>()) {
        let text = hold(base, &owner, wrong)?.to_lowercase();
        let Owner { host, user, password, volume, interface, comment, process, mac, address, uuid, serial } = &owner;
        let colons: Vec<&str> = mac.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        for secret in [host, user, password, volume, interface, comment, process, mac, address, uuid, serial, &colons.join(":"), &colons.join("-")] {
            prop_assert!(!text.contains(&secret.to_lowercase()), "{secret} of {owner:?}:\n{text}");
        }
    }

    #[test]
    fn a_name_that_means_something_changes_nothing(base in bases(), owner in owner(odd().boxed()), wrong in any::<bool>()) {
        hold(base, &owner, wrong)?;
    }
}

/// Found by the property above: a name in its place would be the name of a driver, and the line would be right.
#[test]
fn a_wrong_driver_stays_wrong() {
    let word = || "vfio".to_owned();
    let owner = Owner {
        host: word(),
        user: "driver".to_owned(),
        password: "10de:1e04".to_owned(),
        volume: word(),
        interface: word(),
        comment: word(),
        process: word(),
        mac: "525400123456".to_owned(),
        address: "100.110.110.110".to_owned(),
        uuid: "aaaaaaaa-0000-0000-0000-000000000000".to_owned(),
        serial: "S000NX00000000".to_owned(),
    };
    hold("desktop-running", &owner, true).unwrap();
}
