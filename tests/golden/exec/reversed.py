"""Answers what it has been given at once, the last first."""
import json
import os
import sys

left = b''
while chunk := os.read(0, 1 << 20):
    *lines, left = (left + chunk).split(b'\n')
    for line in reversed(lines):
        q = json.loads(line)
        print(json.dumps({'id': q['id'], 'score': q['idx'] + 10 * q['fields']['answer']}))
    sys.stdout.flush()
    if len(lines) > 1:
        sys.stderr.write('reversed\n')
