// A load generator for one Unix stream socket: C connections, each with at most D requests in flight. One work
// generator, small protocol adapters (this daemon's JSON lines, Redis, echo), and every answer is checked: a server
// that is quick and wrong ends the run with status 1. Nothing is allocated a request. It stops by itself, after a time
// or a number of requests, and prints one line of JSON.
//
// Closed loop: a connection sends its next request when one is answered. Open loop (--rate): requests fall due at a
// fixed rate, turn by turn on the connections, whatever the server does, and a delay counts from when its request was
// due, not from when it could be sent; so a server that stands still is charged for all who would have asked
// meanwhile. All that fell due is sent and counted, however late.
//
// An item is a token: number i belongs to application i / projects, project i % projects. What a connection works on
// is its own (items or, for `register`, applications that are its number modulo C), so that rotates never collide.

#define _GNU_SOURCE 1
#include "loadgen.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

struct options options = {
    .connections = 1, .in_flight = 1, .projects = 4, .prefix = "bench", .warmup_seconds = 0.3, .seed = 20250524};

static struct connection *connections;
static uint64_t composed, answered, counted;
static bool counting, stopping;
// When counting began and ends. With a rate it is the due times that must lie between these.
static uint64_t started, counts_from, ends;
static uint64_t last_answer, longest_gap_ns;
static uint64_t fell_due;  // with a rate: requests so far

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) fail("no memory for %zu × %zu bytes", count, size);
    return memory;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/// When the n-th request of all falls due.
static uint64_t due_time(uint64_t n) { return started + (uint64_t)((double)n * 1e9 / options.rate); }

/// Writes one request into the connection's buffer, unless there is none to send.
static void compose(struct connection *c, uint64_t now) {
    uint64_t since = now;
    if (options.rate > 0) {
        if (c->taken == c->due) return;
        since = due_time(c->taken++ * options.connections + c->number);
    } else if (stopping) {
        return;
    }
    struct pending *p = &c->pending[(c->head + c->waiting) % options.in_flight];
    *p = (struct pending){.since_ns = since, .id = c->next_id};
    if ((options.count && composed >= options.count) || !next_item(c, p)) return;
    composed++;
    c->next_id++;
    c->waiting++;
    c->out_end = (size_t)(put_request(c->out + c->out_end, p) - c->out);
}

static void count_answer(const struct pending *p, uint64_t now) {
    if (options.rate > 0 ? p->since_ns < counts_from || p->since_ns >= ends : !counting) return;
    counted++;
    record(now - p->since_ns);
    if (last_answer && now - last_answer > longest_gap_ns) longest_gap_ns = now - last_answer;
    last_answer = now;
}

// ---- The loop

static void flush(struct connection *c, int epoll) {
    while (c->out_start < c->out_end) {
        ssize_t n = write(c->fd, c->out + c->out_start, c->out_end - c->out_start);
        if (n > 0) {
            c->out_start += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        fail("connection %u: write: %s", c->number, strerror(errno));
    }
    bool waits = c->out_start < c->out_end;
    if (!waits) c->out_start = c->out_end = 0;
    if (waits == c->waits_for_room) return;
    c->waits_for_room = waits;
    struct epoll_event event = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

/// Room for another full window behind what could not be written yet.
static void compact_output(struct connection *c) {
    if (c->out_start == 0) return;
    memmove(c->out, c->out + c->out_start, c->out_end - c->out_start);
    c->out_end -= c->out_start;
    c->out_start = 0;
}

static void serve(struct connection *c, int epoll) {
    ssize_t n = read(c->fd, c->in + c->in_end, INPUT_BYTES - c->in_end);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) fail("connection %u: read: %s", c->number, strerror(errno));
    if (n == 0) fail("connection %u: the server closed with %u answers outstanding", c->number, c->waiting);
    c->in_end += (size_t)n;
    uint64_t now = now_ns();
    size_t start = 0;
    compact_output(c);
    while (start < c->in_end) {
        if (c->waiting == 0) fail("connection %u: an answer too many", c->number);
        const struct pending *p = &c->pending[c->head];
        size_t size = check(p, c->in + start, c->in_end - start);
        if (size == 0) break;
        start += size;
        answered++;
        count_answer(p, now);
        c->head = (c->head + 1) % options.in_flight;
        c->waiting--;
        compose(c, now);
    }
    memmove(c->in, c->in + start, c->in_end - start);
    c->in_end -= start;
    if (c->in_end == INPUT_BYTES) fail("connection %u: an answer larger than %d bytes", c->number, INPUT_BYTES);
    flush(c, epoll);
}

static int open_connection(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(options.socket_path) >= sizeof address.sun_path) fail("the socket's path is too long");
    strcpy(address.sun_path, options.socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect %s: %s", options.socket_path, strerror(errno));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl: %s", strerror(errno));
    return fd;
}

/// Sends what has fallen due, in the order of the due times. What finds its connection's window full waits for an
/// answer there, and its time runs.
static void send_due(int epoll, uint64_t now) {
    for (uint64_t due; (due = due_time(fell_due)) <= now && due < ends;) {
        struct connection *c = &connections[fell_due++ % options.connections];
        c->due++;
        if (c->waiting == options.in_flight) continue;
        compact_output(c);
        compose(c, now);
        flush(c, epoll);
    }
}

/// Waits for answers, with a rate until the next request falls due at most.
static int wait_for_events(int epoll, struct epoll_event *events) {
    struct timespec limit = {.tv_nsec = 100000000};
    uint64_t due;
    if (options.rate > 0 && (due = due_time(fell_due)) < ends) {
        uint64_t now = now_ns();
        uint64_t left = due > now ? due - now : 0;
        if (left < (uint64_t)limit.tv_nsec) limit.tv_nsec = (long)left;
    }
    int ready = epoll_pwait2(epoll, events, MAX_EVENTS, &limit, NULL);
    if (ready < 0 && errno != EINTR) fail("epoll_pwait2: %s", strerror(errno));
    return ready;
}

static int open_connections(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1: %s", strerror(errno));
    connections = allocate(options.connections, sizeof *connections);
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        *c = (struct connection){.fd = open_connection(), .number = i, .next_id = 1};
        c->state = options.seed + i * 0x2545f4914f6cdd1du;
        c->pending = allocate(options.in_flight, sizeof *c->pending);
        c->out = allocate(2 * options.in_flight, MAX_REQUEST_BYTES);
        c->in = allocate(1, INPUT_BYTES);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
    }
    return epoll;
}

static void report(double seconds) {
    printf("{\"work\":\"%s\",\"connections\":%u,\"in_flight\":%u,\"rate\":%.0f,\"seconds\":%.3f,\"requests\":%" PRIu64
           ",\"requests_per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f"
           ",\"longest_gap_us\":%.1f,\"seed\":%" PRIu64 "}\n",
           kind_names[options.kind], options.connections, options.in_flight, options.rate, seconds, counted,
           (double)counted / seconds, percentile_us(counted, 0.5), percentile_us(counted, 0.99),
           percentile_us(counted, 0.999), (double)slowest_ns / 1e3, (double)longest_gap_ns / 1e3, options.seed);
}

static void run(void) {
    int epoll = open_connections();
    started = now_ns();
    counts_from = started + (options.count ? 0 : (uint64_t)(options.warmup_seconds * 1e9));
    ends = counts_from + (uint64_t)(options.seconds * 1e9);
    uint64_t counts_until = 0;
    counting = options.count != 0;
    for (unsigned i = 0; i < options.connections && options.rate == 0; i++) {
        uint64_t now = now_ns();
        for (unsigned d = 0; d < options.in_flight; d++) compose(&connections[i], now);
        flush(&connections[i], epoll);
    }
    struct epoll_event events[MAX_EVENTS];
    while (answered < composed || (options.rate > 0 && (answered < fell_due || due_time(fell_due) < ends))) {
        if (options.rate > 0) send_due(epoll, now_ns());
        int ready = wait_for_events(epoll, events);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) flush(c, epoll);
            if (events[i].events & ~(unsigned)EPOLLOUT) serve(c, epoll);
        }
        uint64_t now = now_ns();
        if (options.rate == 0 && !counting && !stopping && now >= counts_from) {
            counting = true;
            counts_from = now;
            ends = now + (uint64_t)(options.seconds * 1e9);
        }
        if (!stopping && now >= ends) {
            // With a number to reach, the time is the bound within which it must be reached.
            if (options.count && composed < options.count) fail("only %" PRIu64 " answers in time", answered);
            stopping = true;
            counting = options.count != 0;
            counts_until = now;
        }
        if (now >= ends + DRAIN_SECONDS * 1000000000ull)
            fail("%" PRIu64 " requests got no answer within %d s", composed - answered, DRAIN_SECONDS);
    }
    if (options.count) {
        counts_until = now_ns();
        if (answered != options.count) fail("%" PRIu64 " answers, not %" PRIu64, answered, options.count);
    }
    // What was late counts in the rate that was reached, too.
    if (options.rate > 0 && last_answer > counts_until) counts_until = last_answer;
    double seconds = (double)(counts_until - counts_from) / 1e9;
    if (counted == 0) fail("not one answer was counted");
    report(seconds);
}

// ---- Arguments

static const char usage[] =
    "usage: loadgen --socket PATH --work WORK\n"
    "  WORK                 introspect, unknown, checksum (a wrong one), rotate, register, revoke, unregister,\n"
    "                       mix (99 introspects to a rotate), exists and set (Redis), echo\n"
    "  --connections C      default 1\n"
    "  --in-flight D        requests sent ahead on each, default 1\n"
    "  --seconds S          how long; with --count, within which time\n"
    "  --warmup-seconds S   before it, not counted; default 0.3\n"
    "  --count N            so many requests instead\n"
    "  --rate R             open loop: R requests a second fall due, and delays count from then\n"
    "  --tokens FILE        one a line: the live tokens, or Redis' keys (made up where left out)\n"
    "  --write FILE         the tokens as they are at the end (register, rotate, mix)\n"
    "  --projects K         tokens an application, default 4\n"
    "  --prefix NAME        of the applications, default bench\n"
    "  --first I --items N  the range of tokens that is worked on, default all\n"
    "  --seed N\n";

static double number(const char *text, double low, double high) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= low && value <= high)) {
        fprintf(stderr, "loadgen: %s is not a number from %g to %g\n", text, low, high);
        exit(64);
    }
    return value;
}

static void read_arguments(int count, char **values) {
    static const struct option names[] = {
        {"socket", 1, 0, 's'},         {"work", 1, 0, 'w'},   {"connections", 1, 0, 'c'}, {"in-flight", 1, 0, 'd'},
        {"seconds", 1, 0, 't'},        {"count", 1, 0, 'n'},  {"tokens", 1, 0, 'k'},      {"write", 1, 0, 'o'},
        {"projects", 1, 0, 'p'},       {"first", 1, 0, 'f'},  {"items", 1, 0, 'i'},       {"seed", 1, 0, 'r'},
        {"warmup-seconds", 1, 0, 'u'}, {"rate", 1, 0, 'a'}, {"prefix", 1, 0, 'x'},    {0, 0, 0, 0},
    };
    int name, work = -1;
    while ((name = getopt_long(count, values, "", names, NULL)) != -1) {
        switch (name) {
        case 's': options.socket_path = optarg; break;
        case 'w':
            for (int i = 0; i <= ECHO; i++)
                if (strcmp(optarg, kind_names[i]) == 0) work = i;
            break;
        case 'c': options.connections = (unsigned)number(optarg, 1, MAX_CONNECTIONS); break;
        case 'd': options.in_flight = (unsigned)number(optarg, 1, MAX_IN_FLIGHT); break;
        case 't': options.seconds = number(optarg, 0.01, MAX_SECONDS); break;
        case 'u': options.warmup_seconds = number(optarg, 0, 60); break;
        case 'n': options.count = (uint64_t)number(optarg, 1, 1e9); break;
        case 'a': options.rate = number(optarg, 1, 1e7); break;
        case 'x': options.prefix = optarg; break;
        case 'k': options.tokens_path = optarg; break;
        case 'o': options.write_path = optarg; break;
        case 'p': options.projects = (unsigned)number(optarg, 1, 10000); break;
        case 'f': options.first = (uint64_t)number(optarg, 0, 1e8); break;
        case 'i': options.items = (uint64_t)number(optarg, 1, 1e8); break;
        case 'r': options.seed = (uint64_t)number(optarg, 0, 9e15); break;
        default: fputs(usage, stderr); exit(64);
        }
    }
    // What can be done once an item is done to each item of the range.
    if (work == REGISTER || work == REVOKE) options.count = options.items;
    if (work == UNREGISTER) options.count = options.items / options.projects;
    if (optind != count || work < 0 || !options.socket_path || (options.seconds == 0 && options.count == 0)) {
        fputs(usage, stderr);
        exit(64);
    }
    options.kind = (enum kind)work;
    if (options.seconds == 0) options.seconds = MAX_SECONDS;
    if ((options.kind == MIX && options.in_flight > 1) || (options.rate > 0 && options.count)) {
        fputs("loadgen: mix takes one in flight, for it knows a token only when it is answered; --rate goes by time\n",
              stderr);
        exit(64);
    }
    if (strlen(options.prefix) > 32) {
        fputs("loadgen: --prefix has at most 32 characters\n", stderr);
        exit(64);
    }
    if (options.kind == REGISTER) {
        if (options.items == 0 || options.items % options.projects || options.first % options.projects) {
            fputs("loadgen: register needs --items, and whole applications of --projects each\n", stderr);
            exit(64);
        }
    }
    if (options.write_path && options.kind != REGISTER && options.kind != ROTATE && options.kind != MIX) {
        fputs("loadgen: --write is for register, rotate and mix\n", stderr);
        exit(64);
    }
}

int main(int argc, char **argv) {
    read_arguments(argc, argv);
    prepare_tokens();
    run();
    if (options.write_path) write_tokens();
    return 0;
}
