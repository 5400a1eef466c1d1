/*
 * Drivers of the guest programs: 16550 UART (polled), CLINT timer (interrupt), exit.
 *
 * The machine has no interrupt controller yet, so input is looked for at each timer tick.
 */
#include "platform.h"

#define UART 0x10000000u
#define UART_DATA 0u
#define UART_FIFO_CONTROL 2u
#define UART_LINE_CONTROL 3u
#define UART_LINE_STATUS 5u
#define LINE_STATUS_DATA_READY 0x01u
#define LINE_STATUS_TRANSMIT_EMPTY 0x20u

#define CLINT_MTIMECMP 0x02004000u
#define CLINT_MTIME 0x0200bff8u

#define SYSCON 0x00100000u
#define SYSCON_PASS 0x5555u
#define SYSCON_FAIL 0x3333u

#define CAUSE_MACHINE_TIMER ((1ull << 63) | 7u)
#define CAUSE_LOAD_ACCESS_FAULT 5u
#define MIE_TIMER 0x80u
#define MSTATUS_MIE 8

static volatile uint64_t tick_count;
static uint64_t tick_seen;
static uint64_t tick_deadline;
static uint64_t tick_period;

static volatile uint8_t *uart(uint32_t reg) { return (volatile uint8_t *)(uintptr_t)(UART + reg); }
static volatile uint64_t *mmio64(uint32_t at) { return (volatile uint64_t *)(uintptr_t)at; }

void uart_start(void) {
  *uart(UART_LINE_CONTROL) = 3; /* 8 bits, no parity, one stop bit */
  *uart(UART_FIFO_CONTROL) = 1;
}

void uart_put(char byte) {
  while ((*uart(UART_LINE_STATUS) & LINE_STATUS_TRANSMIT_EMPTY) == 0) {
  }
  *uart(UART_DATA) = (uint8_t)byte;
}

int uart_get(void) {
  if ((*uart(UART_LINE_STATUS) & LINE_STATUS_DATA_READY) == 0) return -1;
  return *uart(UART_DATA);
}

void put_text(const char *text) {
  while (*text != 0) uart_put(*text++);
}

void put_bytes(const char *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) uart_put(bytes[i]);
}

void put_decimal(uint64_t value) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) uart_put(digits[--count]);
}

void put_hex(uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) uart_put("0123456789abcdef"[(value >> shift) & 15]);
}

uint64_t time_now(void) { return *mmio64(CLINT_MTIME); }

void tick_start(uint64_t period) {
  tick_period = period;
  tick_deadline = time_now() + period;
  *mmio64(CLINT_MTIMECMP) = tick_deadline;
  __asm__ volatile("csrs mie, %0" ::"r"(MIE_TIMER));
  __asm__ volatile("csrsi mstatus, %0" ::"i"(MSTATUS_MIE));
}

void tick_wait(void) {
  while (tick_count == tick_seen) {
    /* Look and sleep with interrupts masked: a tick between the two would otherwise be slept
     * over. WFI wakes on a pending interrupt even when it is masked. */
    __asm__ volatile("csrci mstatus, %0" ::"i"(MSTATUS_MIE) : "memory");
    if (tick_count == tick_seen) __asm__ volatile("wfi" ::: "memory");
    __asm__ volatile("csrsi mstatus, %0" ::"i"(MSTATUS_MIE) : "memory");
  }
  tick_seen = tick_count;
}

/* Deadlines follow each other without drift; those missed while the guest did not run are
 * dropped, or a long blackout would be followed by a storm of ticks. */
static void tick(void) {
  uint64_t now = time_now();
  tick_deadline += tick_period;
  if (tick_deadline <= now) tick_deadline = now + tick_period;
  *mmio64(CLINT_MTIMECMP) = tick_deadline;
  tick_count++;
}

extern const uint8_t probe_load[], probe_failed[];

/* Called by start.S on every trap; answers the pc to go on from. */
uint64_t trap(uint64_t cause, uint64_t pc, uint64_t value) {
  if (cause == CAUSE_MACHINE_TIMER) {
    tick();
    return pc;
  }
  if (cause == CAUSE_LOAD_ACCESS_FAULT && pc == (uintptr_t)probe_load) {
    return (uintptr_t)probe_failed;
  }
  put_text("trap cause ");
  put_hex(cause);
  put_text(" pc ");
  put_hex(pc);
  put_text(" value ");
  put_hex(value);
  put_text("\n");
  machine_exit(EXIT_TRAP);
}

void require_heap(size_t bytes) {
  if (memory_readable(__heap + bytes - 1)) return;
  put_text("needs RAM up to ");
  put_hex((uintptr_t)__heap + bytes);
  put_text("\n");
  machine_exit(EXIT_NO_RAM);
}

extern volatile uint64_t tohost;

void machine_exit(int code) {
  /* A failure goes to `tohost` first, which carries the code; success is a power-off, as an
   * operating system would do it. Each is followed by the other for machines that lack one. */
  volatile uint32_t *syscon = (volatile uint32_t *)(uintptr_t)SYSCON;
  if (code == 0) *syscon = SYSCON_PASS;
  tohost = ((uint64_t)(uint32_t)code << 1) | 1;
  *syscon = code == 0 ? SYSCON_PASS : ((uint32_t)code << 16) | SYSCON_FAIL;
  for (;;) __asm__ volatile("wfi");
}
