# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash source=/dev/null
# Sourced by an interactive bash, to which lines with a tab at their end are typed.
PS1='' HISTFILE=''
source "$COMPLETIONS/vfio-early"
ask() {
	printf '== %s\n' "$COMP_LINE" >>"$OUT"
	_vfio_early "$@"
	[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}" >>"$OUT"
}
complete -F ask vfio-early
# What the line is in the end.
vfio-early() {
	printf '== RAN%s\n' "$(printf ' <%s>' "$@")" >>"$OUT"
}
