#!/bin/sh
# Writes a C header with a text file as a string: embed.sh OUT FILE.EXT (FILE_EXT is the name).
set -eu
name=$(basename "$2" | tr . _)
{
	echo "/* Generated from $(basename "$2"). */"
	echo "static const char $name[] ="
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/	"&\\n"/' "$2"
	echo '	"";'
} >"$1"
