/* The hand-written epoll peer: a single-threaded, edge-triggered epoll echo server.
 *
 *   epoll_echo [--pieces K] [--size S]
 *
 * With --pieces K it answers each request with K pieces of S bytes, gathered in one call. Prints
 * its port; ends on SIGTERM or when stdin closes. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "net.h"

enum { EVENTS = 512, READ_SIZE = 256 * 1024, MAX_PIECES = 64 };

/* `rest` is the unsent part of an answer. While it is set the connection is not read, because the
 * peer must take the rest first. */
struct connection {
    int fd;
    unsigned char* rest;
    size_t rest_at, rest_size;
};

static unsigned char input[READ_SIZE];
static struct iovec pieces[MAX_PIECES];
static int piece_count;

static void close_connection(struct connection* c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

static void keep_rest(struct connection* c, const struct iovec* parts, int count, size_t skip) {
    c->rest_at = c->rest_size = 0;
    for (int i = 0; i < count; i++)
        c->rest_size += parts[i].iov_len;
    c->rest = malloc(c->rest_size);
    if (c->rest == NULL) die("out of memory");
    for (int i = 0; i < count; i++) {
        memcpy(c->rest + c->rest_at, parts[i].iov_base, parts[i].iov_len);
        c->rest_at += parts[i].iov_len;
    }
    c->rest_at = skip;
}

/* Sends the rest as far as there is room. Returns 0 when the connection is lost. */
static int flush_rest(struct connection* c) {
    while (c->rest_at < c->rest_size) {
        ssize_t n = send(c->fd, c->rest + c->rest_at, c->rest_size - c->rest_at, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN;
        c->rest_at += (size_t)n;
    }
    free(c->rest);
    c->rest = NULL;
    return 1;
}

static int answer(struct connection* c, size_t request) {
    struct iovec whole = {.iov_base = input, .iov_len = request};
    struct iovec* parts = piece_count ? pieces : &whole;
    int count = piece_count ? piece_count : 1;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    size_t total = 0;
    ssize_t n = count == 1 ? send(c->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                           : sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (n < 0) n = 0;
    if ((size_t)n == total) return 1;
    keep_rest(c, parts, count, (size_t)n);
    return flush_rest(c);
}

static int serve(struct connection* c, uint32_t events) {
    if (c->rest != NULL && !flush_rest(c)) return 0;
    while (c->rest == NULL) {
        ssize_t n = recv(c->fd, input, sizeof input, 0);
        if (n < 0) return errno == EAGAIN;
        if (n == 0 || !answer(c, (size_t)n)) return 0;
        if ((size_t)n < sizeof input && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return 1;
    }
    return 1;
}

static void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        no_delay(fd);
        struct connection* c = calloc(1, sizeof *c);
        if (c == NULL) die("out of memory");
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
    }
}

int main(int argc, char** argv) {
    static char listening, standard_input;
    struct epoll_event events[EVENTS];
    struct epoll_event on_accept = {.events = EPOLLIN | EPOLLET, .data.ptr = &listening};
    struct epoll_event on_input = {.events = EPOLLIN, .data.ptr = &standard_input};

    piece_count = (int)option(argc, argv, "--pieces", 1);
    if (piece_count < 1 || piece_count > MAX_PIECES) die("--pieces takes 1 to %d", MAX_PIECES);
    if (piece_count == 1) piece_count = 0;
    for (int i = 0; i < piece_count; i++) {
        pieces[i].iov_len = (size_t)option(argc, argv, "--size", 64);
        pieces[i].iov_base = pattern(pieces[i].iov_len);
    }
    int listener = listen_loopback(SOCK_NONBLOCK);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &on_accept) != 0)
        die("epoll: %s", strerror(errno));
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO,
              &on_input); /* fails for a file as stdin, which never closes */
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &standard_input) return 0;
            if (events[i].data.ptr == &listening)
                accept_all(epoll, listener);
            else if (!serve(events[i].data.ptr, events[i].events))
                close_connection(events[i].data.ptr);
        }
    }
}
