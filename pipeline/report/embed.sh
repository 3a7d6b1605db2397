#!/bin/sh
# Writes a C header with text files as strings: embed.sh OUT FILE.EXT ... (FILE_EXT is the name).
set -eu
out=$1
shift
{
	for file in "$@"; do
		echo "/* Generated from $(basename "$file"). */"
		echo "static const char $(basename "$file" | tr . _)[] ="
		sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/	"&\\n"/' "$file"
		echo '	"";'
	done
} >"$out"
