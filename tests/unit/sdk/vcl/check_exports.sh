#!/bin/sh
# check_exports.sh NM LIBRARY LIST: the library exports exactly the symbols of the list.
set -eu
[ -e "$2" ] || { echo "$2 was not built" >&2; exit 1; }
found=$("$1" -D --defined-only "$2" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u)
printf '%s\n' "$found" | diff "$3" - && exit 0
echo "exported symbols differ from $3 (< wanted, > found)" >&2
exit 1
