"""Answers as the row says: each of the last rows is a way in which a verifier goes wrong."""
import json
import os
import sys
import time

print('hello from a library')  # is no answer
sys.stderr.write('ready\n')
for line in sys.stdin:
    q = json.loads(line)
    assert list(q['fields']) == ['answer'] and len(q['prompt_id']) == 32 and q['idx'] < 4
    answer, n = str(q['fields']['answer']), q['id']
    mode = os.environ.get('MODE_' + answer, 'score')
    if mode == 'crash':
        os._exit(3)
    elif mode == 'hang' and q['idx'] == 0:
        time.sleep(60)
    elif mode == 'nan':
        print(json.dumps({'id': n, 'score': float('nan')}))
    elif mode == 'text':
        print(json.dumps({'id': n, 'score': 'high'}))
    elif mode == 'null':
        print(json.dumps({'id': n, 'score': None, 'reason': 'not my kind'}))
    elif mode == 'flood':
        print('x' * (2 << 20))
    else:
        print(json.dumps({'id': n, 'score': answer in q['text'], 'detail': {'length': len(q['text'])}}))
