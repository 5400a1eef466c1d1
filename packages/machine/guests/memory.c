/*
 * The four functions a freestanding compiler may call on its own. Bytes only: they are used for
 * short keys and lines, and churn wants its moves to cross page borders byte by byte.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  uint8_t *t = to;
  const uint8_t *f = from;
  for (size_t i = 0; i < count; i++) t[i] = f[i];
  return to;
}

void *memmove(void *to, const void *from, size_t count) {
  uint8_t *t = to;
  const uint8_t *f = from;
  if ((uintptr_t)t <= (uintptr_t)f) {
    for (size_t i = 0; i < count; i++) t[i] = f[i];
  } else {
    for (size_t i = count; i > 0; i--) t[i - 1] = f[i - 1];
  }
  return to;
}

void *memset(void *to, int value, size_t count) {
  uint8_t *t = to;
  for (size_t i = 0; i < count; i++) t[i] = (uint8_t)value;
  return to;
}

int memcmp(const void *a, const void *b, size_t count) {
  const uint8_t *x = a;
  const uint8_t *y = b;
  for (size_t i = 0; i < count; i++) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}
