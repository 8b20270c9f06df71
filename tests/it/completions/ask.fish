# SPDX-License-Identifier: MIT OR Apache-2.0
set fish_complete_path $COMPLETIONS
for line in $argv
    printf '== %s\n' $line >>$OUT
    complete -C $line >>$OUT
end
