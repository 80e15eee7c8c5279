/* border.c - see border.h. */
#include "enclave_shim/common/border.h"

#include "base/gcm.h"

#include <linux/futex.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SEQUENCE_OFFSET = 4 };                     /* in the nonce */
enum { AWAKE, SLEEPS_FOR_NEWS, SLEEPS_FOR_ROOM }; /* what a side's word says */

int pst_border_init(struct pst_border *border, void *memory, bool inside, const uint8_t key_in[PST_BORDER_KEY_BYTES],
                    const uint8_t key_out[PST_BORDER_KEY_BYTES])
{
    struct pst_control *control = memory;
    uint8_t *slots_in = (uint8_t *)memory + PST_CONTROL_BYTES, *slots_out = slots_in + PST_SLOTS * PST_SLOT_BYTES;
    *border = (struct pst_border){.control = control, .inside = inside, .spins = PST_BORDER_SPINS_FEW};
    border->own_word = inside ? &control->inside_sleeps : &control->host_sleeps;
    border->others_word = inside ? &control->host_sleeps : &control->inside_sleeps;
    struct pst_ring *into = inside ? &border->in : &border->out, *out_of = inside ? &border->out : &border->in;
    if (inside) {
        pst_ring_init(into, slots_in, &control->in_tail, &control->in_head, false);
        pst_ring_init(out_of, slots_out, &control->out_head, &control->out_tail, true);
    } else {
        pst_ring_init(into, slots_in, &control->in_head, &control->in_tail, true);
        pst_ring_init(out_of, slots_out, &control->out_tail, &control->out_head, false);
    }
    border->room = pst_aligned(64, 2 * PST_SLOT_BYTES);
    int rc = border->room != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pst_gcm_new(inside ? key_in : key_out, &border->opens);
    if (rc == PST_OK)
        rc = pst_gcm_new(inside ? key_out : key_in, &border->seals);
    if (rc != PST_OK)
        pst_border_fini(border);
    return rc;
}

void pst_border_fini(struct pst_border *border)
{
    pst_gcm_free(border->opens);
    pst_gcm_free(border->seals);
    if (border->room != NULL)
        OPENSSL_cleanse(border->room, 2 * PST_SLOT_BYTES);
    pst_free(border->room);
    *border = (struct pst_border){0};
}

static void nonce_fill(uint8_t nonce[PST_GCM_NONCE_BYTES], uint64_t sequence)
{
    memset(nonce, 0, PST_GCM_NONCE_BYTES);
    memcpy(nonce + SEQUENCE_OFFSET, &sequence, sizeof sequence);
}

/* ---- waking ---- */

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
    (void)syscall(SYS_futex, word, operation, value, timeout, NULL, 0); /* whoever wakes looks again */
}

/* A sleeper says so, then looks at the rings; whoever moves an index does so, then looks whether somebody sleeps. least: for room alone,
 * or for news as well, which whoever waits for room takes too. */
static void wake_other(struct pst_border *border, uint32_t least)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(border->others_word, memory_order_relaxed) < least)
        return;
    atomic_store_explicit(border->others_word, AWAKE, memory_order_relaxed);
    border->calls++;
    futex(border->others_word, FUTEX_WAKE, 1, NULL);
}

void pst_border_kick(struct pst_border *border)
{
    if (!border->owes_wake)
        return;
    border->owes_wake = false;
    wake_other(border, SLEEPS_FOR_NEWS);
}

static bool moved(const struct pst_border *border, bool for_room)
{
    if (for_room)
        return pst_ring_moved(&border->out) || (!border->inside && pst_ring_moved(&border->in));
    return pst_ring_moved(&border->in);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

bool pst_border_all_taken(const struct pst_border *border)
{
    return atomic_load_explicit(border->out.others, memory_order_relaxed) == border->out.mine;
}

bool pst_border_has_news(const struct pst_border *border) { return moved(border, false); }

/* It sends, then it sleeps: who sees that it sleeps sees what it has sent. */
bool pst_border_other_waits(const struct pst_border *border)
{
    return atomic_load_explicit(border->others_word, memory_order_acquire) == SLEEPS_FOR_NEWS &&
           pst_border_all_taken(border) && !moved(border, false);
}

bool pst_border_wait(struct pst_border *border, bool for_room, uint32_t timeout_us)
{
    const uint32_t sleeps = for_room ? SLEEPS_FOR_ROOM : SLEEPS_FOR_NEWS;
    pst_border_kick(border);
    for (uint32_t i = 0; i < border->spins; i++) {
        if (moved(border, for_room))
            return true;
        pause_briefly();
    }
    atomic_store_explicit(border->own_word, sleeps, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (!moved(border, for_room)) {
        border->calls++;
        struct timespec timeout = {timeout_us / 1000000, (long)(timeout_us % 1000000) * 1000};
        futex(border->own_word, FUTEX_WAIT, sleeps, timeout_us != 0 ? &timeout : NULL);
    }
    atomic_store_explicit(border->own_word, AWAKE, memory_order_relaxed);
    return moved(border, for_room);
}

/* ---- sending ---- */

/* to: the sealed body and its tag, in shared memory. Of capsules the header alone is sealed, and they are there already: they are sealed by
 * whoever sent them, and whoever opens them misses what is not there. */
static int body_seal(struct pst_gcm *gcm, const struct pst_message *message, uint8_t *body, uint8_t *to)
{
    uint8_t nonce[PST_GCM_NONCE_BYTES];
    const struct pst_gcm_head head = {nonce, message, sizeof *message};
    nonce_fill(nonce, message->sequence);
    return pst_gcm_seal_out(gcm, &head, body, pst_message_has_capsules(message) ? 0 : message->body_bytes, to,
                            to + message->body_bytes);
}

uint8_t *pst_border_room(struct pst_border *border)
{
    uint8_t *slot = pst_ring_slot(&border->out);
    return slot != NULL ? slot + sizeof(struct pst_message) : NULL;
}

int pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count)
{
    uint8_t *slot = pst_ring_slot(&border->out);
    if (slot == NULL)
        return border->out.poisoned ? PST_EREFUSED : PST_EAGAIN;
    if (border->sent == PST_BORDER_MESSAGES_MAX)
        return PST_ERANGE;
    bool capsules =
        pst_message_has_capsules(message); /* they are where they go at once: nothing of them is read again */
    uint8_t *to = slot + sizeof *message, *body = capsules ? to : border->room + PST_SLOT_BYTES;
    if (!capsules || pieces != NULL) /* else they are there already */
        message->body_bytes = pst_pieces_write(pieces, piece_count, body);
    PST_ASSERT(message->body_bytes <= PST_BODY_BYTES_MAX);
    message->sequence = border->sent++;
    int rc = body_seal(border->seals, message, body, to);
    if (rc != PST_OK)
        return rc;
    memcpy(slot, message, sizeof *message);
    pst_ring_advance(&border->out);
    border->owes_wake = true;
    if (pst_ring_is_half_full(&border->out))
        pst_border_kick(border);
    return PST_OK;
}

/* ---- receiving ---- */

/* Of memory that somebody else may write to meanwhile: what is copied is what is looked at from then on. */
static __attribute__((noinline)) void copy_in(void *to, const void *from, size_t byte_count)
{
    memcpy(to, from, byte_count);
    __asm__ volatile("" ::: "memory");
}

/* from: as it lies in shared memory, with its tag behind it. What is opened is read once (G1). */
static int body_open(struct pst_gcm *gcm, const struct pst_message *message, const uint8_t *from, uint8_t *body)
{
    uint8_t nonce[PST_GCM_NONCE_BYTES];
    const struct pst_gcm_head head = {nonce, message, sizeof *message};
    bool capsules = pst_message_has_capsules(message);
    nonce_fill(nonce, message->sequence);
    if (capsules)
        copy_in(body, from, message->body_bytes);
    return pst_gcm_open(gcm, &head, from, capsules ? 0 : message->body_bytes, from + message->body_bytes, body);
}

int pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body)
{
    const uint8_t *slot = pst_ring_slot(&border->in);
    uint8_t *body = border->room;
    if (slot == NULL)
        return border->in.poisoned ? PST_EREFUSED : PST_EAGAIN;
    copy_in(ret_message, slot, sizeof *ret_message);
    if (ret_message->body_bytes > PST_BODY_BYTES_MAX || ret_message->sequence != border->taken) {
        border->in.poisoned = true;
        return PST_EREFUSED;
    }
    if (body_open(border->opens, ret_message, slot + sizeof *ret_message, body) != PST_OK) {
        border->in.poisoned = true;
        return PST_EREFUSED;
    }
    border->taken++;
    pst_ring_advance(&border->in);
    if (!pst_ring_is_half_full(&border->in)) /* and so on down to none, so that it is never missed */
        wake_other(border, SLEEPS_FOR_ROOM);
    *ret_body = body;
    return PST_OK;
}
