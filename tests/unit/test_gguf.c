/* The GGUF reader on files made here: good ones of both kinds of tokenizer, and every way of being broken that was thought of. */
#include "engine/gguf.h"

#include "base/file.h"
#include "base/mem.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[] = "/tmp/thresh-gguf-XXXXXX";
static char *path;
static struct str file;
static struct gguf gguf;
static struct error err;

static void setup(void)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	path = file_join(dir, "model.gguf");
	str_init(&file, STR_NO_CAP);
	gguf = (struct gguf){0};
	err = (struct error){0};
}

static void teardown(void)
{
	gguf_release(&gguf);
	str_release(&file);
	free(path);
	ck_assert(file_remove_tree(dir, &err));
}

/* --- writing --- */

static void put(uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		str_append_c(&file, (char)(v >> 8 * i));
}

static void put_text(const char *z)
{
	put(strlen(z), 8);
	str_append_z(&file, z);
}

static void put_head(uint32_t version, uint64_t n_pairs)
{
	str_append_z(&file, "GGUF");
	put(version, 4);
	put(0, 8);
	put(n_pairs, 8);
}

static void put_text_pair(const char *key, const char *value)
{
	put_text(key);
	put(8, 4);
	put_text(value);
}

static void put_count_pair(const char *key, uint32_t value)
{
	put_text(key);
	put(4, 4);
	put(value, 4);
}

static void put_list_head(const char *key, uint32_t type, uint64_t n)
{
	put_text(key);
	put(9, 4);
	put(type, 4);
	put(n, 8);
}

static void put_tokens(const char *const *tokens, const uint8_t *types, size_t n)
{
	put_list_head("tokenizer.ggml.tokens", 8, n);
	for (size_t i = 0; i < n; i++)
		put_text(tokens[i]);
	put_list_head("tokenizer.ggml.token_type", 5, n);
	for (size_t i = 0; i < n; i++)
		put(types[i], 4);
}

static void save(void)
{
	ck_assert(file_publish(dir, "model.gguf", file.data, file.len, &err));
}

static bool read_back(void)
{
	save();
	return gguf_read(path, &gguf, &err);
}

static void put_good_file(void)
{
	static const char *const tokens[] = {
		"<|end|>", "\xc4\xa0hi", "\xc4\x8a", "\xc3\xb0\xc5\x81", "<think>"};
	static const uint8_t types[] = {3, 1, 1, 1, 4};

	put_head(3, 8);
	put_text_pair("general.architecture", "llama");
	put_count_pair("llama.context_length", 2048);
	/* A list that is of no interest, with texts of its own. */
	put_list_head("tokenizer.ggml.merges", 8, 2);
	put_text("a b");
	put_text("c d");
	put_tokens(tokens, types, 5);
	put_text_pair("tokenizer.chat_template", "{{ messages }}");
	put_count_pair("tokenizer.ggml.eos_token_id", 0);
	put_text_pair("tokenizer.ggml.model", "gpt2");
}

static void check_piece(uint32_t id, const char *bytes, size_t len, bool special)
{
	ck_assert_uint_lt(id, gguf.n_tokens);
	ck_assert_uint_eq(gguf.pieces[id].len, len);
	ck_assert_mem_eq(gguf.pieces[id].data, bytes, len);
	ck_assert_uint_eq(gguf.special[id], special);
}

/* --- a head --- */

static void put_tensor(const char *name)
{
	put_text(name);
	put(2, 4);
	put(64, 8);
	put(1, 8);
	put(0, 4);
	put(0, 8);
}

static void put_tensors(uint64_t n_told, const char *const *names, size_t n)
{
	str_append_z(&file, "GGUF");
	put(3, 4);
	put(n_told, 8);
	put(2, 8);
	put_text_pair("general.architecture", "bert");
	put_list_head("tokenizer.ggml.merges", 8, 1);
	put_text("a b");
	for (size_t i = 0; i < n; i++)
		put_tensor(names[i]);
}

START_TEST(a_classification_head_is_found_by_its_tensors)
	{
		static const char *const with[] = {"token_embd.weight", "cls.output.weight"};
		static const char *const without[] = {"token_embd.weight", "blk.0.cls.weight"};
		bool has = false;

		put_tensors(2, with, 2);
		save();
		ck_assert_msg(gguf_has_head(path, &has, &err), "%s", err.msg);
		ck_assert(has);
		str_reset(&file);
		put_tensors(2, without, 2);
		save();
		ck_assert_msg(gguf_has_head(path, &has, &err), "%s", err.msg);
		ck_assert(!has);
	}
END_TEST

START_TEST(tensors_that_are_not_there_are_damage)
	{
		static const char *const names[] = {"token_embd.weight"};
		bool has;

		put_tensors(2, names, 1);
		save();
		ck_assert(!gguf_has_head(path, &has, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		str_reset(&file);
		put_tensors(1ull << 60, names, 1);
		save();
		ck_assert(!gguf_has_head(path, &has, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "too many"));
	}
END_TEST

/* --- good files --- */

START_TEST(byte_level_pieces_become_raw_bytes)
	{
		put_good_file();
		ck_assert_msg(read_back(), "%s", err.msg);
		ck_assert_uint_eq(gguf.n_tokens, 5);
		check_piece(0, "<|end|>", 7, true);
		check_piece(1, " hi", 3, false);
		check_piece(2, "\n", 1, false);
		check_piece(3, "\xf0\x9f", 2, false);
		check_piece(4, "<think>", 7, false);
		ck_assert_str_eq(gguf.architecture, "llama");
		ck_assert_str_eq(gguf.chat_template, "{{ messages }}");
		ck_assert_uint_eq(gguf.context, 2048);
		ck_assert_int_eq(gguf.eos_id, 0);
		ck_assert_int_eq(gguf.bos_id, -1);
	}
END_TEST

START_TEST(sentencepiece_pieces_become_raw_bytes)
	{
		static const char *const tokens[] = {
			"<unk>", "\xe2\x96\x81the", "<0x0A>", "<0xfF>", "<0xG0>"};
		static const uint8_t types[] = {2, 1, 6, 6, 6};

		put_head(2, 3);
		put_text_pair("tokenizer.ggml.model", "llama");
		put_tokens(tokens, types, 5);
		ck_assert_msg(read_back(), "%s", err.msg);
		check_piece(0, "<unk>", 5, true);
		check_piece(1, " the", 4, false);
		check_piece(2, "\n", 1, false);
		check_piece(3, "\xff", 1, false);
		check_piece(4, "<0xG0>", 6, false);
	}
END_TEST

/* All 256 bytes, each as the alphabet of byte-level BPE writes it. */
START_TEST(every_byte_of_the_byte_level_alphabet_is_decoded)
	{
		uint32_t next = 0x100;

		put_head(3, 2);
		put_text_pair("tokenizer.ggml.model", "gpt2");
		put_list_head("tokenizer.ggml.tokens", 8, 256);
		for (uint32_t byte = 0; byte < 256; byte++) {
			bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
				byte >= 174;
			uint32_t c = plain ? byte : next++;

			put(c < 0x80 ? 1 : 2, 8);
			if (c >= 0x80)
				str_append_c(&file, (char)(0xc0 | c >> 6));
			str_append_c(&file, (char)(c < 0x80 ? c : (0x80 | (c & 0x3f))));
		}
		ck_assert_msg(read_back(), "%s", err.msg);
		for (uint32_t byte = 0; byte < 256; byte++) {
			char want = (char)byte;

			check_piece(byte, &want, 1, false);
		}
	}
END_TEST

START_TEST(the_same_vocabulary_has_the_same_hash_and_another_another)
	{
		struct slice pieces[2] = {{"ab", 2}, {"c", 1}}, shifted[2] = {{"a", 1}, {"bc", 2}};
		uint8_t special[2] = {0, 1}, plain[2] = {0, 0};
		char first[33], again[33], other[33], flagged[33];

		gguf_vocab_hash(pieces, special, 2, first);
		gguf_vocab_hash(pieces, special, 2, again);
		gguf_vocab_hash(shifted, special, 2, other);
		gguf_vocab_hash(pieces, plain, 2, flagged);
		ck_assert_str_eq(first, again);
		ck_assert_str_ne(first, other);
		ck_assert_str_ne(first, flagged);
	}
END_TEST

START_TEST(the_fingerprint_sees_both_ends_and_the_size)
	{
		char whole[33], changed[33], longer[33];

		str_append_z(&file, "GGUF and some more bytes");
		save();
		ck_assert(gguf_fingerprint(path, whole, &err));
		file.data[file.len - 1] = 'S';
		save();
		ck_assert(gguf_fingerprint(path, changed, &err));
		str_append_c(&file, '!');
		save();
		ck_assert(gguf_fingerprint(path, longer, &err));
		ck_assert_str_ne(whole, changed);
		ck_assert_str_ne(changed, longer);
	}
END_TEST

/* --- bad files --- */

static void expect_refusal(const char *words)
{
	ck_assert(!read_back());
	ck_assert_int_eq(err.kind, FAIL_DATA);
	ck_assert_msg(strstr(err.msg, words) != NULL, "'%s' does not say '%s'", err.msg, words);
}

START_TEST(a_missing_file_is_an_io_error)
	{
		ck_assert(!gguf_read(path, &gguf, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
		ck_assert(!gguf_check(path, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
	}
END_TEST

START_TEST(a_folder_is_refused)
	{
		ck_assert(!gguf_check(dir, &err));
		ck_assert(err.kind == FAIL_DATA || err.kind == FAIL_IO);
	}
END_TEST

START_TEST(another_kind_of_file_is_not_a_gguf_file)
	{
		str_append_z(&file, "# Not a model, but long enough to be one\n");
		expect_refusal("is not a GGUF file");
		ck_assert(!gguf_check(path, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "is not a GGUF file"));
	}
END_TEST

START_TEST(an_empty_file_is_not_a_gguf_file)
	{
		expect_refusal("is not a GGUF file");
	}
END_TEST

START_TEST(version_1_is_refused)
	{
		put_head(1, 0);
		expect_refusal("version 1");
	}
END_TEST

START_TEST(a_big_endian_file_is_named_as_such)
	{
		put_head(0x03000000, 0);
		expect_refusal("big-endian");
	}
END_TEST

START_TEST(a_file_without_a_tokenizer_is_refused)
	{
		put_head(3, 1);
		put_text_pair("general.architecture", "llama");
		expect_refusal("has no tokenizer");
	}
END_TEST

START_TEST(a_header_cut_anywhere_is_refused)
	{
		size_t len;

		put_good_file();
		len = file.len;
		for (size_t cut = 0; cut < len; cut++) {
			str_reset(&file);
			put_good_file();
			file.len = cut;
			ck_assert_msg(!read_back(), "cut at %zu", cut);
			ck_assert_int_eq(err.kind, FAIL_DATA);
		}
	}
END_TEST

START_TEST(a_byte_changed_anywhere_does_no_harm)
	{
		size_t len;

		put_good_file();
		len = file.len;
		for (size_t at = 0; at < len; at++) {
			str_reset(&file);
			put_good_file();
			file.data[at] = (char)(file.data[at] ^ 0xff);
			if (read_back())
				gguf_release(&gguf);
		}
	}
END_TEST

START_TEST(a_text_longer_than_the_file_is_refused_before_it_is_allocated)
	{
		put_head(3, 1);
		put_text("general.name");
		put(8, 4);
		put(UINT64_MAX / 2, 8);
		expect_refusal("longer than the file");
	}
END_TEST

START_TEST(a_list_longer_than_the_file_is_refused_before_it_is_allocated)
	{
		put_head(3, 1);
		put_list_head("tokenizer.ggml.tokens", 8, 3000000);
		expect_refusal("longer than the file");
	}
END_TEST

START_TEST(a_list_whose_bytes_overflow_is_refused)
	{
		put_head(3, 1);
		put_list_head("something.else", 10, UINT64_MAX / 8 + 2);
		expect_refusal("longer than the file");
	}
END_TEST

START_TEST(a_list_of_lists_without_end_is_refused)
	{
		put_head(3, 1);
		put_list_head("deep", 9, 1);
		for (unsigned i = 0; i < 1000; i++) {
			put(9, 4);
			put(1, 8);
		}
		expect_refusal("nested too deeply");
	}
END_TEST

START_TEST(a_million_claimed_pairs_are_refused)
	{
		put_head(3, 1000000);
		expect_refusal("too many properties");
	}
END_TEST

START_TEST(token_types_must_be_as_many_as_tokens)
	{
		put_head(3, 3);
		put_text_pair("tokenizer.ggml.model", "gpt2");
		put_list_head("tokenizer.ggml.tokens", 8, 1);
		put_text("a");
		put_list_head("tokenizer.ggml.token_type", 5, 2);
		put(1, 4);
		put(1, 4);
		expect_refusal("not as many token types");
	}
END_TEST

START_TEST(an_eos_outside_of_the_vocabulary_counts_as_unknown)
	{
		put_head(3, 3);
		put_text_pair("tokenizer.ggml.model", "gpt2");
		put_list_head("tokenizer.ggml.tokens", 8, 1);
		put_text("a");
		put_count_pair("tokenizer.ggml.eos_token_id", 7);
		ck_assert_msg(read_back(), "%s", err.msg);
		ck_assert_int_eq(gguf.eos_id, -1);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gguf");
	TCase *good = tcase_create("good"), *bad = tcase_create("bad");
	SRunner *sr = srunner_create(suite);

	tcase_add_checked_fixture(good, setup, teardown);
	tcase_add_test(good, a_classification_head_is_found_by_its_tensors);
	tcase_add_test(good, tensors_that_are_not_there_are_damage);
	tcase_add_test(good, byte_level_pieces_become_raw_bytes);
	tcase_add_test(good, sentencepiece_pieces_become_raw_bytes);
	tcase_add_test(good, every_byte_of_the_byte_level_alphabet_is_decoded);
	tcase_add_test(good, the_same_vocabulary_has_the_same_hash_and_another_another);
	tcase_add_test(good, the_fingerprint_sees_both_ends_and_the_size);
	tcase_add_checked_fixture(bad, setup, teardown);
	tcase_set_timeout(bad, 30);
	tcase_add_test(bad, a_missing_file_is_an_io_error);
	tcase_add_test(bad, a_folder_is_refused);
	tcase_add_test(bad, another_kind_of_file_is_not_a_gguf_file);
	tcase_add_test(bad, an_empty_file_is_not_a_gguf_file);
	tcase_add_test(bad, version_1_is_refused);
	tcase_add_test(bad, a_big_endian_file_is_named_as_such);
	tcase_add_test(bad, a_file_without_a_tokenizer_is_refused);
	tcase_add_test(bad, a_header_cut_anywhere_is_refused);
	tcase_add_test(bad, a_byte_changed_anywhere_does_no_harm);
	tcase_add_test(bad, a_text_longer_than_the_file_is_refused_before_it_is_allocated);
	tcase_add_test(bad, a_list_longer_than_the_file_is_refused_before_it_is_allocated);
	tcase_add_test(bad, a_list_whose_bytes_overflow_is_refused);
	tcase_add_test(bad, a_list_of_lists_without_end_is_refused);
	tcase_add_test(bad, a_million_claimed_pairs_are_refused);
	tcase_add_test(bad, token_types_must_be_as_many_as_tokens);
	tcase_add_test(bad, an_eos_outside_of_the_vocabulary_counts_as_unknown);
	suite_add_tcase(suite, good);
	suite_add_tcase(suite, bad);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
