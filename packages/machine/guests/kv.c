/*
 * kv: a key-value service on the UART whose every page can prove itself (heap.h).
 *
 * One command a line, one reply a command, in order. A command may begin with `#ID `; its reply
 * then begins the same way. Wakes each millisecond of guest time (there is no interrupt controller
 * yet), takes everything the UART holds, and verifies one block of the heap.
 *
 *   set KEY VALUE   ok SEQUENCE           sequence counts all sets since the start
 *   get KEY         value VALUE | none
 *   sum             sum COUNT CHECKSUM    16 hex digits, see heap_sum
 *   check           good BLOCKS | BAD BLOCK WHAT
 *   fill KIB        filled KIB            total so far | err full KIB
 *   ping TEXT       pong TEXT
 *   anything else   err WHY
 *
 * On its own account: `kv ready BLOCKS` at the start, `!bad BLOCK WHAT` when a block fails.
 */
#include "heap.h"

#define LINE_BYTES_MAX 2048u
/* Holds what arrives while a fill or a check runs; beyond it, bytes wait in the UART. */
#define INPUT_BYTES 65536u

static char input[INPUT_BYTES];
static uint64_t input_taken, input_received;

static char line[LINE_BYTES_MAX];
static size_t line_bytes;
static bool line_overflow;

static struct text request;
static uint64_t sequence;
static uint64_t verify_next;

static void receive(void) {
  while (input_received - input_taken < INPUT_BYTES) {
    int byte = uart_get();
    if (byte < 0) return;
    input[input_received++ % INPUT_BYTES] = (char)byte;
  }
}

static void reply(const char *text) {
  if (request.count > 0) {
    put_bytes(request.bytes, request.count);
    put_text(" ");
  }
  put_text(text);
}

static void reply_number(const char *text, uint64_t number) {
  reply(text);
  put_decimal(number);
  put_text("\n");
}

static void put_bad(uint64_t block, const char *what) {
  put_decimal(block);
  put_text(" ");
  put_text(what);
  put_text("\n");
}

/* Cuts the next word off `rest`. Words are parted by one space. */
static struct text take_word(struct text *rest) {
  struct text word = {rest->bytes, 0};
  while (word.count < rest->count && word.bytes[word.count] != ' ') word.count++;
  size_t used = word.count < rest->count ? word.count + 1 : word.count;
  rest->bytes += used;
  rest->count -= used;
  return word;
}

static bool equals(struct text text, const char *word) {
  size_t i = 0;
  while (i < text.count && word[i] != 0 && text.bytes[i] == word[i]) i++;
  return i == text.count && word[i] == 0;
}

static void command_set(struct text rest) {
  struct text key = take_word(&rest);
  if (key.count == 0 || rest.count == 0) return reply("err usage: set KEY VALUE\n");
  if (key.count > KEY_BYTES_MAX) return reply("err key longer than 64 bytes\n");
  if (rest.count > VALUE_BYTES_MAX) return reply("err value longer than 1024 bytes\n");
  if (!heap_set(key, rest)) return reply("err table full\n");
  reply_number("ok ", ++sequence);
}

static void command_get(struct text rest) {
  struct text key = take_word(&rest);
  struct text value;
  if (key.count == 0 || rest.count > 0) return reply("err usage: get KEY\n");
  if (!heap_get(key, &value)) return reply("none\n");
  reply("value ");
  put_bytes(value.bytes, value.count);
  put_text("\n");
}

static void command_sum(void) {
  uint64_t count, checksum;
  heap_sum(&count, &checksum);
  reply("sum ");
  put_decimal(count);
  put_text(" ");
  put_hex(checksum);
  put_text("\n");
}

static void command_check(void) {
  for (uint64_t block = 0; block < heap_blocks(); block++) {
    const char *what = heap_verify(block);
    if (what != NULL) {
      reply("BAD ");
      return put_bad(block, what);
    }
    receive();
  }
  reply_number("good ", heap_blocks());
}

static void command_fill(struct text rest) {
  struct text digits = take_word(&rest);
  uint64_t kib = 0;
  bool valid = digits.count > 0 && digits.count <= 9 && rest.count == 0;
  for (size_t i = 0; valid && i < digits.count; i++) {
    valid = digits.bytes[i] >= '0' && digits.bytes[i] <= '9';
    kib = kib * 10 + (uint64_t)(digits.bytes[i] - '0');
  }
  if (!valid) return reply("err usage: fill KIB\n");
  bool room = true;
  for (uint64_t done = 0; room && done < kib; done += BLOCK_KIB) {
    room = heap_fill();
    receive();
  }
  reply_number(room ? "filled " : "err full ", (heap_blocks() - TABLE_BLOCKS) * BLOCK_KIB);
}

static void command(struct text rest) {
  request.count = 0;
  if (rest.count > 0 && rest.bytes[0] == '#') request = take_word(&rest);
  if (line_overflow) return reply("err line longer than 2048 bytes\n");
  struct text name = take_word(&rest);
  if (equals(name, "set")) return command_set(rest);
  if (equals(name, "get")) return command_get(rest);
  if (equals(name, "sum")) return command_sum();
  if (equals(name, "check")) return command_check();
  if (equals(name, "fill")) return command_fill(rest);
  if (equals(name, "ping")) {
    reply("pong ");
    put_bytes(rest.bytes, rest.count);
    return put_text("\n");
  }
  reply("err unknown command\n");
}

/* Answers every complete line received so far; the rest of an overlong line is swallowed. */
static void answer_lines(void) {
  for (receive(); input_taken != input_received; receive()) {
    char byte = input[input_taken++ % INPUT_BYTES];
    if (byte == '\n' || byte == '\r') {
      if (line_bytes > 0) command((struct text){line, line_bytes});
      line_bytes = 0;
      line_overflow = false;
    } else if (line_bytes < LINE_BYTES_MAX) {
      line[line_bytes++] = byte;
    } else {
      line_overflow = true;
    }
  }
}

static void verify_one(void) {
  const char *what = heap_verify(verify_next);
  if (what != NULL) {
    put_text("!bad ");
    put_bad(verify_next, what);
  }
  verify_next = (verify_next + 1) % heap_blocks();
}

int main(void) {
  uart_start();
  require_heap(TABLE_BLOCKS * PAGE_BYTES);
  heap_start();
  put_text("kv ready ");
  put_decimal(heap_blocks());
  put_text("\n");
  tick_start(TIME_PER_MS);
  for (;;) {
    tick_wait();
    answer_lines();
    verify_one();
  }
}
