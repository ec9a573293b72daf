/* The common part of the native programs: clocks, loopback sockets, message pattern, options. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A prime period, so that a shifted, cut or doubled message does not match. */
#define PATTERN_PERIOD 251

static inline void die(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) die("clock_gettime: %s", strerror(errno));
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline unsigned char* pattern(size_t size) {
    unsigned char* bytes = malloc(size);
    if (bytes == NULL) die("out of memory");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i % PATTERN_PERIOD);
    return bytes;
}

static inline void no_delay(int fd) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("TCP_NODELAY: %s", strerror(errno));
}

static inline int connect_loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0)
        die("connect: %s", strerror(errno));
    no_delay(fd);
    return fd;
}

/* Listens on a free loopback port and prints its number as the first line of stdout. */
static inline int listen_loopback(int flags) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || bind(fd, (struct sockaddr*)&address, length) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr*)&address, &length) != 0)
        die("listen: %s", strerror(errno));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* Returns the value of `--name value` as a number, or `otherwise`. */
static inline double option(int argc, char** argv, const char* name, double otherwise) {
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0) return atof(argv[i + 1]);
    return otherwise;
}

#endif
