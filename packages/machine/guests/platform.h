/*
 * What the guest programs know of their machine: UART, timer, exit, and a little text.
 *
 * One hart and one stack; only trap() runs in interrupt context, and it touches nothing but the
 * tick state in platform.c. Addresses are those of QEMU's `virt` machine, which ours shares.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
/* mtime counts at 10 MHz. */
#define TIME_PER_MS 10000u

/* Exit codes beside a program's own. */
#define EXIT_TRAP 2
#define EXIT_NO_RAM 3

/* First page after the image; from here to the end of RAM memory is the program's own. */
extern uint8_t __heap[];

void uart_start(void);
/* Waits until the transmitter takes it. */
void uart_put(char byte);
/* Next received byte, or -1 when there is none. Never waits. */
int uart_get(void);

void put_text(const char *text);
void put_bytes(const char *bytes, size_t count);
void put_decimal(uint64_t value);
/* 16 digits, lower case. */
void put_hex(uint64_t value);

/* Guest time in units of 1 / TIME_PER_MS ms. */
uint64_t time_now(void);
/* From now on a timer interrupt each `period` units of guest time. */
void tick_start(uint64_t period);
/* Sleeps (WFI) until the next tick; at once if one came since the last call. */
void tick_wait(void);

/* False where no RAM answers. */
bool memory_readable(const void *address);
/* Ends the machine with EXIT_NO_RAM unless so many bytes from __heap on are RAM. */
void require_heap(size_t bytes);

/* Ends the machine: 0 through power-off or tohost, anything else is reported as the exit code. */
_Noreturn void machine_exit(int code);

/* Stateless mixer (splitmix64), for contents that a verifier can compute again. mix(0) is not 0: a
 * lost page of zeros must not look right. */
static inline uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9u;
  value ^= value >> 27;
  value *= 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

#endif
