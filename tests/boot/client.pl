# SPDX-License-Identifier: MIT OR Apache-2.0
# client.pl ADDRESS: a client of VFIO, as small as it gets. Opens the device, reads the first four bytes of its BAR 0, maps the
# BAR and reads them once more, and says what the kernel answers (include/uapi/linux/vfio.h). The image has no modules of perl.

my $address = shift;
my $group = readlink("/sys/bus/pci/devices/$address/iommu_group") or die "no group: $!\n";
$group =~ s{.*/}{};

# _IO(';', 100 + NUMBER)
sub number { return 0x3b64 + shift }
sub request {
    my ($name, $file, $number, $argument) = @_;
    my $result = ioctl($file, number($number), $argument);
    defined $result or die "$name: $!\n";
    return $result + 0;
}

sysopen(my $container, '/dev/vfio/vfio', 2) or die "container: $!\n";
sysopen(my $members, "/dev/vfio/$group", 2) or die "group: $!\n";
request('VFIO_GROUP_SET_CONTAINER', $members, 4, pack('i', fileno $container));
# VFIO_TYPE1v2_IOMMU
request('VFIO_SET_IOMMU', $container, 2, 3);
my $number = request('VFIO_GROUP_GET_DEVICE_FD', $members, 6, "$address\0");
open(my $device, '+<&=', $number) or die "device: $!\n";
# struct vfio_region_info of region 0, which is BAR 0: argsz, flags, index, cap_offset, size, offset
my $region = pack('LLLLQQ', 32, 0, 0, 0, 0, 0);
ioctl($device, number(8), $region) or die "VFIO_DEVICE_GET_REGION_INFO: $!\n";
my (undef, $flags, undef, undef, $size, $offset) = unpack('LLLLQQ', $region);
printf "BAR 0: %d bytes, flags %#x\n", $size, $flags;

sysseek($device, $offset, 0);
my $read = sysread($device, my $bytes, 4);
print 'read: ', defined $read ? unpack('H*', $bytes) : $!, "\n";
# mmap of x86-64, PROT_READ, MAP_SHARED
my $place = syscall(9, 0, 4096, 1, 1, fileno $device, $offset);
print 'mapped: ', $place == -1 ? $! : unpack('H*', unpack('P4', pack('q', $place))), "\n";
