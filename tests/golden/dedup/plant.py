"""plant.py LEDGER CANDIDATE=TEXT ...: puts texts in the place of what was generated; a candidate is named as people do, 2.1."""
import sqlite3
import subprocess
import sys

A = 'Tom has three red apples in his left bag and four green apples in the right one so we add both numbers and see that he has ' \
    'seven apples in all before he gives two of them to his sister Ann which leaves him with five apples to eat on the way home'
TEXTS = {
    'a': A,
    'shouted': A.upper().replace(' AND ', ',\n\nAND '),
    'reworded': A.replace('sister Ann', 'brother Ben'),
    'other': 'There are nine birds on a wire and two more come to sit with them while three of the first ones fly off to look for food '
             'so that at the end of the day we count eight birds',
    'short': 'The answer is \\boxed{4}.',
    'short_again': 'the answer is: \\boxed{4}',
}

db = sqlite3.connect(sys.argv[1])
for word in sys.argv[2:]:
    name, text = word.split('=')
    prompt, idx = name.split('.')
    frame = subprocess.run(['zstd', '-q', '-c', '--stream-size', str(len(TEXTS[text].encode()))], input=TEXTS[text].encode(), stdout=subprocess.PIPE, check=True).stdout
    assert db.execute('UPDATE candidate_body SET text = ?, text_dict = NULL WHERE candidate = ?',
                      (frame, int(prompt) * 4096 + int(idx))).rowcount == 1, name
db.commit()
