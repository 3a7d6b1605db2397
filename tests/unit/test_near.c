/* Sketches of texts, the nights' files, the tables over them: what is found, what is not, and what becomes of damaged files. */
#include "fixture.h"

#include "bench/planted.h"
#include "near/near_index.h"
#include "near/near_set.h"
#include "near/table.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 1000

static const struct near_index_options no_options;

static struct near_record sketch_n(const char *text, size_t len, uint32_t prompt)
{
	struct near_reader reader = {0};
	struct near_record record = {0};
	near_read(&reader, text, len);
	near_sketch(&reader, prompt, &record);
	near_reader_release(&reader);
	return record;
}

static struct near_record sketch(const char *text, uint32_t prompt)
{
	return sketch_n(text, strlen(text), prompt);
}

static size_t count_words(const char *text)
{
	struct near_reader reader = {0};
	size_t n = near_read(&reader, text, strlen(text));
	near_reader_release(&reader);
	return n;
}

/* Long enough not to be short, unlike those of other numbers. */
static struct near_record sketch_of_number(uint64_t number)
{
	struct rng rng;
	struct str text;
	rng_seed(&rng, number);
	str_init(&text, STR_NO_CAP);
	planted_text(&rng, 40, &text);
	struct near_record record = sketch_n(text.data, text.len, (uint32_t)number);
	record.owner = number;
	str_release(&text);
	return record;
}

/* --- texts --- */

static const struct {
	const char *a, *b;
	bool same;
} texts[] = {
	{"So 3 + 4 = 7. The answer is 7.", "so 3+4 = 7,\n\n the ANSWER is: 7", true},
	{"So 3 + 4 = 7.", "So 3 + 5 = 8.", false},
	{"one two", "two one", false},
	{"a", "b", false},
	{"ab c", "a bc", false},
	{"\xc3\x84pfel und \xc3\x96l \xe2\x80\x94 gut", "\xc3\xa4pfel UND \xc3\xb6l; gut", true},
	{"\xd0\x94\xd0\x90", "\xd0\xb4\xd0\xb0", true},
	{"\xce\xa3\xce\x91", "\xcf\x83\xce\xb1", true},
	{"\xc4\x80\xc4\xb9\xc5\xbd", "\xc4\x81\xc4\xba\xc5\xbe", true},
	{"\xef\xbc\xa1\xef\xbc\x91", "a1", true},
	{"x\xc2\xb2", "x\xc2\xb3", false},
	{"\xe4\xb8\x80\xe4\xba\x8c", "\xe4\xb8\x80 \xe4\xba\x8c", true},
	{"", " .,!\n", true},
	{"", "a", false},
	{"12345678", "123456789", false},
	{"1234567890123456", "1234567890123457", false},
	{"12345678 12345678", "1234567812345678", false},
	{"\xff", "\xfe", false},
};

START_TEST(normalised_texts_are_the_same)
	{
		struct near_record a = sketch(texts[_i].a, 1), b = sketch(texts[_i].b, 1);
		ck_assert_int_eq(near_same(&a, &b), texts[_i].same);
	}
END_TEST

START_TEST(words_are_counted)
	{
		ck_assert_uint_eq(count_words(""), 0);
		ck_assert_uint_eq(count_words("..."), 0);
		ck_assert_uint_eq(count_words("a"), 1);
		ck_assert_uint_eq(count_words(" a  bc-def\n"), 3);
		ck_assert_uint_eq(count_words("abcdefgh ijklmnop qrstuvwxyz0123456789"), 3);
		ck_assert_uint_eq(count_words("\xe4\xb8\x80\xe4\xba\x8c\xe4\xb8\x89"), 3);
		ck_assert_uint_eq(count_words("na\xc3\xafve caf\xc3\xa9s"), 2);
	}
END_TEST

/* Wherever the last letter of a word lies within the eight bytes that are read at a time. */
START_TEST(every_letter_of_a_word_counts)
	{
		for (size_t len = 1; len <= 40; len++) {
			char a[41], b[41];
			memset(a, 'q', len);
			for (size_t at = 0; at < len; at++) {
				memcpy(b, a, len);
				b[at] = 'r';
				struct near_record x = sketch_n(a, len, 1), y = sketch_n(b, len, 1);
				ck_assert_msg(
					!near_same(&x, &y), "length %zu, letter %zu", len, at);
			}
		}
	}
END_TEST

START_TEST(any_bytes_have_a_sketch)
	{
		struct rng rng;
		struct near_reader reader = {0};
		rng_seed(&rng, 5);
		for (int i = 0; i < 300; i++) {
			size_t len = rng_below(&rng, 200);
			char *bytes = xmalloc(len + 1); /* exact, for sanitizers */
			struct near_record a = {0}, b = {0};
			for (size_t k = 0; k < len; k++) {
				bytes[k] = (char)rng_next(&rng);
			}
			size_t n = near_read(&reader, bytes, len);
			ck_assert_uint_le(n, len + 1);
			near_sketch(&reader, 1, &a);
			b = sketch_n(bytes, len, 1);
			ck_assert(near_same(&a, &b)); /* whatever the reader has read before */
			free(bytes);
		}
		near_reader_release(&reader);
	}
END_TEST

START_TEST(short_texts_are_compared_with_those_of_their_prompt)
	{
		static const char short_text[] = "The answer is \\boxed{4}.";
		static const char long_text[] = "Ben has two apples and buys two more, so that he "
						"has four of them now. The "
						"answer is \\boxed{4}.";
		struct near_record a = sketch(short_text, 1), b = sketch(short_text, 1),
				   c = sketch(short_text, 2);
		ck_assert(near_same(&a, &b));
		ck_assert_uint_lt(near_places(&a, &c), 10);
		a = sketch(long_text, 1);
		b = sketch(long_text, 2);
		ck_assert(near_same(&a, &b));
	}
END_TEST

/* --- how like --- */

static void plant(
	double jaccard, size_t words, struct near_record *a, struct near_record *b, size_t n)
{
	struct rng rng;
	struct str x, y;
	rng_seed(&rng, 20261128);
	str_init(&x, STR_NO_CAP);
	str_init(&y, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		planted_pair(&rng, words, jaccard, &x, &y);
		a[i] = sketch_n(x.data, x.len, 1);
		b[i] = sketch_n(y.data, y.len, 2);
		a[i].owner = i;
	}
	str_release(&x);
	str_release(&y);
}

static size_t count_found(double jaccard, size_t words, double threshold)
{
	static struct near_record a[PAIRS], b[PAIRS];
	struct error err;
	struct near_rule rule;
	size_t n = 0;
	plant(jaccard, words, a, b, PAIRS);
	near_rule_init(&rule, threshold, false);
	struct near_set *set = near_set_new(fixture_dir, PAIRS, &err);
	ck_assert_ptr_nonnull(set);
	for (size_t i = 0; i < PAIRS; i++) {
		near_set_add(set, &a[i]);
	}
	for (size_t i = 0; i < PAIRS; i++) {
		struct near_hit hit;
		if (near_set_find(set, &b[i], &rule, &hit)) {
			ck_assert_uint_eq(hit.record->owner, i);
			n++;
		}
	}
	near_set_free(set);
	return n;
}

static const struct {
	double jaccard, threshold;
	size_t words, min, max; /* of PAIRS */
} planted[] = {
	{0.8, 0.8, 300, 950, PAIRS},
	{0.9, 0.8, 300, 990, PAIRS},
	{0.5, 0.8, 300, 0, 10},
	{0.8, 0.8, 60, 950, PAIRS}, /* sketches that took more rounds */
	{0.5, 0.8, 60, 0, 10},
	{0.8, 0.8, 3000, 950, PAIRS}, /* and one */
	{0.5, 0.8, 3000, 0, 10},
	{0.7, 0.7, 300, 850, PAIRS},
	{0.8, 0.95, 300, 0, 50},
	{0.95, 0.95, 300, 950, PAIRS},
	{0.97, 1, 300, 0, 0},
};

START_TEST(planted_pairs_are_found)
	{
		size_t n = count_found(
			planted[_i].jaccard, planted[_i].words, planted[_i].threshold);
		ck_assert_uint_ge(n, planted[_i].min);
		ck_assert_uint_le(n, planted[_i].max);
	}
END_TEST

START_TEST(similarity_is_estimated_without_bias)
	{
		static struct near_record a[PAIRS], b[PAIRS];
		static const double wanted[] = {0, 0.3, 0.5, 0.8, 0.95, 1};
		for (size_t k = 0; k < ARRAY_LEN(wanted); k++) {
			double sum = 0;
			plant(wanted[k], 300, a, b, PAIRS);
			for (size_t i = 0; i < PAIRS; i++) {
				sum += near_similarity(near_places(&a[i], &b[i]));
			}
			ck_assert_double_eq_tol(sum / PAIRS, wanted[k], 0.01);
		}
	}
END_TEST

START_TEST(the_same_text_is_found_at_threshold_1)
	{
		struct near_rule rule;
		struct near_hit hit = {0};
		struct near_record a = sketch_of_number(1), b = a;
		near_rule_init(&rule, 1, false);
		near_offer(&hit, &rule, &a, &b, 0, NULL);
		ck_assert_ptr_eq(hit.record, &b);
		b.text++;
		hit = (struct near_hit){0};
		near_offer(&hit, &rule, &a, &b, 0, NULL);
		ck_assert_ptr_null(hit.record);
	}
END_TEST

START_TEST(another_prompt_can_be_left_out)
	{
		struct near_rule rule;
		struct near_hit hit = {0};
		struct near_record a = sketch_of_number(1), b = a;
		b.prompt++;
		near_rule_init(&rule, 0.8, true);
		near_offer(&hit, &rule, &a, &b, 0, NULL);
		ck_assert_ptr_null(hit.record);
		near_offer(&hit, &rule, &a, &a, 0, NULL);
		ck_assert_ptr_nonnull(hit.record);
	}
END_TEST

START_TEST(the_likest_is_found_and_of_equals_the_first)
	{
		struct error err;
		struct near_rule rule;
		struct near_hit hit;
		struct near_record a = sketch_of_number(1), worse = a;
		memset(worse.places + 90, 0, 6);
		near_rule_init(&rule, 0.8, false);
		struct near_set *set = near_set_new(fixture_dir, 3, &err);
		ck_assert_ptr_nonnull(set);
		worse.owner = 10;
		near_set_add(set, &worse);
		ck_assert(near_set_find(set, &a, &rule, &hit));
		ck_assert_uint_eq(hit.record->owner, 10);
		near_set_add(set, &a);
		a.owner = 11;
		near_set_add(set, &a);
		ck_assert(near_set_find(set, &a, &rule, &hit));
		ck_assert_uint_eq(hit.record->owner, 1);
		ck_assert_uint_eq(hit.places, NEAR_PLACES);
		near_set_free(set);
	}
END_TEST

/* What nothing tells apart must not make every look-up walk through all of it. */
START_TEST(a_crowd_of_equal_records_has_bounded_runs)
	{
		struct error err;
		struct near_rule rule;
		struct near_hit hit;
		struct near_record same = sketch_of_number(1);
		uint32_t found[NEAR_FOUND_MAX];
		near_rule_init(&rule, 0.8, false);
		struct near_set *set = near_set_new(fixture_dir, 100000, &err);
		ck_assert_ptr_nonnull(set);
		struct near_bucket *buckets = xcalloc(NEAR_BANDS, sizeof(*buckets) * 2000);
		struct near_table table = {buckets, 2000};
		for (uint32_t i = 0; i < 100000; i++) {
			same.owner = i;
			near_set_add(set, &same);
			near_table_add(&table, i, same.places);
		}
		ck_assert_uint_le(near_table_find(&table, same.places, found), NEAR_FOUND_MAX);
		ck_assert(near_set_find(set, &same, &rule, &hit));
		ck_assert_uint_eq(hit.record->owner, 0);
		near_set_free(set);
		free(buckets);
	}
END_TEST

/* --- nights --- */

/* Records of numbers first .. first + n - 1. */
static void publish(const char *run, int64_t number, uint64_t first, uint64_t n)
{
	struct error err;
	struct near_draft draft;
	ck_assert_ok(near_draft_open(&draft, fixture_dir, run, number, &err), err);
	for (uint64_t i = first; i < first + n; i++) {
		struct near_record record = sketch_of_number(i);
		ck_assert_ok(near_draft_add(&draft, &record, &err), err);
	}
	ck_assert_ok(near_draft_publish(&draft, &err), err);
	near_draft_release(&draft);
}

static struct near_index *open_index(const struct near_index_options *options)
{
	struct error err = {0};
	struct near_index *index = near_index_open(fixture_dir, options, &err);
	ck_assert_msg(index != NULL, "%s", err.msg);
	return index;
}

/* "RUN OWNER" of the record of a number, or "". */
static const char *find(const struct near_index *index, uint64_t number)
{
	static char text[64];
	struct near_rule rule;
	struct near_hit hit;
	struct near_record wanted = sketch_of_number(number);
	near_rule_init(&rule, 0.8, false);
	text[0] = '\0';
	if (near_index_find(index, &wanted, &rule, &hit)) {
		snprintf(text, sizeof(text), "%s %llu", hit.run,
			(unsigned long long)hit.record->owner);
	}
	return text;
}

static void assert_all_found(const struct near_index *index)
{
	ck_assert_uint_eq(near_index_records(index), 350);
	ck_assert_str_eq(find(index, 0), "first 0");
	ck_assert_str_eq(find(index, 99), "first 99");
	ck_assert_str_eq(find(index, 100), "second 100");
	ck_assert_str_eq(find(index, 349), "third 349");
	ck_assert_str_eq(find(index, 350), "");
}

static void three_nights(void)
{
	publish("first", 1, 0, 100);
	publish("second", 2, 100, 0);
	publish("second", 2, 100, 200); /* told twice */
	publish("third", 3, 300, 50);
}

START_TEST(nights_are_found_again)
	{
		publish("first", 1, 0, 100);
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_records(index), 100);
		ck_assert_uint_eq(near_index_added(index), 100);
		ck_assert_str_eq(find(index, 42), "first 42");
		near_index_close(index);
		three_nights();
		near_index_close(open_index(&no_options));
		index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 0);
		assert_all_found(index);
		near_index_close(index);
	}
END_TEST

START_TEST(only_new_nights_are_added_while_there_is_room)
	{
		publish("first", 1, 0, 100);
		near_index_close(open_index(&no_options));
		publish("second", 2, 100, 20);
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 20);
		ck_assert_str_eq(find(index, 5), "first 5");
		ck_assert_str_eq(find(index, 119), "second 119");
		near_index_close(index);
		publish("third", 3, 120, 1000);
		index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 1120);
		ck_assert_str_eq(find(index, 119), "second 119");
		near_index_close(index);
	}
END_TEST

START_TEST(an_empty_index_finds_nothing)
	{
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_records(index), 0);
		ck_assert_str_eq(find(index, 1), "");
		near_index_close(index);
		publish("empty", 1, 0, 0);
		index = open_index(&no_options);
		ck_assert_str_eq(find(index, 1), "");
		near_index_close(index);
	}
END_TEST

START_TEST(a_run_can_be_ignored_with_all_that_was_made_from_it)
	{
		const struct near_index_options options = {.ignored = 2};
		three_nights();
		publish("second-again", 2, 100, 200);
		struct near_index *index = open_index(&options);
		ck_assert_str_eq(find(index, 1), "first 1");
		ck_assert_str_eq(find(index, 150), "");
		ck_assert_str_eq(find(index, 349), "third 349");
		ck_assert_uint_eq(near_index_records(index), 550);
		ck_assert_uint_eq(near_index_searched(index), 150);
		near_index_close(index);
	}
END_TEST

/* --- damage --- */

static void flip(const char *name, size_t at)
{
	AUTO_FREE char *path = fixture_path(name);
	AUTO_FD int fd = open(path, O_RDWR);
	char c;
	ck_assert_int_eq(pread(fd, &c, 1, (off_t)at), 1);
	c = (char)(c ^ 0x10);
	ck_assert_int_eq(pwrite(fd, &c, 1, (off_t)at), 1);
}

static off_t size_of(const char *name)
{
	AUTO_FREE char *path = fixture_path(name);
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_size;
}

START_TEST(every_damaged_byte_of_a_night_is_noticed)
	{
		struct error err;
		struct near_segment segment;
		publish("night", 1, 0, 3);
		size_t bytes = (size_t)size_of("night.sketches");
		ck_assert_uint_eq(bytes, 16 + 3 * sizeof(struct near_record) + 40);
		for (size_t at = 0; at < bytes; at++) {
			flip("night.sketches", at);
			ck_assert_msg(!near_segment_open(&segment, fixture_dir, "night", &err),
				"byte %zu", at);
			ck_assert_int_eq(err.kind, FAIL_DATA);
			ck_assert_ptr_null(segment.map);
			flip("night.sketches", at);
		}
		ck_assert_ok(near_segment_open(&segment, fixture_dir, "night", &err), err);
		ck_assert_uint_eq(segment.n, 3);
		ck_assert_int_eq(segment.number, 1);
		near_segment_close(&segment);
	}
END_TEST

START_TEST(a_torn_night_is_refused)
	{
		struct error err;
		struct near_segment segment;
		AUTO_FREE char *path = fixture_path("night.sketches");
		publish("night", 1, 0, 3);
		for (off_t bytes = size_of("night.sketches") - 1; bytes >= 0; bytes--) {
			ck_assert_int_eq(truncate(path, bytes), 0);
			ck_assert(!near_segment_open(&segment, fixture_dir, "night", &err));
			ck_assert_int_eq(err.kind, FAIL_DATA);
		}
	}
END_TEST

START_TEST(what_is_no_file_is_refused)
	{
		struct error err = {0};
		AUTO_FREE char *path = fixture_path("pipe.sketches");
		ck_assert_int_eq(mkfifo(path, 0600), 0);
		ck_assert_ptr_null(near_index_open(fixture_dir, &no_options, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_ptr_nonnull(strstr(err.msg, "pipe.sketches"));
	}
END_TEST

struct remaking {
	unsigned n;
	bool fails;
};

static bool remake(void *ctx, const char *run, const struct error *why, struct error *err)
{
	struct remaking *r = ctx;
	r->n++;
	ck_assert_ptr_nonnull(strstr(why->msg, run));
	if (r->fails) {
		return error_set(err, FAIL_DATA, "the ledger is gone");
	}
	publish(run, 2, 100, 200);
	return true;
}

START_TEST(a_damaged_night_is_made_again)
	{
		struct remaking r = {0};
		const struct near_index_options options = {.remake = remake, .ctx = &r};
		three_nights();
		near_index_close(open_index(&options));
		flip("second.sketches", 1000);
		struct near_index *index = open_index(&options);
		ck_assert_uint_eq(r.n, 1);
		assert_all_found(index);
		near_index_close(index);
	}
END_TEST

START_TEST(one_that_cannot_be_made_again_is_refused)
	{
		struct error err = {0};
		struct remaking r = {.fails = true};
		const struct near_index_options options = {.remake = remake, .ctx = &r};
		three_nights();
		flip("second.sketches", 1000);
		ck_assert_ptr_null(near_index_open(fixture_dir, &options, &err));
		ck_assert_str_eq(err.msg, "the ledger is gone");
		ck_assert_ptr_null(near_index_open(fixture_dir, &no_options, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "second.sketches"));
	}
END_TEST

static void cut_tables(void)
{
	AUTO_FREE char *path = fixture_path("tables");
	ck_assert_int_eq(truncate(path, size_of("tables") - 64), 0);
}
static void empty_tables(void)
{
	AUTO_FREE char *path = fixture_path("tables");
	ck_assert_int_eq(truncate(path, 0), 0);
}
static void remove_tables(void)
{
	AUTO_FREE char *path = fixture_path("tables");
	ck_assert_int_eq(unlink(path), 0);
}
static void flip_head(void)
{
	flip("tables", 20);
}
static void flip_bucket(void)
{
	flip("tables", 4096 + 64 * 5 + 3);
}
static void overwrite_tables(void)
{
	fixture_write("tables", "not what it was\n");
}
/* Killed while a night was added: its buckets are there, the head is the old one. */
static void half_added(void)
{
	AUTO_FREE char *path = fixture_path("tables");
	AUTO_FD int fd = open(path, O_RDWR);
	uint32_t no = 7;
	ck_assert_int_eq(pwrite(fd, &no, sizeof(no), 4096 + 64 * 9), sizeof(no));
}

static void (*const harms[])(void) = {cut_tables, empty_tables, remove_tables, flip_head,
	flip_bucket, overwrite_tables, half_added};

START_TEST(tables_that_are_not_whole_are_made_anew)
	{
		three_nights();
		near_index_close(open_index(&no_options));
		harms[_i]();
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 350);
		assert_all_found(index);
		near_index_close(index);
		index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 0);
		near_index_close(index);
	}
END_TEST

START_TEST(tables_of_other_nights_are_made_anew)
	{
		AUTO_FREE char *path = fixture_path("second.sketches");
		three_nights();
		near_index_close(open_index(&no_options));
		ck_assert_int_eq(unlink(path), 0);
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 150);
		ck_assert_str_eq(find(index, 150), "");
		ck_assert_str_eq(find(index, 349), "third 349");
		near_index_close(index);
		publish("second", 2, 100, 199);
		index = open_index(&no_options);
		ck_assert_uint_eq(near_index_added(index), 349);
		ck_assert_str_eq(find(index, 150), "second 150");
		near_index_close(index);
	}
END_TEST

/* A draft that a kill has left is no night, and is replaced. */
START_TEST(a_draft_is_no_night)
	{
		struct error err;
		struct near_draft draft;
		struct near_record record = sketch_of_number(1);
		publish("first", 1, 0, 100);
		pid_t child = fork();
		if (!child) {
			bool ok = near_draft_open(&draft, fixture_dir, "second", 2, &err) &&
				near_draft_add(&draft, &record, &err);
			_exit(ok ? 0 : 1); /* nothing is released, as by a kill */
		}
		int status;
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
		struct near_index *index = open_index(&no_options);
		ck_assert_uint_eq(near_index_records(index), 100);
		near_index_close(index);
		publish("second", 2, 100, 10);
		index = open_index(&no_options);
		ck_assert_uint_eq(near_index_records(index), 110);
		near_index_close(index);
	}
END_TEST

START_TEST(one_process_at_a_time)
	{
		publish("first", 1, 0, 10);
		struct near_index *index = open_index(&no_options);
		pid_t child = fork();
		if (!child) {
			struct error err = {0};
			char pid[32];
			snprintf(pid, sizeof(pid), "pid %ld", (long)getppid());
			bool refused = !near_index_open(fixture_dir, &no_options, &err) &&
				err.kind == FAIL_IO && strstr(err.msg, pid);
			_exit(refused ? 0 : 1);
		}
		int status;
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
		near_index_close(index);
		near_index_close(open_index(&no_options));
	}
END_TEST

static void collect(void *ctx, const char *what)
{
	struct str *text = ctx;
	str_printf(text, "%s\n", what);
}

START_TEST(a_check_names_what_is_not_whole)
	{
		struct error err = {0};
		struct str faults;
		AUTO_FREE char *missing = fixture_path("nowhere");
		str_init(&faults, STR_NO_CAP);
		three_nights();
		near_index_close(open_index(&no_options));
		ck_assert_ok(near_index_check(fixture_dir, collect, &faults, &err), err);
		ck_assert_ok(near_index_check(missing, collect, &faults, &err), err);
		ck_assert_str_eq(faults.data, "");
		flip("second.sketches", 500);
		flip_bucket();
		ck_assert_ok(near_index_check(fixture_dir, collect, &faults, &err), err);
		ck_assert_ptr_nonnull(strstr(faults.data, "second.sketches' is damaged"));
		ck_assert_ptr_nonnull(strstr(faults.data, "tables' is damaged"));
		ck_assert_ptr_null(strstr(faults.data, "first"));
		str_release(&faults);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("near");
	TCase *text = tcase_create("texts"), *like = tcase_create("likeness"),
	      *nights = tcase_create("nights"), *damage = tcase_create("damage");
	tcase_add_checked_fixture(like, fixture_set_up, fixture_tear_down);
	tcase_add_checked_fixture(nights, fixture_set_up, fixture_tear_down);
	tcase_add_checked_fixture(damage, fixture_set_up, fixture_tear_down);
	tcase_add_loop_test(text, normalised_texts_are_the_same, 0, ARRAY_LEN(texts));
	tcase_add_test(text, words_are_counted);
	tcase_add_test(text, every_letter_of_a_word_counts);
	tcase_add_test(text, any_bytes_have_a_sketch);
	tcase_add_test(text, short_texts_are_compared_with_those_of_their_prompt);
	tcase_add_loop_test(like, planted_pairs_are_found, 0, ARRAY_LEN(planted));
	tcase_add_test(like, similarity_is_estimated_without_bias);
	tcase_add_test(like, the_same_text_is_found_at_threshold_1);
	tcase_add_test(like, another_prompt_can_be_left_out);
	tcase_add_test(like, the_likest_is_found_and_of_equals_the_first);
	tcase_add_test(like, a_crowd_of_equal_records_has_bounded_runs);
	tcase_add_test(nights, nights_are_found_again);
	tcase_add_test(nights, only_new_nights_are_added_while_there_is_room);
	tcase_add_test(nights, an_empty_index_finds_nothing);
	tcase_add_test(nights, a_run_can_be_ignored_with_all_that_was_made_from_it);
	tcase_add_test(damage, every_damaged_byte_of_a_night_is_noticed);
	tcase_add_test(damage, a_torn_night_is_refused);
	tcase_add_test(damage, what_is_no_file_is_refused);
	tcase_add_test(damage, a_damaged_night_is_made_again);
	tcase_add_test(damage, one_that_cannot_be_made_again_is_refused);
	tcase_add_loop_test(damage, tables_that_are_not_whole_are_made_anew, 0, ARRAY_LEN(harms));
	tcase_add_test(damage, tables_of_other_nights_are_made_anew);
	tcase_add_test(damage, a_draft_is_no_night);
	tcase_add_test(damage, one_process_at_a_time);
	tcase_add_test(damage, a_check_names_what_is_not_whole);
	suite_add_tcase(suite, text);
	suite_add_tcase(suite, like);
	suite_add_tcase(suite, nights);
	suite_add_tcase(suite, damage);
	return run_suite(suite);
}
