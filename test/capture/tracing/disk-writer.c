/*
 * Stands for a guest's I/O helper: writes an image by the call that it is told on its standard input.
 *   disk-writer process|thread IMAGE
 * The first line it prints is "PID TID" of the thread that writes. Each command is answered by "RESULT ERRNO".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *path;
static void *const nowhere = (void *)8;
static int disk;
static unsigned seed = 1;
static char block[65536];

static unsigned next(void) {
  seed = seed * 1103515245u + 12345u;
  return seed >> 8;
}

/* Writes, punches and zeroes at random, at full speed; some of the writes fail. */
static long storm(long count, long waitEvery) {
  struct stat st;
  fstat(disk, &st);
  for (long i = 0; i < count; i++) {
    unsigned kind = next() % 64;
    unsigned length = 1 + next() % (kind == 0 ? sizeof block : 4096);
    off_t offset = (off_t)(next() % (unsigned)(st.st_size - length));
    memset(block, (int)next(), length);
    long result = length;
    if (kind == 1) result = fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) ? -1 : length;
    else if (kind == 2) result = fallocate(disk, FALLOC_FL_ZERO_RANGE, offset, length) ? -1 : length;
    else if (kind == 3) result = pwrite(disk, nowhere, length, offset) == -1 ? length : -1;
    else if (kind == 4) {
      struct iovec two[2] = {{block, length / 2}, {block, length - length / 2}};
      result = pwritev(disk, two, 2, offset);
    } else result = pwrite(disk, block, length, offset);
    if (result != (long)length) return -1;
    if (waitEvery > 0 && i % waitEvery == 0) usleep(50);
  }
  return count;
}

static long mapAndStore(off_t offset) {
  char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, disk, offset);
  if (at == MAP_FAILED) return -1;
  memset(at, 0x5a, 4096);
  return 0;
}

static long bySendfile(int viaSplice) {
  int source = open("/proc/self/exe", O_RDONLY), ends[2];
  if (source < 0 || pipe(ends)) return -1;
  long result;
  if (viaSplice) {
    splice(source, NULL, ends[1], NULL, 4096, 0);
    loff_t at = 8192;
    result = splice(ends[0], NULL, disk, &at, 4096, 0);
  } else {
    result = sendfile(disk, source, NULL, 4096);
  }
  close(source), close(ends[0]), close(ends[1]);
  return result;
}

static long byAio(off_t offset) {
  aio_context_t context = 0;
  struct iocb control = {0}, *list[] = {&control};
  struct io_event event;
  control.aio_fildes = disk, control.aio_lio_opcode = IOCB_CMD_PWRITE;
  control.aio_buf = (uintptr_t)block, control.aio_nbytes = 4096, control.aio_offset = offset;
  if (syscall(SYS_io_setup, 4, &context) || syscall(SYS_io_submit, context, 1, list) != 1) return -1;
  return syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 ? event.res : -1;
}

static long byUring(off_t offset) {
  struct io_uring_params p = {0};
  int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
  if (ring < 0) return -1;
  size_t size = p.sq_off.array + p.sq_entries * 4;
  char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  struct io_uring_sqe *entry = mmap(NULL, p.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
  memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_WRITE, entry->fd = disk, entry->addr = (uintptr_t)block, entry->len = 4096, entry->off = offset;
  *(unsigned *)(sq + p.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  return syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static sigjmp_buf no32BitCalls;

static void on32BitCallRefused(int signal) {
  (void)signal;
  siglongjmp(no32BitCalls, 1);
}

/*
 * The 32-bit entry into the kernel, which the tracer does not see: write(disk, buffer below 4 GiB, length). A kernel may take
 * none, whatever it was configured with: the call is then a fault.
 */
static long by32BitCall(long length) {
  signal(SIGSEGV, on32BitCallRefused);
  if (sigsetjmp(no32BitCalls, 1)) {
    signal(SIGSEGV, SIG_DFL);
    errno = ENOSYS;
    return -1;
  }
  void *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  memset(low, 0x32, 4096);
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(4L), "b"((long)disk), "c"(low), "d"(length) : "memory", "r8", "r9", "r10", "r11");
  signal(SIGSEGV, SIG_DFL);
  return (int)result;
}

static void *strangerWrites(void *unused) {
  (void)unused;
  return (void *)pwrite(disk, block, 4096, 0);
}

static void *strangerLooks(void *unused) {
  (void)unused;
  int other = open(path, O_RDONLY);
  return (void *)(long)(other < 0 || close(other) ? -1 : 0);
}

static long byStranger(void *(*act)(void *)) {
  pthread_t stranger;
  void *result;
  if (pthread_create(&stranger, NULL, act, NULL)) return -1;
  pthread_join(stranger, &result);
  return (long)result;
}

/* Each of these strangers is told of by itself. */
static long crowd(long count) {
  for (long i = 0; i < count; i++)
    if (byStranger(strangerLooks)) return -1;
  return count;
}

static long reopen(void) {
  int other = open(path, O_RDWR);
  return other < 0 ? -1 : (close(disk), disk = other, 0);
}

/* A descriptor that is no disk's, and has been written to. */
static long aside(int fd) {
  int other = open("/dev/null", O_WRONLY);
  return other < 0 || dup2(other, fd) < 0 || close(other) ? -1 : pwrite(fd, block, 4096, 0);
}

/* The disk, opened anew, in the place of whatever the descriptor was; nothing is closed of it. */
static long again(int fd, off_t offset) {
  int other = open(path, O_RDWR);
  return other < 0 || dup2(other, fd) < 0 || close(other) ? -1 : pwrite(fd, block, 4096, offset);
}

/* Another file in the place of the disk, which stays open elsewhere. */
static long cover(int fd) {
  int other = open("/dev/null", O_WRONLY);
  return other < 0 || dup2(disk, fd) < 0 ? -1 : dup2(other, disk);
}

/* A child that holds what its parent holds, as the processes of a guest do. */
static long forkHolder(void) {
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return child;
}

/* A write to a full pipe that nobody reads: it never ends. */
static long stuck(void) {
  int ends[2];
  return pipe(ends) || write(ends[1], block, sizeof block) < 0 ? -1 : write(ends[1], block, sizeof block);
}

static long obey(const char *command, long a, long b) {
  struct iovec one = {block, (size_t)b};
  memset(block, (int)next(), sizeof block);
  if (!strcmp(command, "pwrite")) return pwrite(disk, block, b, a);
  if (!strcmp(command, "storm")) return storm(a, b);
  if (!strcmp(command, "write")) return lseek(disk, a, SEEK_SET), write(disk, block, b);
  if (!strcmp(command, "writev")) return lseek(disk, a, SEEK_SET), writev(disk, &one, 1);
  if (!strcmp(command, "pwritev")) return pwritev(disk, &one, 1, a);
  if (!strcmp(command, "pwritev2")) return pwritev2(disk, &one, 1, a, 0);
  if (!strcmp(command, "punch")) return fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, a, b);
  if (!strcmp(command, "zero")) return fallocate(disk, FALLOC_FL_ZERO_RANGE, a, b);
  if (!strcmp(command, "collapse")) return fallocate(disk, FALLOC_FL_COLLAPSE_RANGE, a, b);
  if (!strcmp(command, "ftruncate")) return ftruncate(disk, a);
  if (!strcmp(command, "truncate")) return truncate(path, a);
  if (!strcmp(command, "mmap")) return mapAndStore(a);
  if (!strcmp(command, "sendfile")) return bySendfile(0);
  if (!strcmp(command, "splice")) return bySendfile(1);
  if (!strcmp(command, "copy")) {
    loff_t from = a, to = b;
    return copy_file_range(disk, &from, disk, &to, 4096, 0);
  }
  if (!strcmp(command, "aio")) return byAio(a);
  if (!strcmp(command, "uring")) return byUring(a);
  if (!strcmp(command, "call32")) return by32BitCall(b ? b : 4096);
  if (!strcmp(command, "stranger")) return byStranger(strangerWrites);
  if (!strcmp(command, "crowd")) return crowd(a);
  if (!strcmp(command, "reopen")) return reopen();
  if (!strcmp(command, "close")) return close(disk);
  if (!strcmp(command, "stuck")) return stuck();
  if (!strcmp(command, "fork")) return forkHolder();
  if (!strcmp(command, "append")) return fcntl(disk, F_SETFL, O_APPEND), pwrite(disk, block, b, a);
  if (!strcmp(command, "aside")) return aside((int)a);
  if (!strcmp(command, "again")) return again((int)a, b);
  if (!strcmp(command, "cover")) return cover((int)a);
  if (!strcmp(command, "dup")) return dup2(disk, (int)a), pwrite((int)a, block, 4096, b);
  errno = ENOSYS;
  return -1;
}

static void *serve(void *unused) {
  (void)unused;
  char command[32], line[256];
  setvbuf(stdin, NULL, _IOLBF, 4096);
  dprintf(1, "%d %d\n", getpid(), (int)syscall(SYS_gettid));
  while (fgets(line, sizeof line, stdin)) {
    long a = 0, b = 0;
    sscanf(line, "%31s %ld %ld", command, &a, &b);
    errno = 0;
    long result = obey(command, a, b);
    dprintf(1, "%ld %d\n", result, errno);
  }
  exit(0);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  path = argv[2];
  disk = open(path, O_RDWR);
  if (disk < 0) return 1;
  if (!strcmp(argv[1], "process")) serve(NULL);
  pthread_t helper;
  if (pthread_create(&helper, NULL, serve, NULL)) return 1;
  pthread_join(helper, NULL);
  return 0;
}
