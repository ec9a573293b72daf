/* The completion-port peer: a single-threaded echo server for Windows. Each connection has one
 * receive or send in the system. Completions are taken in batches, and a request that is done at
 * once queues none.
 *
 *   iocp_echo [--pieces K] [--size S]
 *
 * With --pieces K it answers each request with K pieces of S bytes as one gathered send. Prints its
 * port; ends when stdin closes. */
#include <winsock2.h>
/* winsock2.h must come before every other header of the system. */
#include <mswsock.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <ws2tcpip.h>

/* AT_ONCE is the maximum number of messages of one connection in a row; then others have a turn. */
enum { BATCH = 64, ACCEPTS = 32, READ_SIZE = 128 * 1024, MAX_PIECES = 64, AT_ONCE = 8 };
enum { OF_A_SOCKET, OF_THE_QUEUE }; /* the keys of completions */
enum { ADDRESS = sizeof(struct sockaddr_storage) + 16, PATTERN_PERIOD = 251 };

/* The connection's only request: an accept, a receive, or a send of `parts` from `first` on. */
struct connection {
    OVERLAPPED overlapped; /* first, so that a completion's OVERLAPPED is its connection */
    enum { ACCEPTING, RECEIVING, SENDING } doing;
    SOCKET socket;
    WSABUF parts[MAX_PIECES];
    DWORD first, count;
    char input[READ_SIZE];
};

static HANDLE port;
static SOCKET listener;
static LPFN_ACCEPTEX accept_ex;
static WSABUF pieces[MAX_PIECES];
static DWORD piece_count;

static void die(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int option(int argc, char** argv, const char* name, int otherwise) {
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0) return atoi(argv[i + 1]);
    return otherwise;
}

static SOCKET open_socket(void) {
    SOCKET made = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                             WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (made == INVALID_SOCKET) die("WSASocketW: %d", WSAGetLastError());
    return made;
}

/* Attaches the socket to the port. Requests that are done at once leave no completion. */
static void join_port(SOCKET socket) {
    if (CreateIoCompletionPort((HANDLE)socket, port, OF_A_SOCKET, 0) == NULL ||
        !SetFileCompletionNotificationModes(
            (HANDLE)socket, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE))
        die("the completion port: %lu", GetLastError());
}

static void close_connection(struct connection* c) {
    closesocket(c->socket);
    free(c);
}

/* Returns 1 for a request that is done, 0 for one that is pending, and -1 for one that failed. */
static int came_to(int returned) {
    if (returned == 0) return 1;
    return WSAGetLastError() == WSA_IO_PENDING ? 0 : -1;
}

static int start_receive(struct connection* c, DWORD* bytes) {
    WSABUF part = {.buf = c->input, .len = READ_SIZE};
    DWORD flags = 0;
    c->doing = RECEIVING;
    memset(&c->overlapped, 0, sizeof c->overlapped);
    return came_to(WSARecv(c->socket, &part, 1, bytes, &flags, &c->overlapped, NULL));
}

static int start_send(struct connection* c, DWORD* bytes) {
    c->doing = SENDING;
    memset(&c->overlapped, 0, sizeof c->overlapped);
    return came_to(WSASend(c->socket, c->parts + c->first, c->count - c->first, bytes, 0,
                           &c->overlapped, NULL));
}

static void answer(struct connection* c, DWORD request) {
    c->first = 0;
    if (piece_count == 1) {
        c->parts[0].buf = c->input;
        c->parts[0].len = request;
        c->count = 1;
    } else {
        memcpy(c->parts, pieces, sizeof *pieces * piece_count);
        c->count = piece_count;
    }
}

/* Takes the `bytes` that were sent off the answer, and returns whether any are left to send. */
static int sends_on(struct connection* c, DWORD bytes) {
    while (c->first < c->count && bytes >= c->parts[c->first].len)
        bytes -= c->parts[c->first++].len;
    if (c->first == c->count) return 0;
    c->parts[c->first].buf += bytes;
    c->parts[c->first].len -= bytes;
    return 1;
}

/* Continues a connection after a request that is done, until another request is pending. */
static void serve(struct connection* c, DWORD bytes) {
    for (int turns = 0;; turns++) {
        int done;
        if (c->doing == RECEIVING && bytes == 0) break;
        if (c->doing == RECEIVING) answer(c, bytes);
        if (c->doing == SENDING && !sends_on(c, bytes)) {
            if (turns >= 2 * AT_ONCE) {
                /* The connection's turn is over. A packet behind those of others continues it. */
                c->doing = ACCEPTING;
                if (!PostQueuedCompletionStatus(port, 0, OF_THE_QUEUE, &c->overlapped)) break;
                return;
            }
            done = start_receive(c, &bytes);
        } else
            done = c->doing == ACCEPTING ? start_receive(c, &bytes) : start_send(c, &bytes);
        if (done < 0) break;
        if (done == 0) return;
    }
    close_connection(c);
}

static void start_accept(void) {
    struct connection* c = calloc(1, sizeof *c);
    DWORD bytes = 0;
    if (c == NULL) die("out of memory");
    c->socket = open_socket();
    c->doing = ACCEPTING;
    /* An accept that is done at once has its packet too: the listener does not skip packets. */
    if (!accept_ex(listener, c->socket, c->input, 0, ADDRESS, ADDRESS, &bytes, &c->overlapped) &&
        WSAGetLastError() != WSA_IO_PENDING)
        die("AcceptEx: %d", WSAGetLastError());
}

static void accepted(struct connection* c) {
    BOOL on = TRUE;
    start_accept();
    if (setsockopt(c->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char*)&listener,
                   sizeof listener) != 0 ||
        setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, (char*)&on, sizeof on) != 0) {
        close_connection(c);
        return;
    }
    join_port(c->socket);
    serve(c, 0);
}

static void listen_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    GUID name = WSAID_ACCEPTEX;
    int length = sizeof address;
    DWORD bytes;
    listener = open_socket();
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr*)&address, length) != 0 ||
        listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr*)&address, &length) != 0 ||
        WSAIoctl(listener, SIO_GET_EXTENSION_FUNCTION_POINTER, &name, sizeof name, &accept_ex,
                 sizeof accept_ex, &bytes, NULL, NULL) != 0 ||
        CreateIoCompletionPort((HANDLE)listener, port, OF_A_SOCKET, 0) == NULL)
        die("listen: %d", WSAGetLastError());
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

/* A thread waits for the end of standard input, which the port cannot report. */
static DWORD WINAPI watch_input(void* unused) {
    char byte;
    DWORD got;
    (void)unused;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), &byte, 1, &got, NULL) && got != 0) {
    }
    PostQueuedCompletionStatus(port, 0, OF_THE_QUEUE, NULL);
    return 0;
}

int main(int argc, char** argv) {
    OVERLAPPED_ENTRY entries[BATCH];
    WSADATA data;
    int count = option(argc, argv, "--pieces", 1);
    int size = option(argc, argv, "--size", 64);

    if (count < 1 || count > MAX_PIECES) die("--pieces takes 1 to %d", MAX_PIECES);
    piece_count = (DWORD)count;
    for (int i = 0; i < count; i++) {
        pieces[i].len = (ULONG)size;
        pieces[i].buf = malloc((size_t)size);
        if (pieces[i].buf == NULL) die("out of memory");
        for (int at = 0; at < size; at++)
            pieces[i].buf[at] = (char)(at % PATTERN_PERIOD);
    }
    if (WSAStartup(MAKEWORD(2, 2), &data) != 0) die("WSAStartup failed");
    port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (port == NULL) die("CreateIoCompletionPort: %lu", GetLastError());
    listen_loopback();
    for (int i = 0; i < ACCEPTS; i++)
        start_accept();
    if (CreateThread(NULL, 0, watch_input, NULL, 0, NULL) == NULL) die("CreateThread failed");
    for (;;) {
        ULONG taken = 0;
        if (!GetQueuedCompletionStatusEx(port, entries, BATCH, &taken, INFINITE, FALSE))
            die("GetQueuedCompletionStatusEx: %lu", GetLastError());
        for (ULONG i = 0; i < taken; i++) {
            struct connection* c = (struct connection*)entries[i].lpOverlapped;
            if (c == NULL) return 0;
            if (entries[i].lpCompletionKey == OF_THE_QUEUE)
                serve(c, 0);
            else if ((LONG)c->overlapped.Internal < 0) {
                if (c->doing == ACCEPTING) start_accept();
                close_connection(c);
            } else if (c->doing == ACCEPTING)
                accepted(c);
            else
                serve(c, entries[i].dwNumberOfBytesTransferred);
        }
    }
}
