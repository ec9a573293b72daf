/* Idle connections: connects N times and prints "connected N". For each line on stdin it sends one
 * message on each connection, checks the echoes, and prints "echoed N". Ends when stdin closes.
 *
 *   idle --port P --connections N [--size S] */
#define _GNU_SOURCE
#include <sys/time.h>

#include "net.h"

enum { BATCH = 256, BATCH_PAUSE_US = 5000, REPLY_SECONDS = 10 };

static void echo_one(int fd, const unsigned char* message, unsigned char* reply, size_t size) {
    struct timeval patience = {.tv_sec = REPLY_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, message, size, MSG_NOSIGNAL) != (ssize_t)size) die("send: %s", strerror(errno));
    ssize_t n = recv(fd, reply, size, MSG_WAITALL);
    if (n != (ssize_t)size)
        die("recv: %zd of %zu bytes: %s", n, size, n < 0 ? strerror(errno) : "too few");
    if (memcmp(message, reply, size) != 0) die("the echo differs from the message");
}

int main(int argc, char** argv) {
    int port = (int)option(argc, argv, "--port", 0);
    int connections = (int)option(argc, argv, "--connections", 1);
    size_t size = (size_t)option(argc, argv, "--size", 64);
    unsigned char *message = pattern(size), *reply = malloc(size);
    int* all = calloc((size_t)connections, sizeof *all);
    char line[16];

    if (port <= 0 || connections <= 0 || size == 0 || all == NULL || reply == NULL)
        die("idle needs --port, and positive --connections and --size");
    for (int i = 0; i < connections; i++) {
        all[i] = connect_loopback(port);
        if (i % BATCH == BATCH - 1) /* keeps the server's accept queue from overflowing */
            usleep(BATCH_PAUSE_US);
    }
    printf("connected %d\n", connections);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        for (int i = 0; i < connections; i++)
            echo_one(all[i], message, reply, size);
        printf("echoed %d\n", connections);
        fflush(stdout);
    }
    return 0;
}
