// The work: which item is next, the bytes of a request, and whether the answer to it is right.

#define _GNU_SOURCE 1
#include "loadgen.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const kind_names[] = {"introspect", "unknown", "checksum", "rotate", "register", "revoke",
                                  "unregister", "mix",      "exists", "set",      "echo"};

static char (*tokens)[TOKEN_BYTES];  // of item i; all zero where there is none
static uint64_t token_count;

static uint64_t next_random(uint64_t *state) {  // splitmix64
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// ---- Tokens that nobody issued, with a checksum that is right: the server has to look them up.

static uint32_t crc_table[256];

static void make_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = (c & 1) ? (c >> 1) ^ 0xedb88320u : c >> 1;
        crc_table[i] = c;
    }
}

static void make_token(uint64_t *state, char *out) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    memcpy(out, "api_key|", 8);
    uint32_t crc = 0xffffffffu;
    for (int i = 0; i < 58; i++) {
        out[8 + i] = digits[next_random(state) % 62];
        crc = crc_table[(crc ^ (unsigned char)out[8 + i]) & 0xff] ^ (crc >> 8);
    }
    crc ^= 0xffffffffu;
    for (int i = 5; i >= 0; i--, crc /= 62) out[66 + i] = digits[crc % 62];
}

// ---- Tokens in files, one a line

static void read_tokens(void) {
    FILE *file = fopen(options.tokens_path, "r");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0) fail("%s: %s", options.tokens_path, strerror(errno));
    if (status.st_size == 0 || status.st_size % (TOKEN_BYTES + 1)) fail("%s: not whole lines", options.tokens_path);
    token_count = (uint64_t)status.st_size / (TOKEN_BYTES + 1);
    tokens = allocate(token_count, sizeof *tokens);
    for (uint64_t i = 0; i < token_count; i++)
        if (fread(tokens[i], 1, TOKEN_BYTES, file) != TOKEN_BYTES || fgetc(file) != '\n' ||
            memcmp(tokens[i], "api_key|", 8) != 0)
            fail("%s: line %" PRIu64 " is not a token", options.tokens_path, i + 1);
    fclose(file);
}

void write_tokens(void) {
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.new", options.write_path) >= (int)sizeof beside)
        fail("the path is too long");
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) fail("%s: %s", beside, strerror(errno));
    for (uint64_t i = 0; i < token_count; i++) {
        if (tokens[i][0] == 0) fail("item %" PRIu64 " has no token", i);
        fwrite(tokens[i], 1, TOKEN_BYTES, file);
        fputc('\n', file);
    }
    if (ferror(file) | fclose(file) || rename(beside, options.write_path) != 0) fail("%s: %s", beside, strerror(errno));
}

void prepare_tokens(void) {
    bool needs_live = options.kind == INTROSPECT || options.kind == ROTATE || options.kind == REVOKE ||
                      options.kind == MIX;
    bool made_up = options.kind == UNKNOWN || options.kind == CHECKSUM;
    if (options.kind == REGISTER) {
        token_count = options.first + options.items;
        tokens = allocate(token_count, sizeof *tokens);
    } else if (options.tokens_path && !made_up) {
        read_tokens();
        if (!options.items) options.items = token_count - options.first;
    } else if (needs_live) {
        fail("%s needs --tokens FILE", kind_names[options.kind]);
    } else {
        if (!options.items) options.items = 100000;
        token_count = options.first + options.items;
        tokens = allocate(token_count, sizeof *tokens);
        make_crc_table();
        uint64_t state = options.seed ^ 0xa5a5a5a5u;
        for (uint64_t i = 0; i < token_count; i++) {
            make_token(&state, tokens[i]);
            char *last = &tokens[i][TOKEN_BYTES - 1];
            if (options.kind == CHECKSUM) *last = *last == '0' ? '1' : '0';
        }
    }
    if (options.items == 0 || options.first + options.items > token_count)
        fail("the range holds no item, or goes past the last one");
    if (options.items < options.connections) fail("fewer items than connections");
}

// ---- Writing a request

static char *put(char *out, const char *text, size_t length) { return (char *)memcpy(out, text, length) + length; }
#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static char *put_number(char *out, uint64_t value) {
    char digits[20];
    int n = 0;
    do digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n) *out++ = digits[--n];
    return out;
}

static char *put_head(char *out, uint64_t id) {
    out = PUT(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    return put_number(out, id);
}

static char *put_application(char *out, uint64_t item) {
    out = put(out, options.prefix, strlen(options.prefix));
    *out++ = '/';
    return put_number(out, item / options.projects);
}

static char *put_with_token(char *out, uint64_t id, uint64_t item, bool revokes) {
    out = put_head(out, id);
    out = revokes ? PUT(out, ",\"method\":\"revoke\",\"params\":{\"token\":\"")
                  : PUT(out, ",\"method\":\"introspect\",\"params\":{\"token\":\"");
    out = put(out, tokens[item], TOKEN_BYTES);
    return PUT(out, "\"}}\n");
}

static char *put_issuing(char *out, uint64_t id, uint64_t item, bool rotates) {
    out = put_head(out, id);
    if (rotates)
        out = PUT(out, ",\"method\":\"rotate\",\"params\":{\"project_code\":\"P");
    else if (item % options.projects == 0)
        out = PUT(out, ",\"method\":\"register\",\"params\":{\"project_code\":\"P");
    else
        out = PUT(out, ",\"method\":\"generate\",\"params\":{\"project_code\":\"P");
    out = put_number(out, item % options.projects);
    out = PUT(out, "\",\"application\":\"");
    out = put_application(out, item);
    return PUT(out, "\"}}\n");
}

char *put_request(char *out, const struct pending *p) {
    const char *token = tokens[p->item];
    switch (p->kind) {
    case INTROSPECT:
    case UNKNOWN:
    case CHECKSUM:
    case ECHO: return put_with_token(out, p->id, p->item, false);
    case REVOKE: return put_with_token(out, p->id, p->item, true);
    case ROTATE: return put_issuing(out, p->id, p->item, true);
    case REGISTER: return put_issuing(out, p->id, p->item, false);
    case UNREGISTER:
        out = put_head(out, p->id);
        out = PUT(out, ",\"method\":\"unregister\",\"params\":{\"application\":\"");
        out = put_application(out, p->item);
        return PUT(out, "\"}}\n");
    case EXISTS:
        out = PUT(out, "*2\r\n$6\r\nEXISTS\r\n$72\r\n");
        out = put(out, token, TOKEN_BYTES);
        return PUT(out, "\r\n");
    case SET:
        // A value of the size that a token's row has in our database: what is durable is about as much.
        out = PUT(out, "*3\r\n$3\r\nSET\r\n$72\r\n");
        out = put(out, token, TOKEN_BYTES);
        out = PUT(out, "\r\n$72\r\n");
        out = put(out, token, TOKEN_BYTES);
        return PUT(out, "\r\n");
    case MIX: break;  // next_item() says which of its two it is
    }
    abort();
}

bool next_item(struct connection *c, struct pending *p) {
    uint64_t step = c->steps++, end = options.first + options.items;
    p->kind = options.kind;
    if (options.kind == REGISTER) {  // whole applications, in order, so that `generate` comes after its `register`
        uint64_t application = options.first / options.projects + c->number +
                               options.connections * (step / options.projects);
        p->item = application * options.projects + step % options.projects;
        return p->item < end;
    }
    if (options.kind == UNREGISTER) {
        p->item = options.first + (c->number + options.connections * step) * options.projects;
        return p->item < end;
    }
    if (options.kind == REVOKE || (options.kind == SET && options.count)) {  // each once
        p->item = options.first + c->number + options.connections * step;
        return p->item < end;
    }
    if (options.kind == ROTATE || options.kind == MIX) {
        uint64_t own = (options.items - c->number + options.connections - 1) / options.connections;
        p->item = options.first + c->number + options.connections * (next_random(&c->state) % own);
        if (options.kind == MIX) p->kind = next_random(&c->state) % 100 == 0 ? ROTATE : INTROSPECT;
        return true;
    }
    p->item = options.first + next_random(&c->state) % options.items;
    return true;
}

// ---- Checking an answer

static void __attribute__((noreturn)) wrong(const struct pending *p, const char *answer, size_t length) {
    // An answer to a mutation may hold a token: only what stands before it is shown.
    const char *secret = memmem(answer, length, "api_key|", 8);
    int shown = (int)(secret ? (size_t)(secret - answer) : length < 300 ? length : 300);
    fail("a wrong answer to %s request %" PRIu64 " (item %" PRIu64 "): %.*s", kind_names[p->kind], p->id, p->item,
         shown, answer);
}

/// Whether a result is that of a living token, and of the one that was asked about.
static bool is_active(const struct pending *p, const char *result, size_t length) {
    static const char head[] = "{\"active\":true,\"token_type\":\"Bearer\",\"client_id\":\"";
    enum { UUID_BYTES = 36 };
    char expected[192];
    char *e = PUT(expected, "\",\"sub\":\"");
    e = put_application(e, p->item);
    e = PUT(e, "\",\"project_code\":\"P");
    e = put_number(e, p->item % options.projects);
    e = PUT(e, "\",");
    size_t size = (size_t)(e - expected), at = sizeof head - 1 + UUID_BYTES;
    return length >= at + size && memcmp(result, head, sizeof head - 1) == 0 &&
           memcmp(result + at, expected, size) == 0;
}

/// Takes the new token from credentials; false where there is none, or the one that the item had.
static bool take_token(const struct pending *p, const char *result, const char *end) {
    static const char member[] = "\"registration_token\":\"";
    const char *found = memmem(result, (size_t)(end - result), member, sizeof member - 1);
    if (!found || end - found < (ptrdiff_t)(sizeof member - 1 + TOKEN_BYTES + 1)) return false;
    found += sizeof member - 1;
    if (memcmp(found, "api_key|", 8) != 0 || found[TOKEN_BYTES] != '"') return false;
    if (memcmp(found, tokens[p->item], TOKEN_BYTES) == 0) return false;
    memcpy(tokens[p->item], found, TOKEN_BYTES);
    return true;
}

static bool is_right(const struct pending *p, const char *result, const char *end) {
    size_t rest = (size_t)(end - result) + 1;
#define IS(literal) (rest == sizeof(literal) - 1 && memcmp(result, literal, rest) == 0)
    switch (p->kind) {
    case INTROSPECT: return is_active(p, result, rest);
    case UNKNOWN:
    case CHECKSUM: return IS("{\"active\":false}}\n");
    case REVOKE: return IS("{\"revoked\":1}}\n");
    // The bench revokes all tokens of an application before it unregisters it.
    case UNREGISTER: return IS("{\"revoked\":0}}\n");
    case ROTATE:
    case REGISTER: return take_token(p, result, end);
    default: abort();
    }
#undef IS
}

static size_t check_line(const struct pending *p, const char *answer, size_t length) {
    const char *end = memchr(answer, '\n', length);
    if (!end) return 0;
    size_t size = (size_t)(end - answer) + 1;
    char expected[96];
    char *e = put_head(expected, p->id);
    e = PUT(e, ",\"result\":");
    size_t head = (size_t)(e - expected);
    if (size < head + 4 || memcmp(answer, expected, head) != 0 || end[-1] != '}') wrong(p, answer, size);
    if (!is_right(p, answer + head, end)) wrong(p, answer, size);
    return size;
}

size_t check(const struct pending *p, const char *answer, size_t length) {
    char expected[MAX_REQUEST_BYTES];
    size_t size;
    switch (p->kind) {
    case EXISTS: size = (size_t)(PUT(expected, ":1\r\n") - expected); break;
    case SET: size = (size_t)(PUT(expected, "+OK\r\n") - expected); break;
    case ECHO: size = (size_t)(put_request(expected, p) - expected); break;
    default: return check_line(p, answer, length);
    }
    size_t have = length < size ? length : size;
    if (memcmp(answer, expected, have) != 0) wrong(p, answer, length);
    return length < size ? 0 : size;
}
