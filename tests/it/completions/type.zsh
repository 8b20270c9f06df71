# SPDX-License-Identifier: MIT OR Apache-2.0
# Types lines into an interactive zsh of its own: zsh type.zsh SETUP LINE...
zmodload zsh/zpty
setup=$1
shift
zpty shell zsh -f -i
zpty -w shell "source ${(q)setup}"
zpty -r shell said '*READY*' || exit 1
for line; do
	zpty -n -w shell "$line"$'\t'
done
zpty -w shell exit
while zpty -r shell said; do :; done
