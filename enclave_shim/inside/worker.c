/* worker.c - the program that runs inside: `penstock-enclave BYTES`, started by a backend and by nobody else.
 *
 * 3 is a socket, by which it is told what it is (config.h) and says once how it went; 4 the border's memory, 5 the memory outside.
 * The pool is made first, and the stack is switched into it before the first secret is read. Then everything that could be opened is
 * closed and given up, and only then the operator's code runs. */
#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/inside/heap.h"
#include "enclave_shim/inside/inside.h"
#include "enclave_shim/inside/lock.h"
#include "enclave_shim/sealed.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    BOOT_FD = 3,
    BORDER_FD = 4,
    OUTSIDE_FD = 5,
    PAGE_BYTES = 4096,
    STACK_BYTES = 256 * 1024, /* its guard page included */
    FIXED_BYTES = 512 * 1024, /* for batches, scratch, contexts of keys */
    SLAB_BYTES = 1100 * 1024, /* pages are taken from the heap in pieces of about so many */
    PAGES_LEAST = 72,         /* what an operator of many buckets begins with at least */
    LEAST_STEP_BYTES = 64 * 1024,
    DEAR_AFTER_BYTES = 4 * 1024 * 1024,
    TOUCHED_BESIDES = 12, /* of what is touched ahead, the part that is for other things than pages */
    HELD_BYTES_LEAST = 1024 * 1024,
    SEALED_EDGE_BYTES = 512 * 1024, /* of rows that are kept until they are sealed, and scratch */
};

struct worker {
    struct pst_boot boot;
    struct pst_enclave_operator config;
    struct pst_arena arena;
    struct pst_inside_settings settings;
    struct pst_inside *inside;
    struct pst_inside_sealed_settings sealed_settings;
    struct pst_inside_sealed *sealed; /* NULL: its host hands it rows */
    struct pst_border border;
    uint8_t *border_memory, *outside;
    uint8_t digest[PST_CONFIG_DIGEST_BYTES], offer_seed[PST_OFFER_SEED_BYTES];
    uint64_t left; /* of the pool, when all but the operator was there */
    uint32_t facts;
};

static struct {
    uint8_t *pool;
    uint64_t epc_bytes;
    uint32_t facts;
    struct pst_control *control; /* where a reason can be left, once there is one */
} process;

static _Noreturn void leave(enum pst_inside_reason reason)
{
    if (process.control != NULL)
        atomic_store(&process.control->reason, (uint32_t)reason);
    _exit((int)reason);
}

void pst_assert_failed(const char *condition, const char *file, int line)
{
    (void)condition, (void)file, (void)line; /* it says nothing: what is true of a secret is a secret */
    leave(PST_INSIDE_PROMISE);
}

/* ---- the way in ---- */

static void answer(int error, uint32_t facts, const char *sentence)
{
    struct pst_boot_answer answer = {.magic = PST_BOOT_MAGIC, .error = error, .facts = facts};
    (void)snprintf(answer.sentence, sizeof answer.sentence, "%s", sentence);
    if (send(BOOT_FD, &answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer)
        leave(PST_INSIDE_START);
}

static _Noreturn void refuse(int error, const char *sentence)
{
    answer(error, 0, sentence);
    leave(PST_INSIDE_START);
}

static void boot_read(void *bytes, size_t byte_count)
{
    for (size_t got = 0; got < byte_count;) {
        ssize_t n = recv(BOOT_FD, (uint8_t *)bytes + got, byte_count - got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            leave(PST_INSIDE_START); /* nobody is there to be told */
        got += (size_t)n;
    }
}

static void *shared_map(int fd, uint64_t bytes)
{
    struct stat found;
    if (fstat(fd, &found) != 0 || (uint64_t)found.st_size < bytes)
        refuse(PST_EINTERNAL, "the memory that it was given is too short");
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        refuse(PST_ENOMEM, "the memory that it was given cannot be mapped");
    (void)close(fd);
    (void)madvise(memory, bytes, MADV_DONTDUMP);
    return memory;
}

static void told(struct worker *w)
{
    boot_read(&w->boot, sizeof w->boot);
    if (w->boot.magic != PST_BOOT_MAGIC || w->boot.version != PST_BOOT_VERSION ||
        w->boot.config_bytes > PST_CONFIG_BYTES_MAX || w->boot.epc_bytes != process.epc_bytes)
        refuse(PST_EABI, "the worker was made for another penstock");
    void *config = pst_malloc(w->boot.config_bytes);
    if (config == NULL)
        refuse(PST_ENOMEM, pst_error_sentence(PST_ENOMEM));
    boot_read(config, w->boot.config_bytes);
    pst_arena_init(&w->arena);
    int rc = pst_config_decode(config, w->boot.config_bytes, &w->arena, &w->config);
    if (rc != PST_OK)
        refuse(rc, pst_error_sentence(rc));
    if (EVP_Digest(config, w->boot.config_bytes, w->digest, NULL, EVP_sha256(), NULL) != 1)
        refuse(PST_EINTERNAL, pst_error_sentence(PST_EINTERNAL));
    pst_free(config);
    w->border_memory = shared_map(BORDER_FD, PST_BORDER_BYTES);
    w->outside = shared_map(OUTSIDE_FD, w->boot.outside_bytes);
    process.control = (struct pst_control *)(void *)w->border_memory;
}

/* ---- what is small enough ---- */

/* Of the space for pages a quarter is for what is kept about them: indices, and 64 bytes for each that lies outside. */
static uint64_t budget_of(uint64_t space) { return space > SLAB_BYTES ? (space - SLAB_BYTES) / 4 * 3 : 0; }
static uint64_t space_for(uint64_t budget) { return budget / 3 * 4 + SLAB_BYTES + 4; }

/* Of the pool: what rows that come sealed take while they wait, and those that are about to be sealed. */
static uint64_t sealed_bytes(const struct worker *w)
{
    if (w->config.sealing == NULL)
        return 0;
    uint64_t held = w->sealed_settings.held_bytes_max * w->config.input_count;
    if (w->boot.has_images != 0) /* rows that wait are in an image, and are copied for it and from it */
        held *= 3;
    return held + SEALED_EDGE_BYTES * (w->config.sealing->edge_count + (uint64_t)w->config.input_count);
}

/* An EPC that would have done so far: by its pages, or by what was asked for last. */
static uint64_t epc_least(const struct worker *w)
{
    uint64_t pages = pst_inside_page_bytes_least(w->inside), epc = process.epc_bytes;
    if (pages == 0)
        pages = PAGES_LEAST * PST_PAGE_BYTES;
    if (pages > w->settings.page_budget) {
        uint64_t left = w->left != 0 ? w->left : pst_heap_left(),
                 wanted = space_for(pages) + FIXED_BYTES + sealed_bytes(w);
        return epc + (wanted > left ? wanted - left : LEAST_STEP_BYTES);
    }
    return epc + (pst_heap_refused() > LEAST_STEP_BYTES ? pst_heap_refused() : LEAST_STEP_BYTES);
}

/* Says the least that works where that was the reason; *error is then a configuration's. */
static const char *epc_sentence(const struct worker *w, int *error, const char *why)
{
    static char sentence[PST_SENTENCE_BYTES_MAX];
    if (*error != PST_EFULL && *error != PST_ENOMEM)
        return why;
    uint64_t kib = (epc_least(w) + LEAST_STEP_BYTES - 1) / LEAST_STEP_BYTES * LEAST_STEP_BYTES / 1024;
    *error = PST_EGRAPH;
    (void)snprintf(sentence, sizeof sentence, "an EPC of %llu KiB is too small: so far it takes %llu KiB at least",
                   (unsigned long long)process.epc_bytes / 1024, (unsigned long long)kib);
    return sentence;
}

static _Noreturn void refuse_start(const struct worker *w, int error)
{
    const char *sentence = epc_sentence(w, &error, pst_error_sentence(error));
    refuse(error, sentence);
}

static void secrets_draw(struct worker *w)
{
    struct pst_secret *master = NULL;
    bool good = pst_secret_new(&master) == PST_OK &&
                getrandom(pst_secret_bytes(master), PST_SECRET_BYTES, 0) == PST_SECRET_BYTES &&
                getrandom(w->settings.incarnation, PST_INCARNATION_BYTES, 0) == PST_INCARNATION_BYTES;
    if (!good)
        refuse(PST_EIO, "no random bytes");
    w->settings.master = master;
}

static void offers_prepare(struct worker *w)
{
    w->settings.config_digest = w->digest;
    w->settings.lane = w->boot.lane != 0;
    w->settings.offer_seed = w->offer_seed;
    if (getrandom(w->offer_seed, sizeof w->offer_seed, 0) != (ssize_t)sizeof w->offer_seed)
        refuse(PST_EIO, "no random bytes");
}

/* What the host has been told to hand over for images; it is wiped where it came. */
static void images_know(struct worker *w)
{
    struct pst_secret *key = NULL;
    if (w->boot.has_images == 0)
        return;
    if (pst_secret_new(&key) != PST_OK)
        refuse_start(w, PST_ENOMEM);
    if (getrandom(w->settings.image_incarnation, PST_INCARNATION_BYTES, 0) != PST_INCARNATION_BYTES)
        refuse(PST_EIO, "no random bytes");
    if (w->config.sealing != NULL) { /* its host has no such key: it comes with the user's */
        static const uint8_t none[sizeof w->boot.image_key];
        if (memcmp(w->boot.image_key, none, sizeof none) != 0 || w->boot.restore_key_count != 0)
            refuse(PST_EGRAPH, PST_INSIDE_NO_KEY);
        memcpy(w->settings.graph, w->boot.graph, sizeof w->settings.graph);
        w->settings.restore_least = w->boot.restore_least;
        w->settings.image_room = key;
        return;
    }
    memcpy(pst_secret_bytes(key), w->boot.image_key, PST_SECRET_BYTES);
    OPENSSL_cleanse(w->boot.image_key, sizeof w->boot.image_key);
    for (uint32_t i = 0; i < w->boot.restore_key_count && i < PST_IMAGE_KEYS_MAX; i++) {
        struct pst_secret *restore_key = NULL;
        if (pst_secret_new(&restore_key) != PST_OK)
            refuse_start(w, PST_ENOMEM);
        memcpy(pst_secret_bytes(restore_key), w->boot.restore_keys[i], PST_SECRET_BYTES);
        w->settings.restore_keys[w->settings.restore_key_count++] = restore_key;
    }
    OPENSSL_cleanse(w->boot.restore_keys, sizeof w->boot.restore_keys);
    memcpy(w->settings.graph, w->boot.graph, sizeof w->settings.graph);
    w->settings.restore_least = w->boot.restore_least;
    w->settings.image_key = key;
}

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count);
static bool more(void *emitter);

static void sealed_prepare(struct worker *w)
{
    struct pst_inside_sealed_settings *s = &w->sealed_settings;
    uint32_t salt_bytes;
    if (w->config.sealing == NULL)
        return;
    salt_bytes = w->config.sealing->edge_count * (uint32_t)sizeof *s->salts;
    s->config = &w->config;
    s->config_digest = w->digest;
    s->owned = w->boot.owned;
    s->emit = emit;
    s->more = more;
    s->emitter = &w->border;
    s->paced = w->boot.paced != 0;
    s->held_bytes_max = process.epc_bytes / PST_SEALED_EPC_PARTS;
    if (s->held_bytes_max < HELD_BYTES_LEAST)
        s->held_bytes_max = HELD_BYTES_LEAST;
    s->salts = pst_malloc(salt_bytes + (size_t)1);
    if (s->salts == NULL)
        refuse_start(w, PST_ENOMEM);
    bool good = getrandom(s->channel_secret, sizeof s->channel_secret, 0) == (ssize_t)sizeof s->channel_secret;
    for (uint32_t e = 0; good && e < w->config.sealing->edge_count; e++)
        good = getrandom(s->salts[e], sizeof *s->salts, 0) == (ssize_t)sizeof *s->salts;
    if (!good)
        refuse(PST_EIO, "no random bytes");
    int rc = pst_inside_sealed_new(s, &w->sealed);
    if (rc != PST_OK)
        refuse_start(w, rc);
    w->settings.emit = pst_inside_sealed_emit;
    w->settings.emitter = w->sealed;
    w->settings.more = NULL; /* what has come waits in front of it */
}

/* A release made and opened: its key agreement is used later, when no system call is left. */
static void release_warm(struct worker *w)
{
    uint8_t one[PST_CHANNEL_KEY_BYTES] = {1}, two[PST_CHANNEL_KEY_BYTES] = {2}, public[PST_CHANNEL_KEY_BYTES];
    uint8_t release[PST_RELEASE_BYTES], root[PST_SEALED_KEY_BYTES] = {0}, digest[32] = {0};
    int rc = pst_channel_key_public(two, public);
    if (rc == PST_OK)
        rc = pst_release_seal(root, digest, one, public, digest, release);
    if (rc == PST_OK)
        rc = pst_release_open(release, sizeof release, digest, two, root);
    if (rc != PST_OK)
        refuse_start(w, rc);
}

static int compare_nothing(const void *a, const void *b)
{
    (void)a, (void)b;
    return 0;
}

/* What libraries do at their first use, some of it by system calls, is done now. */
static void libraries_warm(struct worker *w)
{
    static uint64_t sorted[1024];
    uint32_t one = 1;
    struct pst_sealer *sealer = NULL;
    struct pst_seal_place place = {0};
    uint8_t out[PST_SEAL_HEADER_BYTES + 4 * PST_SEAL_CLASS_BYTES_MIN];
    size_t bytes;
    static const uint8_t graph[PST_GRAPH_DIGEST_BYTES];
    qsort(sorted, sizeof sorted / sizeof sorted[0], sizeof sorted[0], compare_nothing);
    int rc = pst_sealer_new(w->settings.master, graph, PST_SEAL_SPILL, w->settings.incarnation, 1, &w->config.type,
                            &one, &sealer);
    if (rc == PST_OK)
        rc = pst_seal(sealer, 0, &place, false, "", 0, out, sizeof out, &bytes);
    pst_sealer_free(sealer);
    if (rc != PST_OK)
        refuse_start(w, rc);
    if (w->config.sealing != NULL || w->config.authority != NULL)
        release_warm(w);
    if (w->config.authority != NULL)
        (void)pst_process_evidence_signed((const uint8_t[PST_PROCESS_EVIDENCE_BYTES]){0}); /* it is not */
}

/* ---- the work ---- */

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct pst_border *border = emitter;
    int rc;
    while ((rc = pst_border_send(border, message, pieces, piece_count)) == PST_EAGAIN)
        (void)pst_border_wait(border, true, 0);
    return rc;
}

static bool more(void *emitter) { return pst_border_has_news(emitter); }

static void counts_add(void *counter, struct pst_border_counts *counts)
{
    const struct pst_border *border = counter;
    counts->epc_used_max = pst_heap_used();
    counts->leaves = border->calls;
}

static _Noreturn void fail(struct worker *w, int error, const char *why)
{
    why = epc_sentence(w, &error, why);
    struct pst_message message = {.kind = PST_MESSAGE_FAILED, .error = error < 0 ? error : PST_EINTERNAL};
    struct pst_piece piece = {why, (uint32_t)strnlen(why, PST_SENTENCE_BYTES_MAX), 0, false};
    (void)emit(&w->border, &message, &piece, 1);
    pst_border_kick(&w->border);
    leave(PST_INSIDE_FAILED);
}

static _Noreturn void serve(struct worker *w)
{
    for (;;) {
        struct pst_message message;
        uint8_t *body;
        int rc = pst_border_receive(&w->border, &message, &body);
        if (rc == PST_EAGAIN) {
            (void)pst_border_wait(&w->border, false, 0);
            continue;
        }
        if (rc != PST_OK)
            leave(PST_INSIDE_BORDER);
        rc = w->sealed != NULL ? pst_inside_sealed_take(w->sealed, &message, body)
                               : pst_inside_take(w->inside, &message, body);
        if (rc == PST_ESTOPPED)
            leave(PST_INSIDE_STOPPED);
        const char *why = w->sealed != NULL ? pst_inside_sealed_why(w->sealed) : pst_inside_why(w->inside);
        if (rc != PST_OK && why[0] == '\0') /* of a message that fits nothing nothing is said */
            leave(PST_INSIDE_BORDER);
        if (rc != PST_OK)
            fail(w, rc, why);
    }
}

/* Whether it has this operator, and plans it as its host does: that is all that is asked. */
static _Noreturn void plan_tried(struct worker *w)
{
    char why[PST_SENTENCE_BYTES_MAX] = "";
    const void *planned;
    struct pst_inside_forward forward;
    int rc = pst_inside_plan(w->settings.op, &w->config, &w->arena, &planned, &forward, why);
    if (rc != PST_OK)
        refuse(rc, why[0] != '\0' ? why : pst_error_sentence(rc));
    answer(PST_OK, 0, "");
    leave(PST_INSIDE_STOPPED);
}

/* What rows would wait for otherwise: its host waits for READY, of all of its workers at once, before it reads the first. */
static void touch(struct worker *w)
{
    bool all = w->boot.touch_pages == UINT32_MAX;
    uint64_t touched = pst_heap_touch(all ? UINT64_MAX : (uint64_t)w->boot.touch_pages * PAGE_BYTES);
    uint64_t pages = touched - touched / TOUCHED_BESIDES;
    if (!all && w->boot.cheap == 0 && (process.facts & PST_FACT_SECRET_MEMORY) != 0)
        w->settings.dear_after = pages > DEAR_AFTER_BYTES ? pages : DEAR_AFTER_BYTES;
}

static void start(void)
{
    char why[PST_SENTENCE_BYTES_MAX];
    struct worker *w = pst_calloc(1, sizeof *w);
    if (w == NULL)
        refuse(PST_EGRAPH, "the EPC is too small to begin with");
    told(w);
    w->settings = (struct pst_inside_settings){.op = pst_inside_operator(w->config.type),
                                               .config = &w->config,
                                               .owned = w->boot.owned,
                                               .emit = emit,
                                               .emitter = &w->border,
                                               .more = more,
                                               .evict = w->boot.evict,
                                               .outside = w->outside,
                                               .outside_bytes = w->boot.outside_bytes,
                                               .counts = counts_add,
                                               .counter = &w->border};
    if (w->settings.op == NULL)
        refuse(PST_EGRAPH,
               "its type is not among the operators that the worker's program has, or was built for another "
               "version of operators/operator.h");
    if (w->boot.trial != 0)
        plan_tried(w);
    secrets_draw(w);
    images_know(w);
    offers_prepare(w);
    libraries_warm(w);
    int rc = pst_border_init(&w->border, w->border_memory, true, w->boot.key_in, w->boot.key_out);
    if (rc != PST_OK)
        refuse_start(w, rc);
    w->border.spins = w->boot.spins < PST_BORDER_SPINS_MAX ? w->boot.spins : PST_BORDER_SPINS_MAX;
    OPENSSL_cleanse(w->boot.key_in, sizeof w->boot.key_in);
    OPENSSL_cleanse(w->boot.key_out, sizeof w->boot.key_out);
    sealed_prepare(w);
    w->left = pst_heap_left();
    uint64_t besides = FIXED_BYTES + sealed_bytes(w);
    w->settings.page_budget = budget_of(w->left > besides ? w->left - besides : 0);
    w->facts = process.facts | PST_FACT_SEALED_BORDER | pst_lock_in();
    answer(PST_OK, w->facts, "");
    (void)close_range(0, ~0u, 0);
    if (pst_lock_calls(&process.control->inside_sleeps, &process.control->host_sleeps) != 0)
        leave(PST_INSIDE_START);
    w->facts |= PST_FACT_SECCOMP;
    touch(w);
    rc = w->settings.page_budget != 0 ? pst_inside_new(&w->settings, &w->inside, why) : PST_ENOMEM;
    if (rc != PST_OK)
        fail(w, rc, why);
    if (w->sealed != NULL) {
        pst_inside_sealed_serve(w->sealed, w->inside);
        rc = pst_inside_sealed_channel(w->sealed);
        if (rc != PST_OK)
            leave(PST_INSIDE_BORDER);
    }
    rc = pst_inside_ready(w->inside, w->facts, w->digest);
    if (rc != PST_OK)
        leave(PST_INSIDE_BORDER);
    serve(w);
}

/* ---- the pool first ---- */

static void *crypto_malloc(size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(bytes);
}

static void *crypto_realloc(void *old, size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(old, bytes);
}

static void crypto_free(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    free(memory);
}

int main(int argc, char **argv)
{
    static ucontext_t context;
    char why[PST_SENTENCE_BYTES_MAX];
    if (argc != 2 || pst_parse_u64(argv[1], &process.epc_bytes) != PST_OK || process.epc_bytes < PST_EPC_BYTES_MIN ||
        process.epc_bytes > PST_EPC_BYTES_MAX) {
        static const char usage[] = "penstock-enclave is started by penstock alone\n";
        (void)!write(STDERR_FILENO, usage, sizeof usage - 1);
        return 64;
    }
    process.epc_bytes &= ~(uint64_t)4095;
    process.pool = pst_pool_map(process.epc_bytes, &process.facts, why, sizeof why);
    if (process.pool == NULL)
        refuse(PST_EREFUSED, why);
    pst_heap_init(process.pool + STACK_BYTES, process.epc_bytes - STACK_BYTES);
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1 ||
        OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1 ||
        getcontext(&context) != 0)
        refuse(PST_EINTERNAL, pst_error_sentence(PST_EINTERNAL));
    context.uc_stack.ss_sp = process.pool;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = NULL;
    makecontext(&context, start, 0);
    (void)setcontext(&context);
    leave(PST_INSIDE_START);
}
