/* `thresh inspect`: what is in a folder of shards, ours or any other MDS folder. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "shard/mds_read.h"
#include "shard/packed.h"
#include "shard/vocab.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BINS 12
#define BAR_COLUMNS 32
#define SOURCES_MAX 64
#define VALUE_BYTES_SHOWN 400

#define DIM "\033[2m"
#define BOLD "\033[1m"
#define PLAIN "\033[0m"

/* Text of unknown origin: names in an index, pieces of a vocabulary. */
static void print_text(const char *text, size_t len, bool keep_newlines)
{
	struct str out;
	str_init(&out, STR_NO_CAP);
	text_put_printable(&out, text, len, keep_newlines);
	fwrite(out.data, 1, out.len, stdout);
	str_release(&out);
}

static void print_z(const char *text)
{
	print_text(text, strlen(text), false);
}

/* --- the summary --- */

struct numbers {
	double *items; /* owns */
	size_t n, cap;
};

struct source_count {
	char *name; /* owns */
	uint64_t n;
};

struct totals {
	uint64_t n_shards, n_rows, n_tokens, n_loss_tokens, n_sequences, raw_bytes, zip_bytes;
	struct numbers lengths, scores;
	struct source_count sources[SOURCES_MAX];
	size_t n_sources;
	int64_t context; /* 0: not told */
};

static void add_number(struct numbers *list, double v)
{
	list->items = array_room(list->items, list->n, &list->cap, sizeof(*list->items));
	list->items[list->n++] = v;
}

static void totals_release(struct totals *t)
{
	free(t->lengths.items);
	free(t->scores.items);
	for (size_t i = 0; i < t->n_sources; i++) {
		free(t->sources[i].name);
	}
}

static void count_row(
	struct totals *t, const struct mds_reader *r, size_t shard, const struct slice *values)
{
	struct mds_array a;
	t->n_rows++;
	if (mds_reader_array(r, shard, values, "tokens", &a) ||
		mds_reader_array(r, shard, values, "input_ids", &a)) {
		t->n_tokens += a.n;
	}
	if (mds_reader_array(r, shard, values, "loss_mask", &a)) {
		for (size_t i = 0; i < a.n; i++) {
			t->n_loss_tokens += mds_array_u64(&a, i) != 0;
		}
	}
	if (mds_reader_array(r, shard, values, "seq_lens", &a)) {
		for (size_t i = 0; i < a.n; i++) {
			add_number(&t->lengths, mds_array_double(&a, i));
		}
		t->n_sequences += a.n;
	}
	if (mds_reader_array(r, shard, values, "scores", &a)) {
		for (size_t i = 0; i < a.n; i++) {
			double v = mds_array_double(&a, i);
			if (isfinite(v)) {
				add_number(&t->scores, v);
			}
		}
	}
}

static bool read_totals(struct mds_reader *r, struct totals *t, struct error *err)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	size_t shard;
	int64_t context;
	t->n_shards += mds_reader_n_shards(r);
	for (size_t i = 0; i < mds_reader_n_shards(r); i++) {
		t->raw_bytes += mds_reader_shard(r, i)->raw_bytes;
		t->zip_bytes += mds_reader_shard(r, i)->zip_bytes;
	}
	if (json_int(json_get(mds_reader_facts(r), "context"), &context)) {
		t->context = MAX(t->context, context);
	}
	for (uint64_t i = 0; i < mds_reader_n_samples(r); i++) {
		if (!mds_reader_sample(r, i, values, &shard, err)) {
			return error_hint(err, "--verify tells all that is wrong");
		}
		count_row(t, r, shard, values);
	}
	return true;
}

/* OUT/shards/RUN -> OUT/meta/RUN; NULL if it is not there. */
static char *sidecar_of(const char *dir)
{
	AUTO_FREE char *real = realpath(dir, NULL);
	if (!real) {
		return NULL;
	}
	AUTO_FREE char *parent = file_dirname(real);
	AUTO_FREE char *out = file_dirname(parent);
	char *meta = xasprintf("%s/meta/%s", out, file_basename(real));
	AUTO_FREE char *index = file_join(meta, "index.json");
	if (strcmp(file_basename(parent), "shards") != 0 || !file_exists(index)) {
		free(meta);
		return NULL;
	}
	return meta;
}

static void add_source(struct totals *t, struct slice name)
{
	for (size_t i = 0; i < t->n_sources; i++) {
		if (slice_eq_z(name, t->sources[i].name)) {
			t->sources[i].n++;
			return;
		}
	}
	if (t->n_sources < SOURCES_MAX) {
		t->sources[t->n_sources++] = (struct source_count){
			xmemdup0(name.data, name.len), 1};
	}
}

static void read_sources(const char *dir, struct totals *t)
{
	AUTO_FREE char *meta = sidecar_of(dir);
	struct error ignored;
	struct mds_reader *r = meta ? mds_reader_open(meta, &ignored) : NULL;
	struct slice values[MDS_READ_COLUMNS_MAX];
	size_t shard;
	for (uint64_t i = 0; r && i < mds_reader_n_samples(r); i++) {
		if (!mds_reader_sample(r, i, values, &shard, &ignored)) {
			break;
		}
		int column = mds_reader_column(r, shard, "source");
		if (column >= 0) {
			add_source(t, values[column]);
		}
	}
	mds_reader_close(r);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_bar(uint64_t n, uint64_t most)
{
	/* Eighths of a column, so that small counts are seen. */
	static const char *const eighths[] = {"", "\xe2\x96\x8f", "\xe2\x96\x8e", "\xe2\x96\x8d",
		"\xe2\x96\x8c", "\xe2\x96\x8b", "\xe2\x96\x8a", "\xe2\x96\x89"};
	size_t units = most ? (size_t)((double)n / (double)most * BAR_COLUMNS * 8 + 0.5) : 0;
	units = n && !units ? 1 : units;
	for (size_t i = 0; i < units / 8; i++) {
		fputs("\xe2\x96\x88", stdout);
	}
	fputs(eighths[units % 8], stdout);
}

static void print_histogram(const char *title, struct numbers *list)
{
	if (!list->n) {
		return;
	}
	qsort(list->items, list->n, sizeof(*list->items), compare_doubles);
	double low = list->items[0], high = list->items[list->n - 1], sum = 0;
	uint64_t counts[BINS] = {0}, most = 0;
	for (size_t i = 0; i < list->n; i++) {
		size_t bin = high > low ? (size_t)((list->items[i] - low) / (high - low) * BINS)
					: 0;
		counts[MIN(bin, BINS - 1)]++;
		sum += list->items[i];
	}
	for (size_t i = 0; i < BINS; i++) {
		most = MAX(most, counts[i]);
	}
	printf("\n%s: min %.4g, median %.4g, mean %.4g, p95 %.4g, max %.4g\n", title, low,
		list->items[list->n / 2], sum / (double)list->n,
		list->items[(list->n - 1) * 95 / 100], high);
	for (size_t i = 0; i < BINS && high > low; i++) {
		printf("  %10.4g  %8" PRIu64 " ", low + (high - low) * (double)i / BINS, counts[i]);
		print_bar(counts[i], most);
		putchar('\n');
	}
}

static void print_fact(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void print_fact(const char *name, const char *fmt, ...)
{
	va_list args;
	printf("  %-12s ", name);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

static double fill_of(const struct totals *t)
{
	return t->context && t->n_rows
		? (double)t->n_tokens / ((double)t->n_rows * (double)t->context)
		: 0;
}

static void print_totals(const char *title, struct totals *t)
{
	char raw[24], zip[24], tokens[28], loss[28], rows[28], sequences[28];
	text_format_size(t->raw_bytes, raw);
	text_format_size(t->zip_bytes, zip);
	text_format_count(t->n_tokens, tokens);
	text_format_count(t->n_loss_tokens, loss);
	text_format_count(t->n_rows, rows);
	text_format_count(t->n_sequences, sequences);
	printf("%s\n\n", title);
	print_fact("shards", "%" PRIu64, t->n_shards);
	print_fact("samples", "%s", rows);
	if (t->n_tokens) {
		print_fact("tokens", "%s", tokens);
	}
	if (t->n_tokens && t->n_loss_tokens) {
		print_fact("loss tokens", "%s (%.1f %%)", loss,
			100.0 * (double)t->n_loss_tokens / (double)t->n_tokens);
	}
	if (t->n_sequences) {
		print_fact("sequences", "%s (%.1f a sample)", sequences,
			(double)t->n_sequences / (double)t->n_rows);
	}
	if (t->n_tokens && t->context) {
		print_fact("fill", "%.2f %% of context %" PRId64, 100 * fill_of(t), t->context);
	}
	if (t->zip_bytes) {
		char a_token[48] = "";
		if (t->n_tokens) {
			snprintf(a_token, sizeof(a_token), ", %.3f bytes a token",
				(double)t->zip_bytes / (double)t->n_tokens);
		}
		print_fact("size", "%s, %s on disk (%.2f times%s)", raw, zip,
			(double)t->raw_bytes / (double)t->zip_bytes, a_token);
	} else {
		print_fact("size", "%s, not compressed", raw);
	}
	uint64_t most = 0;
	for (size_t i = 0; i < t->n_sources; i++) {
		most = MAX(most, t->sources[i].n);
	}
	if (t->n_sources) {
		printf("\nsources, sequences of each\n");
	}
	for (size_t i = 0; i < t->n_sources; i++) {
		struct str name;
		str_init(&name, STR_NO_CAP);
		text_put_printable(&name, t->sources[i].name, strlen(t->sources[i].name), false);
		printf("  %-24s %8" PRIu64 " ", name.data, t->sources[i].n);
		str_release(&name);
		print_bar(t->sources[i].n, most);
		putchar('\n');
	}
	print_histogram("tokens of a sequence", &t->lengths);
	print_histogram("score of a sequence", &t->scores);
}

static void print_totals_json(const struct totals *t)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	const struct {
		const char *key;
		uint64_t value;
	} members[] = {{"shards", t->n_shards}, {"samples", t->n_rows}, {"tokens", t->n_tokens},
		{"loss_tokens", t->n_loss_tokens}, {"sequences", t->n_sequences},
		{"raw_bytes", t->raw_bytes}, {"zip_bytes", t->zip_bytes},
		{"context", (uint64_t)t->context}};
	json_begin_object(&w);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_key(&w, members[i].key);
		json_put_uint(&w, members[i].value);
	}
	json_key(&w, "fill");
	json_put_num(&w, fill_of(t));
	json_key(&w, "sources");
	json_begin_object(&w);
	for (size_t i = 0; i < t->n_sources; i++) {
		json_key(&w, t->sources[i].name);
		json_put_uint(&w, t->sources[i].n);
	}
	json_end_object(&w);
	json_end_object(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

/* --- one sample --- */

struct showing {
	const struct vocab *vocab; /* NULL: ids are shown */
	bool fancy, table;
};

/* Appends the piece of an id, or <id> if it is not known; true if it is of a special token. */
static bool put_piece(const struct showing *s, uint64_t id, struct str *out)
{
	struct slice piece;
	bool special;
	if (!s->vocab || id > UINT32_MAX ||
		!vocab_piece(s->vocab, (uint32_t)id, &piece, &special)) {
		str_printf(out, "<%" PRIu64 ">", id);
		return false;
	}
	str_append(out, piece.data, piece.len);
	return special;
}

/* Tokens to print in one style; a character may be spread over several, so they are put together first. */
static void print_run(const struct showing *s, const struct mds_array *tokens, size_t from,
	size_t to, bool trained)
{
	const char *style = trained ? "" : DIM;
	struct str text, piece;
	str_init(&text, STR_NO_CAP);
	str_init(&piece, STR_NO_CAP);
	fputs(s->fancy ? style : trained ? "[trained] " : "[prompt] ", stdout);
	for (size_t i = from; i < to; i++) {
		str_reset(&piece);
		if (!put_piece(s, mds_array_u64(tokens, i), &piece) || !s->fancy) {
			str_append(&text, piece.data, piece.len);
			continue;
		}
		print_text(text.data, text.len, true);
		str_reset(&text);
		fputs(BOLD, stdout);
		print_text(piece.data, piece.len, true);
		fputs(PLAIN, stdout);
		fputs(style, stdout);
	}
	print_text(text.data, text.len, true);
	puts(s->fancy ? PLAIN : "");
	str_release(&text);
	str_release(&piece);
}

static void print_table(const struct showing *s, const struct mds_array *tokens,
	const struct mds_array *mask, size_t from, size_t to)
{
	struct str piece;
	str_init(&piece, STR_NO_CAP);
	for (size_t i = from; i < to; i++) {
		str_reset(&piece);
		put_piece(s, mds_array_u64(tokens, i), &piece);
		printf("  %6zu %8" PRIu64 " %s ", i, mds_array_u64(tokens, i),
			mask && i < mask->n && mds_array_u64(mask, i) ? "loss" : "    ");
		print_text(piece.data, piece.len, false);
		putchar('\n');
	}
	str_release(&piece);
}

static void print_sequence(const struct showing *s, const struct mds_array *tokens,
	const struct mds_array *mask, size_t from, size_t to)
{
	if (s->table) {
		print_table(s, tokens, mask, from, to);
		return;
	}
	for (size_t i = from; i < to;) {
		bool trained = mask && i < mask->n && mds_array_u64(mask, i) != 0;
		size_t end = i;
		while (end < to &&
			(mask && end < mask->n && mds_array_u64(mask, end) != 0) == trained) {
			end++;
		}
		print_run(s, tokens, i, end, trained);
		i = end;
	}
}

static void print_packed(const struct showing *s, const struct mds_reader *r, size_t shard,
	const struct slice *values)
{
	struct mds_array tokens, mask, lens, ids, scores;
	bool has_mask = mds_reader_array(r, shard, values, "loss_mask", &mask),
	     has_ids = mds_reader_array(r, shard, values, "sample_ids", &ids),
	     has_scores = mds_reader_array(r, shard, values, "scores", &scores);
	if (!mds_reader_array(r, shard, values, "tokens", &tokens)) {
		return;
	}
	size_t at = 0, n = mds_reader_array(r, shard, values, "seq_lens", &lens) ? lens.n : 1;
	for (size_t i = 0; i < n && at < tokens.n; i++) {
		size_t len = n == 1 ? tokens.n
				    : (size_t)MIN(mds_array_u64(&lens, i), tokens.n - at);
		printf("%s--- sequence %zu of %zu, %zu tokens", s->fancy ? BOLD : "", i + 1, n,
			len);
		if (has_ids && i < ids.n) {
			uint64_t id = mds_array_u64(&ids, i);
			printf(", candidate %" PRIu64 ".%" PRIu64, id / 4096, id % 4096);
		}
		if (has_scores && i < scores.n) {
			printf(", score %.4g", mds_array_double(&scores, i));
		}
		puts(s->fancy ? PLAIN : "");
		print_sequence(s, &tokens, has_mask ? &mask : NULL, at, at + len);
		at += len;
	}
}

static void print_plain(const struct mds_reader *r, size_t shard, const struct slice *values)
{
	const struct mds_read_shard *s = mds_reader_shard(r, shard);
	struct str text;
	str_init(&text, STR_NO_CAP);
	for (size_t i = 0; i < s->n_columns; i++) {
		str_reset(&text);
		mds_value_format(&s->columns[i].encoding, values[i], VALUE_BYTES_SHOWN, &text);
		print_z(s->columns[i].name);
		printf(" (");
		print_z(s->columns[i].encoding_name);
		printf("): %s\n", text.data);
	}
	str_release(&text);
}

static void print_sample_json(
	const struct mds_reader *r, size_t shard, uint64_t i, const struct slice *values)
{
	const struct mds_read_shard *s = mds_reader_shard(r, shard);
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_key(&w, "sample");
	json_put_uint(&w, i);
	json_key(&w, "shard");
	json_put_uint(&w, shard);
	json_key(&w, "columns");
	json_begin_object(&w);
	for (size_t k = 0; k < s->n_columns; k++) {
		json_key(&w, s->columns[k].name);
		mds_value_json(&s->columns[k].encoding, values[k], &w);
	}
	json_end_object(&w);
	json_end_object(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

static bool show_sample(const char *dir, uint64_t i, bool table, bool json, struct error *err)
{
	struct mds_reader *r = mds_reader_open(dir, err);
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct mds_array tokens;
	struct error vocab_err = {0};
	size_t shard;
	bool ok = r && mds_reader_sample(r, i, values, &shard, err);
	if (ok) {
		struct vocab *vocab = vocab_read(dir, &vocab_err);
		if (!vocab && vocab_err.kind == FAIL_DATA) {
			cli_fail(&vocab_err); /* ids are shown, then */
		}
		if (!json) {
			printf("sample %" PRIu64 " of %s, shard %zu\n", i, dir, shard);
		}
		if (json) {
			print_sample_json(r, shard, i, values);
		} else if (mds_reader_array(r, shard, values, "tokens", &tokens)) {
			print_packed(&(struct showing){vocab, cli_is_fancy(STDOUT_FILENO), table},
				r, shard, values);
		} else {
			print_plain(r, shard, values);
		}
		vocab_free(vocab);
	}
	mds_reader_close(r);
	return ok;
}

/* --- verifying --- */

struct faults {
	const char *dir;
	uint64_t n;
};

static void print_fault(void *ctx, const struct mds_fault *f)
{
	struct faults *faults = ctx;
	faults->n++;
	printf("%s/", faults->dir);
	print_z(f->file);
	if (f->frame >= 0) {
		printf(", frame %" PRId64, f->frame);
	}
	if (f->sample >= 0) {
		printf(", sample %" PRId64, f->sample);
	}
	if (f->offset >= 0) {
		printf(", byte %" PRId64, f->offset);
	}
	printf(": ");
	print_z(f->what);
	putchar('\n');
}

/* Rows of a shard that is sound in itself; after so many faults of rows, the rest of them is hardly news. */
static void check_rows(struct mds_reader *r, size_t s, struct faults *faults)
{
	const struct mds_read_shard *shard = mds_reader_shard(r, s);
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error ignored; /* it was read a moment ago */
	int64_t n_vocab = 0;
	unsigned n = 0;
	json_int(json_get(mds_reader_facts(r), "n_vocab"), &n_vocab);
	for (uint64_t i = 0; i < shard->n_samples && n < MDS_FAULTS_MAX; i++) {
		size_t of;
		if (!mds_reader_sample(r, shard->first_sample + i, values, &of, &ignored)) {
			break;
		}
		n += packed_check(r, of, values, (uint64_t)MAX(n_vocab, 0), print_fault, faults);
	}
}

static void check_vocab(const char *dir, struct faults *faults)
{
	struct error err;
	struct vocab *v = vocab_read(dir, &err);
	AUTO_FREE char *path = file_join(dir, "vocab.zst");
	if (!v && file_exists(path)) {
		print_fault(faults, &(struct mds_fault){"vocab.zst", -1, -1, -1, err.msg});
	}
	vocab_free(v);
}

static bool verify(const char *dir, struct faults *faults, struct error *err)
{
	struct mds_reader *r = mds_reader_open(dir, err);
	if (!r) {
		return false;
	}
	const char *other_hash = NULL;
	uint64_t before = faults->n;
	faults->dir = dir;
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		uint64_t before_shard = faults->n;
		const char *kind = mds_reader_shard(r, s)->other_hash;
		other_hash = kind ? kind : other_hash;
		mds_reader_verify(r, s, print_fault, faults);
		if (faults->n == before_shard) {
			check_rows(r, s, faults);
		}
	}
	check_vocab(dir, faults);
	if (faults->n == before) {
		printf("%s: ok, %zu shards, %" PRIu64 " samples", dir, mds_reader_n_shards(r),
			mds_reader_n_samples(r));
		if (other_hash) {
			printf("; hashes of kind ");
			print_z(other_hash);
			printf(" were not checked");
		}
		putchar('\n');
	}
	mds_reader_close(r);
	return true;
}

/* --- the command --- */

static bool summarise(char **dirs, size_t n, bool json, struct error *err)
{
	struct totals t = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		struct mds_reader *r = mds_reader_open(dirs[i], err);
		ok = r && read_totals(r, &t, err);
		mds_reader_close(r);
		read_sources(dirs[i], &t);
	}
	if (ok && json) {
		print_totals_json(&t);
	} else if (ok) {
		AUTO_FREE char *title = n == 1 ? xstrdup(dirs[0]) : xasprintf("%zu folders", n);
		print_totals(title, &t);
	}
	totals_release(&t);
	return ok;
}

int cmd_inspect(int argc, char **argv)
{
	const char *sample = NULL;
	bool check = false, json = false, table = false;
	struct cli_option options[] = {
		{"sample", "N", "show sample N decoded: the prompt dim, what is trained on plain",
			CLI_STRING, &sample},
		{"tokens", NULL, "with --sample: a line a token, with id and loss", CLI_FLAG,
			&table},
		{"verify", NULL,
			"check hashes, frames, offsets and values; exit 1 if anything is wrong",
			CLI_FLAG, &check},
		{"json", NULL, "print the summary, or the columns of the sample, as JSON", CLI_FLAG,
			&json},
		{0},
	};
	struct cli cli = {"inspect", "SHARDS ...",
		"Shows what is in folders of MDS shards, ours or any other.", options, 1, 1000,
		NULL, NULL, 0};
	int exit_code = 0;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct error err = {0};
	uint64_t i = 0;
	if (sample && (!text_parse_u64(sample, &i) || cli.n_args != 1)) {
		error_set(&err, FAIL_USAGE, "--sample takes a number, and one folder");
		return cli_fail(&err);
	}
	if (table && !sample) {
		error_set(&err, FAIL_USAGE, "--tokens goes with --sample N");
		return cli_fail(&err);
	}
	if (check) {
		struct faults faults = {0};
		for (size_t k = 0; k < cli.n_args; k++) {
			if (!verify(cli.args[k], &faults, &err)) {
				exit_code = cli_fail(&err);
			}
		}
		exit_code = faults.n ? 1 : exit_code;
	} else if (sample ? !show_sample(cli.args[0], i, table, json, &err)
			  : !summarise(cli.args, cli.n_args, json, &err)) {
		exit_code = cli_fail(&err);
	}
	return cli_finish_stdout(exit_code);
}
