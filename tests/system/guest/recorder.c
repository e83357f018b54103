/*
 * The init of a Linux guest that can tell whether it lived on: it writes numbered, checksummed records to its disk,
 * one after another and without pause, each made durable before the next, and says on the serial port how far it is.
 *
 *     S <run> <first> <capacity>        it has started; <run> is new at each boot, <first> the record it begins with
 *     R <number> <checked> <ms>         every record up to <number> is durable; <checked> were read again and right
 *     BAD <sentence>                    something is not as it was left; nothing is written any more
 *
 * Earlier records are read again from the disk, and compared with what memory knows of them. Besides, every record
 * rewrites a page of a buffer and checks what the page held, so that memory is looked at as well, all of it in turn.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    RECORD_BYTES = 512,
    FILL_WORDS = 119,
    SCAN_RECORDS = 256,         /* read at once when looking for the end of what an earlier run wrote */
    CHECK_EVERY = 8,            /* records written for one that is read again */
    PAGES = 8192,               /* of the buffer in memory: 32 MiB */
    PAGES_PER_RECORD = 4,
    PAGE_WORDS = 4096 / 8,
    LINE_EVERY_NS = 10000000,
    DISK_PATIENCE_MS = 10000,
};

struct record {
    char magic[8];
    uint64_t number;            /* from 1, none left out */
    uint64_t run;
    uint64_t monotonic_ns;
    uint32_t fill[FILL_WORDS];  /* follows from the number */
    uint32_t crc;               /* CRC-32 of all that is before it */
};

_Static_assert(sizeof(struct record) == RECORD_BYTES, "a record is one sector");

static const char MAGIC[8] = {'Q', 'R', 'E', 'C', 'O', 'R', 'D', '1'};

static int serial = STDOUT_FILENO;
static int disk = -1;
static uint32_t crc_table[256];
static struct record *sectors;  /* aligned for direct access */
static uint32_t *known_crcs;    /* of the records of this run, by number - first */
static uint64_t (*pages)[PAGE_WORDS];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(serial, text, length);
        if (written < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
}

static void say(const char *format, ...)
{
    char line[256];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    write_all(line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

/* Say what is wrong and stand still: an init that ends would have the kernel restart, and hide it. */
static void fail(const char *format, ...)
{
    char reason[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    say("BAD %s\n", reason);
    for (;;)
        pause();
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void prepare_crc(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0);
        crc_table[byte] = value;
    }
}

static uint32_t crc_of(const struct record *record)
{
    const unsigned char *bytes = (const unsigned char *)record;
    uint32_t value = 0xFFFFFFFFu;

    for (size_t i = 0; i < offsetof(struct record, crc); i++)
        value = (value >> 8) ^ crc_table[(value ^ bytes[i]) & 0xFF];
    return ~value;
}

/* --- coming up --------------------------------------------------------------------------------------------------- */

static void load_module(const char *name)
{
    char path[160];

    snprintf(path, sizeof path, "/modules/%s", name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail("cannot open %s: %s", path, strerror(errno));
    if (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST)
        fail("cannot load %s: %s", path, strerror(errno));
    close(file);
}

/* /modules/order names the modules, what others need before them. */
static void load_modules(void)
{
    char name[128];
    FILE *order = fopen("/modules/order", "re");

    if (order == NULL)
        fail("cannot open /modules/order: %s", strerror(errno));
    while (fgets(name, sizeof name, order) != NULL) {
        name[strcspn(name, "\n")] = '\0';
        if (name[0] != '\0')
            load_module(name);
    }
    fclose(order);
}

static void open_serial(void)
{
    struct termios mode;
    int file = open("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);

    if (file < 0)
        fail("cannot open /dev/ttyS0: %s", strerror(errno));
    if (tcgetattr(file, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(file, TCSANOW, &mode);
    }
    serial = file;
}

static uint64_t open_disk(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    uint64_t bytes = 0;

    for (int waited = 0; waited < DISK_PATIENCE_MS; waited++) {
        disk = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
        if (disk >= 0 && ioctl(disk, BLKGETSIZE64, &bytes) == 0 && bytes > 0)
            return bytes / RECORD_BYTES;
        if (disk >= 0)
            close(disk);
        nanosleep(&moment, NULL);
    }
    fail("there is no /dev/vda: %s", strerror(errno));
}

static void *memory(size_t bytes)
{
    void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (found == MAP_FAILED)
        fail("no memory for %zu bytes: %s", bytes, strerror(errno));
    return found;
}

/* --- records ----------------------------------------------------------------------------------------------------- */

static off_t place_of(uint64_t number)
{
    return (off_t)((number - 1) * RECORD_BYTES);
}

static bool is_intact(const struct record *record, uint64_t number)
{
    return memcmp(record->magic, MAGIC, sizeof MAGIC) == 0 && record->number == number &&
           record->crc == crc_of(record);
}

static void read_records(uint64_t number, uint64_t count)
{
    ssize_t wanted = (ssize_t)(count * RECORD_BYTES);
    ssize_t got = pread(disk, sectors, (size_t)wanted, place_of(number));

    if (got != wanted)
        fail("reading record %llu gave %zd: %s", (unsigned long long)number, got, strerror(errno));
}

/* Find the record after the last one that earlier runs wrote. */
static uint64_t find_end(uint64_t capacity)
{
    for (uint64_t number = 1; number <= capacity; number += SCAN_RECORDS) {
        uint64_t count = capacity - number + 1 < SCAN_RECORDS ? capacity - number + 1 : SCAN_RECORDS;
        read_records(number, count);
        for (uint64_t i = 0; i < count; i++)
            if (!is_intact(&sectors[i], number + i))
                return number + i;
    }
    return capacity + 1;
}

static uint32_t write_record(uint64_t number, uint64_t run)
{
    struct record *record = sectors;
    uint32_t state = (uint32_t)(number * 2654435761u) | 1;

    memcpy(record->magic, MAGIC, sizeof MAGIC);
    record->number = number;
    record->run = run;
    record->monotonic_ns = monotonic_ns();
    for (int i = 0; i < FILL_WORDS; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        record->fill[i] = state;
    }
    record->crc = crc_of(record);
    uint32_t crc = record->crc;
    ssize_t written = pwrite(disk, record, RECORD_BYTES, place_of(number));
    if (written != RECORD_BYTES)
        fail("writing record %llu gave %zd: %s", (unsigned long long)number, written, strerror(errno));
    if (fdatasync(disk) != 0)
        fail("record %llu was not made durable: %s", (unsigned long long)number, strerror(errno));
    return crc;
}

/* Read one earlier record again, from the disk, and hold it against what this run remembers of it. */
static void check_record(uint64_t number, uint64_t first)
{
    read_records(number, 1);
    if (!is_intact(sectors, number))
        fail("record %llu is not intact", (unsigned long long)number);
    if (number >= first && sectors->crc != known_crcs[number - first])
        fail("record %llu is not the one that was written", (unsigned long long)number);
}

/* Every page holds the number of the record at which it was written last. */
static void turn_page(uint64_t turn)
{
    uint64_t *page = pages[turn % PAGES];
    uint64_t before = turn >= PAGES ? turn - PAGES + 1 : 0;

    for (int i = 0; i < PAGE_WORDS; i++) {
        if (page[i] != before)
            fail("word %d of page %llu holds %llx, not %llx", i, (unsigned long long)(turn % PAGES),
                 (unsigned long long)page[i], (unsigned long long)before);
        page[i] = turn + 1;
    }
}

static void record_on(uint64_t first, uint64_t capacity, uint64_t run)
{
    uint64_t checked = 0, told = 0, turn = 0, number;

    for (number = first; number <= capacity; number++) {
        known_crcs[number - first] = write_record(number, run);
        for (int i = 0; i < PAGES_PER_RECORD; i++)
            turn_page(turn++);
        if (number % CHECK_EVERY == 0) {
            check_record((number * 0x9E3779B97F4A7C15u >> 16) % number + 1, first);
            checked++;
        }
        uint64_t now = monotonic_ns();
        if (now - told >= LINE_EVERY_NS) {
            told = now;
            say("R %llu %llu %llu\n", (unsigned long long)number, (unsigned long long)checked,
                (unsigned long long)(now / 1000000));
        }
    }
    fail("the disk is full: %llu records", (unsigned long long)capacity);
}

int main(void)
{
    uint64_t run = 0;

    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    prepare_crc();
    open_serial();
    load_modules();
    uint64_t capacity = open_disk();
    sectors = memory(SCAN_RECORDS * RECORD_BYTES);
    known_crcs = memory(capacity * sizeof *known_crcs);
    pages = memory(sizeof *pages * PAGES);
    while (getrandom(&run, sizeof run, GRND_INSECURE) != sizeof run)
        ;
    uint64_t first = find_end(capacity);
    say("S %016llx %llu %llu\n", (unsigned long long)run, (unsigned long long)first, (unsigned long long)capacity);
    record_on(first, capacity, run);
    return 0;
}
