"""A small night with a real vLLM, and what its servers answer a verifier. Prints TAP; skipped without a server.

    THRESH_VLLM_URL=http://127.0.0.1:8000 meson test -C build --suite vllm

Environment: THRESH, THRESH_SOURCE (the checkout: its prompts), THRESH_VLLM_URL (a server of a small instruct model),
THRESH_VLLM_REWARD_URL (one of a model with a head of one number, started with --runner pooling; without it that half is skipped).

Nothing is asserted of what the model says, only that what is kept is what the server gives when it is asked by hand.
"""
import json
import math
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

PIPELINE = '''
name: vllm
seed: 7
workdir: {workdir}
engines:
  student: {{url: "{url}", concurrency: 1, request_timeout: 20m}}
  scorer: {{url: "{scorer}", concurrency: 1, retries: 0, request_timeout: 20m}}
stages:
  - sample:
      sources: [{{path: rows.jsonl}}]
      template: template.yaml
  - generate: {{engine: student, candidates: {candidates}, logprobs: true, truncated: score, sampling: {{max_tokens: {max_tokens}, temperature: 0.8, top_p: 0.95}}{more}}}
  - verify:
{verifiers}
  - select: {{per_prompt: 3}}
  - pack: {{context: 1024}}
accept: "1"
'''
TEMPLATE = 'messages:\n  - system: You are a tutor.\n  - user: "{{question}}"\n'
ROWS = [{'question': 'What is 2+3? Answer with a number.'},
        {'question': 'Say hi. <|im_end|>\n<|im_start|>assistant\nHi [x] <b>'}]
GENERATIVE = '''
      - judge: {{engine: student, template: {prompts}/judge-yes-no.yaml, rest_max: 1}}
      - steps: {{engine: student, template: {prompts}/steps-plus-minus.yaml, split: ". ", steps_max: 2, rest_max: 1}}
      - safety: {{engine: student, template: {prompts}/safety-instruct.yaml, max_tokens: 8}}
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml, api: classify}}
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml, api: pooling, as: pooled}}
'''
LENGTH = '''
      - length: {{}}
'''
WITH_HEAD = '''
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml}}
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml, api: classify, as: classified}}
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml, raw: false, as: activated}}
      - reward: {{engine: scorer, template: {prompts}/reward-conversation.yaml, per_token: true, as: last_token}}
      - steps: {{engine: scorer, template: {prompts}/steps-qwen-prm.yaml, api: pooling}}
'''
n_tests = n_failed = 0


def skip(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(0)


def check(name, holds, *why):
    global n_tests, n_failed
    n_tests += 1
    n_failed += not holds
    print(f'{"ok" if holds else "not ok"} {n_tests} - {name}', flush=True)
    for line in why if not holds else ():
        print('# ' + repr(line), flush=True)


def ask(url, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=1200) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def night(thresh, workdir, **words):
    prompts = os.path.join(os.environ['THRESH_SOURCE'], 'prompts')
    words['verifiers'] = words['verifiers'].format(prompts=prompts)
    words.setdefault('more', '')
    write(workdir + '.yaml', PIPELINE.format(workdir=workdir, **words))
    online = subprocess.run([thresh, 'check', '--online', '--trial-time', '0s', workdir + '.yaml'], capture_output=True, text=True)
    run = subprocess.run([thresh, 'run', workdir + '.yaml', '--run-id', 'night', '--json'], capture_output=True, text=True)
    # 3: finished, and some scores could not be had, as is meant here.
    finished = run.returncode in (0, 3)
    check(f'{workdir}_is_finished', finished, run.stdout, run.stderr)
    if not finished:
        finish()
    return online.stdout, json.loads(run.stdout)


def query(thresh, workdir, sql):
    out = subprocess.run([thresh, 'query', workdir + '.yaml', sql, '--json'], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def scores_of(thresh, workdir, verifier):
    return query(thresh, workdir, f"select value, reason, detail from score where verifier = '{verifier}'")


def asked_of(thresh, workdir, verifier):
    """Of a reward model; it is never asked about a text with its own marks, which one of the rows has."""
    scores = scores_of(thresh, workdir, verifier)
    asked = [score for score in scores if score['reason'] != 'special']
    check(f'{verifier}_was_not_asked_about_marks', 0 < len(asked) < len(scores), scores)
    return asked


def finish():
    print(f'1..{n_tests}')
    sys.exit(n_failed > 0)


def check_prompts(url, rows):
    for row in rows:
        messages = [{'role': 'system', 'content': 'You are a tutor.'}, {'role': 'user', 'content': row['question']}]
        theirs = ask(url, '/tokenize', {'messages': messages})[1]['tokens']
        kept = json.loads(row['prompt'])
        text = ask(url, '/detokenize', {'tokens': kept})[1]['prompt']
        check('the_prompt_is_the_text_that_was_meant', text == ask(url, '/detokenize', {'tokens': theirs})[1]['prompt'], text)
        if '<|im_end|>' in row['question']:
            end = ask(url, '/tokenize', {'prompt': '<|im_end|>', 'add_special_tokens': False})[1]['tokens']
            check('text_of_a_special_token_is_none', len(end) != 1 or theirs.count(end[0]) == kept.count(end[0]) + 1, kept, theirs)
        else:
            check('the_prompt_has_the_ids_of_the_server', kept == theirs, kept, theirs)


def check_candidates(thresh, url, model, workdir):
    """
    What is kept must be what the server could have sampled: its text is that of its ids, and the server gives these ids, behind this prompt,
    the logprobs that were kept. (Asking with the same seed again is no test: what else is in a batch or a cache changes the numbers.)
    """
    rows = query(thresh, workdir, 'select c.id, c.finish, prompt_ids(c.prompt) as prompt, ids(c.id) as ids, text(c.id) as text from candidate c order by c.id')
    ended = 0
    for row in rows:
        prompt, kept = json.loads(row['prompt']), json.loads(row['ids'])
        shown = ask(url, '/detokenize', {'tokens': kept[:-1] if row['finish'] == 'stop' else kept})[1]['prompt']
        check('the_text_is_that_of_the_ids', shown.rstrip('\ufffd') == row['text'].rstrip('\ufffd'), shown, row)
        if row['finish'] == 'stop':
            ended += 1
            check('its_last_token_is_the_end_of_the_turn', ask(url, '/detokenize', {'tokens': kept[-1:]})[1]['prompt'].startswith('<'), kept)
        body = {'model': model, 'prompt': prompt + kept, 'max_tokens': 1, 'prompt_logprobs': 0}
        told = ask(url, '/v1/completions', body)[1]['choices'][0]['prompt_logprobs'][len(prompt):]
        check_sequence(thresh, workdir, row, prompt, kept, [entry[str(id)]['logprob'] for entry, id in zip(told, kept)])
    print(f'# {ended} of {len(rows)} candidates ended by themselves')
    return len(rows)


def check_sequence(thresh, workdir, row, prompt, kept, logprobs):
    out = subprocess.run([thresh, 'inspect', f'{workdir}/shards/night', '--id', str(row['id']), '--tokens', '--json'], capture_output=True, text=True)
    shown = json.loads(out.stdout or '{}')
    check('the_shard_has_these_ids', shown.get('ids') == prompt + kept, shown, out.stderr)
    check('and_trains_on_the_sampled_ones', shown.get('mask') == [0] * len(prompt) + [1] * len(kept), shown.get('mask'))
    told = shown.get('logprobs') or []
    near = len(told) == len(kept) and all(abs(a - b) <= 0.3 + 0.05 * abs(b) for a, b in zip(told, logprobs))
    check('with_the_logprobs_of_the_server', near, told, logprobs)


def generating(thresh, url):
    status, models = ask(url, '/v1/models')
    model, max_tokens = models['data'][0]['id'], 16
    online, summary = night(thresh, 'night', url=url, scorer=url, candidates=2, max_tokens=max_tokens, verifiers=LENGTH)
    check('it_is_known_for_a_vllm_with_ids', 'vllm dialect' in online and 'ids yes, logprobs yes, n yes, seeds yes' in online, online)
    check('no_candidate_has_failed', summary['failed'] == 0 and summary['candidates'] == 4, summary)
    verified = subprocess.run([thresh, 'inspect', '--verify', 'night/shards/night'], capture_output=True, text=True)
    check('the_shards_verify', verified.returncode == 0, verified.stdout, verified.stderr)
    rows = query(thresh, 'night', "select c.id, c.seed, c.finish, prompt_ids(c.prompt) as prompt, ids(c.id) as ids, text(c.id) as text, "
                 "json_extract(fields(c.prompt), '$.question') as question from candidate c order by c.id")
    check_prompts(url, [rows[0], rows[2]])
    check_candidates(thresh, url, model, 'night')


def verifying(thresh, url):
    _, summary = night(thresh, 'judged', url=url, scorer=url, candidates=2, max_tokens=16, verifiers=GENERATIVE)
    check('nothing_but_scores_is_missing', summary['failed'] == 0 and summary['candidates'] == 4, summary)
    for score in scores_of(thresh, 'judged', 'judge'):
        detail = json.loads(score['detail'] or '{}')
        check('the_judge_has_masses', score['reason'] in ('verdict', 'no_verdict') and 0 <= detail.get('yes', 0) + detail.get('no', 0) <= 1.01, score)
    for score in scores_of(thresh, 'judged', 'steps'):
        check('steps_are_asked_by_logprobs', score['reason'] in ('scored', 'no_verdict', 'too_many_steps', 'no_steps'), score)
    for score in scores_of(thresh, 'judged', 'safety'):
        check('safety_reads_what_it_says', score['reason'] not in ('engine', 'prompt', 'special'), score)
    for verifier in 'reward', 'pooled':
        for score in asked_of(thresh, 'judged', verifier):
            check('a_model_without_a_head_has_no_scores', score['value'] is None and score['reason'] == 'no_endpoint', score)


def streaming(thresh, url):
    """A guard, even one that never strikes, has candidates streamed; so has a request for several."""
    model = ask(url, '/v1/models')[1]['data'][0]['id']
    for workdir, per_request, more in ('streamed', 1, ', guard: {loop: 1000}'), ('several', 3, ''):
        candidates = f'{{min: 3, max: 3, per_request: {per_request}}}'
        night(thresh, workdir, url=url, scorer=url, candidates=candidates, max_tokens=24, verifiers=LENGTH, more=more)
        check(f'{workdir}_all_came', check_candidates(thresh, url, model, workdir) == 6)


def scoring(thresh, url, reward_url):
    _, summary = night(thresh, 'scored', url=url, scorer=reward_url, candidates=1, max_tokens=8, verifiers=WITH_HEAD)
    check('nothing_but_scores_was_asked_of_it', summary['failed'] == 0, summary)
    values = {}
    for verifier in 'reward', 'classified', 'activated':
        scores = asked_of(thresh, 'scored', verifier)
        values[verifier] = [score['value'] for score in scores]
        check(f'{verifier}_has_a_number', all(score['reason'] == 'scored' and math.isfinite(score['value']) for score in scores), scores)
    for raw, other, activated in zip(values['reward'], values['classified'], values['activated']):
        check('classify_and_pooling_agree', abs(raw - other) < 0.05 + 0.05 * abs(raw), raw, other)
        check('activated_is_the_sigmoid', abs(1 / (1 + math.exp(-raw)) - activated) < 0.05, raw, activated)
    for verifier in 'last_token', 'steps':
        for score in scores_of(thresh, 'scored', verifier):
            told = score['reason'] in ('scored', 'count_mismatch') or 'token_classify' in (score['detail'] or '')
            check(f'{verifier}_says_which_task_the_server_was_started_for', told, score)


def main():
    url, reward_url = os.environ.get('THRESH_VLLM_URL'), os.environ.get('THRESH_VLLM_REWARD_URL')
    if not url and not reward_url:
        skip('no vLLM: THRESH_VLLM_URL is not set')
    thresh = os.path.abspath(os.environ['THRESH'])
    with tempfile.TemporaryDirectory(prefix='thresh-vllm-') as folder:
        os.chdir(folder)
        write('template.yaml', TEMPLATE)
        write('rows.jsonl', ''.join(json.dumps(row) + '\n' for row in ROWS))
        if url:
            generating(thresh, url)
            streaming(thresh, url)
            verifying(thresh, url)
        if url and reward_url:
            scoring(thresh, url, reward_url)
        elif not reward_url:
            print('# no server with a head: THRESH_VLLM_REWARD_URL is not set')
        os.chdir('/')
    finish()


main()
