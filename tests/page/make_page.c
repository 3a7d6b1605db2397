/*
 * For run_page.py: `make_page ledger FOLDER` makes a ledger of a small night in which everything that can be hostile is, and
 * `make_page page FOLDER` the page of it.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "report/report.h"
#include "summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_PROMPTS 60
#define BEGAN_MS INT64_C(1795500000000)

static struct error err;

static void check(bool ok)
{
	if (!ok) {
		char text[1600];
		error_format(&err, text, sizeof(text));
		fprintf(stderr, "make_page: %s\n", text);
		exit(1);
	}
}

#define TEXT(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
static const struct slice hostile[] = {
	TEXT("<script>window.owned = 1</script> \\boxed{7}"),
	TEXT("</script><script>window.owned = 2</script><!-- \\boxed{7}"),
	TEXT("<img src=\"http://127.0.0.1:9/x.png\" onerror=\"window.owned = 3\"> \\boxed{7}"),
	TEXT("\" autofocus onfocus=\"window.owned = 4\" x=\"' \\boxed{7}"),
	TEXT("<svg><animate onbegin=window.owned=5 attributeName=x dur=1s> \\boxed{7}"),
	TEXT("<style>*{display:none}</style><link rel=stylesheet href=http://127.0.0.1:9/> "
	     "\\boxed{7}"),
	TEXT("nul \0 esc \x1b[2J bidi \xe2\x80\xae line \xe2\x80\xa8 bad \xff\xc3( \\boxed{7}"),
	TEXT("{{7*7}} ${7*7} javascript:window.owned=6 data:text/html,x \\boxed{7}"),
};

static void add_prompt(struct ledger *l, int64_t id)
{
	AUTO_FREE char *prompt_id = xasprintf("%032lld", (long long)id);
	AUTO_FREE char *fields = xasprintf("{\"answer\": %lld, \"<b>key</b>\": \"</script>\", "
					   "\"question\": \"Question %lld: how many apples?\"}",
		(long long)(id % 9), (long long)id);
	check(ledger_add_prompt(l,
		&(struct ledger_prompt){.id = id,
			.prompt_id = prompt_id,
			.source = id % 3 ? "apples" : "<i>pears</i>",
			.row_no = (uint64_t)id,
			.fields = slice_z(fields)},
		&err));
	check(ledger_settle_prompt(l, id, "settled", "all", NULL, &err));
}

/* Half are right, a fourth of the others is cut; the judge is wrong now and then. */
static void add_candidate(struct ledger *l, int64_t prompt, uint32_t idx, struct slice text)
{
	int64_t id = prompt * 4096 + idx;
	unsigned roll = (unsigned)(prompt * 7 + idx * 5) % 16;
	const char *state = roll < 8 ? "accepted" : roll == 15 ? "undecided" : "rejected";
	const char *reason = roll == 15 ? "null_columns" : roll == 14 ? "token_limit" : "accept";
	check(ledger_add_candidate(l,
		&(struct ledger_candidate){.id = id,
			.prompt = prompt,
			.idx = idx,
			.seed = (uint32_t)id,
			.state = state,
			.reason = reason,
			.detail = roll == 15 ? "judge" : NULL,
			.finish = roll == 14 ? "length" : "stop",
			.n_tokens = 20 + roll * 11,
			.token_source = "none",
			.attempts = 1,
			.latency_ms = 2000 + roll * 100,
			.created_ms = BEGAN_MS + prompt * 20000 + idx * 900,
			.text = text},
		&err));
	const struct ledger_score scores[] = {
		{"judge", "verdict<script>", NULL, roll != 15, roll / 16.0, false, 900, 40},
		{"math", roll < 8 ? "equal" : "different",
			"{\"gold\":\"7\",\"pred\":\"7\",\"rule\":\"<b>boxed</b>\"}", true, roll < 8,
			false, 20, 0}};
	for (size_t i = 0; i < ARRAY_LEN(scores) && roll != 14; i++) {
		check(ledger_add_score(l, id, &scores[i], &err));
	}
}

static void add_all(struct ledger *l)
{
	struct str million;
	str_init(&million, STR_NO_CAP);
	while (million.len < 1 << 20) {
		str_append_z(&million, "again and again <script> ");
	}
	str_append_z(&million, "so \\boxed{7}");
	for (int64_t prompt = 1; prompt <= N_PROMPTS; prompt++) {
		add_prompt(l, prompt);
		for (uint32_t idx = 0; idx < 2; idx++) {
			AUTO_FREE char *plain = xasprintf(
				"Attempt %u at question %lld: 3 + 4 = 7, so "
				"\\boxed{7}.",
				idx, (long long)prompt);
			size_t which = (size_t)prompt - 1;
			add_candidate(l, prompt, idx,
				prompt == N_PROMPTS ? (struct slice){0} /* pruned */
					: which < ARRAY_LEN(hostile) ? hostile[which]
					: which == ARRAY_LEN(hostile)
					? (struct slice){million.data, million.len}
					: slice_z(plain));
		}
	}
	str_release(&million);
}

static void set_facts(struct ledger *l)
{
	static const struct {
		const char *key, *value;
	} facts[] = {{"run", "night"}, {"pipeline", "</title><script>window.owned = 7</script>"},
		{"state", "finished"}, {"started_ms", "1795500000000"},
		{"ended_ms", "1795501300000"}, {"verdicts", "[\"judge\",\"math\"]"},
		{"engine.student.model", "<u>model</u>.gguf"},
		{"budget",
			"{\"deadline\":\"<b>06:00</b>\",\"tokens\":100000,\"energy_wh\":50,"
			"\"energy_wh_used\":12.5,\"energy_source\":\"rapl\",\"slot_ms\":1000,"
			"\"slot_ms_used\":990,\"tokens_thrown\":10,\"candidates_thrown\":1}"}};
	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		check(ledger_set_meta(l, facts[i].key, facts[i].value, &err));
	}
	check(ledger_flush(l, &err));
}

/* FOLDER/summary.json: what history would have of the night, with members that other parts of thresh may put there. */
static void write_summary(struct ledger *l, const char *dir)
{
	struct str summary;
	str_init(&summary, STR_NO_CAP);
	struct json_writer w = {.out = &summary};
	check(summary_json(l, &w, &err));
	summary.data[--summary.len] = '\0'; /* the brace */
	str_append_z(&summary,
		",\"figures\":{\"pass_at_1\":0.5,\"vote_at_k\":null},\"gate\":{\"conditions\":[{"
		"\"sql\":"
		"\"accepted > 1 and '<b>' = 'x'\",\"holds\":false,\"why\":\"<i>\"},{\"sql\":\"1\","
		"\"holds\":true}]}}");
	check(file_publish(dir, "summary.json", summary.data, summary.len, &err));
	str_release(&summary);
}

static void make_ledger(const char *dir, const char *path)
{
	struct ledger *l = ledger_open(path, LEDGER_CREATE, &err);
	check(l);
	add_all(l);
	set_facts(l);
	write_summary(l, dir);
	ledger_close(l);
}

static void make_page(const char *dir, const char *path)
{
	AUTO_FREE char *page = file_join(dir, REPORT_FILE);
	struct ledger *l = ledger_open(path, LEDGER_READ, &err);
	check(l);
	check(report_write(&(struct report_source){l, dir, "<x>.yaml"}, page, &err));
	ledger_close(l);
}

int main(int argc, char **argv)
{
	static const struct stage_ops *const stages[] = {NULL};
	static const struct verifier_ops *const verifiers[] = {NULL};
	if (argc != 3) {
		fprintf(stderr, "usage: make_page ledger|page FOLDER\n");
		return 2;
	}
	registry_set(stages, verifiers);
	AUTO_FREE char *path = file_join(argv[2], "ledger.db");
	(strcmp(argv[1], "ledger") == 0 ? make_ledger : make_page)(argv[2], path);
	return 0;
}
