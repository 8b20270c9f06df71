# SPDX-License-Identifier: MIT OR Apache-2.0
# Completes vfio-early in fish. Made by tests/it/completions, which tells how: nothing is to be changed here.

# Whether the words before the cursor are those of this command, with this many words behind it (any number where none is
# given), and without these options, unless it is their value that is wanted: `__vfio_early_at COMMAND [COUNT] [OPTION...]`.
function __vfio_early_at
    set -l command
    set -l count 0
    set -l expected ''
    set -l plain ''
    set -l options $argv[2..]
    set -l wanted ''
    set -l given
    if string match -qr '^[0-9]+$' -- $options[1]
        set wanted $options[1]
        set -e options[1]
    end
    for word in (commandline -opc)[2..]
        if test -n "$expected"
            set expected ''
        else if test -n "$plain"; or not string match -q -- '-*' $word
            if contains -- "$command" '' 'rom'
                set command (string trim -- "$command $word")
            else
                set count (math $count + 1)
            end
        else if test $word = --
            set plain 1
        else
            contains -- (string replace -r '=.*' '' -- $word) $options; and set given $given $word
            switch "$command $word"
                case '* --root' 'claim --device' 'status --format' 'status -o' 'status --output' 'rom dump -o' 'rom dump --output' 'rom show --machine' 'rom verify --device' 'rom verify --id' 'rom verify --machine' 'rom extract --image' 'rom extract --machine' 'rom extract -o' 'rom extract --output' 'rom repair -o' 'rom repair --output' 'rom repair --id' 'rom repair --machine' 'detect -o' 'detect --output' 'guest --format' 'guest --os' 'guest --vcpus' 'guest --memory' 'guest --domain' 'snapshot -o' 'snapshot --output' 'modules --kernel'
                    set expected $word
            end
        end
    end
    test -n "$expected"; and contains -- $expected $options; and set -e given[-1]
    test "$command" = "$argv[1]" -a (count $given) = 0; and test -z "$wanted" -o "$wanted" = $count
end

# The machine that --root names, or this one: what stands before /sys.
function __vfio_early_root
    set -l root
    set -l words (commandline -opc)
    for index in (seq (count $words))
        if test "$words[$index]" = --root
            set root $words[(math $index + 1)]
        else if string match -q -- '--root=*' $words[$index]
            set root (string replace -- --root= '' $words[$index])
        end
    end
    string replace -r '/$' '' -- (string replace -r '^~/' "$HOME/" -- "$root")
end

# The addresses and IDs of the devices of the machine, which is a directory or a recorded machine.
function __vfio_early_machine
    if test -f "$argv[1]"
        awk '$1 == "at" { count = split($2, path, "/"); at = path[count] }
$2 == "=" && ($1 == "vendor" || $1 == "device") && at ~ /^[0-9a-f]+:[0-9a-f]+:[0-9a-f]+[.][0-7]$/ {
	id[at, $1] = substr($3, 3)
	if ((at, "vendor") in id && (at, "device") in id) print at, id[at, "vendor"] ":" id[at, "device"]
}' $argv[1] 2>/dev/null
        return
    end
    for device in $argv[1]/sys/bus/pci/devices/*
        read -l vendor <$device/vendor; and read -l id <$device/device; or continue
        echo (path basename -- $device) (string replace 0x '' -- $vendor):(string replace 0x '' -- $id)
    end
end

# The devices of the machine with their names; their IDs with `id`.
function __vfio_early_devices
    set -l root (__vfio_early_root)
    set -l known (lspci -D -A linux-sysfs -O "sysfs.path=$root/sys/bus/pci" 2>/dev/null)
    set -l seen
    __vfio_early_machine $root | while read -l address id
        set -l name (string replace -f -- "$address " '' $known)
        test -n "$name"; or set name $id
        if test "$argv[1]" != id
            printf '%s\t%s\n' $address $name[1]
        else if not contains -- $id $seen
            set -a seen $id
            printf '%s\t%s\n' $id $name[1]
        end
    end
end

# The kernels of the machine.
function __vfio_early_releases
    for directory in (__vfio_early_root)/lib/modules/*/
        path basename -- $directory
    end
end

# These options of a claim, and their values.
function __vfio_early_claim_options
    set -l word (commandline -ct)
    if not string match -q -- '*=*' $word
        for option in $argv
            switch $option
                case id
                    printf '%s\t%s\n' id= 'the expected ID; a device with any other ID is refused'
                case match
                    printf '%s\t%s\n' match= 'whether an ID or a pattern may match several devices'
                case with
                    printf '%s\t%s\n' with= 'what to claim along with a selected device'
                case driver
                    printf '%s\t%s\n' driver= 'the driver to bind the device to'
                case rom
                    printf '%s\t%s\n' rom= 'whether to save the option ROM first'
                case reset
                    printf '%s\t%s\n' reset= 'the reset methods, in the order to try them'
                case rebar
                    printf '%s\t%s\n' rebar= 'the size of a BAR; may be given for several BARs'
                case power
                    printf '%s\t%s\n' power= 'keep the device awake while no guest uses it'
                case allow
                    printf '%s\t%s\n' allow= 'guards to override for this claim'
            end
        end
        return
    end
    set -l option (string replace -r '=.*' '' -- $word)
    contains -- $option $argv; or return
    set -l before (string replace -r '[^=+]*$' '' -- $word)
    switch $option
        case id
            printf '%s\n' $before(__vfio_early_devices id)
        case match
            printf '%s\n' $before{one,all}
        case with
            printf '%s\n' $before{card,group,none}
        case driver
            printf '%s\n' $before{vfio-pci,auto}
        case rom
            printf '%s\n' $before{save,none}
        case reset
            printf '%s\n' $before{device_specific,acpi,flr,af_flr,pm,bus,cxl_bus}
        case rebar
        case power
            printf '%s\n' $before{on}
        case allow
            printf '%s\n' $before{storage,in-use,last-display,rmrr}
    end
end

complete -c vfio-early -f
complete -c vfio-early -s h -l help -d 'print what there is'
complete -c vfio-early -n "__vfio_early_at ''" -l version -d 'print the version'
complete -c vfio-early -l root -r -F -d 'examine the machine below this directory, or the one recorded in this file'
complete -c vfio-early -s v -l verbose -d 'say what is read and written, on standard error'
complete -c vfio-early -s q -l quiet -d 'print no results of a claim, only errors'
complete -c vfio-early -n "__vfio_early_at ''" -a claim -d 'Bind the configured devices to their VFIO drivers'
complete -c vfio-early -n "__vfio_early_at ''" -a bind -d 'Bind devices to their VFIO drivers now, configured or not; guards apply'
complete -c vfio-early -n "__vfio_early_at ''" -a release -d 'Return devices to the host drivers'
complete -c vfio-early -n "__vfio_early_at ''" -a status -d 'Show the IOMMU, the state of every claim, the displays and their groups'
complete -c vfio-early -n "__vfio_early_at ''" -a check -d 'Check the configuration against this machine without changing anything'
complete -c vfio-early -n "__vfio_early_at ''" -a groups -d 'Explain the IOMMU groups: their members, whether they are viable and isolated, and why'
complete -c vfio-early -n "__vfio_early_at ''" -a rom -d 'Read, show, verify, extract from and repair option ROMs'
complete -c vfio-early -n "__vfio_early_at ''" -a detect -d 'Propose a configuration for this machine'
complete -c vfio-early -n "__vfio_early_at ''" -a guest -d 'Print what a guest needs for these devices: whole cards, their option ROMs, cores and memory near them'
complete -c vfio-early -n "__vfio_early_at ''" -a libvirt -d 'Print the libvirt elements for these devices, as guest does'
complete -c vfio-early -n "__vfio_early_at ''" -a snapshot -d 'Record this machine in one text file, for a bug report; --root FILE reads it'
complete -c vfio-early -n "__vfio_early_at ''" -a confirm -d 'End the trial of the configuration: it is claimed at every boot (set trial yes)'
complete -c vfio-early -n "__vfio_early_at ''" -a modules -d 'Print the kernel modules that an initramfs image needs for the claims'
complete -c vfio-early -n "__vfio_early_at 'claim' --dry-run" -l dry-run -d 'print the plan and change nothing'
complete -c vfio-early -n "__vfio_early_at 'claim' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'claim'" -l device -x -a '(__vfio_early_devices)' -d 'consider only the device at this address; may repeat'
complete -c vfio-early -n "__vfio_early_at 'bind' --dry-run" -l dry-run -d 'print the plan and change nothing'
complete -c vfio-early -n "__vfio_early_at 'bind' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'bind' --save" -l save -d 'also write the claims to /etc/vfio-early.d/ADDRESS.conf, for the next boots'
complete -c vfio-early -n "__vfio_early_at 'bind'" -a '(__vfio_early_devices; __vfio_early_claim_options id with driver rom reset rebar power allow)'
complete -c vfio-early -n "__vfio_early_at 'release' --dry-run" -l dry-run -d 'print the plan and change nothing'
complete -c vfio-early -n "__vfio_early_at 'release' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'release'" -a '(__vfio_early_devices; __vfio_early_claim_options with)'
complete -c vfio-early -n "__vfio_early_at 'status' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'status' --all" -l all -d 'every device, not only displays and what is in a group with them'
complete -c vfio-early -n "__vfio_early_at 'status' --format" -l format -x -a 'text prometheus nfd' -d 'text, prometheus (a file for node_exporter\'s text collector), nfd (one for Node Feature Discovery)'
complete -c vfio-early -n "__vfio_early_at 'status' -o --output" -s o -l output -r -F -d 'write to this file, which is replaced as a whole or not at all'
complete -c vfio-early -n "__vfio_early_at 'check' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'check' --image" -l image -d 'check what an image holds: leave the running kernel\'s command line out'
complete -c vfio-early -n "__vfio_early_at 'groups' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'groups' --tree" -l tree -d 'draw the tree of buses, with group numbers and isolation'
complete -c vfio-early -n "__vfio_early_at 'groups'" -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'rom'" -a dump -d 'Read the option ROM of a device'
complete -c vfio-early -n "__vfio_early_at 'rom'" -a show -d 'Show the contents of a ROM'
complete -c vfio-early -n "__vfio_early_at 'rom'" -a verify -d 'Check whether a ROM can be used, and by which firmware'
complete -c vfio-early -n "__vfio_early_at 'rom'" -a extract -d 'Extract one image or the EFI driver from a ROM'
complete -c vfio-early -n "__vfio_early_at 'rom'" -a repair -d 'Write a repaired copy of a ROM to a new file'
complete -c vfio-early -n "__vfio_early_at 'rom dump' -o --output" -s o -l output -r -F -d 'the new file; standard output without it'
complete -c vfio-early -n "__vfio_early_at 'rom dump' --force" -l force -d 'replace the file'
complete -c vfio-early -n "__vfio_early_at 'rom dump' 0" -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'rom show' --machine" -l machine -x -a 'x64 aarch64 ia32 arm riscv64 loongarch64' -d 'the machine of the guest: x64, aarch64 and others; this one without it'
complete -c vfio-early -n "__vfio_early_at 'rom show' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'rom show' 0" -F -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'rom verify' --device" -l device -x -a '(__vfio_early_devices)' -d 'whether it is the ROM of the device at this address'
complete -c vfio-early -n "__vfio_early_at 'rom verify' --id" -l id -x -a '(__vfio_early_devices id)' -d 'whether it is the ROM of a device with this ID'
complete -c vfio-early -n "__vfio_early_at 'rom verify' --machine" -l machine -x -a 'x64 aarch64 ia32 arm riscv64 loongarch64' -d 'the machine of the guest: x64, aarch64 and others; this one without it'
complete -c vfio-early -n "__vfio_early_at 'rom verify' --json" -l json -d 'print one JSON document'
complete -c vfio-early -n "__vfio_early_at 'rom verify' 0" -F -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'rom extract' --image" -l image -x -d 'the image with this number, from 0'
complete -c vfio-early -n "__vfio_early_at 'rom extract' --efi" -l efi -d 'the EFI driver'
complete -c vfio-early -n "__vfio_early_at 'rom extract' --machine" -l machine -x -a 'x64 aarch64 ia32 arm riscv64 loongarch64' -d 'the machine of the guest: x64, aarch64 and others; this one without it'
complete -c vfio-early -n "__vfio_early_at 'rom extract' --raw" -l raw -d 'decompress the driver'
complete -c vfio-early -n "__vfio_early_at 'rom extract' -o --output" -s o -l output -r -F -d 'the new file'
complete -c vfio-early -n "__vfio_early_at 'rom extract' --force" -l force -d 'replace the file'
complete -c vfio-early -n "__vfio_early_at 'rom extract' 0" -F
complete -c vfio-early -n "__vfio_early_at 'rom repair' -o --output" -s o -l output -r -F -d 'the new file'
complete -c vfio-early -n "__vfio_early_at 'rom repair' --id" -l id -x -a '(__vfio_early_devices id)' -d 'give it to a device with this ID'
complete -c vfio-early -n "__vfio_early_at 'rom repair' --machine" -l machine -x -a 'x64 aarch64 ia32 arm riscv64 loongarch64' -d 'the machine of the guest: x64, aarch64 and others; this one without it'
complete -c vfio-early -n "__vfio_early_at 'rom repair' --force" -l force -d 'replace the file'
complete -c vfio-early -n "__vfio_early_at 'rom repair' 0" -F
complete -c vfio-early -n "__vfio_early_at 'detect' -o --output" -s o -l output -r -F -d 'the new file, such as /etc/vfio-early.d/gpu.conf; standard output without it'
complete -c vfio-early -n "__vfio_early_at 'detect' --force" -l force -d 'replace the file'
complete -c vfio-early -n "__vfio_early_at 'guest' --format" -l format -x -a 'libvirt qemu proxmox' -d 'libvirt (elements of a domain, or all of it), qemu (a command line), proxmox (lines of a configuration file)'
complete -c vfio-early -n "__vfio_early_at 'guest' --os" -l os -x -a 'windows linux' -d 'windows or linux'
complete -c vfio-early -n "__vfio_early_at 'guest' --vcpus" -l vcpus -x -d 'how many vCPUs; all but one core near the devices where it is left out'
complete -c vfio-early -n "__vfio_early_at 'guest' --memory" -l memory -x -d 'how much memory, such as 16G'
complete -c vfio-early -n "__vfio_early_at 'guest' --hide-kvm" -l hide-kvm -d 'hide that it is a virtual machine, for drivers that refuse those'
complete -c vfio-early -n "__vfio_early_at 'guest' --domain" -l domain -x -d 'print a whole libvirt domain with this name'
complete -c vfio-early -n "__vfio_early_at 'guest' --iommufd" -l iommufd -d 'use iommufd instead of VFIO\'s containers'
complete -c vfio-early -n "__vfio_early_at 'guest' --across-nodes" -l across-nodes -d 'accept devices on several NUMA nodes'
complete -c vfio-early -n "__vfio_early_at 'guest'" -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'libvirt'" -a '(__vfio_early_devices)'
complete -c vfio-early -n "__vfio_early_at 'snapshot' -o --output" -s o -l output -r -F -d 'the new file; standard output where it is left out'
complete -c vfio-early -n "__vfio_early_at 'snapshot' --force" -l force -d 'replace the file if it is there'
complete -c vfio-early -n "__vfio_early_at 'confirm' --retry" -l retry -d 'do not confirm it: try it again at the next boot'
complete -c vfio-early -n "__vfio_early_at 'modules' --kernel" -l kernel -x -a '(__vfio_early_releases)' -d 'the release of the kernel that the image is for, if it is not the running one'
