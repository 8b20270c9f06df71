#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# dracut sources this, so it must not exit. Standard input is a directory so that it is open whatever /dev holds.
/usr/bin/vfio-early -q claim </
