#!/bin/sh
# Writes a C header with each SQL file as a string: embed.sh OUT FILE.sql ... (FILE_sql is the name).
set -eu
out=$1
shift
{
	echo '/* Generated from the .sql files. */'
	for file in "$@"; do
		printf 'static const char %s_sql[] __attribute__((unused)) =\n' "$(basename "$file" .sql)"
		sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/	"&\\n"/' "$file"
		echo '	"";'
	done
} >"$out"
