/*
 * mix: five small pieces of ordinary programs, one after the other: sorting, a linked list, matrices,
 * a checksum by table, and a state machine over text. Calls, pointers and branches that depend on data.
 */
#include "bench.h"

#define ROUNDS 12u

#define SORTED 20000u
#define NODES 20000u
#define SIDE 64u
#define CHECKED 65536u
#define TEXT 65536u

static uint64_t random_state;

static uint32_t random_number(void) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33);
}

/* ---- sorting: quicksort through a comparison function */

static uint32_t numbers[SORTED];

typedef int compare(uint32_t, uint32_t);

static int by_low_bits(uint32_t a, uint32_t b) {
  const uint32_t x = a & 0xffff, y = b & 0xffff;
  return x < y ? -1 : x > y ? 1 : a < b ? -1 : a > b;
}

static void sort(uint32_t *from, uint32_t *to, compare *order) {
  while (to - from > 1) {
    const uint32_t pivot = from[(to - from) / 2];
    uint32_t *low = from, *high = to - 1;
    while (low <= high) {
      while (order(*low, pivot) < 0) low++;
      while (order(*high, pivot) > 0) high--;
      if (low > high) break;
      const uint32_t kept = *low;
      *low++ = *high;
      *high-- = kept;
    }
    sort(from, high + 1, order);
    from = low;
  }
}

static uint64_t sorting(void) {
  /* Through memory, or the compiler would see which function it is and call none. */
  compare *volatile order = by_low_bits;
  for (unsigned i = 0; i < SORTED; i++) numbers[i] = random_number();
  sort(numbers, numbers + SORTED, order);
  uint64_t sum = 0;
  for (unsigned i = 0; i < SORTED; i++) sum = sum * 33 + numbers[i];
  return sum;
}

/* ---- a linked list whose order has nothing to do with its places in memory */

struct node {
  struct node *next;
  uint64_t value;
};

static struct node nodes[NODES];

static uint64_t listing(void) {
  struct node *first = NULL;
  for (unsigned i = 0; i < NODES; i++) {
    struct node *const node = &nodes[(i * 7919u) % NODES];
    node->value = random_number();
    node->next = first;
    first = node;
  }
  uint64_t sum = 0;
  for (unsigned pass = 0; pass < 20; pass++) {
    struct node *reversed = NULL;
    while (first != NULL) {
      struct node *const next = first->next;
      sum = sum * 31 + first->value;
      first->next = reversed;
      reversed = first;
      first = next;
    }
    first = reversed;
  }
  return sum;
}

/* ---- matrices */

static int32_t left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

static uint64_t multiplying(void) {
  for (unsigned i = 0; i < SIDE; i++) {
    for (unsigned j = 0; j < SIDE; j++) {
      left[i][j] = (int32_t)(random_number() & 0xffff) - 32768;
      right[i][j] = (int32_t)(random_number() & 0xffff) - 32768;
    }
  }
  uint64_t sum = 0;
  for (unsigned i = 0; i < SIDE; i++) {
    for (unsigned j = 0; j < SIDE; j++) {
      int64_t cell = 0;
      for (unsigned k = 0; k < SIDE; k++) cell += (int64_t)left[i][k] * right[k][j];
      product[i][j] = (int32_t)(cell >> 16);
      sum = sum * 17 + (uint32_t)product[i][j];
    }
  }
  return sum;
}

/* ---- CRC-32 (IEEE 802.3) by table */

static uint32_t crc_table[256];
static uint8_t checked[CHECKED];

static uint64_t checking(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (unsigned bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    crc_table[i] = crc;
  }
  for (unsigned i = 0; i < CHECKED; i++) checked[i] = (uint8_t)random_number();
  uint32_t crc = ~0u;
  for (unsigned pass = 0; pass < 4; pass++) {
    for (unsigned i = 0; i < CHECKED; i++) crc = crc_table[(crc ^ checked[i]) & 0xff] ^ crc >> 8;
  }
  return ~crc;
}

/* ---- a state machine that counts words, numbers and the rest in a text */

enum state { BETWEEN, WORD, NUMBER, FRACTION, OTHER, STATES };

static char text[TEXT];

static enum state after(enum state state, char c) {
  const int is_letter = (c >= 'a' && c <= 'z') || c == '_';
  const int is_digit = c >= '0' && c <= '9';
  switch (state) {
    case BETWEEN: return is_letter ? WORD : is_digit ? NUMBER : c == ' ' ? BETWEEN : OTHER;
    case WORD: return is_letter || is_digit ? WORD : c == ' ' ? BETWEEN : OTHER;
    case NUMBER: return is_digit ? NUMBER : c == '.' ? FRACTION : c == ' ' ? BETWEEN : OTHER;
    case FRACTION: return is_digit ? FRACTION : c == ' ' ? BETWEEN : OTHER;
    default: return c == ' ' ? BETWEEN : OTHER;
  }
}

static uint64_t reading(void) {
  static const char letters[] = "  abcdefghijklmnop_0123456789. +";
  for (unsigned i = 0; i < TEXT; i++) text[i] = letters[random_number() % (sizeof letters - 1)];
  uint64_t ends[STATES] = {0};
  for (unsigned pass = 0; pass < 4; pass++) {
    enum state state = BETWEEN;
    for (unsigned i = 0; i < TEXT; i++) {
      const enum state next = after(state, text[i]);
      if (next == BETWEEN) ends[state]++;
      state = next;
    }
  }
  return ends[WORD] + 1000003u * (ends[NUMBER] + 1000003u * (ends[FRACTION] + ends[OTHER]));
}

uint64_t bench_work(void) {
  uint64_t sum = 0;
  random_state = 1;
  for (unsigned round = 0; round < ROUNDS; round++) {
    sum = sum * 31 + sorting();
    sum = sum * 31 + listing();
    sum = sum * 31 + multiplying();
    sum = sum * 31 + checking();
    sum = sum * 31 + reading();
  }
  return sum;
}
