/*
 * `thresh inspect --grep` and `--grep-ids`: the first match in each sequence, a line each.
 *
 * A pattern is matched against a sequence's pieces put together, so a match may begin or end within a token; ids are compared
 * as they are and need no vocabulary. Only what matched is decoded twice: then bytes lead back to tokens, and tokens to the mask.
 */
#include "inspect/inspect.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/regex.h"
#include "base/text.h"
#include "cli.h"
#include "inspect/decode.h"
#include "inspect/inspect_print.h"
#include "inspect/inspect_sample.h"
#include "inspect/walk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define CONTEXT_BYTES 56 /* shown on each side of a match */
#define MATCH_BYTES_SHOWN 240
#define IDS_MAX 4096 /* of --grep-ids */

struct grep {
	const struct inspect_query *query;
	struct regex *re; /* owns; NULL: ids are looked for */
	uint32_t *ids; /* owns */
	size_t n_ids;
	struct str text; /* of the sequence at hand */
	bool fancy;
	uint64_t n_sequences, n_rows; /* searched; rows are those without token ids */
	uint64_t n_found, n_limited;
};

/* Where a match lies. A row without token ids is searched column by column and has no sequence. */
struct hit {
	const struct walk *w;
	const char *column; /* NULL: in the sequence `k` of the row */
	size_t k;
	struct slice text; /* that holds the match; data NULL: there is no vocabulary */
	size_t start, end; /* of the match in the text */
	size_t token, n_tokens; /* that it touches; counted within the row, as --tokens does */
};

/* --- the ids asked for --- */

static bool add_id(
	struct grep *g, const char *list, const char *item, size_t len, struct error *err)
{
	AUTO_FREE char *word = xmemdup0(item, len);
	uint64_t id;
	/* An id that does not fit into 32 bits is read as the largest one (sequences.h), so that one cannot be asked for. */
	if (!text_parse_u64(word, &id) || id >= UINT32_MAX) {
		error_set(err, FAIL_USAGE,
			"--grep-ids: item %zu of '%.100s' is no token id: '%.40s'", g->n_ids + 1,
			list, word);
		return error_hint(err, "ids are whole numbers with commas between them: 12,7,9");
	}
	if (g->n_ids == IDS_MAX) {
		return error_set(err, FAIL_USAGE, "--grep-ids takes at most %d ids", IDS_MAX);
	}
	g->ids[g->n_ids++] = (uint32_t)id;
	return true;
}

static bool parse_ids(struct grep *g, const char *list, struct error *err)
{
	g->ids = xcalloc(IDS_MAX, sizeof(*g->ids));
	for (const char *at = list;; at++) {
		size_t len = strcspn(at, ",");
		if (!add_id(g, list, at, len, err)) {
			return false;
		}
		at += len;
		if (!*at) {
			return true;
		}
	}
}

/* --- what is told of a match --- */

/* NULL: the folder does not say what is trained on. */
static const char *part_of(const struct hit *h)
{
	const struct sequences *s = &h->w->seqs;
	if (h->column || !s->has_mask || !h->n_tokens) {
		return NULL;
	}
	const uint8_t *mask = s->mask + h->token;
	for (size_t i = 1; i < h->n_tokens; i++) {
		if (mask[i] != mask[0]) {
			return "prompt+trained";
		}
	}
	return mask[0] ? "trained" : "prompt";
}

/* The whole match, that is; without a mask, all is trained on. */
static bool is_trained(const struct hit *h)
{
	const uint8_t *mask = h->w->seqs.mask + h->token;
	for (size_t i = 0; i < h->n_tokens; i++) {
		if (!mask[i]) {
			return false;
		}
	}
	return h->n_tokens > 0;
}

static bool is_inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* The match with what surrounds it, cut between characters, on one line. */
static void print_around(const struct grep *g, const struct hit *h)
{
	const char *text = h->text.data;
	size_t from = h->start - MIN(h->start, CONTEXT_BYTES);
	size_t shown = h->start + MIN(h->end - h->start, MATCH_BYTES_SHOWN);
	size_t to = shown + (shown < h->end ? 0 : MIN(h->text.len - shown, CONTEXT_BYTES));
	while (from < h->start && is_inside_character(text[from])) {
		from++;
	}
	while (shown < h->end && shown > h->start && is_inside_character(text[shown])) {
		shown--;
	}
	while (to < h->text.len && to > shown && is_inside_character(text[to])) {
		to--;
	}
	fputs(from ? "..." : "", stdout);
	print_text(text + from, h->start - from, false);
	fputs(g->fancy ? STYLE_BOLD : "", stdout);
	print_text(text + h->start, shown - h->start, false);
	fputs(g->fancy ? STYLE_PLAIN : "", stdout);
	print_text(text + shown, MAX(to, shown) - shown, false);
	puts(to < h->text.len ? "..." : "");
}

static void print_hit(const struct grep *g, const struct hit *h)
{
	const struct sequences *s = &h->w->seqs;
	const char *part = part_of(h);
	char candidate[CANDIDATE_CHARS];
	print_z(h->w->dir);
	printf(": sample %" PRIu64, h->w->row);
	if (h->column) {
		printf(", column '");
		print_z(h->column);
		printf("': ");
		print_around(g, h);
		return;
	}
	printf(", sequence %zu", h->k + 1);
	if (sample_candidate(s, h->k, candidate)) {
		printf(", candidate %s", candidate);
	}
	printf(", token %zu%s%s%s: ", h->token, part ? " [" : "", part ? part : "",
		part ? "]" : "");
	print_around(g, h);
}

static void put_place(struct json_writer *j, const struct hit *h)
{
	char candidate[CANDIDATE_CHARS];
	json_member_uint(j, "sequence", h->k + 1);
	json_member_z(j, "candidate", sample_candidate(&h->w->seqs, h->k, candidate));
	json_member_z(j, "part", part_of(h));
	json_member_uint(j, "token", h->token);
	json_member_uint(j, "n_tokens", h->n_tokens);
}

static void print_hit_json(const struct hit *h)
{
	struct str line;
	str_init(&line, STR_NO_CAP);
	struct json_writer j = {.out = &line};
	json_begin_object(&j);
	json_member_z(&j, "dir", h->w->dir);
	json_member_uint(&j, "sample", h->w->row);
	if (h->column) {
		json_member_z(&j, "column", h->column);
	} else {
		put_place(&j, h);
	}
	if (h->text.data) {
		json_member_uint(&j, "start", h->start);
		json_member_uint(&j, "end", h->end);
		json_key(&j, "match");
		json_put_str(&j, h->text.data + h->start, h->end - h->start);
		json_key(&j, "text");
		json_put_str(&j, h->text.data, h->text.len);
	}
	json_end_object(&j);
	puts(line.data);
	str_release(&line);
}

static void tell(struct grep *g, const struct hit *h)
{
	g->n_found++;
	if (g->query->json) {
		print_hit_json(h);
	} else {
		print_hit(g, h);
	}
}

/* --- searching --- */

static bool is_over(const struct grep *g)
{
	return g->n_found >= g->query->max || ferror(stdout);
}

static void decode(struct grep *g, const struct decoder *d, const struct sequences *s, size_t k)
{
	str_reset(&g->text);
	for (size_t i = s->starts[k]; i < s->starts[k + 1]; i++) {
		decoder_put(d, s->ids[i], &g->text);
	}
}

/* The tokens whose pieces hold the bytes of the match; of an empty match, the one that it precedes. */
static void find_tokens(struct hit *h, const struct decoder *d)
{
	const struct sequences *s = &h->w->seqs;
	size_t end = s->starts[h->k + 1], at = 0;
	struct str piece;
	str_init(&piece, STR_NO_CAP);
	h->token = end;
	h->n_tokens = 0;
	for (size_t i = s->starts[h->k]; i < end && at < MAX(h->end, h->start + 1); i++) {
		str_reset(&piece);
		decoder_put(d, s->ids[i], &piece);
		at += piece.len;
		if (h->token == end && at > h->start) {
			h->token = i;
		}
		h->n_tokens = h->token < end ? i + 1 - h->token : 0;
	}
	str_release(&piece);
}

static bool matches(struct grep *g, struct slice text, size_t from, struct hit *h)
{
	struct slice match;
	enum regex_result result = regex_find(g->re, text.data, text.len, from, &match);
	g->n_limited += result == REGEX_LIMIT;
	if (result != REGEX_MATCH) {
		return false;
	}
	h->text = text;
	h->start = (size_t)(match.data - text.data);
	h->end = h->start + match.len;
	return true;
}

/* Bytes of the sequence before what is trained on, where every prompt would match what all prompts have. */
static size_t prompt_bytes(const struct sequences *s, size_t k, const struct decoder *d)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	for (size_t i = s->starts[k]; i < s->starts[k + 1] && !s->mask[i]; i++) {
		decoder_put(d, s->ids[i], &text);
	}
	size_t len = text.len;
	str_release(&text);
	return len;
}

static bool find_match(struct grep *g, const struct decoder *d, struct hit *h)
{
	struct slice text = {g->text.data, g->text.len};
	bool trained = g->query->trained;
	size_t from = trained ? prompt_bytes(&h->w->seqs, h->k, d) : 0;
	while (from <= text.len && matches(g, text, from, h)) {
		find_tokens(h, d);
		if (!trained || is_trained(h)) {
			return true;
		}
		from = MAX(h->end, h->start + 1);
	}
	return false;
}

static void grep_text(struct grep *g, const struct walk *w, const struct decoder *d)
{
	for (size_t k = 0; k < w->seqs.n && !is_over(g); k++) {
		struct hit h = {.w = w, .k = k};
		g->n_sequences++;
		decode(g, d, &w->seqs, k);
		if (find_match(g, d, &h)) {
			tell(g, &h);
		}
	}
}

static bool is_text(const struct mds_read_column *c)
{
	return c->encoding.kind == MDS_STR || c->encoding.kind == MDS_JSON;
}

static bool grep_columns(struct grep *g, const struct walk *w, struct error *err)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	bool has_text = false, found = false;
	g->n_rows++;
	for (size_t i = 0; i < s->n_columns && !found; i++) {
		struct hit h = {.w = w, .column = s->columns[i].name};
		if (is_text(&s->columns[i])) {
			has_text = true;
			found = matches(g, w->values[i], 0, &h);
		}
		if (found) {
			tell(g, &h);
		}
	}
	return has_text ||
		error_set(err, FAIL_USAGE,
			"'%s' has neither token ids nor columns of text: there is nothing to "
			"search",
			w->dir);
}

static void tell_ids(struct grep *g, struct hit *h, const struct decoder *d, bool has_vocab)
{
	const struct sequences *s = &h->w->seqs;
	str_reset(&g->text);
	for (size_t i = s->starts[h->k]; i < s->starts[h->k + 1]; i++) {
		if (i == h->token) {
			h->start = g->text.len;
		}
		decoder_put(d, s->ids[i], &g->text);
		if (i + 1 == h->token + h->n_tokens) {
			h->end = g->text.len;
		}
	}
	if (has_vocab || !g->query->json) {
		h->text = (struct slice){g->text.data, g->text.len};
	}
	tell(g, h);
}

/* Next place of the first id. The C library has a vectorised search for units of 32 bits, under the name of wide characters. */
static size_t next_id(const uint32_t *ids, size_t from, size_t n, uint32_t id)
{
	static_assert(sizeof(wchar_t) == sizeof(*ids), "wide characters have 32 bits");
	const wchar_t *at = wmemchr((const wchar_t *)ids + from, (wchar_t)id, n - from);
	return at ? (size_t)(at - (const wchar_t *)ids) : n;
}

/* Over the whole row at once, and only then asks which sequence a place lies in. */
static void grep_ids(struct grep *g, const struct walk *w, struct decoder *d)
{
	const struct sequences *s = &w->seqs;
	size_t n = s->starts[s->n], k = 0;
	g->n_sequences += s->n;
	for (size_t at = 0; (at = next_id(s->ids, at, n, g->ids[0])) < n && !is_over(g);) {
		while (s->starts[k + 1] <= at) {
			k++;
		}
		if (g->n_ids > s->starts[k + 1] - at ||
			memcmp(s->ids + at, g->ids, g->n_ids * sizeof(*g->ids)) != 0) {
			at++;
			continue;
		}
		struct hit h = {.w = w, .k = k, .token = at, .n_tokens = g->n_ids};
		if (g->query->trained && !is_trained(&h)) {
			at++;
			continue;
		}
		tell_ids(g, &h, d, decoder_use(d, w->shard));
		at = s->starts[k + 1];
	}
}

static bool grep_row(struct grep *g, const struct walk *w, struct decoder *d, struct error *err)
{
	if (g->re && !w->seqs.n && g->query->trained) {
		return error_set(err, FAIL_USAGE,
			"'%s' has no token ids, so it does not tell what is trained on: leave out "
			"--trained",
			w->dir);
	}
	if (g->re && !w->seqs.n) {
		return grep_columns(g, w, err);
	}
	if (g->re && !decoder_use(d, w->shard)) {
		error_set(err, FAIL_USAGE, "'%s' has no vocab.zst, so there is no text to search",
			w->dir);
		return error_hint(err, "token ids can be searched without: --grep-ids 12,7,9");
	}
	if (g->re) {
		grep_text(g, w, d);
		return true;
	}
	if (!w->seqs.n) {
		error_set(err, FAIL_USAGE, "'%s' has no token ids to search", w->dir);
		return error_hint(err, "its text can be searched: --grep REGEX");
	}
	grep_ids(g, w, d);
	return true;
}

static bool grep_folder(struct grep *g, const char *dir, struct error *err)
{
	struct walk w;
	if (!walk_open(&w, dir, err)) {
		return false;
	}
	struct decoder *d = decoder_new(dir, w.reader);
	while (!is_over(g) && walk_next(&w, err) && grep_row(g, &w, d, err)) {
	}
	decoder_free(d);
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

static void print_count(const struct grep *g)
{
	if (ferror(stdout)) {
		return; /* nobody reads any more */
	}
	fflush(stdout);
	fprintf(stderr, "%" PRIu64 " of %" PRIu64 " %s match%s\n", g->n_found,
		g->n_sequences + g->n_rows, g->n_rows > g->n_sequences ? "samples" : "sequences",
		g->n_found >= g->query->max ? "; stopped there (--max)" : "");
	if (g->n_limited) {
		fprintf(stderr,
			"%" PRIu64 " texts could not be searched to their end: the pattern takes "
			"too many steps there\n",
			g->n_limited);
	}
}

bool inspect_grep(char *const *dirs, size_t n, const struct inspect_query *query,
	int *out_exit_code, struct error *err)
{
	struct grep g = {.query = query, .fancy = cli_is_fancy(STDOUT_FILENO)};
	bool ok = true;
	str_init(&g.text, STR_NO_CAP);
	*err = (struct error){0};
	if (query->regex) {
		g.re = regex_new(query->regex, false, err);
		ok = g.re || error_context(err, "--grep");
	} else {
		ok = parse_ids(&g, query->ids, err);
	}
	for (size_t i = 0; ok && i < n; i++) {
		ok = grep_folder(&g, dirs[i], err);
	}
	if (ok) {
		print_count(&g);
		*out_exit_code = g.n_limited ? 3 : g.n_found || ferror(stdout) ? 0 : 1;
	}
	regex_free(g.re);
	free(g.ids);
	str_release(&g.text);
	return ok;
}
