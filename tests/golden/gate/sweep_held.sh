# A night that its gate holds back, killed before each call in turn that makes something durable: the same command says no, and nothing is public.
[ -n "$FAULT_LIBRARY" ] || exit 77
n=0
while true; do
	n=$((n + 1))
	rm -rf out
	LD_PRELOAD=$FAULT_LIBRARY FAULT=durable:$n:kill FAULT_ROOT=$(pwd -P)/out ASAN_OPTIONS=verify_asan_link_order=0 "$THRESH" run pipeline.yaml --run-id night >first 2>&1
	code=$?
	[ $code = 137 ] || break
	"$THRESH" run pipeline.yaml --run-id night >second 2>&1
	again=$?
	[ $again = 4 ] || { echo "killed before call $n: the same command ended with $again"; cat second; exit 1; }
	told=$(sqlite3 out/history.db 'SELECT (SELECT group_concat(run || state) FROM run), (SELECT count(*) FROM prompt), (SELECT count(*) FROM shipped)')
	[ "$told" = 'nightheld|0|0' ] || { echo "killed before call $n: history has $told"; exit 1; }
	[ ! -e out/shards ] && [ ! -e out/meta ] || { echo "killed before call $n: something is public"; exit 1; }
done
[ $code = 4 ] || { echo "not killed, but ended with $code"; cat first; exit 1; }
[ $n -gt 10 ] || { echo "only $n calls were counted: nothing was swept"; exit 1; }
echo "$n calls"
