#pragma once
// What the parts of the load generator share.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKEN_BYTES = 72,           // "api_key|", 58 of 0-9A-Za-z, 6 digits of checksum
    MAX_CONNECTIONS = 4096,
    MAX_IN_FLIGHT = 256,
    MAX_REQUEST_BYTES = 640,
    INPUT_BYTES = 256 * 1024,   // MAX_IN_FLIGHT answers of 1 KiB
    MAX_EVENTS = 256,
    DRAIN_SECONDS = 20,         // how long the last answers may take
    MAX_SECONDS = 3600,
};

enum kind { INTROSPECT, UNKNOWN, CHECKSUM, ROTATE, REGISTER, REVOKE, UNREGISTER, MIX, EXISTS, SET, ECHO };
extern const char *const kind_names[];

struct options {
    const char *socket_path, *tokens_path, *write_path, *prefix;
    enum kind kind;
    unsigned connections, in_flight, projects;
    uint64_t first, items;      // the range of items that is worked on
    uint64_t count;             // requests in all, or 0: until the time is over
    double seconds, warmup_seconds;
    double rate;                // requests a second that fall due, or 0: the next one when one is answered
    uint64_t seed;
};
extern struct options options;

/// What was asked and not answered yet.
struct pending {
    uint64_t since_ns;          // when it was sent; with a rate, when it was due
    uint64_t item, id;
    enum kind kind;
};

struct connection {
    int fd;
    unsigned number;
    bool waits_for_room;
    uint64_t state;             // of its own pseudo-random sequence
    uint64_t next_id, steps;
    uint64_t due, taken;        // with a rate: how many of its requests fell due, and how many of those were composed
    unsigned head, waiting;     // the ring `pending`
    size_t out_start, out_end, in_end;
    struct pending *pending;
    char *out, *in;
};

/// Says why on standard error; exit status 1.
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *allocate(size_t count, size_t size);

/// What the work needs in memory: live tokens from a file, tokens nobody issued, or room for those to come.
void prepare_tokens(void);
/// Writes the tokens as they are now to `--write FILE`, one a line.
void write_tokens(void);
/// Which item this connection works on next, and what is asked about it; false where it has none left.
bool next_item(struct connection *c, struct pending *p);
/// Writes a request of at most MAX_REQUEST_BYTES; its end.
char *put_request(char *out, const struct pending *p);
/// How many bytes the answer has, 0 where it is not complete; ends the run where it is wrong.
size_t check(const struct pending *p, const char *answer, size_t length);
