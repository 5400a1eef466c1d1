/* Blocks, records and the ledger of kv's heap; see heap.h for the layout and its reasons. */
#include "heap.h"

#define TABLE_MAGIC 0x677764745f747662u
#define FILL_MAGIC 0x677764745f66696cu
#define BLOCK_WORDS (PAGE_BYTES / 8)

/* Records follow each other without gaps; the tail of a block is zero. */
struct record {
  uint16_t key_bytes;
  uint16_t value_bytes;
  /* then the key, then the value */
};

#define PAYLOAD_BYTES (PAGE_BYTES - 40)

struct block {
  uint64_t checksum; /* of all that follows */
  uint64_t magic;
  uint64_t index;
  uint64_t used; /* bytes of the payload */
  uint64_t spilled; /* 1: a record that hashes here may be in the next block */
  char payload[PAYLOAD_BYTES];
};

_Static_assert(sizeof(struct block) == PAGE_BYTES, "a block is one page");
_Static_assert(sizeof(struct record) + KEY_BYTES_MAX + VALUE_BYTES_MAX <= PAYLOAD_BYTES,
               "the largest record fits an empty block");

static uint64_t ledger[TABLE_BLOCKS];
static uint64_t fill_blocks;

static struct block *block_at(uint64_t index) {
  return (struct block *)(__heap + index * PAGE_BYTES);
}

static uint64_t block_checksum(const struct block *block) {
  const uint64_t *words = (const uint64_t *)block;
  uint64_t sum = 0;
  for (size_t i = 1; i < BLOCK_WORDS; i++) {
    sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u;
    sum ^= sum >> 32;
  }
  return sum;
}

static void block_seal(struct block *block) {
  block->checksum = block_checksum(block);
  if (block->index < TABLE_BLOCKS) ledger[block->index] = block->checksum;
}

/* FNV-1a, continued from `hash`. */
#define HASH_START 0xcbf29ce484222325u
static uint64_t hash_text(uint64_t hash, struct text text) {
  for (size_t i = 0; i < text.count; i++) hash = (hash ^ (uint8_t)text.bytes[i]) * 0x100000001b3u;
  return hash;
}

static size_t record_bytes(const struct record *record) {
  return sizeof(struct record) + record->key_bytes + record->value_bytes;
}

/* Lengths lie at any address, so fields are copied out before they are used. */
static struct record record_at(const struct block *block, size_t offset) {
  struct record head;
  __builtin_memcpy(&head, block->payload + offset, sizeof head);
  return head;
}

/* Offset of the key's record in this block, or `used` when it is not there. */
static size_t block_find(const struct block *block, struct text key) {
  size_t offset = 0;
  while (offset < block->used) {
    struct record head = record_at(block, offset);
    const char *bytes = block->payload + offset + sizeof head;
    if (head.key_bytes == key.count && __builtin_memcmp(bytes, key.bytes, key.count) == 0) break;
    offset += record_bytes(&head);
  }
  return offset;
}

static void block_remove(struct block *block, size_t offset) {
  struct record head = record_at(block, offset);
  size_t bytes = record_bytes(&head);
  size_t after = block->used - offset - bytes;
  char *at = block->payload + offset;
  __builtin_memmove(at, at + bytes, after);
  __builtin_memset(at + after, 0, bytes);
  block->used -= bytes;
}

static void block_append(struct block *block, struct text key, struct text value) {
  struct record head = {(uint16_t)key.count, (uint16_t)value.count};
  char *at = block->payload + block->used;
  __builtin_memcpy(at, &head, sizeof head);
  __builtin_memcpy(at + sizeof head, key.bytes, key.count);
  __builtin_memcpy(at + sizeof head + key.count, value.bytes, value.count);
  block->used += record_bytes(&head);
}

void heap_start(void) {
  for (uint64_t index = 0; index < TABLE_BLOCKS; index++) {
    struct block *block = block_at(index);
    uint64_t *words = (uint64_t *)block;
    for (size_t i = 0; i < BLOCK_WORDS; i++) words[i] = 0;
    block->magic = TABLE_MAGIC;
    block->index = index;
    block_seal(block);
  }
}

static uint64_t home_of(struct text key) { return mix(hash_text(HASH_START, key)) % TABLE_BLOCKS; }

/* The block that holds the key's record and its offset there; NULL when there is none. */
static struct block *find(struct text key, size_t *offset) {
  uint64_t home = home_of(key);
  for (uint64_t step = 0; step < TABLE_BLOCKS; step++) {
    struct block *block = block_at((home + step) % TABLE_BLOCKS);
    *offset = block_find(block, key);
    if (*offset < block->used) return block;
    if (block->spilled == 0) return NULL;
  }
  return NULL;
}

/* Looks for room before it removes the old record: a set that fails changes no value. */
bool heap_set(struct text key, struct text value) {
  size_t old_offset;
  struct block *old = find(key, &old_offset);
  size_t old_bytes = 0;
  if (old != NULL) {
    struct record head = record_at(old, old_offset);
    old_bytes = record_bytes(&head);
  }
  size_t bytes = sizeof(struct record) + key.count + value.count;
  uint64_t home = home_of(key);
  for (uint64_t step = 0; step < TABLE_BLOCKS; step++) {
    struct block *block = block_at((home + step) % TABLE_BLOCKS);
    if (block->used - (block == old ? old_bytes : 0) + bytes <= PAYLOAD_BYTES) {
      if (old != NULL) {
        block_remove(old, old_offset);
        block_seal(old);
      }
      block_append(block, key, value);
      block_seal(block);
      return true;
    }
    if (block->spilled == 0) {
      block->spilled = 1;
      block_seal(block);
    }
  }
  return false;
}

bool heap_get(struct text key, struct text *value) {
  size_t offset;
  const struct block *block = find(key, &offset);
  if (block == NULL) return false;
  struct record head = record_at(block, offset);
  *value = (struct text){block->payload + offset + sizeof head + head.key_bytes, head.value_bytes};
  return true;
}

void heap_sum(uint64_t *count, uint64_t *checksum) {
  *count = 0;
  *checksum = 0;
  for (uint64_t index = 0; index < TABLE_BLOCKS; index++) {
    const struct block *block = block_at(index);
    for (size_t offset = 0; offset < block->used;) {
      struct record head = record_at(block, offset);
      struct text key = {block->payload + offset + sizeof head, head.key_bytes};
      struct text value = {key.bytes + key.count, head.value_bytes};
      uint64_t hash = hash_text(HASH_START, key);
      hash = hash_text(hash, (struct text){" ", 1});
      *checksum += hash_text(hash, value);
      *count += 1;
      offset += record_bytes(&head);
    }
  }
}

uint64_t heap_blocks(void) { return TABLE_BLOCKS + fill_blocks; }

/* Header first: a page that arrived in the wrong place is consistent in itself. */
const char *heap_verify(uint64_t index) {
  const struct block *block = block_at(index);
  if (block->magic != (index < TABLE_BLOCKS ? TABLE_MAGIC : FILL_MAGIC)) return "magic";
  if (block->index != index) return "index";
  if (block->checksum != block_checksum(block)) return "checksum";
  if (index < TABLE_BLOCKS && block->checksum != ledger[index]) return "ledger";
  return NULL;
}

bool heap_fill(void) {
  uint64_t index = heap_blocks();
  struct block *block = block_at(index);
  if (!memory_readable((const char *)block + PAGE_BYTES - 1)) return false;
  uint64_t *words = (uint64_t *)block;
  uint64_t random = mix(index) | 1;
  for (size_t i = 0; i < BLOCK_WORDS; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    words[i] = random;
  }
  block->magic = FILL_MAGIC;
  block->index = index;
  block_seal(block);
  fill_blocks++;
  return true;
}
