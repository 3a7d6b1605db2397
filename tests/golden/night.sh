# For the steps: a night in the background, and waiting for what it says of itself.
begin() { # begin WORKDIR [OPTIONS]: $night is its pid, $1.yaml its file
	dir=$1
	shift
	sed "s|^workdir: .*|workdir: $dir|" pipeline.yaml >"$(basename "$dir").yaml"
	file=$(basename "$dir").yaml
	$THRESH run "$file" --run-id night "$@" >night.out 2>night.err &
	night=$!
	until [ -S "$dir/.control" ]; do
		kill -0 $night || exit 91
		sleep 0.01
	done
}
asked() { wc -l <engine.log; }
# until_asked N: that many more requests than there were
until_asked() {
	wanted=$(($(asked) + $1))
	until [ "$(asked)" -ge $wanted ]; do
		kill -0 $night || exit 92
		sleep 0.01
	done
}
# until_says WORD JSON: the answer to a request has it
until_says() {
	until $THRESH "$1" "$file" --json 2>/dev/null | grep -q "$2"; do
		kill -0 $night || exit 93
		sleep 0.01
	done
}
