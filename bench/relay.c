/* relay PORT SERVER_PORT DELAY_US LOSS_PER_MILLE: passes datagrams on loopback on to a server and its answers back, each after
 * a delay, and loses some, both ways together. One socket towards the server for each client port. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 256, HELD = 1 << 17, SIZE = 1472 };
static struct sockaddr_in clients[CLIENTS];
static int upstream[CLIENTS], count, listener;
static struct held { int64_t due; int client; uint16_t length; uint8_t back; uint8_t bytes[SIZE]; } *held;
static unsigned head, tail;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int udp(int port, int to) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), big = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
    if (fd < 0 || (to ? connect : bind)(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        perror("relay");
        exit(71);
    }
    return fd;
}

static int client(const struct sockaddr_in *from, int server) {
    static int next;
    for (int i = 0; i < count; i++)
        if (clients[i].sin_port == from->sin_port) return i;
    int at = count < CLIENTS ? count++ : next++ % CLIENTS;
    if (upstream[at] > 0) close(upstream[at]);
    clients[at] = *from;
    return upstream[at] = udp(server, 1), at;
}

static void take(int fd, int back, int who, int server, int64_t delay, int loss) {
    for (int n = 0; n < 512 && head - tail < HELD; n++) {
        struct held *h = &held[head % HELD];
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, h->bytes, SIZE, 0, (struct sockaddr *)&from, &size);
        if (length < 0) return;
        if (!back && rand() % 1000 < loss) continue;
        h->due = now() + delay / 2;
        h->length = length;
        h->back = back;
        h->client = back ? who : client(&from, server);
        head++;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 64;
    int server = atoi(argv[2]), loss = atoi(argv[4]);
    int64_t delay = atoll(argv[3]);
    held = calloc(HELD, sizeof *held);
    listener = udp(atoi(argv[1]), 0);
    srand(1);
    for (;;) {
        struct pollfd p[CLIENTS + 1] = { { .fd = listener, .events = POLLIN } };
        int known = count;
        for (int i = 0; i < known; i++) p[i + 1] = (struct pollfd){ .fd = upstream[i], .events = POLLIN };
        int64_t wait = head == tail ? 1000000 : held[tail % HELD].due - now();
        struct timespec t = { .tv_sec = wait > 999999, .tv_nsec = wait > 999999 || wait < 0 ? 0 : wait * 1000 };
        ppoll(p, known + 1, &t, NULL);
        if (p[0].revents) take(listener, 0, 0, server, delay, loss);
        for (int i = 0; i < known; i++)
            if (p[i + 1].revents) take(upstream[i], 1, i, server, delay, loss);
        for (int64_t t = now(); tail != head && held[tail % HELD].due <= t; tail++) {
            struct held *h = &held[tail % HELD];
            if (h->back) sendto(listener, h->bytes, h->length, 0, (struct sockaddr *)&clients[h->client], sizeof clients[0]);
            else send(upstream[h->client], h->bytes, h->length, 0);
        }
    }
}
