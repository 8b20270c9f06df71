#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Converts what `lspci -vvnDxxxx` prints (as root) into a recorded machine: standard input to standard output.
# The tree is found from the bridges' bus numbers; IOMMU group and driver from lspci's own lines.
#
# A PCI Express function of which only 256 bytes were printed (-xxx) is recorded with 252: its extended space is not
# known, which is not the same as not there.
set -eu
awk '
function hex(text,    i, value) {
	value = 0
	for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
	return value
}
function byte(at) { return bytes[address, at] }
function word(at) { return toupper(byte(at + 1) byte(at)) }
# Where the capability with this ID begins; 0 when there is none, or what was printed does not reach it.
function capability(id,    at, steps) {
	for (at = hex(byte(52)); size[address] >= 256 && at >= 64 && steps++ < 48; at = hex(byte(at + 1))) {
		at -= at % 4
		if (byte(at) == id) return at
	}
	return 0
}
function domain(a) { return substr(a, 1, length(a) - 8) }
function bus(a) { return hex(substr(a, length(a) - 6, 2)) }
function place(a) { return (a in inside ? place(inside[a]) : "pci" substr(a, 1, length(a) - 5)) "/" a }
/^[0-9a-fA-F:]+\.[0-7] / {
	address = tolower($1)
	if (split(address, part, ":") == 2) address = "0000:" address
	list[++count] = address
	next
}
/^\tIOMMU group: [0-9]+/ { group[address] = $3; next }
/^\tKernel driver in use: / { driver[address] = $5; next }
/^[0-9a-f]+: ([0-9a-f][0-9a-f] ?)+$/ {
	at = hex(substr($1, 1, length($1) - 1))
	for (i = 2; i <= NF; i++) bytes[address, at + i - 2] = tolower($i)
	size[address] = at + NF - 1
}
END {
	if (!count) { print "from-lspci: no device found" >"/dev/stderr"; exit 1 }
	for (i = 1; i <= count; i++) {
		address = list[i]
		if (hex(byte(14)) % 128 == 1 && hex(byte(25)) > 0) bridges[++many] = address
	}
	# The nearest bridge whose buses include that of the function: virtual functions may sit on a bus that no bridge names
	# as its first.
	for (i = 1; i <= count; i++) {
		nearest = 0
		for (j = 1; j <= many; j++) {
			address = bridges[j]
			first = hex(byte(25))
			if (domain(address) == domain(list[i]) && first > nearest && bus(address) < first &&
			    first <= bus(list[i]) && bus(list[i]) <= hex(byte(26))) {
				nearest = first
				inside[list[i]] = address
			}
		}
	}
	print "vfio-early machine 1"
	print "# converted from lspci"
	print "at /sys/bus/pci/devices"
	for (i = 1; i <= count; i++) print list[i] " -> ../../../devices/" place(list[i])
	for (i = 1; i <= count; i++) {
		address = list[i]
		print "at /sys/devices/" place(address)
		# Where the subsystem IDs are: in the header of a device, in a capability of a bridge.
		at = hex(byte(14)) % 128 == 1 ? capability("0d") + 4 : 44
		subsystem = at > 4 ? "sv0000" word(at) "sd0000" word(at + 2) : "sv00000000sd00000000"
		print "modalias = pci:v0000" word(0) "d0000" word(2) subsystem "bc" toupper(byte(11)) "sc" toupper(byte(10)) "i" toupper(byte(9))
		up = place(address)
		gsub(/[^\/]+/, "..", up)
		if (address in driver) print "driver -> ../" up "/bus/pci/drivers/" driver[address]
		if (address in group) print "iommu_group -> ../" up "/kernel/iommu_groups/" group[address]
		last = size[address]
		if (last == 256 && capability("10")) last = 252
		print "config hex"
		for (at = 0; at < last; at++) {
			printf "%s%s", at % 16 ? " " : "  ", byte(at)
			if (at % 16 == 15 || at == last - 1) printf "\n"
		}
	}
}'
