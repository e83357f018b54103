/*
 * The init of a Linux guest that does to itself what it is told: it counts on the serial port, a hundred times a second,
 * as the built-in guest does (Q 0000001234), rewrites memory all the while, and looks at the first byte of its disk:
 *
 *     o    it shuts down
 *     r    it starts anew
 *     p    its kernel is said to have crashed, as the driver of pvpanic says it
 *
 * The byte is erased before it is obeyed, so that it is obeyed once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    SECTOR = 512,
    PAGE = 4096,
    PAGES = 4096,               /* 16 MiB are rewritten, in turn */
    PAGES_PER_BEAT = 8,
    BEAT_NS = 10000000,
    DISK_PATIENCE = 1000,       /* beats */
    PVPANIC_PORT = 0x505,
    PVPANIC_PANICKED = 1,
};

static void load_modules(void)
{
    char name[128], path[160];
    FILE *order = fopen("/modules/order", "re");

    if (order == NULL)
        return;
    while (fgets(name, sizeof name, order) != NULL) {
        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof path, "/modules/%s", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0 && syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST)
            printf("BAD module %s: %s\n", name, strerror(errno));
        close(file);
    }
    fclose(order);
}

static void open_serial(void)
{
    struct termios mode;
    int file = open("/dev/ttyS0", O_WRONLY | O_NOCTTY);

    if (tcgetattr(file, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(file, TCSANOW, &mode);
    }
    dup2(file, STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static void wait_beat(void)
{
    const struct timespec beat = {.tv_nsec = BEAT_NS};

    nanosleep(&beat, NULL);
}

static void obey(char order)
{
    switch (order) {
    case 'o':
        reboot(RB_POWER_OFF);
        break;
    case 'r':
        reboot(RB_AUTOBOOT);
        break;
    case 'p':
        if (iopl(3) == 0)
            outb(PVPANIC_PANICKED, PVPANIC_PORT);
        break;
    default:
        break;
    }
}

int main(void)
{
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    open_serial();
    load_modules();
    int disk = -1;
    for (int waited = 0; disk < 0 && waited < DISK_PATIENCE; waited++) {
        disk = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
        if (disk < 0)
            wait_beat();
    }
    if (disk < 0)
        printf("BAD there is no /dev/vda: %s\n", strerror(errno));
    unsigned char *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *sector = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t turn = 0;
    for (unsigned long count = 1;; count++) {
        printf("Q %010lu\n", count);
        for (int i = 0; i < PAGES_PER_BEAT; i++, turn++) {
            unsigned char *page = memory + turn % PAGES * PAGE;
            unsigned char before = (unsigned char)(turn / PAGES);
            if (page[0] != before || page[PAGE - 1] != before)
                printf("BAD page %llu\n", (unsigned long long)(turn % PAGES));
            page[0] = page[PAGE - 1] = (unsigned char)(before + 1);
        }
        if (pread(disk, sector, SECTOR, 0) == SECTOR && sector[0] != 0) {
            char order = sector[0];
            memset(sector, 0, SECTOR);
            if (pwrite(disk, sector, SECTOR, 0) == SECTOR)
                obey(order);
        }
        wait_beat();
    }
}
