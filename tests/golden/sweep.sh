# sh $GOLDEN/sweep.sh BASE|- UNDISTURBED ARGUMENT ...: runs thresh with the arguments, whose workdir is `out`: a copy of BASE, or a fresh one. It is killed
# before each call in turn that makes something durable (../crash/fault.c); the same command must then publish what UNDISTURBED has. Ends when a run is not killed any more.
base=$1
undisturbed=$2
shift 2
n=0
[ -n "$FAULT_LIBRARY" ] || exit 77
while true; do
	n=$((n + 1))
	rm -rf out
	[ "$base" = - ] || cp -r "$base" out
	LD_PRELOAD=$FAULT_LIBRARY FAULT=durable:$n:kill FAULT_ROOT=$(pwd -P)/out ASAN_OPTIONS=verify_asan_link_order=0 "$THRESH" "$@" >first 2>&1
	code=$?
	[ $code = 137 ] || break
	"$THRESH" "$@" >second 2>&1 || { echo "killed before call $n: the same command ended with $?"; cat second; exit 1; }
	for folder in shards meta logprobs; do
		diff -r "out/$folder" "$undisturbed/$folder" || { echo "killed before call $n"; exit 1; }
	done
done
[ $code = 0 ] || { echo "not killed, but ended with $code"; cat first; exit 1; }
[ $n -gt 15 ] || { echo "only $n calls were counted: nothing was swept"; exit 1; }
echo "$n calls"
