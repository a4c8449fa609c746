/* Hide a new name from a process for two seconds after it first looked for it, as a network file system's cache of absent names does.

   Preloaded into the processes of one host; LATE_NAMES is the folder that hosts share. What was there before the process began, and what
   the process made itself, is seen at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#define SECONDS 2.0
#define NAMES 65536

static struct { unsigned long name; double until; } seen[NAMES];
static double began;

static double now(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec + t.tv_nsec / 1e9; }
__attribute__((constructor)) static void begin(void) { began = now(); }

static double *entry(const char *path) {
  char whole[8192];
  const char *root = getenv("LATE_NAMES");
  if (path[0] != '/') {
    if (!getcwd(whole, 4096)) return NULL;
    snprintf(whole + strlen(whole), 4096, "/%s", path);
    path = whole;
  }
  if (!root || strncmp(path, root, strlen(root))) return NULL;
  unsigned long hash = 5381;
  for (; *path; path++) hash = hash * 33 + (unsigned char)*path;
  unsigned long k = hash % NAMES;
  while (seen[k].name && seen[k].name != hash) k = (k + 1) % NAMES;
  seen[k].name = hash;
  return &seen[k].until;
}

static int hidden(int folder, const char *path) {
  struct statx about;
  double *until;
  if (!path || (folder != AT_FDCWD && path[0] != '/') || !(until = entry(path)) || *until < 0) return 0;
  int there = !syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &about);
  struct statx_timestamp *since = S_ISDIR(about.stx_mode) ? &about.stx_btime : &about.stx_ctime; /* a folder changes with each name in it */
  if (there && since->tv_sec + since->tv_nsec / 1e9 < began) { *until = -1; return 0; }
  if (!*until || (!there && now() > *until)) *until = now() + SECONDS; /* each look that finds nothing is remembered for as long again */
  if (now() < *until) { errno = ENOENT; return 1; }
  *until = -1;
  return 0;
}

static void made(const char *path) { double *until = path ? entry(path) : NULL; if (until) *until = -1; }

#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define MODE va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more)
#define OPEN(name) int name(const char *path, int flags, ...) { NEXT(name); MODE; \
  if (flags & O_CREAT) made(path); else if (hidden(AT_FDCWD, path)) return -1; return next(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { NEXT(name); MODE; \
  if (flags & O_CREAT) made(path); else if (hidden(folder, path)) return -1; return next(folder, path, flags, mode); }
#define STAT(name, type) int name(const char *path, struct type *about) { NEXT(name); return hidden(AT_FDCWD, path) ? -1 : next(path, about); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
int fstatat(int folder, const char *path, struct stat *about, int flags) { NEXT(fstatat); return hidden(folder, path) ? -1 : next(folder, path, about, flags); }
int fstatat64(int folder, const char *path, struct stat64 *about, int flags) { NEXT(fstatat64); return hidden(folder, path) ? -1 : next(folder, path, about, flags); }
int statx(int folder, const char *path, int flags, unsigned mask, struct statx *about) { NEXT(statx); return *path && hidden(folder, path) ? -1 : next(folder, path, flags, mask, about); }
int access(const char *path, int mode) { NEXT(access); return hidden(AT_FDCWD, path) ? -1 : next(path, mode); }
FILE *fopen64(const char *path, const char *mode) { NEXT(fopen64); if (mode[0] != 'r') made(path); else if (hidden(AT_FDCWD, path)) return NULL; return next(path, mode); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); int done = next(path, mode); if (!done || errno == EEXIST) made(path); return done; } /* the reply tells */
int rename(const char *from, const char *to) { NEXT(rename); int done = next(from, to); if (!done) made(to); return done; }
