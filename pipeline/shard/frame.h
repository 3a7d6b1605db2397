/* What writer and reader know of the zstd frames of a shard file and its seek table; FORMAT.md. */
#ifndef PIPELINE_SHARD_FRAME_H
#define PIPELINE_SHARD_FRAME_H

#include <stdint.h>

#define SKIPPABLE_PADDING 0x184D2A50u
#define SKIPPABLE_TABLE 0x184D2A5Eu
#define SKIPPABLE_HEADER_BYTES 8
#define TABLE_MAGIC 0x8F92EAB1u
#define TABLE_HAS_CHECKSUMS 0x80
#define TABLE_RESERVED_BITS 0x7c
#define TABLE_ENTRY_BYTES 12 /* with checksums, as ours are; 8 without */
#define TABLE_FOOTER_BYTES 9

/*
 * What a frame of so many bytes could hold at most: zstd's densest block is 4 bytes for 128 KiB. A frame that claims more is
 * lying, and is refused before memory is set aside for it.
 */
static inline uint64_t frame_raw_bytes_max(uint64_t zip_bytes)
{
	return (zip_bytes / 4 + 1) * (128u << 10);
}

#endif
