# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by an interactive zsh: Tab writes down what would be offered, and empties the line.
PS1= PS2= RPS1=
unsetopt list_beep beep
fpath=($COMPLETIONS $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
	local -a ask_hits ask_shown
	local argument before=
	for argument; do
		[[ $argument != (-|--) ]] || break
		if [[ $argument == -[OAD]* ]]; then
			builtin compadd "$@"
			return
		fi
		[[ $before != -*d ]] || ask_shown=("${(@P)argument}")
		before=$argument
	done
	builtin compadd -A ask_hits -D ask_shown "$@"
	local -i index
	for index in {1..$#ask_hits}; do
		(( $#ask_hits )) && print -r -- "$IPREFIX$ask_hits[index]"$'\t'"$ask_shown[index]" >>$OUT
	done
	builtin compadd "$@"
}
write_down() {
	print -r -- "== $BUFFER" >>$OUT
	_main_complete
	compstate[insert]= compstate[list]=
}
zle -C write_down complete-word write_down
tab() {
	zle write_down
	BUFFER=
}
zle -N tab
bindkey '^I' tab
zle-line-init() { print -r -- READY }
zle -N zle-line-init
