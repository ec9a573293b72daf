/* A wire between two TUN devices: every IPv4 packet that comes out of one goes into the other a
 * fixed time later, or is lost. Prints "ready", ends when stdin closes, and then prints "packets N
 * lost N late_us N": what came in, what was dropped, and how much later than due the latest packet
 * went out, in microseconds.
 *
 *   relay --one FD --other FD [--delay-us D] [--loss-ppm L] [--seed S] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>

#include "net.h"

enum { LARGEST = 2048, QUEUED = 32768 };

struct packet {
    int64_t due;
    size_t length;
    unsigned char bytes[LARGEST];
};

/* One direction of the wire. The packets in `queue` are due in their order of arrival. */
struct way {
    int in, out;
    uint64_t begin, end; /* the numbers of the waiting packets, counted from the start */
    struct packet* queue;
};

static int64_t delay_ns, latest_ns;
static uint64_t loss_ppm, random_state, packets, lost;

/* The generator splitmix64. */
static uint64_t random_number(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void take_in(struct way* way) {
    for (;;) {
        if (way->end - way->begin == QUEUED) die("more than %d packets are in flight", QUEUED);
        struct packet* packet = &way->queue[way->end % QUEUED];
        ssize_t n = read(way->in, packet->bytes, LARGEST);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) die("a device ended: %s", strerror(errno));
        if (packet->bytes[0] >> 4 != 4) continue; /* IPv6, which the kernel sends by itself */
        packets++;
        if (loss_ppm != 0 && random_number() % 1000000 < loss_ppm) {
            lost++;
            continue;
        }
        packet->due = clock_ns(CLOCK_MONOTONIC) + delay_ns;
        packet->length = (size_t)n;
        way->end++;
    }
}

/* Passes due packets on. Returns the due time of the next packet; -1: none waits. */
static int64_t give_out(struct way* way) {
    while (way->begin != way->end) {
        struct packet* packet = &way->queue[way->begin % QUEUED];
        int64_t late = clock_ns(CLOCK_MONOTONIC) - packet->due;
        if (late < 0) return packet->due;
        if (write(way->out, packet->bytes, packet->length) < 0 && errno != EINVAL && errno != EIO)
            die("a packet was not taken: %s", strerror(errno));
        if (late > latest_ns) latest_ns = late;
        way->begin++;
    }
    return -1;
}

static struct way new_way(int in, int out) {
    struct way way = {.in = in, .out = out, .queue = calloc(QUEUED, sizeof(struct packet))};
    if (way.queue == NULL) die("out of memory");
    if (fcntl(in, F_SETFL, O_NONBLOCK) != 0) die("fcntl: %s", strerror(errno));
    return way;
}

int main(int argc, char** argv) {
    int one = (int)option(argc, argv, "--one", -1), other = (int)option(argc, argv, "--other", -1);
    delay_ns = (int64_t)(option(argc, argv, "--delay-us", 0) * 1000);
    loss_ppm = (uint64_t)option(argc, argv, "--loss-ppm", 0);
    random_state = (uint64_t)option(argc, argv, "--seed", 0);
    if (one < 0 || other < 0 || delay_ns < 0) die("relay needs --one, --other and a --delay-us");
    struct way ways[2] = {new_way(one, other), new_way(other, one)};
    struct pollfd watched[3] = {{.fd = one, .events = POLLIN},
                                {.fd = other, .events = POLLIN},
                                {.fd = STDIN_FILENO, .events = POLLIN}};
    prctl(PR_SET_TIMERSLACK, 1UL);
    puts("ready");
    fflush(stdout);
    while (watched[2].revents == 0) {
        int64_t due = -1;
        for (int i = 0; i < 2; i++) {
            int64_t next = give_out(&ways[i]);
            if (next >= 0 && (due < 0 || next < due)) due = next;
        }
        int64_t left = due - clock_ns(CLOCK_MONOTONIC);
        if (left < 0) left = 0;
        struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        if (ppoll(watched, 3, due < 0 ? NULL : &rest, NULL) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        for (int i = 0; i < 2; i++)
            if (watched[i].revents != 0) take_in(&ways[i]);
    }
    printf("packets %llu lost %llu late_us %lld\n", (unsigned long long)packets,
           (unsigned long long)lost, (long long)(latest_ns / 1000));
    return 0;
}
