#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Without a disk the boot ends in the image, but dracut insists on a root.
# shellcheck disable=SC2034 # for dracut, which sources this
[ -n "$root" ] || root=block:/dev/null rootok=1
