/* fuzz_border.c - all that a host can write: indices, words and slots of both rings, and the pages that lie outside, between messages that
 * are as they should be. What opens inside is what was sent, in its order; what does not ends the border for good; pages are what was
 * put there or end the worker. Input: commands, each a byte and what it takes; see run(). */
#include "enclave_shim/inside/inside.h"
#include "tests/enclave/tally.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *tally_try(const char *call)
{
    (void)call;
    return NULL;
}

enum {
    ROWS_MAX = 4 * 255,
    SENT_MAX = 512,
    PAGE_SLOTS = 96,
    SLOT_HEAD_BYTES = 4096, /* of each slot so much is made new for each input */
};
#define CHECK(condition) \
    if (!(condition))    \
    abort()

static _Alignas(4096) uint8_t memory[PST_BORDER_BYTES];
static uint8_t *outside; /* PAGE_SLOTS sealed pages */

struct scene {
    const uint8_t *at, *end;
    struct pst_border host, inside;
    struct pst_inside *worker;
    struct pst_message sent[SENT_MAX];
    uint32_t sent_count, opened_count;
    int64_t time;
    bool over;    /* the worker has ended */
    bool touched; /* something outside, or in shared memory, is not what it was */
};

static uint64_t next(struct scene *s, uint32_t byte_count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < byte_count && s->at < s->end; i++)
        value |= (uint64_t)*s->at++ << 8 * i;
    return value;
}

static size_t outside_bytes(void) { return PAGE_SLOTS * pst_seal_bound(PST_PAGE_BYTES); }

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *s = emitter;
    int rc = pst_border_send(&s->inside, message, pieces, piece_count);
    return rc == PST_EAGAIN ? PST_ESTOPPED : rc; /* nobody is there to wait for */
}

static bool more(void *emitter) { return pst_border_has_news(&((struct scene *)emitter)->inside); }

/* ---- what a host should do ---- */

static void send(struct scene *s, struct pst_message message, const struct pst_piece *pieces, uint32_t piece_count)
{
    if (s->sent_count == SENT_MAX || pst_border_send(&s->host, &message, pieces, piece_count) != PST_OK)
        return;
    s->sent[s->sent_count++] = message;
}

static void send_frame(struct scene *s)
{
    static uint64_t hash[ROWS_MAX];
    static int64_t time[ROWS_MAX], value[ROWS_MAX];
    static uint32_t key[ROWS_MAX];
    uint32_t first = (uint32_t)next(s, 1) * 256, n = (uint32_t)next(s, 1) * 4;
    for (uint32_t i = 0; i < n; i++) {
        time[i] = s->time;
        value[i] = i;
        key[i] = first + i;
        hash[i] = key[i] * UINT64_C(0x9e3779b97f4a7c15);
    }
    const struct pst_piece pieces[] = {
        {time, n * 8, 8, false}, {hash, n * 8, 8, true}, {key, n * 4, 4, false}, {value, n * 8, 8, false}};
    if (n != 0)
        send(s, (struct pst_message){.kind = PST_MESSAGE_FRAME, .row_count = n}, pieces, 4);
}

static void send_time(struct scene *s)
{
    s->time += (int64_t)next(s, 1);
    send(s, (struct pst_message){.kind = PST_MESSAGE_TIME, .time = s->time, .limit = s->time}, NULL, 0);
}

static void host_takes(struct scene *s)
{
    struct pst_message message;
    uint8_t *body;
    while (pst_border_receive(&s->host, &message, &body) == PST_OK)
        continue;
}

/* ---- what it can do ---- */

static void write_control(struct scene *s)
{
    static const uint32_t places[] = {0, 64, 128, 192, 512, 576, 640};
    uint8_t *at = memory + places[next(s, 1) % 7];
    uint64_t how = next(s, 1), value;
    memcpy(&value, at, sizeof value);
    value = (how & 1) != 0 ? next(s, 8) : value + how / 2 - 64;
    memcpy(at, &value, sizeof value);
    s->touched = true;
}

static uint8_t *slot(uint64_t index) { return memory + PST_CONTROL_BYTES + index % (2 * PST_SLOTS) * PST_SLOT_BYTES; }

static void write_slot(struct scene *s)
{
    uint8_t *at = slot(next(s, 1)) + next(s, 2) % PST_SLOT_BYTES;
    uint32_t count = (uint32_t)next(s, 1) % 64;
    for (uint32_t i = 0; i < count && at < memory + sizeof memory; i++)
        *at++ = (uint8_t)next(s, 1);
    s->touched = true;
}

static void copy_slot(struct scene *s)
{
    uint8_t *to = slot(next(s, 1));
    memmove(to, slot(next(s, 1)), PST_SLOT_BYTES);
    s->touched = true;
}

static void write_outside(struct scene *s)
{
    size_t at = next(s, 3) % outside_bytes(), step = next(s, 2) + 1, count = next(s, 1);
    uint8_t change = (uint8_t)next(s, 1);
    for (size_t i = 0; i < count && at < outside_bytes(); i++, at += step)
        outside[at] ^= change;
    s->touched = true;
}

static void copy_outside(struct scene *s)
{
    size_t bytes = pst_seal_bound(PST_PAGE_BYTES);
    uint8_t *to = outside + next(s, 1) % PAGE_SLOTS * bytes;
    memmove(to, outside + next(s, 1) % PAGE_SLOTS * bytes, bytes);
    s->touched = true;
}

/* ---- what the worker makes of it ---- */

static void worker_works(struct scene *s)
{
    while (!s->over) {
        struct pst_message message;
        uint8_t *body;
        int rc = pst_border_receive(&s->inside, &message, &body);
        if (rc == PST_EAGAIN)
            return;
        if (rc != PST_OK) {
            CHECK(rc == PST_EREFUSED && s->touched);
            CHECK(pst_border_receive(&s->inside, &message, &body) == PST_EREFUSED);
            s->over = true;
            return;
        }
        CHECK(s->opened_count < s->sent_count);
        CHECK(memcmp(&message, &s->sent[s->opened_count], sizeof message) == 0);
        s->opened_count++;
        rc = pst_inside_take(s->worker, &message, body);
        s->over = rc != PST_OK;
        /* full pages outside, a way out that is full, an index out that is not one: all of them are ends */
        CHECK(rc == PST_OK || rc == PST_ERANGE || rc == PST_ESTOPPED || rc == PST_EDATA ||
              (s->touched && rc == PST_EREFUSED));
        CHECK(rc != PST_EDATA || pst_inside_why(s->worker)[0] == '\0');
    }
}

static void run(struct scene *s)
{
    static void (*const commands[])(struct scene *) = {send_frame, send_time,     write_control, write_slot,
                                                       copy_slot,  write_outside, copy_outside,  worker_works,
                                                       host_takes, send_frame};
    for (uint32_t n = 0; s->at < s->end && n < 128; n++)
        commands[next(s, 1) % 10](s);
    worker_works(s);
    host_takes(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key_in[PST_BORDER_KEY_BYTES] = {1}, key_out[PST_BORDER_KEY_BYTES] = {2};
    static struct pst_secret *master;
    static struct scene scene;
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    char why[PST_SENTENCE_BYTES_MAX];
    if (master == NULL) {
        outside = malloc(outside_bytes());
        CHECK(outside != NULL && pst_secret_new(&master) == PST_OK);
        memset(pst_secret_bytes(master), 0x17, PST_SECRET_BYTES);
    }
    memset(outside, 0, outside_bytes());
    memset(memory, 0, PST_CONTROL_BYTES);
    for (uint64_t i = 0; i < 2 * PST_SLOTS; i++)
        memset(slot(i), 0, SLOT_HEAD_BYTES);
    memset(owned, 0xff, sizeof owned);
    tally_config(&config, &param, "");
    scene = (struct scene){.at = data, .end = data + size};
    CHECK(pst_border_init(&scene.host, memory, false, key_in, key_out) == PST_OK);
    CHECK(pst_border_init(&scene.inside, memory, true, key_in, key_out) == PST_OK);
    struct pst_inside_settings settings = {.op = &tally,
                                           .config = &config,
                                           .owned = owned,
                                           .emit = emit,
                                           .emitter = &scene,
                                           .more = more,
                                           .page_budget = 32 * PST_PAGE_BYTES,
                                           .outside = outside,
                                           .outside_bytes = outside_bytes(),
                                           .master = master};
    CHECK(pst_inside_new(&settings, &scene.worker, why) == PST_OK);
    run(&scene);
    pst_inside_free(scene.worker);
    pst_border_fini(&scene.host);
    pst_border_fini(&scene.inside);
    return 0;
}
