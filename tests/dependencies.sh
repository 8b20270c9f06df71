#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# What the program depends on: the licenses, the sources and the number of its crates (deny.toml), and that the texts of the
# licenses are at hand.
set -eu
cd "$(dirname "$0")/.."
if cargo deny --version >/dev/null 2>&1; then
	# Not `advisories`: their database is fetched from the network.
	cargo deny --log-level error check licenses bans sources >/dev/null
else
	echo 'NOT RUN: what deny.toml forbids: cargo install --locked cargo-deny' >&2
fi
packaging/third-party | cmp - LICENSE-THIRD-PARTY || {
	echo 'LICENSE-THIRD-PARTY is out of date: packaging/third-party >LICENSE-THIRD-PARTY' >&2
	exit 1
}
