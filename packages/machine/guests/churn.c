/*
 * churn: dirties 8 MiB in seven patterns and verifies them for ever.
 *
 *   words    sequential doublewords          walk     random cells (xorshift)
 *   stamps   one doubleword a page           bytes    memmove over page borders
 *   atomics  AMO and LR/SC counters          borders  misaligned stores over page borders
 *   list     a linked list, relinked each pass
 *
 * Each pass first proves what the pass before left, then writes anew. So a page that was lost or
 * rolled back at any time is met within one pass, except that nobody looks at a page after the
 * last pass. Progress counts passes, not time: `churn PASS n DIGEST`, where DIGEST covers what was
 * read and so is the same on every correct machine. A fault prints `churn BAD PATTERN ...` and
 * exits with code 1. Never sleeps, never reads input or the clock: deterministic by itself.
 *
 * What is expected is computed from the pass number where possible, or kept in .bss, pages away
 * from what it describes.
 */
#include "platform.h"

#define EXIT_BAD 1
#define KIB 1024u

/* The arena, from __heap on; the regions add up to 8 MiB. */
#define WORDS_AT 0u
#define WORDS_BYTES (1024u * KIB)
#define WALK_AT (WORDS_AT + WORDS_BYTES)
#define WALK_BYTES (2048u * KIB)
#define STAMPS_AT (WALK_AT + WALK_BYTES)
#define STAMPS_BYTES (2048u * KIB)
#define BYTES_AT (STAMPS_AT + STAMPS_BYTES)
#define BYTES_BYTES (512u * KIB)
#define ATOMICS_AT (BYTES_AT + BYTES_BYTES)
#define ATOMICS_BYTES (512u * KIB)
#define BORDERS_AT (ATOMICS_AT + ATOMICS_BYTES)
#define BORDERS_BYTES (1024u * KIB)
#define LIST_AT (BORDERS_AT + BORDERS_BYTES)
#define LIST_BYTES (1024u * KIB)
#define ARENA_BYTES (LIST_AT + LIST_BYTES)
_Static_assert(ARENA_BYTES == 8192u * KIB, "the arena is 8 MiB");

static uint64_t pass;

static _Noreturn void bad(const char *pattern, const volatile void *at, uint64_t expected,
                          uint64_t found) {
  put_text("churn BAD ");
  put_text(pattern);
  put_text(" at ");
  put_hex((uintptr_t)at);
  put_text(" expected ");
  put_hex(expected);
  put_text(" found ");
  put_hex(found);
  put_text(" pass ");
  put_decimal(pass);
  put_text("\n");
  machine_exit(EXIT_BAD);
}

/* Order matters: the same values read in another order give another digest. */
static uint64_t fold(uint64_t digest, uint64_t value) {
  return (digest ^ value) * 0x9e3779b97f4a7c15u;
}

/* What place `index` of a pattern holds after pass `p`; never the same in two passes. */
static uint64_t expected_at(uint64_t p, uint64_t index) { return mix((p << 32) | index); }

/* ---- words */

static uint64_t words(void) {
  uint64_t *words = (uint64_t *)(__heap + WORDS_AT);
  uint64_t digest = 0;
  for (uint64_t i = 0; i < WORDS_BYTES / 8; i++) {
    if (pass > 0 && words[i] != expected_at(pass - 1, i)) {
      bad("words", &words[i], expected_at(pass - 1, i), words[i]);
    }
    words[i] = expected_at(pass, i);
    digest = fold(digest, words[i]);
  }
  return digest;
}

/* ---- walk: each cell is (steps taken on it << 32) | tag of (cell, steps) */

#define WALK_CELLS (WALK_BYTES / 8)
#define WALK_STEPS 65536u
static uint64_t walk_random = 0x123456789abcdefu;
static uint64_t walk_steps;

static uint64_t walk_cell(uint64_t index, uint64_t steps) {
  return (steps << 32) | (uint32_t)mix((index << 32) ^ steps);
}

/* A cell is right by itself when its tag fits; that none went back shows in the sum of steps. */
static uint64_t walk(void) {
  uint64_t *cells = (uint64_t *)(__heap + WALK_AT);
  uint64_t sum = 0, digest = 0;
  for (uint64_t i = 0; i < WALK_CELLS; i++) {
    if (pass == 0) cells[i] = walk_cell(i, 0);
    uint64_t steps = cells[i] >> 32;
    if (cells[i] != walk_cell(i, steps)) bad("walk", &cells[i], walk_cell(i, steps), cells[i]);
    sum += steps;
    digest = fold(digest, cells[i]);
  }
  if (sum != walk_steps) bad("walk-sum", cells, walk_steps, sum);
  for (uint64_t i = 0; i < WALK_STEPS; i++) {
    walk_random ^= walk_random << 13;
    walk_random ^= walk_random >> 7;
    walk_random ^= walk_random << 17;
    uint64_t index = walk_random % WALK_CELLS;
    cells[index] = walk_cell(index, (cells[index] >> 32) + 1);
  }
  walk_steps += WALK_STEPS;
  return digest;
}

/* ---- stamps: one doubleword a page, at a place that moves with the pass */

static uint64_t stamps(void) {
  uint64_t digest = 0;
  for (uint64_t page = 0; page < STAMPS_BYTES / PAGE_BYTES; page++) {
    uint64_t *words = (uint64_t *)(__heap + STAMPS_AT + page * PAGE_BYTES);
    uint64_t now = (pass * 7 + page) % (PAGE_BYTES / 8);
    uint64_t then = ((pass - 1) * 7 + page) % (PAGE_BYTES / 8);
    if (pass > 0 && words[then] != expected_at(pass - 1, page)) {
      bad("stamps", &words[then], expected_at(pass - 1, page), words[then]);
    }
    words[now] = expected_at(pass, page);
    digest = fold(digest, words[now]);
  }
  return digest;
}

/* ---- bytes: a ring of bytes, rotated by an odd distance with an overlapping move */

/* Odd, so that the ring's border lies in the middle of a page. */
#define RING_BYTES (BYTES_BYTES - 2049u)
#define RING_STEP 1237u
static uint64_t ring_turned;

static uint8_t ring_byte(uint64_t index) { return (uint8_t)((index * 0x9e3779b1u) >> 13); }

static uint64_t bytes(void) {
  static uint8_t head[RING_STEP];
  uint8_t *ring = __heap + BYTES_AT + 1;
  uint64_t digest = 0;
  uint64_t source = ring_turned;
  for (uint64_t i = 0; i < RING_BYTES; i++) {
    if (pass == 0) ring[i] = ring_byte(i);
    if (ring[i] != ring_byte(source)) bad("bytes", &ring[i], ring_byte(source), ring[i]);
    digest = fold(digest, ring[i]);
    source = source + 1 == RING_BYTES ? 0 : source + 1;
  }
  __builtin_memcpy(head, ring, RING_STEP);
  __builtin_memmove(ring, ring + RING_STEP, RING_BYTES - RING_STEP);
  __builtin_memcpy(ring + RING_BYTES - RING_STEP, head, RING_STEP);
  ring_turned = (ring_turned + RING_STEP) % RING_BYTES;
  return digest;
}

/* ---- atomics: every AMO on a cell, checked against plain arithmetic on its mirror */

#define ATOMICS_STRIDE 64u
#define ATOMICS_CELLS (ATOMICS_BYTES / 2 / ATOMICS_STRIDE)

#define AMO(name) \
  __asm__ volatile(name " %0, %2, (%1)" : "=&r"(old) : "r"(cell), "r"(operand) : "memory")

/* Does operation `kind` on the cell; answers the value it found there. */
static uint64_t atomic_apply(uint64_t kind, uint64_t *cell, uint64_t operand) {
  uint64_t old, failed;
  switch (kind) {
    case 0: AMO("amoadd.d"); return old;
    case 1: AMO("amoswap.d.aq"); return old;
    case 2: AMO("amoxor.d"); return old;
    case 3: AMO("amoor.d.rl"); return old;
    case 4: AMO("amoand.d"); return old;
    case 5: AMO("amomax.d"); return old;
    case 6: AMO("amominu.d"); return old;
    case 7: AMO("amoadd.w.aqrl"); return old;
    default:
      do {
        __asm__ volatile("lr.d %0, (%2)\n\tadd %1, %0, %3\n\tsc.d %1, %1, (%2)"
                         : "=&r"(old), "=&r"(failed)
                         : "r"(cell), "r"(operand)
                         : "memory");
      } while (failed != 0);
      return old;
  }
}
#define ATOMICS_KINDS 9u

/* The same in plain arithmetic; `found` is what the cell held. */
static uint64_t plain_apply(uint64_t kind, uint64_t found, uint64_t operand) {
  switch (kind) {
    case 0: return found + operand;
    case 1: return operand;
    case 2: return found ^ operand;
    case 3: return found | operand;
    case 4: return found & operand;
    case 5: return (int64_t)found > (int64_t)operand ? found : operand;
    case 6: return found < operand ? found : operand;
    case 7: return (found & 0xffffffff00000000u) | (uint32_t)(found + operand);
    default: return found + operand;
  }
}

static uint64_t atomics(void) {
  uint64_t digest = 0;
  for (uint64_t i = 0; i < ATOMICS_CELLS; i++) {
    uint64_t *cell = (uint64_t *)(__heap + ATOMICS_AT + i * ATOMICS_STRIDE);
    uint64_t *mirror = (uint64_t *)((uint8_t *)cell + ATOMICS_BYTES / 2);
    if (pass == 0) *cell = *mirror = mix(i);
    uint64_t kind = (i + pass) % ATOMICS_KINDS;
    uint64_t operand = expected_at(pass, i);
    uint64_t expected = *mirror;
    uint64_t old = atomic_apply(kind, cell, operand);
    /* The 32-bit forms answer the sign-extended low half. */
    if (kind == 7) expected = (uint64_t)(int64_t)(int32_t)expected;
    if (old != expected) bad("atomics", cell, expected, old);
    *mirror = plain_apply(kind, *mirror, operand);
    if (*cell != *mirror) bad("atomics-new", cell, *mirror, *cell);
    digest = fold(digest, *cell);
  }
  return digest;
}

/* ---- borders: 8 bytes over each page border, 1 to 7 of them before it */

static uint64_t borders(void) {
  uint64_t digest = 0;
  for (uint64_t page = 1; page < BORDERS_BYTES / PAGE_BYTES; page++) {
    uint8_t *border = __heap + BORDERS_AT + page * PAGE_BYTES;
    const volatile uint8_t *then = border - 1 - (pass + 6 + page) % 7;
    uint64_t found = 0;
    for (int i = 7; i >= 0; i--) found = (found << 8) | then[i];
    if (pass > 0 && found != expected_at(pass - 1, page)) {
      bad("borders", then, expected_at(pass - 1, page), found);
    }
    /* In assembly: a compiler for a machine without fast misaligned access would store bytes. */
    uint8_t *now = border - 1 - (pass + page) % 7;
    uint64_t value = expected_at(pass, page), back;
    __asm__ volatile("sd %1, 0(%2)\n\tld %0, 0(%2)" : "=&r"(back) : "r"(value), "r"(now) : "memory");
    if (back != value) bad("borders-back", now, value, back);
    digest = fold(digest, value);
  }
  return digest;
}

/* ---- list: one ring through all nodes, relinked so that every node is written */

struct node {
  struct node *next;
  uint64_t id;
  uint64_t tag;
  uint64_t unused[5];
};
#define LIST_NODES (LIST_BYTES / sizeof(struct node))
static uint64_t list_order;

static uint64_t node_tag(const struct node *node) { return mix(node->id ^ (uintptr_t)node->next); }

static void link_nodes(struct node *node, struct node *next) {
  node->next = next;
  node->tag = node_tag(node);
}

/* Walks the ring from node 0: all nodes, each intact, in the order the last pass left. */
static void list_verify(struct node *nodes) {
  uint64_t order = 0;
  struct node *node = nodes;
  for (uint64_t i = 0; i < LIST_NODES; i++) {
    if (node->tag != node_tag(node)) bad("list-tag", node, node_tag(node), node->tag);
    order = fold(order, node->id);
    node = node->next;
  }
  if (node != nodes) bad("list-end", node, (uintptr_t)nodes, (uintptr_t)node);
  if (order != list_order) bad("list-order", nodes, list_order, order);
}

/* Deals the ring into two hands, every other node, and lays the second behind the first. */
static void list_deal(struct node *nodes) {
  struct node *first = nodes, *second = nodes->next, *second_start = nodes->next;
  list_order = fold(0, first->id);
  for (uint64_t i = 1; i < LIST_NODES / 2; i++) {
    struct node *next_first = second->next;
    struct node *next_second = next_first->next;
    link_nodes(first, next_first);
    link_nodes(second, next_second);
    first = next_first;
    second = next_second;
    list_order = fold(list_order, first->id);
  }
  link_nodes(first, second_start);
  link_nodes(second, nodes);
  struct node *node = second_start;
  for (uint64_t i = 0; i < LIST_NODES / 2; i++, node = node->next) {
    list_order = fold(list_order, node->id);
  }
}

static uint64_t list(void) {
  struct node *nodes = (struct node *)(__heap + LIST_AT);
  if (pass == 0) {
    for (uint64_t i = 0; i < LIST_NODES; i++) {
      nodes[i].id = mix(i);
      link_nodes(&nodes[i], &nodes[(i + 1) % LIST_NODES]);
      list_order = fold(list_order, nodes[i].id);
    }
  }
  list_verify(nodes);
  list_deal(nodes);
  return list_order;
}

int main(void) {
  static uint64_t (*const patterns[])(void) = {words, walk, stamps, bytes, atomics, borders, list};
  uart_start();
  require_heap(ARENA_BYTES);
  put_text("churn ready\n");
  uint64_t digest = 0;
  for (;; pass++) {
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
      digest = fold(digest, patterns[i]());
    }
    put_text("churn PASS ");
    put_decimal(pass + 1);
    put_text(" ");
    put_hex(digest);
    put_text("\n");
  }
}
