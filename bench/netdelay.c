/* netdelay DELAY_US SERVER_COMMAND CLIENT_COMMAND: runs two shell commands in network namespaces of their own, 10.9.0.1 and
 * 10.9.0.2, joined by a pair of TUN devices whose every packet takes DELAY_US each way. Ends with the client's status; the
 * server is ended then. Needs root; touches nothing outside its namespaces. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HELD = 1 << 14, SIZE = 1600 };
static struct way { int from, to; unsigned head, tail; struct held { int64_t due; int length; char bytes[SIZE]; } *held; } ways[2];

static void fail(const char *what) { perror(what); exit(71); }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void set(int fd, struct ifreq *r, unsigned long call, const char *address) {
    struct sockaddr_in *a = (struct sockaddr_in *)&r->ifr_addr;
    memset(a, 0, sizeof *a);
    a->sin_family = AF_INET;
    inet_pton(AF_INET, address, &a->sin_addr);
    if (ioctl(fd, call, r) < 0) fail("address");
}

static void up(int fd, struct ifreq *r) {
    if (ioctl(fd, SIOCGIFFLAGS, r) < 0) fail("flags");
    r->ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, r) < 0) fail("up");
}

/* Moves into a new namespace and opens its end of the wire. */
static int end(const char *own, const char *other) {
    if (unshare(CLONE_NEWNET) < 0) fail("unshare");
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = { .ifr_name = "wire" }, lo = { .ifr_name = "lo" };
    r.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (tun < 0 || fd < 0 || ioctl(tun, TUNSETIFF, &r) < 0) fail("tun");
    set(fd, &r, SIOCSIFADDR, own);
    set(fd, &r, SIOCSIFDSTADDR, other);
    set(fd, &r, SIOCSIFNETMASK, "255.255.255.252");
    r.ifr_qlen = 10000;
    ioctl(fd, SIOCSIFTXQLEN, &r);
    up(fd, &r);
    up(fd, &lo);
    close(fd);
    return tun;
}

static pid_t run(const char *command) {
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    return pid;
}

int main(int argc, char **argv) {
    if (argc != 4) return 64;
    int64_t delay = atoll(argv[1]);
    int a = end("10.9.0.1", "10.9.0.2");
    pid_t server = run(argv[2]);
    /* The server's socket must be open before the client knocks. */
    usleep(300000);
    int b = end("10.9.0.2", "10.9.0.1");
    pid_t client = run(argv[3]);
    ways[0] = (struct way){ a, b, 0, 0, calloc(HELD, sizeof *ways->held) };
    ways[1] = (struct way){ b, a, 0, 0, calloc(HELD, sizeof *ways->held) };
    int status = 0;
    while (waitpid(client, &status, WNOHANG) == 0) {
        struct pollfd p[2] = { { a, POLLIN, 0 }, { b, POLLIN, 0 } };
        int64_t wait = 1000;
        for (int i = 0; i < 2; i++)
            if (ways[i].head != ways[i].tail) {
                int64_t due = ways[i].held[ways[i].tail % HELD].due - now();
                if (due < wait) wait = due < 0 ? 0 : due;
            }
        struct timespec t = { 0, wait * 1000 };
        ppoll(p, 2, &t, NULL);
        for (int i = 0; i < 2; i++) {
            struct way *w = &ways[i];
            while (w->head - w->tail < HELD) {
                struct held *h = &w->held[w->head % HELD];
                h->length = read(w->from, h->bytes, SIZE);
                if (h->length <= 0) break;
                h->due = now() + delay;
                w->head++;
            }
            for (int64_t t = now(); w->tail != w->head && w->held[w->tail % HELD].due <= t; w->tail++)
                if (write(w->to, w->held[w->tail % HELD].bytes, w->held[w->tail % HELD].length) < 0) continue;
        }
    }
    kill(-server, SIGTERM);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
