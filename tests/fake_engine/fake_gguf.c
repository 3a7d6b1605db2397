/*
 * GGUF version 3: magic, version, number of tensors, number of entries; an entry is a key, a type and a value, integers
 * little-endian. The tokens are written as a byte-level BPE vocabulary is: each byte as a printable character.
 */
#include "fake_gguf.h"

#include "base/text.h"

#include <errno.h>

enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };
enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3 };

static void put_le(struct str *out, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		str_append_c(out, (char)(value >> 8 * i & 0xff));
	}
}

static void put_string(struct str *out, const char *bytes, size_t len)
{
	put_le(out, len, 8);
	str_append(out, bytes, len);
}

static void put_key(struct str *out, const char *key, unsigned type)
{
	put_string(out, key, strlen(key));
	put_le(out, type, 4);
}

static void put_text_entry(struct str *out, const char *key, const char *value)
{
	put_key(out, key, GGUF_STRING);
	put_string(out, value, strlen(value));
}

static void put_u32_entry(struct str *out, const char *key, uint32_t value)
{
	put_key(out, key, GGUF_U32);
	put_le(out, value, 4);
}

/* GPT-2's table: printable bytes stand for themselves, the others for code points from 256 on, in order. */
static uint32_t byte_to_code_point(unsigned byte)
{
	uint32_t next = 256;

	for (unsigned b = 0; b < 256; b++) {
		bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

		if (b == byte) {
			return printable ? b : next;
		}
		next += !printable;
	}
	return 0;
}

static void put_token(struct str *out, const struct vocab *v, uint32_t id)
{
	const struct vocab_token *token = &v->tokens[id];
	struct str text;

	str_init(&text, STR_NO_CAP);
	for (size_t i = 0; i < token->len; i++) {
		unsigned byte = (unsigned char)token->bytes[i];

		if (vocab_is_special(id)) {
			str_append_c(&text, (char)byte);
		} else {
			utf8_append(&text, byte_to_code_point(byte));
		}
	}
	put_string(out, text.data, text.len);
	str_release(&text);
}

static void put_vocab(struct str *out, const struct vocab *v)
{
	put_key(out, "tokenizer.ggml.tokens", GGUF_ARRAY);
	put_le(out, GGUF_STRING, 4);
	put_le(out, v->n, 8);
	for (uint32_t id = 0; id < v->n; id++) {
		put_token(out, v, id);
	}
	put_key(out, "tokenizer.ggml.token_type", GGUF_ARRAY);
	put_le(out, GGUF_I32, 4);
	put_le(out, v->n, 8);
	for (uint32_t id = 0; id < v->n; id++) {
		put_le(out, vocab_is_special(id) ? TOKEN_CONTROL : TOKEN_NORMAL, 4);
	}
}

bool gguf_write(const struct vocab *v, const char *path, struct error *err)
{
	AUTO_FILE FILE *file = fopen(path, "wb");
	struct str out;
	bool ok;

	if (!file) {
		return error_errno(err, "could not create '%s'", path);
	}
	str_init(&out, STR_NO_CAP);
	str_append_z(&out, "GGUF");
	put_le(&out, 3, 4);
	put_le(&out, 0, 8);
	put_le(&out, 9, 8);
	put_text_entry(&out, "general.architecture", "llama");
	put_text_entry(&out, "general.name", "fake");
	put_text_entry(&out, "tokenizer.ggml.model", "gpt2");
	put_vocab(&out, v);
	put_u32_entry(&out, "tokenizer.ggml.bos_token_id", VOCAB_BOS);
	put_u32_entry(&out, "tokenizer.ggml.eos_token_id", VOCAB_IM_END);
	put_key(&out, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
	put_le(&out, 0, 1);
	put_u32_entry(&out, "llama.context_length", 8192);
	ok = fwrite(out.data, 1, out.len, file) == out.len && fflush(file) == 0;
	str_release(&out);
	return ok || error_errno(err, "could not write '%s'", path);
}

bool gguf_check(const char *path, struct error *err)
{
	AUTO_FILE FILE *file = fopen(path, "rb");
	char magic[5] = "";

	if (!file) {
		return error_set(err, FAIL_DATA,
			"gguf_init_from_file: failed to open GGUF file '%s' (%s)", path,
			strerror(errno));
	}
	if (fread(magic, 1, 4, file) != 4 || memcmp(magic, "GGUF", 4) != 0) {
		return error_set(err, FAIL_DATA,
			"gguf_init_from_reader: invalid magic characters: '%s', expected 'GGUF'",
			magic);
	}
	return true;
}
