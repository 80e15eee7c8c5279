/* base/base.h - what every room stands on: errors, memory, text, the key hash, and the one seam to the world (P7).
 *
 * Refuses:  frames, state, graphs: it knows no other room.
 * Thread:   every function may be called from any thread unless it says otherwise; objects belong to one thread at a time.
 * Holds true:
 *   B1  memory comes from pst_malloc() and its siblings alone, so that a test can make the n-th allocation fail
 *   B2  nothing outside a filling of struct pst_world asks the system for time, randomness, files or threads
 */
#ifndef PST_BASE_H
#define PST_BASE_H

#include "operators/operator.h" /* the list of errors */

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

/* ---- our own broken promises: on in every build ---- */
#define PST_ASSERT(condition) ((condition) ? (void)0 : pst_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void pst_assert_failed(const char *condition, const char *file, int line);

const char *pst_error_name(int error);     /* "PST_EFULL"; "unknown" */
const char *pst_error_sentence(int error); /* "the bound of a queue or buffer is reached" */

/* The system's reason for the last PST_EIO, PST_ENOENT or PST_EREFUSED on this thread: "No space left on device". Never NULL. */
const char *pst_system_error(void);
void pst_system_error_set(int system_errno);
void pst_system_error_say(const char *sentence); /* a reason that is no errno; copied */

/* ---- a lock to be held for little: nobody sleeps, whoever finds it taken asks again until he has it ---- */
static inline void pst_lock_take(atomic_flag *lock)
{
    while (atomic_flag_test_and_set_explicit(lock, memory_order_acquire))
        continue;
}
static inline void pst_lock_give(atomic_flag *lock) { atomic_flag_clear_explicit(lock, memory_order_release); }

/* ---- numbers that lie in bytes, wherever they begin ---- */
static inline uint16_t pst_get_u16(const void *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint32_t pst_get_u32(const void *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint64_t pst_get_u64(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* ---- memory ---- */
void *pst_malloc(size_t bytes);
void *pst_calloc(size_t count, size_t bytes); /* NULL when count * bytes does not fit, too */
void *pst_realloc(void *old, size_t bytes);
void *pst_aligned(size_t alignment, size_t bytes); /* freed by pst_free() */
void pst_free(void *memory);                       /* NULL is nothing */
/* Whole pages of the system, zero and untouched, whatever was freed before; given back by pst_unmap(). For what is large: where malloc()
 * takes such a block from memory that it has had, calloc() writes all of it. Not in an enclave, which can ask for none. */
void *pst_map(size_t bytes);
void pst_unmap(void *memory, size_t bytes);
char *pst_strdup(const char *text);
/* Tests: the n-th allocation from now (1: the next) fails, once; 0: none. Counts over all threads. */
void pst_malloc_fail_at(uint64_t n);
uint64_t pst_malloc_count(void);

/* An arena: many small things that die together. */
struct pst_arena {
    struct pst_arena_chunk *chunk; /* private */
    size_t bytes_total;
};
void pst_arena_init(struct pst_arena *arena);
void pst_arena_fini(struct pst_arena *arena);
void *pst_arena_alloc(struct pst_arena *arena, size_t bytes); /* zeroed, 16-byte aligned; NULL: out of memory */
char *pst_arena_strdup(struct pst_arena *arena, const char *text);
char *pst_arena_printf(struct pst_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- text that grows up to a bound ---- */
struct pst_text {
    char *bytes; /* always ended by a NUL once anything was added; NULL before */
    size_t count, capacity;
    bool failed; /* an addition was lost for want of memory */
    bool secret; /* said before anything is added: what is left behind, by growing or by the end, is wiped */
};
void pst_text_fini(struct pst_text *text);
int pst_text_add(struct pst_text *text, const char *bytes, size_t count);
int pst_text_printf(struct pst_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int pst_text_vprintf(struct pst_text *text, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
int pst_text_json(struct pst_text *text, const char *string); /* a JSON string with its quotes; NULL: null */

/* The character that begins here (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF); its bytes, 0: none. */
size_t pst_text_character(const char *text, uint32_t *ret_character);
/* Words for people, which may have come from anywhere, as a text without lines: what is no character, or moves a cursor, becomes one
 * that does not, and the rest is left out where it is longer than bytes_max. `to` has room for that and a NUL, and may be `from`: it takes
 * no more bytes. */
void pst_text_plain(char *to, size_t bytes_max, const char *from);

/* The name of `names` that is nearest to `word` (edit distance at most a third of its length, and 3), or NULL. */
const char *pst_nearest(const char *word, const char *const *names, size_t name_count);

/* Parses a decimal u64: digits alone, all of them. PST_EINVAL, PST_ERANGE. */
int pst_parse_u64(const char *text, uint64_t *ret_value);
int pst_parse_i64(const char *text, int64_t *ret_value);
/* "64MiB", "93.5MiB", "1k", "4096": bytes, rounded down. Units k, M, G (1000) and Ki, Mi, Gi (1024), with or without B; before one of
 * them up to six decimals. */
int pst_parse_bytes(const char *text, uint64_t *ret_bytes);

/* Of a function whose loops are to be vectors: made for several kinds of processors, of which one is picked at run time. Clang and the
 * sanitizers have it once. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define PST_FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PST_FOR_EACH_CPU
#endif

/* ---- the key hash: SipHash-1-3 of the key's packed little-endian bytes (Aumasson, Bernstein: "SipHash: a fast short-input
 * PRF", 2012), frozen: buckets of stored state depend on it. Key zero where nothing is secret. ---- */
struct pst_hash_key {
    uint64_t k0, k1;
};
uint64_t pst_hash(const struct pst_hash_key *key, const void *bytes, size_t byte_count);
/* The same for n keys of byte_count bytes each, packed one after the other. Vectorised by the compiler, by run-time dispatch. */
void pst_hash_many(const struct pst_hash_key *key, const void *keys, size_t byte_count, uint32_t n,
                   uint64_t *ret_hashes);
/* The same, with the lowest PST_HASH_LEAD_BITS of each those of the hash of its key's first lead_bytes alone: keys that agree in these agree
 * there, and so come into one bucket. lead_bytes 0, or all of them: as pst_hash_many(). */
enum { PST_HASH_LEAD_BITS = 12 };
void pst_hash_led(const struct pst_hash_key *key, const void *keys, size_t byte_count, size_t lead_bytes, uint32_t n,
                  uint64_t *ret_hashes);

/* ---- what a row comes to, cell by cell, where sums of rows are compared: against mistakes, and not against an enemy. Rows that come to the
 * same are known for every first `sum`, for flipping bit 63 of a value flips bits 63 and 34 of what comes of it; a secret does not help ---- */
static inline uint64_t pst_mixed(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9E3779B97F4A7C15u;
    return sum ^ (sum >> 29);
}

static inline uint64_t pst_mixed_cell(uint64_t sum, const void *cell, uint32_t byte_count)
{
    for (uint32_t at = 0; at < byte_count; at += 8) { /* a cell is of 4 bytes, of 8, or a text of 32 */
        uint64_t word = 0;
        memcpy(&word, (const char *)cell + at, byte_count - at < 8 ? byte_count - at : 8);
        sum = pst_mixed(sum, word);
    }
    return sum;
}

/* ---- the world ---- */
/* READ waits for the writer of a named pipe that has none. AWAIT: to be read, too, but it does not: reads say PST_EAGAIN until there was a
 * writer. CREATE: write, cut to nothing. CONTINUE: write a file that is there, behind what it holds. ALONE: the same of one that is made
 * where it is not there, with the lock of file_lock() on what has this name then: nothing of it is touched before. PST_EAGAIN: somebody
 * has it. */
typedef enum pst_open_mode {
    PST_OPEN_READ = 1,
    PST_OPEN_AWAIT,
    PST_OPEN_CREATE,
    PST_OPEN_CONTINUE,
    PST_OPEN_ALONE
} pst_open_mode;
struct pst_file;
struct pst_conn;
struct pst_listener;
enum { PST_PEER_BYTES = 64, PST_NET_MESSAGE_BYTES = 64 * 1024, PST_NET_MESSAGE_BYTES_MAX = 16 * 1024 * 1024 };

typedef enum pst_step { PST_STEP_MORE = 1, PST_STEP_IDLE, PST_STEP_DONE } pst_step;
/* One bounded quantum of a worker's work. IDLE: call again after wake(); DONE: never again. */
typedef pst_step (*pst_step_fn)(void *argument, uint32_t worker_index);

/* One table, two fillings: pst_world_uv() here, and the simulated one of the tests. All calls take `self`. */
struct pst_world {
    void *self;
    uint64_t (*now_ns)(void *self); /* a clock that never goes back; results never depend on it */
    int64_t (*wall_s)(
        void *self); /* seconds since 1970-01-01T00:00:00Z: for the dates of certificates, and nothing else */
    int (*random)(void *self, void *bytes, size_t byte_count);
    uint32_t (*cores)(void *self); /* processors this process may use, at least 1 */
    /* Files. "-" opens standard input or output. Errors: PST_ENOENT, PST_EREFUSED, PST_EIO (also for a directory). */
    int (*file_open)(void *self, const char *path, pst_open_mode mode, struct pst_file **ret_file);
    /* Up to byte_count bytes in order; 0 at the end; PST_EAGAIN: none yet (pipes, terminals). One reader at a time. */
    int64_t (*file_read)(void *self, struct pst_file *file, void *bytes, size_t byte_count);
    /* Wakes this worker once, when there is something to read. Called by that worker itself, within its step. */
    int (*file_watch)(void *self, struct pst_file *file, uint32_t worker_index);
    int (*file_write)(void *self, struct pst_file *file, const void *bytes, size_t byte_count); /* all of it */
    int (*file_sync)(void *self, struct pst_file *file);
    /* Until it is closed, or the process is gone, no other process or open file has this lock. PST_EREFUSED: somebody has it. */
    int (*file_lock)(void *self, struct pst_file *file);
    int (*file_seek)(void *self, struct pst_file *file, uint64_t offset);    /* a regular one, opened to be read */
    int (*file_cut)(void *self, struct pst_file *file, uint64_t byte_count); /* written on behind so many bytes */
    int (*file_close)(void *self, struct pst_file *file);                    /* the file is gone, whatever it returns */
    int (*file_size)(void *self, struct pst_file *file, uint64_t *ret_bytes); /* PST_EINVAL: not a regular file */
    /* A file without a name in a folder, for bytes that come and go: gone when it is closed, or the process is. All of byte_count
     * is read or written, or it is an error; at different places by several threads at once. */
    int (*file_scratch)(void *self, const char *folder, struct pst_file **ret_file);
    int (*file_read_at)(void *self, struct pst_file *file, uint64_t offset, void *bytes, size_t byte_count);
    int (*file_write_at)(void *self, struct pst_file *file, uint64_t offset, const void *bytes, size_t byte_count);
    /* What a path names: 0 nothing, 1 a regular file (whose identity goes to ret_id), 2 something else. */
    int (*look)(void *self, const char *path, uint64_t ret_id[2]);
    int (*rename)(void *self, const char *from, const char *to);
    int (*unlink)(void *self, const char *path);
    /* Names, renames and removals in a folder are on the disk when it returns PST_OK; the bytes in files are not. */
    int (*folder_sync)(void *self, const char *path);
    /* The names in a folder, each ended by a newline (names with one are left out), in any order. PST_ENOENT: no such folder. */
    int (*folder_list)(void *self, const char *path, struct pst_text *ret_names);
    int (*mkdir)(void *self, const char *path); /* with its parents; one that is there already is no error */
    int (*rmdir)(void *self, const char *path); /* an empty one, or one of a kernel's own file system */
    /* Runs worker_count workers, each calling step(argument, its index) until DONE. Returns when all are done. Worker 0 is
     * woken about ten times a second besides, to look at interrupts and to report progress. */
    int (*run)(void *self, uint32_t worker_count, pst_step_fn step, void *argument);
    /* Has job(argument) called on some other thread, and wakes the worker when it is done. Called by that worker itself, within
     * its step; run() does not return before the job has. Jobs may use clock, randomness and files, and no other call of this table. */
    int (*work)(void *self, uint32_t worker_index, void (*job)(void *argument), void *argument);
    void (*wake)(void *self, uint32_t worker_index); /* from any worker of run(); remembered if it does not sleep */
    /* Wakes this worker once when now_ns() has reached `ns`. Of several the earliest counts, and takes the others with it: whoever
     * wanted a later one asks again when the worker steps. By that worker itself, within its step. */
    int (*alarm)(void *self, uint32_t worker_index, uint64_t ns);

    /* Network: connections that carry messages, each whole or not at all, in order. No call waits. A connection belongs to the
     * worker that accepted, opened or was given it, and is used by that worker alone, as a listener is by its worker; whatever
     * returned PST_EAGAIN wakes it once when it is worth trying again. A connection that has failed says so from then on, in every
     * call, and is to be closed; its reason stands in pst_system_error(). After the run, close and unlisten alone may be called.
     * Addresses: "HOST:PORT" (port 0: any; IPv6 in brackets), "unix:PATH"; PST_EINVAL: it is none. What listens on "http:HOST:PORT"
     * has connections of another kind, never protected and with nobody's name: a message that comes is the head of an HTTP request up
     * to its empty line, and what is sent goes out as it is. */
    int (*net_listen)(void *self, uint32_t worker_index, const char *address, struct pst_listener **ret_listener);
    /* Where it listens: with the port that was chosen. Borrowed until it is closed. */
    const char *(*net_address)(void *self, const struct pst_listener *listener);
    void (*net_unlisten)(void *self, struct pst_listener *listener);
    int (*net_accept)(void *self, struct pst_listener *listener, struct pst_conn **ret_conn);
    int (*net_connect)(void *self, uint32_t worker_index, const char *address, struct pst_conn **ret_conn);
    /* PST_OK: both sides know who the other is, and `ret_peer` is the name in its certificate; "" where there is none (a unix
     * socket, a connection without TLS). PST_EAGAIN: not yet. PST_EREFUSED: not somebody to talk to. PST_EIO. It is called until it
     * says something else than PST_EAGAIN: nothing else brings a new connection on. Whoever opened a connection may still hear
     * from the calls below, as PST_EREFUSED, that the other side does not want it. */
    int (*net_peer)(void *self, struct pst_conn *conn, char ret_peer[PST_PEER_BYTES]);
    /* The longest message that is taken; PST_NET_MESSAGE_BYTES at first. A longer one is refused before it is read. */
    void (*net_limit)(void *self, struct pst_conn *conn, uint32_t message_bytes_max);
    /* All of the message (1 .. PST_NET_MESSAGE_BYTES_MAX bytes), or PST_EAGAIN: too much waits to be sent. The bytes may be used
     * again at once. Before net_peer() said PST_OK it is PST_EAGAIN, too. */
    int (*net_send)(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count);
    /* The same of a message of two parts, one behind the other, both of 1 byte at least. What can be sent at once of a long second one is
     * not copied before. */
    int (*net_send_parts)(void *self, struct pst_conn *conn, const void *first, size_t first_bytes, const void *second,
                          size_t second_bytes);
    /* The next message; borrowed until the next call for this connection. PST_EAGAIN; PST_ESTOPPED: the other side has closed it
     * in order; PST_EREFUSED: over the limit, or not such a connection; PST_EIO. */
    int (*net_receive)(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_byte_count);
    /* From then on it is the other worker's own, which is woken, and is told of it by the caller afterwards (and woken again, where
     * it sleeps). Only once net_peer() said PST_OK. PST_ENOMEM: it is still the caller's. */
    int (*net_give)(void *self, struct pst_conn *conn, uint32_t worker_index);
    void (*net_close)(void *self, struct pst_conn *conn); /* what was taken to be sent is still sent, if it can be */
};

/* The real world: threads with a libuv loop each, POSIX files. One per process. NULL: out of memory. */
struct pst_world *pst_world_uv(void);
void pst_world_uv_free(struct pst_world *world);
/* From now on connections on TCP, opened or accepted, are TLS 1.3 with certificates of one authority on both sides; without it they
 * are plain. Of `folder`: ca.pem, the authority; node.pem, our certificate; node.key, its key, which only its owner may read. Nothing
 * is changed on an error, and `ret_why` is a sentence about it: PST_EREFUSED (the key could be read by others), PST_ENOENT,
 * PST_EIO, PST_EDATA (no such files, or they do not belong together, or the certificate is not valid today), PST_ENOMEM.
 * Thread: none is running. */
enum { PST_TLS_WHY_BYTES = 200 };
int pst_world_uv_tls(struct pst_world *world, const char *folder, char ret_why[PST_TLS_WHY_BYTES]);

/* Of such a folder, which has been taken: the keys themselves, where they are all of Ed25519. `key` is the secret one, for the caller to
 * wipe. PST_EINVAL: they are of another kind, or the certificate has more bytes; else as above. */
enum { PST_TLS_CERTIFICATE_BYTES_MAX = 4096 };
struct pst_tls_identity {
    uint8_t authority[32], key[32];
    uint8_t certificate[PST_TLS_CERTIFICATE_BYTES_MAX]; /* DER */
    size_t certificate_bytes;
};
int pst_tls_identity_read(const char *folder, struct pst_tls_identity *ret_identity, char ret_why[PST_TLS_WHY_BYTES]);

#endif
