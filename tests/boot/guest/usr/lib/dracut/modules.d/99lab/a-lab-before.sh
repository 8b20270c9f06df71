#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
sh /lab/mark before
