/*
 * An NVMe queue in the hands of a C program, with nobody between them: what the figures of Ringwarden in the guest are reported beside.
 *   nvme-queue ADDRESS SECONDS
 * The function is bound to vfio-pci in no-IOMMU mode. Reads of 4 KiB, sequential: one at a time, each waited for by MSI-X through an eventfd; then 32 in
 * flight, polled. Prints {"microseconds": ..., "perSecond": ...}. Overwrites the first blocks of namespace 1.
 * NVM Express Base Specification 1.4: registers 3.1, submission entries 4.2, completion entries 4.6, create queue commands 5.3 and 5.4, initialization 7.6.1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CAP = 0x00, CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30, DOORBELLS = 0x1000 };
enum { CREATE_SQ = 0x01, READ = 0x02, WRITE = 0x01, CREATE_CQ = 0x05 };
enum { ENTRIES = 64, DEPTH = 32, PAGE = 4096, HUGE_PAGE = 2 << 20, LBAS = 8192, PATIENCE_MS = 10000 };

struct command {
  uint32_t dword0, nsid, reserved[2], metadata[2];
  uint64_t prp1, prp2;
  uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

struct completion {
  uint32_t dword0, dword1, dword2;
  uint32_t dword3; /* command id, phase at bit 16, status above it */
};

struct queue {
  unsigned id;
  volatile struct command *submissions;
  volatile struct completion *completions;
  unsigned tail, head, phase;
  int event; /* of its vector; -1: polled */
};

static volatile uint8_t *bar;
static unsigned doorbell_stride;
static uint8_t *memory;
static uint64_t memory_bus;

static void fail(const char *what) {
  fprintf(stderr, "nvme-queue: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static uint32_t read32(unsigned offset) { return *(volatile uint32_t *)(bar + offset); }
static void write32(unsigned offset, uint32_t value) { *(volatile uint32_t *)(bar + offset) = value; }
static void write64(unsigned offset, uint64_t value) {
  write32(offset, (uint32_t)value);
  write32(offset + 4, (uint32_t)(value >> 32));
}

/* The function by VFIO: group, container, device; its first BAR; bus mastering on. Returns the device. */
static int open_device(const char *address) {
  char path[128], link[128];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", address);
  ssize_t length = readlink(path, link, sizeof link - 1);
  if (length < 0) fail(path);
  link[length] = 0;
  snprintf(path, sizeof path, "/dev/vfio/noiommu-%s", strrchr(link, '/') + 1);
  int container = open("/dev/vfio/vfio", O_RDWR), group = open(path, O_RDWR);
  if (container < 0 || group < 0) fail(path);
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) || ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU)) fail("container");
  int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
  if (device < 0) fail(address);
  struct vfio_region_info region = {.argsz = sizeof region, .index = VFIO_PCI_BAR0_REGION_INDEX};
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region)) fail("BAR 0");
  bar = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)region.offset);
  if (bar == MAP_FAILED) fail("mmap of BAR 0");
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  uint16_t command;
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) || pread(device, &command, 2, (off_t)config.offset + 4) != 2) fail("configuration space");
  command |= 6; /* memory decode, bus master */
  if (pwrite(device, &command, 2, (off_t)config.offset + 4) != 2) fail("configuration space");
  return device;
}

/* Two vectors of MSI-X, the second one to an event descriptor, which is returned. */
static int enable_interrupts(int device) {
  union {
    struct vfio_irq_set set;
    char bytes[sizeof(struct vfio_irq_set) + 2 * sizeof(int)];
  } request = {.set = {.argsz = sizeof request, .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, .index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 2}};
  int events[2] = {-1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  memcpy(request.set.data, events, sizeof events);
  if (ioctl(device, VFIO_DEVICE_SET_IRQS, &request)) fail("MSI-X");
  return events[1];
}

/* A huge page, which stays where it is, and its address on the bus. */
static void take_memory(void) {
  memory = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail("a huge page");
  memset(memory, 0, HUGE_PAGE);
  int pagemap = open("/proc/self/pagemap", O_RDONLY);
  uint64_t entry = 0;
  if (pread(pagemap, &entry, sizeof entry, (off_t)((uintptr_t)memory / PAGE * sizeof entry)) != sizeof entry) fail("pagemap");
  close(pagemap);
  memory_bus = (entry & ((1ULL << 55) - 1)) * PAGE;
  if (memory_bus == 0) fail("pagemap shows no addresses");
}

static uint64_t bus(volatile void *at) { return memory_bus + (uint64_t)((volatile uint8_t *)at - memory); }

/* Puts a command on the ring; its identifier is its place there. The device hears of it by `ring`. */
static void submit(struct queue *queue, struct command command) {
  command.dword0 |= (uint32_t)queue->tail << 16;
  memcpy((void *)&queue->submissions[queue->tail], &command, sizeof command);
  queue->tail = (queue->tail + 1) % ENTRIES;
}

static void ring(const struct queue *queue) {
  __sync_synchronize();
  write32(DOORBELLS + 2 * queue->id * doorbell_stride, queue->tail);
}

/* Takes what has completed, at most `most`; any status but success ends the program. */
static unsigned reap(struct queue *queue, unsigned most) {
  unsigned count = 0;
  for (; count < most; count++) {
    uint32_t dword3 = queue->completions[queue->head].dword3;
    if (((dword3 >> 16) & 1) != queue->phase) break;
    if (dword3 >> 17) {
      fprintf(stderr, "nvme-queue: queue %u: status %x\n", queue->id, dword3 >> 17);
      exit(1);
    }
    queue->head = (queue->head + 1) % ENTRIES;
    if (queue->head == 0) queue->phase ^= 1;
  }
  if (count > 0) write32(DOORBELLS + (2 * queue->id + 1) * doorbell_stride, queue->head);
  return count;
}

/* Until one command has completed: woken by the interrupt, or by looking. */
static void finish(struct queue *queue) {
  double end = now_us() + PATIENCE_MS * 1e3;
  while (reap(queue, 1) == 0) {
    if (queue->event >= 0) {
      struct pollfd waiting = {.fd = queue->event, .events = POLLIN};
      uint64_t fired;
      if (poll(&waiting, 1, PATIENCE_MS) != 1 || read(queue->event, &fired, sizeof fired) != sizeof fired) fail("no interrupt");
    } else if (now_us() > end) {
      errno = ETIMEDOUT;
      fail("no completion");
    }
  }
}

static void finish_one(struct queue *queue, struct command command) {
  submit(queue, command);
  ring(queue);
  finish(queue);
}

static struct queue new_queue(unsigned id, int event) {
  uint8_t *at = memory + 2 * id * PAGE;
  return (struct queue){.id = id, .submissions = (void *)at, .completions = (void *)(at + PAGE), .phase = 1, .event = event};
}

static void wait_ready(uint32_t ready) {
  double end = now_us() + PATIENCE_MS * 1e3;
  while ((read32(CSTS) & 1) != ready) {
    if (now_us() > end) {
      errno = ETIMEDOUT;
      fail("CSTS.RDY");
    }
  }
}

/* Disables the controller, and enables it with this admin queue and entries of 64 and 16 bytes. */
static void enable_controller(const struct queue *admin) {
  doorbell_stride = 4u << (read32(CAP + 4) & 15);
  write32(CC, read32(CC) & ~1u);
  wait_ready(0);
  write32(AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
  write64(ASQ, bus(admin->submissions));
  write64(ACQ, bus(admin->completions));
  write32(CC, 4 << 20 | 6 << 16 | 1);
  wait_ready(1);
}

/* Its completion queue interrupts on vector 1, if it is not polled. */
static struct queue create_queue(struct queue *admin, unsigned id, int event) {
  struct queue queue = new_queue(id, event);
  uint32_t size_and_id = (ENTRIES - 1) << 16 | id;
  finish_one(admin, (struct command){.dword0 = CREATE_CQ, .prp1 = bus(queue.completions), .dword10 = size_and_id, .dword11 = event < 0 ? 1 : 1 << 16 | 3});
  finish_one(admin, (struct command){.dword0 = CREATE_SQ, .prp1 = bus(queue.submissions), .dword10 = size_and_id, .dword11 = id << 16 | 1});
  return queue;
}

/* 4 KiB, which are eight blocks, to or from one of the pages behind the queues. */
static struct command transfer(unsigned opcode, unsigned page, unsigned lba) {
  return (struct command){.dword0 = opcode, .nsid = 1, .prp1 = bus(memory + (16 + page) * PAGE), .dword10 = lba, .dword12 = 7};
}

/* What is written is read: of what moves no data, the speed says nothing. */
static void verify(struct queue *queue) {
  uint8_t *out = memory + 16 * PAGE, *in = memory + 17 * PAGE;
  for (int i = 0; i < PAGE; i++) out[i] = (uint8_t)(i * 7 + 1);
  finish_one(queue, transfer(WRITE, 0, 8));
  finish_one(queue, transfer(READ, 1, 8));
  if (memcmp(out, in, PAGE) != 0) {
    errno = EIO;
    fail("what was read is not what was written");
  }
}

static double one_by_one(struct queue *queue, double seconds) {
  double start = now_us(), end = start + seconds * 1e6;
  unsigned count = 0;
  for (; now_us() < end; count++) finish_one(queue, transfer(READ, 0, count * 8 % LBAS));
  return (now_us() - start) / count;
}

static double many(struct queue *queue, double seconds) {
  double start = now_us(), end = start + seconds * 1e6;
  unsigned sent = 0, done = 0;
  while (now_us() < end) {
    if (sent - done < DEPTH) {
      for (; sent - done < DEPTH; sent++) submit(queue, transfer(READ, sent % DEPTH, sent * 8 % LBAS));
      ring(queue);
    }
    done += reap(queue, DEPTH);
  }
  double taken = now_us() - start;
  for (; done < sent; done++) finish(queue);
  return sent / taken * 1e6;
}

int main(int argc, char **argv) {
  double seconds = argc == 3 ? atof(argv[2]) : 0;
  if (seconds <= 0) {
    fprintf(stderr, "usage: nvme-queue ADDRESS SECONDS\n");
    return 2;
  }
  int device = open_device(argv[1]);
  int event = enable_interrupts(device);
  take_memory();
  struct queue admin = new_queue(0, -1);
  enable_controller(&admin);
  struct queue woken = create_queue(&admin, 1, event), polled = create_queue(&admin, 2, -1);
  verify(&woken);
  verify(&polled);
  double microseconds = one_by_one(&woken, seconds), per_second = many(&polled, seconds);
  write32(CC, read32(CC) & ~1u);
  wait_ready(0);
  printf("{\"microseconds\": %.1f, \"perSecond\": %.0f}\n", microseconds, per_second);
  return 0;
}
