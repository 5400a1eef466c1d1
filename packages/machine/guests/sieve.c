/*
 * sieve: the primes below a million, one byte each. Byte stores with growing strides, few branches
 * that are hard to foresee: memory accesses through the TLB.
 */
#include "bench.h"

#define LIMIT 1000000u
#define ROUNDS 10u

static uint8_t composite[LIMIT];

static uint32_t count_primes(void) {
  __builtin_memset(composite, 0, sizeof composite);
  uint32_t primes = 0;
  for (uint32_t n = 2; n < LIMIT; n++) {
    if (composite[n]) continue;
    primes++;
    for (uint64_t multiple = (uint64_t)n * n; multiple < LIMIT; multiple += n) {
      composite[multiple] = 1;
    }
  }
  return primes;
}

uint64_t bench_work(void) {
  uint64_t sum = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) sum = sum * 31 + count_primes();
  return sum;
}
