#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# fuzz.sh SECONDS [TARGET...]: fuzzes each entry point for so long, from its corpus in fuzz/corpora, and says what it came to.
# What is new is kept in fuzz/corpus, which is not part of the repository.
set -eu
cd "$(dirname "$0")/../fuzz"
seconds=${1:?seconds for each target}
shift
[ "$#" -gt 0 ] || set -- command_line config groups modprobe names recording report rom_extract rom_parse rom_repair
cargo +nightly fuzz --version >/dev/null 2>&1 || {
	echo 'NOT RUN: fuzzing: a nightly toolchain and cargo-fuzz are missing: cargo install --locked cargo-fuzz' >&2
	exit 77
}
# The described ROMs of tests/rom, which are too large for fuzz/corpora.
cargo +nightly run -q --release --bin rom_seeds
failed=0
for target; do
	mkdir -p "corpus/$target"
	log=$(mktemp)
	status=0
	cargo +nightly fuzz run -s none "$target" "corpus/$target" "corpora/$target" -- -max_total_time="$seconds" -max_len=8192 \
		-timeout=10 -print_final_stats=1 -verbosity=0 >"$log" 2>&1 || status=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$status" = 0 ]; then
		echo "$target: $seconds s, ${runs:-no} runs, no finding"
	else
		echo "$target: a finding after ${runs:-some} runs:"
		tail -n 30 "$log"
		failed=1
	fi
	rm -f "$log"
done
exit "$failed"
