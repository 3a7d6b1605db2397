# sweep.sh FROM_FOLDER|- ARGUMENT ...: runs thresh with the arguments, in a fresh workdir or in a copy of FROM_FOLDER, killed before each call in turn that makes something
# durable; the same command must then end in the shards and sidecars of `undisturbed`. Ends when a run is not killed any more.
from=$1
shift
n=0
while true; do
	n=$((n + 1))
	rm -rf out
	[ "$from" = - ] || cp -r "$from" out
	LD_PRELOAD=$KILL_AT_LIBRARY KILL_AT=$n ASAN_OPTIONS=verify_asan_link_order=0 "$THRESH" "$@" >first 2>&1
	code=$?
	[ $code = 137 ] || break
	"$THRESH" "$@" >second 2>&1 || { echo "killed before call $n: the same command ended with $?"; cat second; exit 1; }
	for folder in shards meta logprobs; do
		diff -r "out/$folder/night" "undisturbed/$folder/night" || { echo "killed before call $n"; exit 1; }
	done
done
[ $code = 0 ] || { echo "not killed, but ended with $code"; cat first; exit 1; }
[ $n -gt 20 ] || { echo "only $n calls were counted: nothing was swept"; exit 1; }
echo "$n calls"
