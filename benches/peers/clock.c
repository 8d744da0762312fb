/* Moves the clocks of a daemon by hand. They show what a file says, in nanoseconds: first the clock
   that never goes back, then how far the wall clock is ahead of it. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile uint64_t *hand;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("HAND_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  void *map = file < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
  if (map == MAP_FAILED) abort();
  hand = map;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  uint64_t nanos = hand[0] + (is_wall ? hand[1] : 0);
  now->tv_sec = nanos / 1000000000;
  now->tv_nsec = nanos % 1000000000;
  return 0;
}
