# Kills prune before each call in turn that makes something durable. What is published and stays must be whole at once, and the same
# command must then come to the same end.
[ -n "$FAULT_LIBRARY" ] || exit 0
n=0
while :; do
	n=$((n + 1))
	rm -rf out
	cp -r base out
	LD_PRELOAD=$FAULT_LIBRARY FAULT=durable:$n:kill FAULT_ROOT=$(pwd -P)/out ASAN_OPTIONS=verify_asan_link_order=0 \
		"$THRESH" prune pipeline.yaml --keep 14d --shards >first 2>&1
	code=$?
	"$THRESH" inspect --verify out/shards/young out/shards >verified || { echo "killed before call $n"; cat verified; exit 1; }
	[ $code = 137 ] || break
	"$THRESH" prune pipeline.yaml --keep 14d --shards >second 2>&1 || { echo "killed before call $n"; cat second; exit 1; }
	{
		sqlite3 out/runs/old/ledger.db "SELECT count(*) FROM candidate; PRAGMA freelist_count; PRAGMA integrity_check;
			SELECT json_extract(value, '$.bodies') + (SELECT count(*) FROM candidate_body) FROM meta WHERE key = 'pruned';
			SELECT (SELECT count(*) FROM candidate_body) = count(*) FROM selection WHERE outcome = 'chosen'"
		ls out/shards out/runs out/.staging
	} >found
	[ $n = 1 ] && cp found wanted
	diff wanted found || { echo "killed before call $n"; exit 1; }
done
[ $code = 0 ] || { echo "not killed, but ended with $code"; cat first; exit 1; }
[ $n -gt 8 ] || { echo "only $n calls were counted: nothing was swept"; exit 1; }
cat wanted
rm -rf out
cp -r base out
