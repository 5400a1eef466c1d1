/*
 * hello: the smallest guest one can talk to.
 *
 * Prints a banner, then `tick N` each second of guest time; answers a line with `echo LINE`;
 * `quit` powers the machine off. Idle between ticks (WFI).
 */
#include "platform.h"

#define TICK_MS 10u
#define TICKS_A_SECOND (1000u / TICK_MS)
#define LINE_BYTES_MAX 256u

static char line[LINE_BYTES_MAX];
static size_t line_bytes;

static void answer(void) {
  if (line_bytes == 4 && __builtin_memcmp(line, "quit", 4) == 0) {
    put_text("bye\n");
    machine_exit(0);
  }
  put_text("echo ");
  put_bytes(line, line_bytes);
  put_text("\n");
}

/* A line longer than the buffer is cut; empty lines are not answered. */
static void read_input(void) {
  for (int byte = uart_get(); byte >= 0; byte = uart_get()) {
    if (byte == '\n' || byte == '\r') {
      if (line_bytes > 0) answer();
      line_bytes = 0;
    } else if (line_bytes < LINE_BYTES_MAX) {
      line[line_bytes++] = (char)byte;
    }
  }
}

int main(void) {
  uart_start();
  put_text("hello: a guest on RV64IMAC; type a line, or quit\n");
  tick_start(TICK_MS * TIME_PER_MS);
  for (uint64_t ticks = 1;; ticks++) {
    tick_wait();
    read_input();
    if (ticks % TICKS_A_SECOND == 0) {
      put_text("tick ");
      put_decimal(ticks / TICKS_A_SECOND);
      put_text("\n");
    }
  }
}
