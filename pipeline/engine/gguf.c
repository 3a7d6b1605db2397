/*
 * GGUF is: magic, version, counts, then key-value pairs, then tensor infos and weights that we never look at. Pairs come in any order,
 * so the raw token texts are kept until the end, when the tokenizer's kind tells how to turn them into bytes:
 *
 * - "gpt2" (byte-level BPE) writes each byte as one printable character: the printable ones of Latin-1 stand for
 *   themselves, the other 68 are counted up from U+0100.
 * - "llama", "t5", "bert", "plamo2" (SentencePiece and kin) write a space as U+2581 and a single byte as <0x0A>.
 *
 * Control and user-defined tokens are written plainly in both. This is what llama.cpp does when it prints tokens; a
 * test compares all 49,152 pieces of the default model with what the server says.
 */
#include "engine/gguf.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PAIRS_MAX 65536
#define KEY_BYTES_MAX 65535
#define TEXT_BYTES_MAX (4u << 20)
#define TOKEN_BYTES_MAX 65536
#define TOKENS_MAX (4u << 20)
#define TOKENS_BYTES_MAX (256u << 20)
#define ARRAY_DEPTH_MAX 4
#define TENSORS_MAX 1000000
#define TENSOR_DIMS_MAX 8
#define FINGERPRINT_PART_BYTES (1u << 20)

enum value_type {
	T_UINT8,
	T_INT8,
	T_UINT16,
	T_INT16,
	T_UINT32,
	T_INT32,
	T_FLOAT32,
	T_BOOL,
	T_STRING,
	T_ARRAY,
	T_UINT64,
	T_INT64,
	T_FLOAT64,
	N_TYPES
};

static const uint8_t type_bytes[N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

enum token_type {
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN,
	TOKEN_CONTROL,
	TOKEN_USER_DEFINED,
	TOKEN_UNUSED,
	TOKEN_BYTE,
};

struct reader {
	FILE *file;
	const char *path;
	uint64_t left; /* bytes of the file not yet read */
	struct gguf *out;
	struct slice *texts; /* raw, n_texts */
	uint32_t n_texts;
	uint8_t *types; /* n_types */
	uint32_t n_types;
};

static bool malformed(const struct reader *r, struct error *err, const char *what)
{
	error_set(err, FAIL_DATA, "model file '%s' is damaged: %s", r->path, what);
	return error_hint(err, "copy or download it again");
}

static bool take(struct reader *r, void *buf, uint64_t len, struct error *err)
{
	if (len > r->left || fread(buf, 1, (size_t)len, r->file) != len)
		return malformed(r, err, "it ends in the middle of its header");
	r->left -= len;
	return true;
}

static bool skip(struct reader *r, uint64_t len, struct error *err)
{
	if (len > r->left)
		return malformed(r, err, "it ends in the middle of its header");
	if (fseeko(r->file, (off_t)len, SEEK_CUR) != 0)
		return error_errno(err, "could not read model file '%s'", r->path);
	r->left -= len;
	return true;
}

static uint64_t little(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static bool take_number(struct reader *r, size_t bytes, uint64_t *out, struct error *err)
{
	unsigned char buf[8];

	assert(bytes <= sizeof(buf));
	if (!take(r, buf, bytes, err))
		return false;
	*out = little(buf, bytes);
	return true;
}

static bool take_text(struct reader *r, uint64_t limit, struct slice *out, struct error *err)
{
	uint64_t len;
	char *text;

	if (!take_number(r, 8, &len, err))
		return false;
	if (len > limit || len > r->left)
		return malformed(r, err, "a text is longer than the file or the limit");
	text = arena_alloc(&r->out->arena, (size_t)len + 1);
	if (!take(r, text, len, err))
		return false;
	*out = (struct slice){text, (size_t)len};
	return true;
}

/* --- values --- */

static bool skip_value(struct reader *r, uint64_t type, unsigned depth, struct error *err);

static bool skip_text(struct reader *r, struct error *err)
{
	uint64_t len;

	return take_number(r, 8, &len, err) && skip(r, len, err);
}

static bool skip_array(struct reader *r, unsigned depth, struct error *err)
{
	uint64_t type, n;

	if (depth >= ARRAY_DEPTH_MAX)
		return malformed(r, err, "its lists are nested too deeply");
	if (!take_number(r, 4, &type, err) || !take_number(r, 8, &n, err))
		return false;
	if (type >= N_TYPES)
		return malformed(r, err, "a list is of an unknown type");
	/* Each entry takes at least one byte, so that a count that is a lie is found before it is believed. */
	if (n > r->left)
		return malformed(r, err, "a list is longer than the file");
	if (type_bytes[type] != 0)
		return n <= r->left / type_bytes[type]
			? skip(r, n * type_bytes[type], err)
			: malformed(r, err, "a list is longer than the file");
	for (uint64_t i = 0; i < n; i++) {
		if (!skip_value(r, type, depth + 1, err))
			return false;
	}
	return true;
}

static bool skip_value(struct reader *r, uint64_t type, unsigned depth, struct error *err)
{
	if (type >= N_TYPES)
		return malformed(r, err, "a value is of an unknown type");
	if (type == T_STRING)
		return skip_text(r, err);
	if (type == T_ARRAY)
		return skip_array(r, depth, err);
	return skip(r, type_bytes[type], err);
}

/* A text without NULs; other types are skipped, since a key may change its type and the rest still be good. */
static bool read_text(struct reader *r, uint64_t type, const char **out, struct error *err)
{
	struct slice text;

	if (type != T_STRING)
		return skip_value(r, type, 0, err);
	if (!take_text(r, TEXT_BYTES_MAX, &text, err))
		return false;
	if (memchr(text.data, '\0', text.len) == NULL)
		*out = text.data;
	return true;
}

static bool read_count(struct reader *r, uint64_t type, int64_t *out, struct error *err)
{
	uint64_t v;

	if (type != T_UINT32 && type != T_INT32 && type != T_UINT64 && type != T_INT64)
		return skip_value(r, type, 0, err);
	if (!take_number(r, type_bytes[type], &v, err))
		return false;
	if (v < INT32_MAX)
		*out = (int64_t)v;
	return true;
}

static bool read_array_head(struct reader *r, uint64_t type, uint64_t want, uint64_t want2,
	uint32_t *out_n, struct error *err)
{
	uint64_t item, n;

	if (type != T_ARRAY)
		return malformed(r, err, "the tokens are no list");
	if (!take_number(r, 4, &item, err) || !take_number(r, 8, &n, err))
		return false;
	if (item != want && item != want2)
		return malformed(r, err, "the list of tokens is of a wrong type");
	if (n > TOKENS_MAX || n > r->left)
		return malformed(r, err, "the list of tokens is longer than the file or the limit");
	*out_n = (uint32_t)n;
	return true;
}

static bool read_tokens(struct reader *r, uint64_t type, struct error *err)
{
	uint64_t total = 0;
	uint32_t n;

	if (r->texts != NULL)
		return malformed(r, err, "it has two lists of tokens");
	if (!read_array_head(r, type, T_STRING, T_STRING, &n, err))
		return false;
	if ((uint64_t)n * 8 > r->left)
		return malformed(r, err, "the list of tokens is longer than the file or the limit");
	r->texts = arena_alloc_array(&r->out->arena, n, sizeof(*r->texts));
	r->n_texts = n;
	for (uint32_t i = 0; i < n; i++) {
		if (!take_text(r, TOKEN_BYTES_MAX, &r->texts[i], err))
			return false;
		total += r->texts[i].len;
		if (total > TOKENS_BYTES_MAX)
			return malformed(r, err, "its tokens are longer than the limit");
	}
	return true;
}

static bool read_types(struct reader *r, uint64_t type, struct error *err)
{
	uint32_t n;

	if (r->types != NULL)
		return malformed(r, err, "it has two lists of token types");
	if (!read_array_head(r, type, T_INT32, T_UINT32, &n, err))
		return false;
	if ((uint64_t)n * 4 > r->left)
		return malformed(r, err, "the list of token types is longer than the file");
	r->types = arena_alloc_array(&r->out->arena, n, sizeof(*r->types));
	r->n_types = n;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v;

		if (!take_number(r, 4, &v, err))
			return false;
		r->types[i] = v <= TOKEN_BYTE ? (uint8_t)v : TOKEN_NORMAL;
	}
	return true;
}

static bool ends_with(struct slice key, const char *end)
{
	size_t n = strlen(end);

	return key.len >= n && memcmp(key.data + key.len - n, end, n) == 0;
}

static bool read_pair(struct reader *r, struct error *err)
{
	struct gguf *out = r->out;
	struct slice key;
	uint64_t type;
	int64_t context = 0;

	if (!take_text(r, KEY_BYTES_MAX, &key, err) || !take_number(r, 4, &type, err))
		return false;
	if (slice_eq_z(key, "general.architecture"))
		return read_text(r, type, &out->architecture, err);
	if (slice_eq_z(key, "general.name"))
		return read_text(r, type, &out->name, err);
	if (slice_eq_z(key, "tokenizer.ggml.model"))
		return read_text(r, type, &out->tokenizer, err);
	if (slice_eq_z(key, "tokenizer.ggml.pre"))
		return read_text(r, type, &out->pre_tokenizer, err);
	if (slice_eq_z(key, "tokenizer.chat_template"))
		return read_text(r, type, &out->chat_template, err);
	if (slice_eq_z(key, "tokenizer.ggml.bos_token_id"))
		return read_count(r, type, &out->bos_id, err);
	if (slice_eq_z(key, "tokenizer.ggml.eos_token_id"))
		return read_count(r, type, &out->eos_id, err);
	if (slice_eq_z(key, "tokenizer.ggml.tokens"))
		return read_tokens(r, type, err);
	if (slice_eq_z(key, "tokenizer.ggml.token_type"))
		return read_types(r, type, err);
	if (!ends_with(key, ".context_length"))
		return skip_value(r, type, 0, err);
	if (!read_count(r, type, &context, err))
		return false;
	out->context = (uint32_t)context;
	return true;
}

/* --- pieces --- */

/* The byte that a character of the byte-level alphabet stands for; -1: none. */
static int byte_of(uint32_t c)
{
	if (c < 0x100)
		return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c != 0xad) ? (int)c : -1;
	/* The bytes left out above, in order: 00-20, 7f-a0, ad. */
	c -= 0x100;
	if (c <= 0x20)
		return (int)c;
	if (c <= 0x20 + 0x22)
		return (int)(c - 0x21 + 0x7f);
	return c == 0x43 ? 0xad : -1;
}

static struct slice decode_byte_level(struct arena *arena, struct slice text)
{
	char *out = arena_alloc(arena, text.len + 1);
	size_t n = 0, at = 0;

	while (at < text.len) {
		uint32_t c;
		unsigned len = utf8_decode(text.data + at, text.len - at, &c);
		int byte = len > 0 ? byte_of(c) : -1;

		/* A token that is not written in the alphabet stands for itself. */
		if (byte < 0)
			return text;
		out[n++] = (char)byte;
		at += len;
	}
	return (struct slice){out, n};
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct slice decode_byte_token(struct arena *arena, struct slice text)
{
	int hi, lo;
	char *out;

	if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
		return text;
	hi = hex_digit(text.data[3]);
	lo = hex_digit(text.data[4]);
	if (hi < 0 || lo < 0)
		return text;
	out = arena_alloc(arena, 2);
	out[0] = (char)(hi << 4 | lo);
	return (struct slice){out, 1};
}

static struct slice decode_spaces(struct arena *arena, struct slice text)
{
	static const char mark[] = "\xe2\x96\x81"; /* U+2581 */
	char *out = arena_alloc(arena, text.len + 1);
	size_t n = 0, at = 0;

	while (at < text.len) {
		if (text.len - at >= 3 && memcmp(text.data + at, mark, 3) == 0) {
			out[n++] = ' ';
			at += 3;
		} else {
			out[n++] = text.data[at++];
		}
	}
	return (struct slice){out, n};
}

static struct slice decode_piece(
	struct arena *arena, bool byte_level, unsigned type, struct slice text)
{
	if (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER_DEFINED)
		return text;
	if (type == TOKEN_BYTE)
		return decode_byte_token(arena, text);
	return byte_level ? decode_byte_level(arena, text) : decode_spaces(arena, text);
}

static bool decode_pieces(struct reader *r, struct error *err)
{
	struct gguf *out = r->out;
	struct slice *pieces;
	uint8_t *special;
	bool byte_level;

	if (r->texts == NULL || out->tokenizer == NULL || r->n_texts == 0)
		return error_set(err, FAIL_DATA, "model file '%s' has no tokenizer", r->path);
	if (r->types != NULL && r->n_types != r->n_texts)
		return malformed(r, err, "it has not as many token types as tokens");
	byte_level = strcmp(out->tokenizer, "gpt2") == 0;
	pieces = arena_alloc_array(&out->arena, r->n_texts, sizeof(*pieces));
	special = arena_alloc(&out->arena, r->n_texts);
	for (uint32_t i = 0; i < r->n_texts; i++) {
		unsigned type = r->types != NULL ? r->types[i] : TOKEN_NORMAL;

		pieces[i] = decode_piece(&out->arena, byte_level, type, r->texts[i]);
		special[i] = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
	}
	out->pieces = pieces;
	out->special = special;
	out->n_tokens = r->n_texts;
	return true;
}

/* --- files --- */

static FILE *open_model(const char *path, uint64_t *out_size, struct error *err)
{
	FILE *file = fopen(path, "rbe");
	struct stat st;

	if (file == NULL || fstat(fileno(file), &st) != 0) {
		error_errno(err, "could not open model file '%s'", path);
		if (file == NULL && errno == ENOENT)
			error_hint(err,
				"`serve.model` is a path, relative to the folder that thresh was "
				"started in");
	} else if (!S_ISREG(st.st_mode)) {
		error_set(err, FAIL_DATA, "model file '%s' is not a regular file", path);
	} else {
		*out_size = (uint64_t)st.st_size;
		return file;
	}
	if (file != NULL)
		fclose(file);
	return NULL;
}

static bool check_head(const char *path, const unsigned char *head, size_t n, struct error *err)
{
	uint64_t version = little(head + 4, 4);

	if (n < 8 || memcmp(head, "GGUF", 4) != 0) {
		error_set(err, FAIL_DATA, "model file '%s' is not a GGUF file", path);
		return error_hint(err,
			"llama.cpp's convert_hf_to_gguf.py makes one from a Hugging Face model");
	}
	if (version == 2 || version == 3)
		return true;
	if ((version & 0xffff) == 0)
		return error_set(err, FAIL_DATA, "model file '%s' is a big-endian GGUF file", path);
	return error_set(err, FAIL_DATA,
		"model file '%s' is a GGUF file of version %llu, not 2 or 3", path,
		(unsigned long long)version);
}

bool gguf_check(const char *path, struct error *err)
{
	unsigned char head[8] = {0};
	uint64_t size;
	AUTO_FILE FILE *file = open_model(path, &size, err);

	if (file == NULL)
		return false;
	return check_head(path, head, fread(head, 1, sizeof(head), file), err);
}

static bool read_all(struct reader *r, struct error *err)
{
	unsigned char head[8] = {0};
	size_t n = fread(head, 1, sizeof(head), r->file);
	uint64_t n_tensors, n_pairs;

	if (!check_head(r->path, head, n, err))
		return false;
	r->left -= n;
	if (!take_number(r, 8, &n_tensors, err) || !take_number(r, 8, &n_pairs, err))
		return false;
	if (n_pairs > PAIRS_MAX)
		return malformed(r, err, "it claims to have too many properties");
	for (uint64_t i = 0; i < n_pairs; i++) {
		if (!read_pair(r, err))
			return false;
	}
	return decode_pieces(r, err);
}

bool gguf_read(const char *path, struct gguf *out, struct error *err)
{
	struct gguf gguf = {.bos_id = -1, .eos_id = -1};
	struct reader r = {.path = path, .out = &gguf};
	AUTO_FILE FILE *file = open_model(path, &r.left, err);

	if (file == NULL)
		return false;
	r.file = file;
	if (!read_all(&r, err)) {
		gguf_release(&gguf);
		return false;
	}
	if (gguf.eos_id >= gguf.n_tokens)
		gguf.eos_id = -1;
	if (gguf.bos_id >= gguf.n_tokens)
		gguf.bos_id = -1;
	*out = gguf;
	return true;
}

static bool skip_pair(struct reader *r, struct error *err)
{
	uint64_t type;

	return skip_text(r, err) && take_number(r, 4, &type, err) && skip_value(r, type, 0, err);
}

/* Name, dimensions, type, offset. */
static bool take_tensor(struct reader *r, struct slice *out_name, struct error *err)
{
	uint64_t n_dims;

	if (!take_text(r, KEY_BYTES_MAX, out_name, err) || !take_number(r, 4, &n_dims, err))
		return false;
	if (n_dims > TENSOR_DIMS_MAX)
		return malformed(r, err, "a tensor has too many dimensions");
	return skip(r, 8 * n_dims + 4 + 8, err);
}

static bool find_head(struct reader *r, bool *out, struct error *err)
{
	static const char prefix[] = "cls.";
	unsigned char head[8] = {0};
	size_t n = fread(head, 1, sizeof(head), r->file);
	uint64_t n_tensors, n_pairs;

	if (!check_head(r->path, head, n, err))
		return false;
	r->left -= n;
	if (!take_number(r, 8, &n_tensors, err) || !take_number(r, 8, &n_pairs, err))
		return false;
	if (n_pairs > PAIRS_MAX || n_tensors > TENSORS_MAX)
		return malformed(r, err, "it claims to have too many properties or tensors");
	for (uint64_t i = 0; i < n_pairs; i++) {
		if (!skip_pair(r, err))
			return false;
	}
	*out = false;
	for (uint64_t i = 0; i < n_tensors && !*out; i++) {
		struct slice name;

		if (!take_tensor(r, &name, err))
			return false;
		*out = name.len > strlen(prefix) && memcmp(name.data, prefix, strlen(prefix)) == 0;
		arena_reset(&r->out->arena);
	}
	return true;
}

bool gguf_has_head(const char *path, bool *out, struct error *err)
{
	struct gguf names = {0};
	struct reader r = {.path = path, .out = &names};
	AUTO_FILE FILE *file = open_model(path, &r.left, err);
	bool ok;

	if (file == NULL)
		return false;
	r.file = file;
	ok = find_head(&r, out, err);
	arena_release(&names.arena);
	return ok;
}

void gguf_release(struct gguf *gguf)
{
	if (gguf == NULL)
		return;
	arena_release(&gguf->arena);
	*gguf = (struct gguf){.bos_id = -1, .eos_id = -1};
}

bool gguf_fingerprint(const char *path, char out[33], struct error *err)
{
	uint64_t size;
	AUTO_FILE FILE *file = open_model(path, &size, err);

	if (file == NULL)
		return false;
	size_t part = (size_t)MIN(size, FINGERPRINT_PART_BYTES);
	AUTO_FREE unsigned char *buf = xmalloc(8 + 2 * part);

	for (unsigned i = 0; i < 8; i++)
		buf[i] = (unsigned char)(size >> 8 * i);
	if (fread(buf + 8, 1, part, file) != part ||
		fseeko(file, (off_t)(size - part), SEEK_SET) != 0 ||
		fread(buf + 8 + part, 1, part, file) != part)
		return error_errno(err, "could not read model file '%s'", path);
	hash128_hex(hash128(buf, 8 + 2 * part), out);
	return true;
}

void gguf_vocab_hash(const struct slice *pieces, const uint8_t *special, size_t n, char out[33])
{
	struct str all;

	str_init(&all, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		uint32_t len = (uint32_t)pieces[i].len;
		unsigned char head[5] = {(unsigned char)len, (unsigned char)(len >> 8),
			(unsigned char)(len >> 16), (unsigned char)(len >> 24), special[i]};

		str_append(&all, head, sizeof(head));
		str_append(&all, pieces[i].data, pieces[i].len);
	}
	hash128_hex(hash128(all.data, all.len), out);
	str_release(&all);
}
