/*
 * The frame of a speed measurement; bench.h says what it prints.
 */
#include "bench.h"

static uint64_t instructions(void) {
  uint64_t count;
  __asm__ volatile("csrr %0, minstret" : "=r"(count));
  return count;
}

int main(void) {
  uart_start();
  put_text("begin\n");
  const uint64_t before = instructions();
  const uint64_t checksum = bench_work();
  const uint64_t count = instructions() - before;
  put_text("end ");
  put_decimal(count);
  put_text(" ");
  put_hex(checksum);
  put_text("\n");
  machine_exit(0);
}
