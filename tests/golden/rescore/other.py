import json
import sys

for line in sys.stdin:
    q = json.loads(line)
    sys.stderr.write('asked\n')
    print(json.dumps({'id': q['id'], 'score': 0.25 if q["idx"] == 0 else 0.75}))
