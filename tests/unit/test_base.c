/* str, arena, text, json, zip, lines, file, half, regex. */
#include "base/arena.h"
#include "base/half.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/regex.h"
#include "base/text.h"
#include "base/zip.h"
#include "fixture.h"

#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(str_refuses_to_grow_past_its_cap)
	{
		struct str s;
		str_init(&s, 4);
		str_append_z(&s, "abcd");
		ck_assert(!s.full);
		str_append_z(&s, "e");
		ck_assert(s.full);
		ck_assert_str_eq(s.data, "abcd");
		str_append_z(&s, "");
		str_reset(&s);
		str_append_z(&s, "xy");
		ck_assert_str_eq(s.data, "xy");
		str_release(&s);
	}
END_TEST

START_TEST(arena_gives_zeroed_memory_after_reset)
	{
		struct arena a = {0};
		for (int i = 0; i < 1000; i++) {
			static const char zeros[5000];
			size_t len = (size_t)(i * 37 % 5000);
			char *p = arena_alloc(&a, len);
			ck_assert(memcmp(p, zeros, len) == 0);
			memset(p, 1, len);
			if (i % 100 == 99) {
				arena_reset(&a);
			}
		}
		arena_release(&a);
	}
END_TEST

static const struct {
	const char *text;
	bool ok;
	uint64_t value;
} sizes[] = {{"64MiB", true, 67108864}, {"1GB", true, 1000000000}, {"512", true, 512},
	{"1.5KiB", true, 1536}, {"1 MiB", true, 1048576}, {"1.5", false, 0}, {"-1", false, 0},
	{"64Mib", false, 0}, {"", false, 0}, {"MiB", false, 0}, {"1e3", true, 1000}};

START_TEST(sizes_are_parsed)
	{
		uint64_t v = 0;
		ck_assert_int_eq(text_parse_size(sizes[_i].text, &v), sizes[_i].ok);
		ck_assert_uint_eq(v, sizes[_i].value);
	}
END_TEST

static const struct {
	const char *text;
	bool ok;
	uint64_t ms;
} durations[] = {{"10m", true, 600000}, {"1h30m", true, 5400000}, {"250ms", true, 250},
	{"45s", true, 45000}, {"0", true, 0}, {"10", false, 0}, {"m", false, 0},
	{"1h 30m", false, 0}, {"-5s", false, 0}};

START_TEST(durations_are_parsed)
	{
		uint64_t v = 0;
		ck_assert_int_eq(text_parse_duration(durations[_i].text, &v), durations[_i].ok);
		ck_assert_uint_eq(v, durations[_i].ms);
	}
END_TEST

START_TEST(doubles_read_back_as_written)
	{
		const double values[] = {0, 1, -1, 0.1, 1.0 / 3, 1e300, 5e-324, 123456789.125,
			-2.5e-7, 1e15, 9007199254740993.0};
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			char text[32];
			double back;
			text_format_double(values[i], text);
			ck_assert_msg(text_parse_double(text, &back), "%s", text);
			ck_assert_double_eq(back, values[i]);
		}
		double v;
		ck_assert(!text_parse_double("nan", &v) && !text_parse_double("inf", &v) &&
			!text_parse_double("0x10", &v) && !text_parse_double("1 ", &v));
	}
END_TEST

START_TEST(nearest_name_is_found_or_none)
	{
		const char *const names[] = {"temperature", "top_p", "max_tokens"};
		ck_assert_str_eq(text_nearest("temprature", names, 3), "temperature");
		ck_assert_str_eq(text_nearest("max_token", names, 3), "max_tokens");
		ck_assert_str_eq(text_nearest("tpo_p", names, 3), "top_p");
		ck_assert_ptr_null(text_nearest("seed", names, 3));
	}
END_TEST

START_TEST(utf8_refuses_surrogates_overlong_and_cut_sequences)
	{
		ck_assert(utf8_valid("caf\xc3\xa9 \xf0\x9f\x98\x80", 10));
		ck_assert(!utf8_valid("\xed\xa0\x80", 3));
		ck_assert(!utf8_valid("\xc0\x80", 2));
		ck_assert(!utf8_valid("\xe2\x82", 2));
		ck_assert(!utf8_valid("\xf5\x80\x80\x80", 4));
	}
END_TEST

START_TEST(json_writer_escapes_and_reader_gives_it_back)
	{
		struct str out;
		struct error err;
		str_init(&out, STR_NO_CAP);
		struct json_writer w = {.out = &out};
		const char hostile[] = "a\"b\\c\n\t\x01\x7f \xff \xc3\xa9\0end";
		json_begin_object(&w);
		json_key(&w, "k");
		json_put_str(&w, hostile, sizeof(hostile) - 1);
		json_key(&w, "n");
		json_begin_array(&w);
		json_put_int(&w, -5);
		json_put_uint(&w, UINT64_MAX / 2);
		json_put_num(&w, 0.1);
		json_put_num(&w, NAN);
		json_put_bool(&w, true);
		json_end_array(&w);
		json_end_object(&w);
		struct json *root = json_parse(out.data, out.len, &err);
		ck_assert_msg(root, "%s in %s", err.msg, out.data);
		size_t len;
		const char *back = json_str(json_get(root, "k"), &len);
		const char expected[] = "a\"b\\c\n\t\x01\x7f \xef\xbf\xbd \xc3\xa9\0end";
		ck_assert_uint_eq(len, sizeof(expected) - 1);
		ck_assert_mem_eq(back, expected, len);
		ck_assert_int_eq(json_kind(json_at(json_get(root, "n"), 3)), JSON_NULL);
		json_free(root);
		str_release(&out);
	}
END_TEST

static const struct {
	const char *text, *dumped;
} json_values[] = {
	{" [ ] ", "[]"},
	{"{}", "{}"},
	{"[1,-0,0.5,-1.25,1e3,1E-3,1e+20,12345678901234567890.0,0.1]",
		"[1,0,0.5,-1.25,1000.0,0.001,1e20,1.2345678901234567e19,0.10000000000000001]"},
	{"[9223372036854775807,-9223372036854775808]",
		"[9223372036854775807,-9223372036854775808]"},
	{"[5e-324,1.7976931348623157e308,-0.0]",
		"[4.9406564584124654e-324,1.7976931348623157e308,-0.0]"},
	{"[null,true,false]", "[null,true,false]"},
	{"\"\\u00e9\\u20ac\\ud83d\\ude00 \\/\\\"\\\\\\b\\f\\n\\r\\t\\u001f\"",
		"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 /\\\"\\\\\\b\\f\\n\\r\\t\\u001F\""},
	{"{\"b\":1,\"a\":{\"d\":[],\"c\":2}}", "{\"a\":{\"c\":2,\"d\":[]},\"b\":1}"},
	{"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":"
	 "11,\"l\":12,"
	 "\"m\":13,\"ab\":14}",
		"{\"a\":1,\"ab\":14,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":"
		"9,\"j\":10,"
		"\"k\":11,\"l\":12,\"m\":13}"},
};

START_TEST(json_is_read_as_it_is_written)
	{
		struct error err = {0};
		struct str out;
		str_init(&out, STR_NO_CAP);
		struct json *root = json_parse(
			json_values[_i].text, strlen(json_values[_i].text), &err);
		ck_assert_msg(root != NULL, "%s: %s", json_values[_i].text, err.msg);
		json_dump(root, true, &out);
		ck_assert_str_eq(out.data, json_values[_i].dumped);
		json_free(root);
		str_release(&out);
	}
END_TEST

/* Texts are read eight bytes at a time: whatever is no plain byte must be seen in each place of the eight. */
START_TEST(json_sees_every_byte_of_a_text)
	{
		static const struct {
			const char *written, *meant; /* meant NULL: refused */
		} marks[] = {{"\\n", "\n"}, {"\\\"", "\""}, {"\x1f", NULL}, {"\t", NULL},
			{"\xc3\xa9", "\xc3\xa9"}, {"\x80", NULL}, {"\x7f", "\x7f"},
			{"\\u00e9", "\xc3\xa9"}, {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
			{" !#[]", " !#[]"}};
		char plain[] = "abcdefghijklmnopqrstuvwxyz", text[100], meant[100];
		int before = _i % 20, behind = _i / 20;
		for (size_t k = 0; k < ARRAY_LEN(marks); k++) {
			struct error err = {0};
			int n = snprintf(text, sizeof(text), "[\"%.*s%s%.*s\",1]", before, plain,
				marks[k].written, behind, plain);
			struct json *root = json_parse(text, (size_t)n, &err);
			ck_assert_msg(!!root == !!marks[k].meant, "%s", text);
			if (root) {
				size_t len;
				const char *got = json_str(json_at(root, 0), &len);
				n = snprintf(meant, sizeof(meant), "%.*s%s%.*s", before, plain,
					marks[k].meant, behind, plain);
				ck_assert_uint_eq(len, (size_t)n);
				ck_assert_str_eq(got, meant);
			}
			json_free(root);
		}
	}
END_TEST

START_TEST(json_reads_lists_of_integers)
	{
		static const struct {
			const char *text;
			bool fine;
			int64_t second;
		} lists[] = {{"[1,22,333]", true, 22}, {"[1,0,2]", true, 0}, {"[1,00,2]", false, 0},
			{"[1,-0,2]", true, 0}, {"[1,-7,2]", true, -7},
			{"[1,999999999999999999,2]", true, 999999999999999999},
			{"[1,9223372036854775807,2]", true, INT64_MAX},
			{"[1,9223372036854775808,2]", false, 0},
			{"[1,-9223372036854775808,2]", true, INT64_MIN}, {"[1 , 5 , 6]", true, 5},
			{"[1,5", false, 0}, {"[1,5,", false, 0}, {"[1,5,]", false, 0},
			{"[,5]", false, 0}, {"[1,,5]", false, 0}, {"[1,5x]", false, 0}};
		for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
			struct error err = {0};
			struct json *root = json_parse(lists[i].text, strlen(lists[i].text), &err);
			int64_t got = -1;
			ck_assert_msg(!!root == lists[i].fine, "%s: %s", lists[i].text, err.msg);
			ck_assert_msg(!root ||
					(json_int(json_at(root, 1), &got) &&
						got == lists[i].second),
				"%s", lists[i].text);
			json_free(root);
		}
	}
END_TEST

START_TEST(json_keeps_the_order_of_members)
	{
		struct error err = {0};
		static const char text[] = "{\"z\":1,\"a\":2,\"m\":[10,20,30]}";
		struct str out;
		int64_t v;
		str_init(&out, STR_NO_CAP);
		struct json *root = json_parse(text, sizeof(text) - 1, &err);
		json_dump(root, false, &out);
		ck_assert_str_eq(out.data, text);
		ck_assert_uint_eq(json_len(root), 3);
		ck_assert(json_int(json_at(json_get(root, "m"), 2), &v));
		ck_assert_int_eq(v, 30);
		ck_assert_ptr_null(json_at(json_get(root, "m"), 3));
		ck_assert_ptr_null(json_get(root, "b"));
		ck_assert_ptr_null(json_get(json_get(root, "z"), "b"));
		json_free(root);
		str_release(&out);
	}
END_TEST

static const struct {
	const char *text, *told;
} json_wrongs[] = {
	{"", "no value (line 1, column 1)"},
	{"[1,\n 2,]", "no value (line 2, column 4)"},
	{"[1 2]", "',' or ']' is missing (line 1, column 4)"},
	{"{\"a\" 1}", "':' is missing (line 1, column 6)"},
	{"{\"a\":1,}", "a key in quotes is missing"},
	{"{a:1}", "a key in quotes is missing"},
	{"{\"a\":1", "',' or '}' is missing"},
	{"{\"a\":1,\"b\":2,\"a\":3}", "the same key twice"},
	{"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":"
	 "11,\"l\":12,"
	 "\"m\":13,\"d\":14}",
		"the same key twice"},
	{"{\"a\\u0000\":1}", "a key with a NUL"},
	{"\"abc", "a string without an end"},
	{"\"a\nb\"", "a control character in a string"},
	{"\"\\x\"", "an unknown escape"},
	{"\"\\u12g4\"", "four hexadecimal digits"},
	{"\"\\ud800\"", "a high surrogate without a low one"},
	{"\"\\ud800\\u0041\"", "a high surrogate without a low one"},
	{"\"\\udc00\"", "a low surrogate without a high one"},
	{"\"\xff\"", "not UTF-8"},
	{"\"\xc0\x80\"", "not UTF-8"},
	{"\"\xed\xa0\x80\"", "not UTF-8"},
	{"9223372036854775808", "an integer beyond 64 bits"},
	{"-9223372036854775809", "an integer beyond 64 bits"},
	{"100000000000000000000000000", "an integer beyond 64 bits"},
	{"1e999", "beyond what a double holds"},
	{"01", "no value"},
	{"1.", "no digit behind the point"},
	{"1e", "no digit in the exponent"},
	{"-", "no value"},
	{"+1", "no value"},
	{"nul", "no value"},
	{"NaN", "no value"},
	{"1 1", "something behind the value"},
	{"[1]]", "something behind the value"},
};

START_TEST(json_says_what_is_wrong_and_where)
	{
		struct error err = {0};
		const char *text = json_wrongs[_i].text;
		ck_assert_ptr_null(json_parse(text, strlen(text), &err));
		ck_assert_msg(
			strstr(err.msg, json_wrongs[_i].told) != NULL, "%s: %s", text, err.msg);
	}
END_TEST

START_TEST(json_limits_brackets_in_each_other)
	{
		struct error err = {0};
		AUTO_FREE char *deep = xmalloc(200001);
		memset(deep, '[', 100000);
		memset(deep + 100000, ']', 100000);
		ck_assert_ptr_null(json_parse(deep, 200000, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "too many brackets"));
		struct json *root = json_parse(deep + 100000 - 512, 1024, &err);
		ck_assert_ptr_nonnull(root);
		json_free(root);
	}
END_TEST

START_TEST(json_refuses_what_is_no_single_value)
	{
		const char *const bad[] = {"", "{", "{} x", "{\"a\":1,\"a\":2}", "[1,]",
			"\"\\ud800\"", "nul", "\"\xff\""};
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			struct error err = {0};
			ck_assert_msg(!json_parse(bad[i], strlen(bad[i]), &err), "%s", bad[i]);
			ck_assert_int_eq(err.kind, FAIL_DATA);
		}
	}
END_TEST

START_TEST(zip_gives_back_and_refuses_damage)
	{
		struct zip z = {0};
		struct str text, zipped, back;
		struct error err;
		str_init(&text, STR_NO_CAP);
		str_init(&zipped, STR_NO_CAP);
		str_init(&back, STR_NO_CAP);
		for (int i = 0; i < 500; i++) {
			str_printf(&text, "line %d of a text that repeats itself\n", i % 17);
		}
		zip_compress(&z, text.data, text.len, 3, &zipped);
		ck_assert_ok(
			zip_decompress(&z, zipped.data, zipped.len, text.len, &back, &err), err);
		ck_assert_mem_eq(back.data, text.data, text.len);
		ck_assert(!zip_decompress(&z, zipped.data, zipped.len, text.len - 1, &back, &err));
		for (size_t i = 0; i < zipped.len; i++) {
			str_reset(&back);
			ck_assert(!zip_decompress(&z, zipped.data, i, text.len, &back, &err));
			char was = zipped.data[i];
			zipped.data[i] = (char)(was ^ 0x10);
			str_reset(&back);
			bool ok = zip_decompress(
				&z, zipped.data, zipped.len, text.len, &back, &err);
			ck_assert(!ok || memcmp(back.data, text.data, text.len) == 0);
			zipped.data[i] = was;
		}
		zip_release(&z);
		str_release(&text);
		str_release(&zipped);
		str_release(&back);
	}
END_TEST

START_TEST(zip_stream_takes_a_frame_of_unknown_size_up_to_the_limit)
	{
		/* 300,000 times 'a' in blocks of one repeated byte, the size not stated. */
		static const char frame[] = "\x28\xb5\x2f\xfd\x00\x58"
					    "\x02\x35\x0c"
					    "a"
					    "\x02\x35\x0c"
					    "a"
					    "\x03\x35\x0c"
					    "a";
		const size_t len = sizeof(frame) - 1;
		struct zip z = {0};
		struct str back;
		struct error err;
		uint64_t n = 0;
		str_init(&back, STR_NO_CAP);
		ck_assert(!zip_decompress(&z, frame, len, 1 << 20, &back, &err));
		ck_assert_ok(zip_decompress_stream(&z, frame, len, 300000, &back, &n, &err), err);
		ck_assert_uint_eq(n, 300000);
		ck_assert_uint_eq(back.len, 300000);
		ck_assert_int_eq(back.data[299999], 'a');
		n = 0;
		ck_assert_ok(zip_decompress_stream(&z, frame, len, 300000, NULL, &n, &err), err);
		ck_assert_uint_eq(n, 300000);
		ck_assert(!zip_decompress_stream(&z, frame, len, 299999, NULL, &n, &err));
		for (size_t cut = 0; cut < len; cut++) {
			ck_assert(!zip_decompress_stream(&z, frame, cut, 1 << 20, NULL, &n, &err));
		}
		ck_assert(!zip_decompress_stream(&z, frame, len + 1, 1 << 20, NULL, &n, &err));
		zip_release(&z);
		str_release(&back);
	}
END_TEST

START_TEST(text_of_unknown_origin_cannot_steer_a_terminal)
	{
		/* Escape, C1's CSI as UTF-8 and as a bare byte, a cut character; what is harmless stays. */
		static const char text[] = "\x1b[31m\xc2\x9b\x9b \xc3\xa9\n\xe2\x82";
		struct str s;
		str_init(&s, STR_NO_CAP);
		text_put_printable(&s, text, sizeof(text) - 1, false);
		ck_assert_str_eq(s.data, "\\x1b[31m\\x9b\\x9b \xc3\xa9\\n\\xe2\\x82");
		str_reset(&s);
		text_put_printable(&s, "a\nb\0c", 5, true);
		ck_assert_str_eq(s.data, "a\nb\\x00c");
		str_release(&s);
	}
END_TEST

static void write_file(const char *name, const char *bytes, size_t len)
{
	struct error err;
	ck_assert_ok(file_publish(fixture_dir, name, bytes, len, &err), err);
}

static void check_lines(const char *path, const char *const *expected, size_t n)
{
	struct lines in;
	struct slice line;
	struct error err;
	ck_assert_ok(lines_open(&in, path, 1000000, &err), err);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(lines_next(&in, &line, &err), LINES_LINE);
		ck_assert_uint_eq(in.line_no, i + 1);
		ck_assert(slice_eq_z(line, expected[i]));
	}
	ck_assert_int_eq(lines_next(&in, &line, &err), LINES_END);
	lines_release(&in);
}

START_TEST(lines_are_the_same_plain_and_zstd)
	{
		const char text[] = "one\r\n\nthree\nlast without newline";
		const char *const expected[] = {"one", "", "three", "last without newline"};
		struct zip z = {0};
		struct str zipped;
		str_init(&zipped, STR_NO_CAP);
		zip_compress(&z, text, 10, 3, &zipped);
		zip_compress(&z, text + 10, sizeof(text) - 11, 3, &zipped);
		write_file("a.jsonl", text, sizeof(text) - 1);
		write_file("a.jsonl.zst", zipped.data, zipped.len);
		write_file("cut.zst", zipped.data, zipped.len - 5);
		AUTO_FREE char *plain = fixture_path("a.jsonl");
		AUTO_FREE char *packed = fixture_path("a.jsonl.zst");
		AUTO_FREE char *cut = fixture_path("cut.zst");
		check_lines(plain, expected, 4);
		check_lines(packed, expected, 4);
		struct lines in;
		struct slice line;
		struct error err;
		enum lines_result got;
		ck_assert_ok(lines_open(&in, cut, 1000000, &err), err);
		while ((got = lines_next(&in, &line, &err)) == LINES_LINE) {
		}
		ck_assert_int_eq(got, LINES_FAILED);
		lines_release(&in);
		zip_release(&z);
		str_release(&zipped);
	}
END_TEST

START_TEST(a_line_over_the_limit_is_an_error_with_its_place)
	{
		struct str text;
		str_init(&text, STR_NO_CAP);
		str_append_z(&text, "short\n");
		for (int i = 0; i < 600000; i++) {
			str_append_c(&text, 'x');
		}
		write_file("long", text.data, text.len);
		str_release(&text);
		AUTO_FREE char *path = fixture_path("long");
		struct lines in;
		struct slice line;
		struct error err = {0};
		ck_assert_ok(lines_open(&in, path, 1000, &err), err);
		ck_assert_int_eq(lines_next(&in, &line, &err), LINES_LINE);
		ck_assert_int_eq(lines_next(&in, &line, &err), LINES_FAILED);
		ck_assert_ptr_nonnull(strstr(err.where, "long:2"));
		lines_release(&in);
	}
END_TEST

START_TEST(an_unpublished_draft_leaves_nothing)
	{
		struct file_draft draft;
		struct error err;
		ck_assert_ok(file_draft_open(&draft, fixture_dir, "f", &err), err);
		ck_assert_ok(file_draft_write(&draft, "x", 1, &err), err);
		file_draft_release(&draft);
		AUTO_FREE char *path = fixture_path("f");
		AUTO_FREE char *temp = fixture_path(".tmp-f~");
		ck_assert(!file_exists(path) && !file_exists(temp));
	}
END_TEST

START_TEST(drafts_are_removed_and_folders_stay)
	{
		struct error err;
		AUTO_FREE char *dir = fixture_path(".tmp-made-by-another");
		AUTO_FREE char *draft = fixture_path(".tmp-f");
		fixture_write(".tmp-f", "of a run that was killed");
		ck_assert_ok(file_make_dirs(dir, &err), err);
		ck_assert_ok(file_remove_drafts(fixture_dir, &err), err);
		ck_assert(!file_exists(draft) && file_is_dir(dir));
	}
END_TEST

START_TEST(a_lock_that_is_held_names_the_holder)
	{
		AUTO_FREE char *path = fixture_path(".lock");
		struct file_lock lock = FILE_LOCK_INIT;
		struct error err;
		ck_assert_ok(file_lock_take(&lock, path, &err), err);
		pid_t pid = fork();
		if (pid == 0) {
			struct file_lock other = FILE_LOCK_INIT;
			char expected[32];
			snprintf(expected, sizeof(expected), "pid %ld", (long)getppid());
			_exit(!file_lock_take(&other, path, &err) && strstr(err.msg, expected) &&
						file_lock_holder(path) == getppid()
					? 0
					: 1);
		}
		int status;
		waitpid(pid, &status, 0);
		ck_assert_int_eq(WEXITSTATUS(status), 0);
		file_lock_release(&lock);
		ck_assert_int_eq(file_lock_holder(path), 0);
	}
END_TEST

START_TEST(halves_round_to_nearest_even_and_keep_nan)
	{
		const struct {
			float in, out;
		} cases[] = {{0, 0}, {-1, -1}, {65504, 65504}, {1e30f, INFINITY},
			{-2.3456f, -2.345703125f}, {5.9604645e-8f, 5.9604645e-8f}, {1e-10f, 0},
			{2049, 2048}, {2051, 2052}};
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct str s;
			float back;
			str_init(&s, STR_NO_CAP);
			half_encode(&cases[i].in, 1, &s);
			half_decode(s.data, 1, &back);
			ck_assert_msg(back == cases[i].out, "%g gave %g", (double)cases[i].in,
				(double)back);
			str_release(&s);
		}
		struct str s;
		float nan_in = NAN, back;
		str_init(&s, STR_NO_CAP);
		half_encode(&nan_in, 1, &s);
		half_decode(s.data, 1, &back);
		ck_assert(isnan(back));
		str_release(&s);
	}
END_TEST

START_TEST(context_is_put_before_the_message_and_long_ones_are_cut)
	{
		struct error err;
		error_set(&err, FAIL_IO, "could not open");
		error_context(&err, "stage '%s'", "pack");
		ck_assert_str_eq(err.msg, "stage 'pack': could not open");
		for (int i = 0; i < 100; i++) {
			error_context(&err, "a context that is rather long, number %d", i);
		}
		ck_assert_uint_lt(strlen(err.msg), sizeof(err.msg));
		ck_assert_ptr_nonnull(strstr(err.msg, "number 99"));
	}
END_TEST

START_TEST(regex_find_gives_the_whole_match)
	{
		static const struct {
			const char *pattern, *text;
			const char *match; /* NULL: none */
		} cases[] = {
			{"(b+)c", "abbcd", "bbc"},
			{"(?<answer>b)(c)", "abcd", "bc"},
			{"b\\Kc", "abcd", "c"},
			{"(a)\\1", "baab", "aa"},
			{"x*", "abc", ""},
			{"B", "abc", NULL},
			{"(?i)B", "abc", "b"},
			{"c",
				"a\xff\xff"
				"c",
				"c"},
		};
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct error err;
			struct slice match = {NULL, 0};
			struct regex *re = regex_new(cases[i].pattern, false, &err);
			ck_assert_msg(re, "%s", err.msg);
			enum regex_result result = regex_find(
				re, cases[i].text, strlen(cases[i].text), 0, &match);
			ck_assert_int_eq(result, cases[i].match ? REGEX_MATCH : REGEX_NO_MATCH);
			ck_assert_msg(!cases[i].match || slice_eq_z(match, cases[i].match),
				"%s matched '%.*s'", cases[i].pattern, (int)match.len, match.data);
			regex_free(re);
		}
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, str_refuses_to_grow_past_its_cap);
	tcase_add_test(t, arena_gives_zeroed_memory_after_reset);
	tcase_add_loop_test(t, sizes_are_parsed, 0, ARRAY_LEN(sizes));
	tcase_add_loop_test(t, durations_are_parsed, 0, ARRAY_LEN(durations));
	tcase_add_test(t, doubles_read_back_as_written);
	tcase_add_test(t, nearest_name_is_found_or_none);
	tcase_add_test(t, utf8_refuses_surrogates_overlong_and_cut_sequences);
	tcase_add_test(t, json_writer_escapes_and_reader_gives_it_back);
	tcase_add_loop_test(t, json_is_read_as_it_is_written, 0, ARRAY_LEN(json_values));
	tcase_add_loop_test(t, json_sees_every_byte_of_a_text, 0, 400);
	tcase_add_test(t, json_reads_lists_of_integers);
	tcase_add_test(t, json_keeps_the_order_of_members);
	tcase_add_loop_test(t, json_says_what_is_wrong_and_where, 0, ARRAY_LEN(json_wrongs));
	tcase_add_test(t, json_limits_brackets_in_each_other);
	tcase_add_test(t, json_refuses_what_is_no_single_value);
	tcase_add_test(t, zip_gives_back_and_refuses_damage);
	tcase_add_test(t, zip_stream_takes_a_frame_of_unknown_size_up_to_the_limit);
	tcase_add_test(t, text_of_unknown_origin_cannot_steer_a_terminal);
	tcase_add_test(t, lines_are_the_same_plain_and_zstd);
	tcase_add_test(t, a_line_over_the_limit_is_an_error_with_its_place);
	tcase_add_test(t, an_unpublished_draft_leaves_nothing);
	tcase_add_test(t, drafts_are_removed_and_folders_stay);
	tcase_add_test(t, a_lock_that_is_held_names_the_holder);
	tcase_add_test(t, halves_round_to_nearest_even_and_keep_nan);
	tcase_add_test(t, context_is_put_before_the_message_and_long_ones_are_cut);
	tcase_add_test(t, regex_find_gives_the_whole_match);
	suite_add_tcase(s, t);
	return run_suite(s);
}
