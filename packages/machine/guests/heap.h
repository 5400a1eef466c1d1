/*
 * kv's memory: pages that each carry their own checksum, and a ledger that knows them all.
 *
 *   __heap  table blocks: records, found by the hash of their key
 *           fill blocks:  incompressible ballast, added on demand up to the end of RAM
 *
 * A block is one page, so a page that a move loses, mixes up or rolls back is a block that fails.
 * A checksum inside the page would not notice an older, equally consistent copy of the same page:
 * therefore the ledger, in other pages, holds each table block's current checksum as well. A fill
 * block never changes and its contents follow from its index, so it has no older copy.
 */
#ifndef HEAP_H
#define HEAP_H

#include "platform.h"

#define TABLE_BLOCKS 2048u
#define BLOCK_KIB 4u
#define KEY_BYTES_MAX 64u
#define VALUE_BYTES_MAX 1024u

struct text {
  const char *bytes;
  size_t count;
};

/* Writes every table block: RAM is not assumed to be zero. */
void heap_start(void);

/* False when no block along the key's chain has room. */
bool heap_set(struct text key, struct text value);
/* False when the key is not there; else `value` points into the heap until the next set. */
bool heap_get(struct text key, struct text *value);
/* Counts the records and adds up their hashes, from memory and not from a running total. */
void heap_sum(uint64_t *count, uint64_t *checksum);

uint64_t heap_blocks(void);
/* NULL when block `index` is what it must be, else what is wrong with it. */
const char *heap_verify(uint64_t index);

/* Adds one fill block; false at the end of RAM. */
bool heap_fill(void);

#endif
