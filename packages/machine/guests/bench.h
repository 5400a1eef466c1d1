/*
 * What the speed measurements have in common: main() of each prints `begin`, does its work, prints
 * `end INSTRUCTIONS CHECKSUM` and powers off. The host stops the time between the two lines.
 *
 * INSTRUCTIONS is what minstret counted between them; an emulator that does not count gives anything,
 * but the program is the same everywhere, and so is the true number. Whoever reports a speed compares
 * the checksum first.
 */
#ifndef BENCH_H
#define BENCH_H

#include "platform.h"

/* The work: always the same, a second or two of it at 150 MIPS. */
uint64_t bench_work(void);

#endif
