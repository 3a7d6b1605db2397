/*
 * One pass folds the text into letters and separators, the next hashes words and combines five at a time into shingles, the
 * third fills the sketch.
 *
 * The sketch is a Fast Similarity Sketch (Dahlgaard, Knudsen, Thorup 2017): in each round every shingle throws one hash at one
 * of the places, which keeps the smallest; once no place is empty, it is over. That is two rounds for 300 words, where MinHash
 * takes 96 hashes of every shingle, and estimates at least as well. After 96 rounds, which only texts of a few shingles reach,
 * every shingle throws at one place after the other, so that none stays empty. A later round never displaces an earlier one, so
 * two texts agree on a place if the same shingle won it, whatever the number of rounds each took.
 *
 * Of the winning hash one byte is kept (b-bit minwise hashing, Li and König 2010): places of unlike texts agree by chance
 * in 1 of 256 cases, for which near_similarity corrects.
 */
#include "near/sketch.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_AFTER \
	16 /* zeros after the folded text, so that eight bytes may be read anywhere in it */
#define GOLDEN 0x9e3779b97f4a7c15u
#define SIGMAS \
	2.5 /* places that a pair at the threshold may lack by chance: 0.6 % of them lack more */
#define CHANCE (1.0 / 256)

/* --- folding --- */

struct range {
	uint32_t first, last;
};

/* Beyond ASCII: what separates words. Signs of arithmetic do as well, as + and - do. */
static const struct range separators[] = {{0x80, 0xa9}, {0xab, 0xb1}, {0xb4, 0xb4}, {0xb6, 0xb8},
	{0xbb, 0xbb}, {0xbf, 0xbf}, {0xd7, 0xd7}, {0xf7, 0xf7}, {0x1680, 0x1680}, {0x2000, 0x206f},
	{0x20a0, 0x20cf}, {0x2190, 0x23ff}, {0x2500, 0x2bff}, {0x2e00, 0x2e7f}, {0x3000, 0x3004},
	{0x3008, 0x3020}, {0x3030, 0x3030}, {0x30fb, 0x30fb}, {0xfe10, 0xfe1f}, {0xfe30, 0xfe6f},
	{0xfeff, 0xfeff}, {0xff5f, 0xff65}, {0x1f000, 0x1faff}};
/* Scripts that write no spaces: each character is a word. Thai to Burmese, Khmer, kana, ideographs. */
static const struct range alone[] = {{0xe00, 0xeff}, {0x1000, 0x109f}, {0x1780, 0x17ff},
	{0x3005, 0x3007}, {0x3021, 0x302f}, {0x3031, 0x30ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff},
	{0xf900, 0xfaff}, {0xff66, 0xff9f}, {0x20000, 0x3ffff}};
/* Capitals `step` before their small letters; step 0: pairs, the even one or (-1) the odd one is the capital. */
static const struct {
	struct range of;
	int step;
} capitals[] = {{{0xc0, 0xde}, 32}, {{0x100, 0x137}, 0}, {{0x139, 0x148}, -1}, {{0x14a, 0x177}, 0},
	{{0x179, 0x17e}, -1}, {{0x391, 0x3a9}, 32}, {{0x400, 0x40f}, 80}, {{0x410, 0x42f}, 32},
	{{0x460, 0x481}, 0}, {{0x48a, 0x4bf}, 0}, {{0x4d0, 0x52f}, 0}, {{0x531, 0x556}, 48},
	{{0x1e00, 0x1e95}, 0}, {{0x1ea0, 0x1eff}, 0}};

static bool is_among(uint32_t c, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n && ranges[i].first <= c; i++) {
		if (c <= ranges[i].last) {
			return true;
		}
	}
	return false;
}

static uint32_t small_letter(uint32_t c)
{
	if (c >= 0xff01 && c <= 0xff5e) {
		return c - 0xfee0; /* the wide forms of ASCII */
	}
	for (size_t i = 0; i < ARRAY_LEN(capitals) && capitals[i].of.first <= c; i++) {
		if (c <= capitals[i].of.last) {
			return capitals[i].step > 0     ? c + (uint32_t)capitals[i].step
				: capitals[i].step == 0 ? c | 1
							: c + (c & 1);
		}
	}
	return c;
}

/* A letter, small, or digit as it is; 0 for any other. Without a branch, so that compilers make vectors of it. */
static inline uint8_t fold_byte(uint8_t c)
{
	uint8_t small = (uint8_t)(c | (((uint8_t)(c - 'A') < 26) << 5));
	uint8_t keep = (uint8_t)(((uint8_t)(small - 'a') < 26) | ((uint8_t)(c - '0') < 10));
	return (uint8_t)(small & (uint8_t)-keep);
}

static uint8_t *put_code_point(uint8_t *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = fold_byte((uint8_t)c);
	} else if (c < 0x800) {
		*out++ = (uint8_t)(0xc0 | (c >> 6));
		*out++ = (uint8_t)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (uint8_t)(0xe0 | (c >> 12));
		*out++ = (uint8_t)(0x80 | ((c >> 6) & 0x3f));
		*out++ = (uint8_t)(0x80 | (c & 0x3f));
	} else {
		*out++ = (uint8_t)(0xf0 | (c >> 18));
		*out++ = (uint8_t)(0x80 | ((c >> 12) & 0x3f));
		*out++ = (uint8_t)(0x80 | ((c >> 6) & 0x3f));
		*out++ = (uint8_t)(0x80 | (c & 0x3f));
	}
	return out;
}

/* At most 5 bytes out of 3, or 6 out of 4: an ideograph between separators. */
static size_t fold_unicode(const char *text, size_t len, uint8_t *folded)
{
	uint8_t *out = folded;
	for (size_t i = 0; i < len;) {
		uint32_t c;
		uint8_t byte = (uint8_t)text[i];
		unsigned n = byte < 0x80 ? 0 : utf8_decode(text + i, len - i, &c);
		if (!n) {
			*out++ = byte < 0x80 ? fold_byte(byte) : byte;
			i++;
			continue;
		}
		i += n;
		c = small_letter(c);
		if (is_among(c, separators, ARRAY_LEN(separators))) {
			*out++ = 0;
		} else if (is_among(c, alone, ARRAY_LEN(alone))) {
			*out++ = 0;
			out = put_code_point(out, c);
			*out++ = 0;
		} else {
			out = put_code_point(out, c);
		}
	}
	return (size_t)(out - folded);
}

/* True if the text is of ASCII alone; otherwise `folded` is of no use. */
static bool fold_ascii(const char *restrict text, size_t len, uint8_t *restrict folded)
{
	uint8_t all = 0;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];
		all |= c;
		folded[i] = fold_byte(c);
	}
	return all < 0x80;
}

static size_t fold(struct near_reader *r, const char *text, size_t len)
{
	if (r->folded_bytes < 2 * len + ROOM_AFTER) {
		free(r->folded);
		r->folded_bytes = 2 * len + ROOM_AFTER;
		r->folded = xmalloc(r->folded_bytes);
	}
	size_t n = fold_ascii(text, len, r->folded) ? len : fold_unicode(text, len, r->folded);
	memset(r->folded + n, 0, ROOM_AFTER);
	return n;
}

/* --- words --- */

static inline uint64_t scramble(uint64_t x)
{
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 32;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ (x >> 29);
}

/*
 * Hash of the letters up to the next zero byte, eight at a time; their number in *out_bytes. Most words fit into the first eight,
 * so this costs less than finding the end and calling a hash of any length, whose branches on the length are guessed wrong.
 */
static inline uint64_t hash_word(const uint8_t *p, size_t *out_bytes)
{
	uint64_t h = 0;
	for (size_t n = 0;; n += 8) {
		uint64_t v;
		memcpy(&v, p + n, sizeof(v));
		/* The lowest bit set is that of the first zero byte; above it there may be false ones. */
		uint64_t zeros = (v - 0x0101010101010101u) & ~v & 0x8080808080808080u;
		if (zeros) {
			/* The letters are below the zero byte's lowest bit. */
			uint64_t below = (zeros & -zeros) >> 7;
			*out_bytes = n + (size_t)__builtin_ctzll(zeros) / 8;
			return scramble(h ^ (v & (below - 1)));
		}
		h = scramble(h ^ v) + n + 1;
	}
}

size_t near_read(struct near_reader *r, const char *text, size_t len)
{
	size_t n = fold(r, text, len);
	/* A word has a letter and a separator; one more is written after the last, and not counted. */
	if (r->words_cap < n / 2 + 2) {
		free(r->words);
		free(r->shingles);
		r->words_cap = n / 2 + 2;
		r->words = xcalloc(r->words_cap, sizeof(*r->words));
		r->shingles = xcalloc(r->words_cap, sizeof(*r->shingles));
	}
	r->n_words = 0;
	for (size_t i = 0; i < n;) {
		size_t bytes;
		r->words[r->n_words] = hash_word(r->folded + i, &bytes);
		r->n_words += bytes > 0;
		i += bytes + 1;
	}
	return r->n_words;
}

void near_reader_release(struct near_reader *r)
{
	free(r->folded);
	free(r->words);
	free(r->shingles);
	*r = (struct near_reader){0};
}

/* --- sketch --- */

/* Odd, so that no word is lost in the sum, and unlike, so that order counts. */
static const uint64_t factors[NEAR_SHINGLE_WORDS] = {0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu,
	0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u, 0x1d8e4e27c47d124fu};

/* A text of fewer words than a shingle has is one shingle; so is one of no words. */
static size_t make_shingles(const struct near_reader *r, uint64_t salt)
{
	size_t width = MIN(r->n_words, NEAR_SHINGLE_WORDS), n = r->n_words - width + 1;
	if (width < NEAR_SHINGLE_WORDS) {
		r->shingles[0] = salt;
		for (size_t k = 0; k < width; k++) {
			r->shingles[0] += r->words[k] * factors[k];
		}
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		const uint64_t *w = r->words + i;
		r->shingles[i] = salt + w[0] * factors[0] + w[1] * factors[1] + w[2] * factors[2] +
			w[3] * factors[3] + w[4] * factors[4];
	}
	return n;
}

static bool any_empty(const uint64_t *places)
{
	uint64_t largest = 0;
	for (size_t i = 0; i < NEAR_PLACES; i++) {
		largest = MAX(largest, places[i]);
	}
	return largest == UINT64_MAX;
}

/* A place holds its round, then 56 bits of the hash: the smallest is the first round's smallest. */
static void fill(const uint64_t *shingles, size_t n, uint64_t *places)
{
	memset(places, 0xff, NEAR_PLACES * sizeof(*places));
	uint64_t round = 0;
	while (round < NEAR_PLACES && any_empty(places)) {
		for (size_t i = 0; i < n; i++) {
			uint64_t h = scramble(shingles[i] + round * GOLDEN);
			uint64_t at = ((h >> 32) * NEAR_PLACES) >> 32;
			places[at] = MIN(places[at], round << 56 | h >> 8);
		}
		round++;
	}
	for (size_t at = 0; at < NEAR_PLACES && any_empty(places); at++, round++) {
		for (size_t i = 0; i < n; i++) {
			uint64_t h = scramble(shingles[i] + round * GOLDEN);
			places[at] = MIN(places[at], round << 56 | h >> 8);
		}
	}
}

void near_sketch(const struct near_reader *r, uint32_t prompt, struct near_record *out)
{
	uint64_t places[NEAR_PLACES], text = 0;
	bool is_short = r->n_words < NEAR_SHORT_WORDS;
	size_t n = make_shingles(r, is_short ? scramble(prompt | (uint64_t)1 << 32) : 0);
	fill(r->shingles, n, places);
	for (size_t i = 0; i < NEAR_PLACES; i++) {
		out->places[i] = (uint8_t)places[i];
	}
	for (size_t i = 0; i < r->n_words; i++) {
		text = text * GOLDEN + r->words[i];
	}
	out->text = (uint32_t)(scramble(text) >> 32);
	out->prompt = prompt;
}

/* --- comparing --- */

void near_rule_init(struct near_rule *rule, double threshold, bool own_prompt)
{
	double p = threshold + (1 - threshold) * CHANCE;
	double mean = NEAR_PLACES * p, sigma = sqrt(NEAR_PLACES * p * (1 - p));
	*rule = (struct near_rule){
		.places_min = (unsigned)MAX(floor(mean - SIGMAS * sigma), 0),
		.exact = threshold >= 1,
		.own_prompt = own_prompt,
	};
}

unsigned near_places(const struct near_record *a, const struct near_record *b)
{
	unsigned n = 0;
	for (size_t i = 0; i < NEAR_PLACES; i++) {
		n += a->places[i] == b->places[i];
	}
	return n;
}

bool near_same(const struct near_record *a, const struct near_record *b)
{
	return a->text == b->text && memcmp(a->places, b->places, NEAR_PLACES) == 0;
}

double near_similarity(unsigned places)
{
	return MAX(((double)places / NEAR_PLACES - CHANCE) / (1 - CHANCE), 0);
}

void near_offer(struct near_hit *hit, const struct near_rule *rule,
	const struct near_record *wanted, const struct near_record *record, uint64_t no,
	const char *run)
{
	unsigned places = near_places(wanted, record);
	bool near = places >= rule->places_min && (!rule->exact || near_same(wanted, record)) &&
		(!rule->own_prompt || wanted->prompt == record->prompt);
	if (near &&
		(!hit->record || places > hit->places || (places == hit->places && no < hit->no))) {
		*hit = (struct near_hit){record, places, no, run};
	}
}
