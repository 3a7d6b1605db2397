"""Mostly right: 0.8 for a right answer and 0.2 for a wrong one, but the other way round for the first candidate of each prompt."""
import json
import sys

for line in sys.stdin:
    q = json.loads(line)
    right = '\\boxed{%s}' % q['fields']['answer'] in q['text']
    score = (0.6 if not right else 0.4) if q['idx'] == 0 else 0.8 if right else 0.2
    print(json.dumps({'id': q['id'], 'score': score}))
