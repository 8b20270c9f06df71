$1 == "at" { count = split($2, path, "/"); at = path[count] }
$2 == "=" && ($1 == "vendor" || $1 == "device") && at ~ /^[0-9a-f]+:[0-9a-f]+:[0-9a-f]+[.][0-7]$/ {
	id[at, $1] = substr($3, 3)
	if ((at, "vendor") in id && (at, "device") in id) print at, id[at, "vendor"] ":" id[at, "device"]
}
