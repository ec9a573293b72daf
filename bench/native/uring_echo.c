/* The io_uring peer: a single-threaded echo server. Each connection has one receive or send in the
 * kernel. One system call per turn submits and waits.
 *
 *   uring_echo [--pieces K] [--size S]
 *
 * With --pieces K it answers each request with K pieces of S bytes as one send. Prints its port;
 * ends on SIGTERM or when stdin closes. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "net.h"

enum { ENTRIES = 4096, COMPLETIONS = 16384, READ_SIZE = 128 * 1024 };

/* `sending` is whether the connection's only operation in the kernel is a send. */
struct connection {
    int fd, sending;
    unsigned char input[READ_SIZE];
};

static struct {
    int fd;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, queued;
    struct io_uring_sqe* sqes;
    struct io_uring_cqe* cqes;
} ring;

static unsigned char* reply;
static size_t reply_size;

static void* map(size_t size, off_t offset) {
    void* at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
    if (at == MAP_FAILED) die("mmap: %s", strerror(errno));
    return at;
}

static void open_ring(void) {
    struct io_uring_params p = {.cq_entries = COMPLETIONS};
    p.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
              IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;
    ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
    if (ring.fd < 0) die("io_uring_setup: %s", strerror(errno));
    char* sq = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    char* cq = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    unsigned* array = (unsigned*)(sq + p.sq_off.array);
    ring.sqes = map(p.sq_entries * sizeof *ring.sqes, IORING_OFF_SQES);
    ring.sq_head = (unsigned*)(sq + p.sq_off.head);
    ring.sq_tail = (unsigned*)(sq + p.sq_off.tail);
    ring.sq_mask = p.sq_entries - 1;
    ring.cq_head = (unsigned*)(cq + p.cq_off.head);
    ring.cq_tail = (unsigned*)(cq + p.cq_off.tail);
    ring.cq_mask = p.cq_entries - 1;
    ring.cqes = (struct io_uring_cqe*)(cq + p.cq_off.cqes);
    for (unsigned i = 0; i < p.sq_entries; i++)
        array[i] = i;
}

static void enter(unsigned wait_for) {
    long n = syscall(SYS_io_uring_enter, ring.fd, ring.queued, wait_for, IORING_ENTER_GETEVENTS,
                     NULL, 0);
    if (n < 0 && errno != EINTR && errno != EBUSY && errno != EAGAIN)
        die("io_uring_enter: %s", strerror(errno));
    if (n > 0) ring.queued -= (unsigned)n;
}

static struct io_uring_sqe* prepare(unsigned char opcode, int fd, void* who) {
    while (*ring.sq_tail - __atomic_load_n(ring.sq_head, __ATOMIC_ACQUIRE) > ring.sq_mask)
        enter(0);
    struct io_uring_sqe* sqe = &ring.sqes[*ring.sq_tail & ring.sq_mask];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = (uintptr_t)who;
    __atomic_store_n(ring.sq_tail, *ring.sq_tail + 1, __ATOMIC_RELEASE);
    ring.queued++;
    return sqe;
}

static void start_accept(int listener) {
    struct io_uring_sqe* sqe = prepare(IORING_OP_ACCEPT, listener, &ring);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_CLOEXEC;
}

static void start_receive(struct connection* c) {
    struct io_uring_sqe* sqe = prepare(IORING_OP_RECV, c->fd, c);
    sqe->addr = (uintptr_t)c->input;
    sqe->len = READ_SIZE;
    c->sending = 0;
}

static void start_send(struct connection* c, unsigned char* bytes, size_t size) {
    struct io_uring_sqe* sqe = prepare(IORING_OP_SEND, c->fd, c);
    sqe->addr = (uintptr_t)bytes;
    sqe->len = (unsigned)size;
    sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    c->sending = 1;
}

static void accepted(int listener, const struct io_uring_cqe* cqe) {
    if (cqe->res >= 0) {
        struct connection* c = malloc(sizeof *c);
        if (c == NULL) die("out of memory");
        c->fd = cqe->res;
        no_delay(c->fd);
        start_receive(c);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) start_accept(listener);
}

static void completed(struct connection* c, int result) {
    if (result <= 0) {
        close(c->fd);
        free(c);
    } else if (c->sending)
        start_receive(c);
    else if (reply != NULL)
        start_send(c, reply, reply_size);
    else
        start_send(c, c->input, (size_t)result);
}

int main(int argc, char** argv) {
    static char standard_input;
    int count = (int)option(argc, argv, "--pieces", 1);
    size_t size = (size_t)option(argc, argv, "--size", 64);

    if (count > 1) {
        unsigned char* piece = pattern(size);
        reply_size = size * (size_t)count;
        reply = malloc(reply_size);
        if (reply == NULL) die("out of memory");
        for (size_t i = 0; i < reply_size; i += size)
            memcpy(reply + i, piece, size);
        free(piece);
    }
    open_ring();
    int listener = listen_loopback(0);
    start_accept(listener);
    prepare(IORING_OP_POLL_ADD, STDIN_FILENO, &standard_input)->poll32_events = POLLIN;
    for (;;) {
        enter(1);
        unsigned head = *ring.cq_head;
        unsigned tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            struct io_uring_cqe cqe = ring.cqes[head & ring.cq_mask];
            if (cqe.user_data == (uintptr_t)&standard_input) return 0;
            if (cqe.user_data == (uintptr_t)&ring)
                accepted(listener, &cqe);
            else
                completed((struct connection*)(uintptr_t)cqe.user_data, cqe.res);
        }
        __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
    }
}
