/* Closed-loop load: each connection sends one message of S bytes, waits for K * S bytes, sends the
 * next.
 *
 *   client --port P --pid SERVER [--also PID] [--connections C] [--size S] [--replies K]
 *          [--warmup SECONDS] [--seconds T | --messages M] [--limit SECONDS]
 *
 * Every reply's length is checked, and in the warm-up its bytes too. The measured window starts
 * with the first reply after the warm-up and ends with the first one after T seconds (or with the
 * M-th); the CPU clocks of server and client are read at those two moments. The result is one JSON
 * line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/epoll.h>

#include "histogram.h"
#include "net.h"

enum { EVENTS = 1024, READ_SIZE = 256 * 1024, STALL_MS = 10000 };

struct connection {
    int fd;
    size_t sent;
    size_t received;
    int64_t started;
};

/* A point in time, in nanoseconds: the wall clock, and the CPU time so far of the server, of this
 * process and of the whole machine. */
struct moment {
    int64_t wall, server, client, machine;
};

struct load {
    size_t size, expected;
    const unsigned char* message;
    unsigned char* reply;
    clockid_t server_clocks[2]; /* of the server, and of a process that works for it */
    int clocks;
    int measuring, finished;
    int64_t warm_until, window, messages, done;
    struct moment begin, end;
    struct histogram latency;
};

static void send_rest(struct load* load, struct connection* c) {
    while (c->sent < load->size) {
        ssize_t n = send(c->fd, load->message + c->sent, load->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) die("send: %s", strerror(errno));
        c->sent += (size_t)n;
    }
}

static void next_message(struct load* load, struct connection* c, int64_t now) {
    c->sent = c->received = 0;
    c->started = now;
    send_rest(load, c);
}

static void check_bytes(const struct load* load, size_t at, size_t n) {
    for (size_t i = 0, take; i < n; i += take) {
        size_t from = (at + i) % load->size;
        take = n - i < load->size - from ? n - i : load->size - from;
        if (memcmp(load->reply + i, load->message + from, take) != 0)
            die("reply differs from the message within %zu bytes after byte %zu", take, at + i);
    }
}

/* Returns the CPU time of the whole machine that was not idle, which the kernel counts in ticks,
 * usually of 10 ms. */
static int64_t machine_ns(void) {
    long long user, nice, system, idle, wait, interrupt, soft, stolen;
    FILE* stat = fopen("/proc/stat", "r");
    if (stat == NULL || fscanf(stat, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice,
                               &system, &idle, &wait, &interrupt, &soft, &stolen) != 8)
        die("/proc/stat cannot be read");
    fclose(stat);
    return (user + nice + system + interrupt + soft + stolen) * (1000000000 / sysconf(_SC_CLK_TCK));
}

static struct moment moment(int64_t wall, const struct load* load) {
    int64_t server = 0;
    for (int i = 0; i < load->clocks; ++i) server += clock_ns(load->server_clocks[i]);
    return (struct moment){wall, server, clock_ns(CLOCK_PROCESS_CPUTIME_ID), machine_ns()};
}

static void finish_message(struct load* load, struct connection* c, int64_t now) {
    if (load->measuring) {
        histogram_add(&load->latency, (uint64_t)(now - c->started));
        load->done++;
        if (load->messages ? load->done >= load->messages
                           : now - load->begin.wall >= load->window) {
            load->end = moment(now, load);
            load->finished = 1;
            return;
        }
    } else if (now >= load->warm_until) {
        load->measuring = 1;
        load->begin = moment(now, load);
    }
    next_message(load, c, now);
}

static void receive_some(struct load* load, struct connection* c) {
    while (!load->finished) {
        ssize_t n = recv(c->fd, load->reply, READ_SIZE, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) die("recv: %s", n == 0 ? "the server closed a connection" : strerror(errno));
        if (!load->measuring) check_bytes(load, c->received, (size_t)n);
        c->received += (size_t)n;
        if (c->received > load->expected || (c->received == load->expected && c->sent < load->size))
            die("a reply of %zu bytes for %zu sent, %zu expected", c->received, c->sent,
                load->expected);
        if (c->received == load->expected) {
            finish_message(load, c, clock_ns(CLOCK_MONOTONIC));
            return;
        }
        if (n < READ_SIZE) return;
    }
}

static void run(struct load* load, int epoll, int64_t deadline) {
    struct epoll_event events[EVENTS];
    while (!load->finished) {
        int n = epoll_wait(epoll, events, EVENTS, STALL_MS);
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        if (n == 0) die("no reply for %d ms", STALL_MS);
        for (int i = 0; i < n && !load->finished; i++) {
            struct connection* c = events[i].data.ptr;
            if (c->sent < load->size) send_rest(load, c);
            receive_some(load, c);
        }
        if (clock_ns(CLOCK_MONOTONIC) > deadline) die("not finished at the time limit");
    }
}

static void report(const struct load* load, int connections) {
    const struct moment *begin = &load->begin, *end = &load->end;
    double seconds = (double)(end->wall - begin->wall) / 1e9;
    double server = (double)(end->server - begin->server) / 1e9;
    double client = (double)(end->client - begin->client) / 1e9;
    double other = (double)(end->machine - begin->machine) / 1e9 - server - client;
    printf(
        "{\"connections\": %d, \"size\": %zu, \"reply_bytes\": %zu, \"messages\": %lld, "
        "\"seconds\": %.6f, "
        "\"p50_us\": %.2f, \"p99_us\": %.2f, \"server_cpu_seconds\": %.6f, \"client_cpu_seconds\": "
        "%.6f, "
        "\"other_cpu_seconds\": %.6f}\n",
        connections, load->size, load->expected, (long long)load->done, seconds,
        histogram_us(&load->latency, 0.50), histogram_us(&load->latency, 0.99), server, client,
        other > 0 ? other : 0.0);
}

int main(int argc, char** argv) {
    static struct load load;
    int connections = (int)option(argc, argv, "--connections", 1);
    int port = (int)option(argc, argv, "--port", 0);
    double limit = option(argc, argv, "--limit", 60);

    load.size = (size_t)option(argc, argv, "--size", 64);
    load.expected = load.size * (size_t)option(argc, argv, "--replies", 1);
    load.window = (int64_t)(option(argc, argv, "--seconds", 1) * 1e9);
    load.messages = (int64_t)option(argc, argv, "--messages", 0);
    if (port <= 0 || connections <= 0 || load.size == 0 || load.expected == 0)
        die("client needs --port, and positive --connections, --size and --replies");
    static const char* const pids[] = {"--pid", "--also"};
    for (int i = 0; i < 2; ++i) {
        pid_t pid = (pid_t)option(argc, argv, pids[i], 0);
        if (i == 1 && pid == 0) continue;
        if (clock_getcpuclockid(pid, &load.server_clocks[load.clocks++]) != 0)
            die("no process with the given %s", pids[i]);
    }
    load.message = pattern(load.size);
    load.reply = malloc(READ_SIZE);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection* all = calloc((size_t)connections, sizeof *all);
    if (epoll < 0 || all == NULL || load.reply == NULL) die("cannot start: %s", strerror(errno));
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        all[i].fd = connect_loopback(port);
        all[i].sent = load.size;
        if (fcntl(all[i].fd, F_SETFL, O_NONBLOCK) != 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0)
            die("epoll_ctl: %s", strerror(errno));
    }

    int64_t start = clock_ns(CLOCK_MONOTONIC);
    load.warm_until = start + (int64_t)(option(argc, argv, "--warmup", 0.5) * 1e9);
    for (int i = 0; i < connections; i++)
        next_message(&load, &all[i], clock_ns(CLOCK_MONOTONIC));
    run(&load, epoll, start + (int64_t)(limit * 1e9));
    report(&load, connections);
    return 0;
}
