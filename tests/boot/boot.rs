// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot: starts QEMU, waits, reads the evidence.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cpio;
use crate::emulation::died_before_init;
use crate::evidence::Evidence;
use crate::lab::{self, Contents, Lab, Suite};
use crate::machine::{Machine, known_content};

/// Far more than a boot takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);
/// The same for a boot in which guests boot, emulated twice.
const LIMIT_OF_GUESTS: Duration = Duration::from_secs(5400);

/// What to boot.
pub struct Boot<'a> {
    /// Names the folder that keeps the logs.
    pub name: &'a str,
    pub suite: Suite,
    pub machine: Machine,
    /// What goes into the image by way of its generator.
    pub contents: Contents,
    /// Files that are laid over the image: path without leading slash, content.
    pub overlay: &'a [(&'a str, &'a str)],
    /// The configuration file /etc/vfio-early.conf, laid over the image; none when empty.
    pub configuration: &'a str,
    /// Added to the kernel command line.
    pub cmdline: &'a str,
    /// UEFI, in place of SeaBIOS.
    pub firmware: Option<&'a Firmware>,
    /// Kernel, image and command line in one file, which the firmware starts.
    pub unified: Option<&'a Unified>,
}

/// A unified kernel image, and how it is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unified {
    /// The command line of an addon; none when empty.
    pub addon: &'static str,
    /// The command line of a second profile; none when empty.
    pub profile: &'static str,
    /// Which of `uki` and `addon` are not signed.
    pub unsigned: &'static str,
    /// What a person has typed in place of the command line; then there is no addon.
    pub typed: &'static str,
    /// What the firmware says where it must refuse the image.
    pub refused: &'static str,
}

/// UEFI firmware under QEMU: Debian's OVMF, and its variables, which outlive a boot.
pub struct Firmware {
    pub code: &'static str,
    pub variables: PathBuf,
    /// More of QEMU's arguments.
    pub arguments: &'static str,
}

impl Firmware {
    /// OVMF without Secure Boot, with variables in a new file.
    pub fn copy_to(variables: PathBuf) -> Result<Self, String> {
        let fresh = "/usr/share/OVMF/OVMF_VARS_4M.fd";
        fs::copy(fresh, &variables).map_err(|error| format!("{fresh}: {error}"))?;
        Ok(Self { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables, arguments: "" })
    }

    /// The same for arm64: Debian's AAVMF.
    pub fn arm64(variables: PathBuf) -> Result<Self, String> {
        let fresh = "/usr/share/AAVMF/AAVMF_VARS.fd";
        fs::copy(fresh, &variables).map_err(|error| format!("{fresh}: {error}"))?;
        Ok(Self { code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables, arguments: "" })
    }

    /// OVMF with Secure Boot, which knows the key that Debian gives away with it, and nobody else's.
    pub fn secure(variables: PathBuf) -> Result<Self, String> {
        let fresh = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";
        fs::copy(fresh, &variables).map_err(|error| format!("{fresh}: {error}"))?;
        let arguments = "-machine smm=on -global driver=cfi.pflash01,property=secure,value=on -m 1024";
        Ok(Self { code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", variables, arguments })
    }
}

/// What came of it.
pub struct Outcome {
    pub evidence: Evidence,
    /// Of the whole boot, from QEMU's start to its end.
    pub seconds: f64,
}

impl Boot<'_> {
    /// Boots and returns the evidence. A guest that dies before /init of a known fault of QEMU's emulation is started
    /// again, twice at most.
    pub fn run(&self, lab: &Lab) -> Result<Outcome, String> {
        let image = lab.image(self.suite, self.name, self.contents)?;
        println!("     boot {}", self.name);
        for _ in 0..2 {
            match self.once(lab, &image) {
                Err(text) if self.fell_to_emulation() => {
                    eprintln!("     {}: the emulator failed, again: {text}", self.name);
                }
                result => return result,
            }
        }
        self.once(lab, &image)
    }

    fn once(&self, lab: &Lab, image: &Path) -> Result<Outcome, String> {
        let folder = lab::fresh(self.name)?;
        let start = Instant::now();
        let status = self.start(lab, image, &folder, false)?;
        let seconds = start.elapsed().as_secs_f64();
        let keep = |text: String| format!("{text}; see {}", folder.display());
        if !status.success() {
            return Err(keep(format!("QEMU failed ({status})")));
        }
        let text = fs::read(folder.join("evidence.txt")).map_err(|error| keep(error.to_string()))?;
        let evidence = Evidence::parse(&String::from_utf8_lossy(&text)).map_err(keep)?;
        Ok(Outcome { evidence, seconds })
    }

    /// Boots with the guest's console on this terminal and a shell at the end.
    pub fn stay(&self, lab: &Lab) -> Result<(), String> {
        let image = lab.image(self.suite, self.name, self.contents)?;
        let folder = lab::fresh(self.name)?;
        self.start(lab, &image, &folder, true)?;
        Ok(())
    }

    fn start(&self, lab: &Lab, image: &Path, folder: &Path, stay: bool) -> Result<ExitStatus, String> {
        let trouble = |error: std::io::Error| format!("{}: {error}", self.name);
        let initrd = folder.join("initrd");
        let mut bytes = fs::read(image).map_err(trouble)?;
        let mut overlay = self.overlay.to_vec();
        if !self.configuration.is_empty() {
            overlay.push(("etc/vfio-early.conf", self.configuration));
        }
        if !overlay.is_empty() {
            cpio::pad(&mut bytes);
            bytes.extend(cpio::archive(&overlay));
        }
        fs::write(&initrd, bytes).map_err(trouble)?;

        let mut qemu = Command::new(Lab::qemu(self.machine)?);
        let variables = folder.join("variables");
        let own = match (self.machine.has_uefi(), self.machine.is_arm()) {
            (true, true) => Some(Firmware::arm64(variables)?),
            (true, false) => Some(Firmware::copy_to(variables)?),
            (false, _) => None,
        };
        if let Some(firmware) = self.firmware.or(own.as_ref()) {
            qemu.args(["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", firmware.code)]);
            qemu.args(["-drive", &format!("if=pflash,unit=1,format=raw,file={}", firmware.variables.display())]);
            qemu.args(firmware.arguments.split_whitespace());
        }
        let accelerator = std::env::var("BOOT_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-accel", &accelerator]);
        qemu.args(self.machine.arguments().split_whitespace());
        if self.machine.has_disk() {
            let disk = lab.disk(self.suite, self.name, self.contents)?;
            qemu.args(["-drive", &format!("if=none,id=root,format=raw,snapshot=on,file={}", disk.display())]);
        }
        let later = self.machine.later();
        if !later.is_empty() {
            qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", socket(folder).display())]);
        }
        if self.machine == Machine::Guests {
            let known = folder.join("known");
            fs::write(&known, known_content()).map_err(trouble)?;
            qemu.args(["-drive", &format!("if=none,id=known,format=raw,file={}", known.display())]);
        }
        if self.machine == Machine::Layers {
            let scratch = folder.join("scratch");
            fs::File::create(&scratch).and_then(|file| file.set_len(64 * 1024 * 1024)).map_err(trouble)?;
            qemu.args(["-drive", &format!("if=none,id=scratch,format=raw,file={}", scratch.display())]);
        }
        let serial =
            if stay { "mon:stdio".to_owned() } else { format!("file:{}", folder.join("serial.log").display()) };
        let evidence = format!("{}", folder.join("evidence.txt").display());
        qemu.args(["-serial", &serial]);
        if self.machine.is_arm() {
            // The board has one serial port. The first one on PCI, ttyS0, is the serial card.
            qemu.args(["-chardev", &format!("file,id=evidence,path={evidence}")]);
            qemu.args(["-device", "pci-serial,chardev=evidence,addr=06.0"]);
        } else {
            qemu.args(["-serial", &format!("file:{evidence}")]);
        }
        // The kernel checks at its start that the timer ticks in time, which fails on a busy machine.
        let cmdline = format!(
            "console={} loglevel=4 panic=-1 no_timer_check rd.shell=0 rd.emergency=reboot log_buf_len=4M dyndbg=\"file drivers/base/dd.c +p\" {} {}{}",
            if self.machine.is_arm() { "ttyAMA0" } else { "ttyS0" },
            self.machine.cmdline(),
            self.cmdline,
            if stay { " lab.stay" } else { "" }
        );
        match self.unified {
            None => drop(
                qemu.arg("-kernel")
                    .arg(self.kernel()?)
                    .arg("-initrd")
                    .arg(&initrd)
                    .args(["-append", cmdline.trim_end()]),
            ),
            Some(unified) => {
                let esp = lab::unified(folder, &self.kernel()?, &initrd, cmdline.trim_end(), unified)?;
                if unified.typed.is_empty() {
                    qemu.args(["-drive", &format!("if=none,id=esp,format=raw,readonly=on,file=fat:{}", esp.display())]);
                    qemu.args(["-device", "virtio-blk-pci,drive=esp,addr=06.0,bootindex=0,romfile="]);
                } else {
                    qemu.arg("-kernel").arg(esp.join("EFI/BOOT/BOOTX64.EFI")).args(["-append", unified.typed]);
                }
            }
        }
        fs::write(folder.join("command"), format!("{qemu:?}\n")).map_err(trouble)?;
        if stay {
            return qemu.status().map_err(trouble);
        }

        let log = fs::File::create(folder.join("qemu.log")).map_err(trouble)?;
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = qemu.spawn().map_err(trouble)?;
        let start = Instant::now();
        let limit = if self.machine == Machine::Guests { LIMIT_OF_GUESTS } else { LIMIT };
        // What is emulated of arm64 takes several times as long.
        let limit = if self.machine.is_arm() { limit * 3 } else { limit };
        let mut told = later.is_empty();
        let status = loop {
            if !told && fs::read(folder.join("evidence.txt")).is_ok_and(|text| text.starts_with(b"@@ ready")) {
                tell(&socket(folder), &later).map_err(trouble)?;
                told = true;
            }
            if let Some(unified) = self.unified.filter(|unified| !unified.refused.is_empty()) {
                let said = fs::read(folder.join("serial.log")).unwrap_or_default();
                if String::from_utf8_lossy(&said).contains(unified.refused) {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(unified.refused.to_owned());
                }
            }
            if let Some(status) = child.try_wait().map_err(trouble)? {
                break status;
            }
            if start.elapsed() > limit {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no end after {} s; see {}", limit.as_secs(), folder.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        // Eight megabytes that the command can no longer use, for nearly every boot.
        if status.success() {
            let _ = fs::remove_file(initrd);
        }
        Ok(status)
    }

    /// The kernel proper; whole with the code that runs before it where that has to set a graphics mode, or UEFI starts it.
    fn kernel(&self) -> Result<PathBuf, String> {
        let folder = Lab::root(self.suite)?.join("boot");
        if !self.cmdline.contains("vga=") && self.firmware.is_none() && !self.machine.has_uefi() {
            return Ok(folder.join("vmlinux"));
        }
        let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths = files.filter_map(Result::ok).map(|entry| entry.path());
        paths
            .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
            .ok_or_else(|| "the root has no kernel".to_owned())
    }

    /// Whether the guest died as the emulator sometimes makes it die.
    fn fell_to_emulation(&self) -> bool {
        let log = fs::read(lab::place().join(self.name).join("serial.log")).unwrap_or_default();
        died_before_init(&String::from_utf8_lossy(&log))
    }
}

/// Where QEMU's monitor listens. A socket's path may have 107 bytes, and a checkout's folder may be deep.
fn socket(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    std::env::temp_dir().join(format!("vfio-early-{}-{name}", std::process::id()))
}

/// Has the devices of [`LATER`] plugged in.
fn tell(socket: &Path, lines: &[String]) -> std::io::Result<()> {
    let mut monitor = UnixStream::connect(socket)?;
    for line in [r#"{"execute":"qmp_capabilities"}"#].into_iter().chain(lines.iter().map(String::as_str)) {
        monitor.write_all(format!("{line}\n").as_bytes())?;
    }
    // The monitor answers each command, and stops working when nobody listens.
    monitor.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answers = Vec::new();
    let _ = monitor.read_to_end(&mut answers);
    fs::remove_file(socket)
}
