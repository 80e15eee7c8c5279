/* border.c - see border.h. */
#include "enclave_shim/common/border.h"

#include <linux/futex.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NONCE_BYTES = 12, SEQUENCE_OFFSET = 4, SPINS = 200 };

static int cipher_new(const uint8_t *key, bool seals, EVP_CIPHER_CTX **ret_context)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context == NULL)
        return PST_ENOMEM;
    if (EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, NULL, seals) != 1) {
        EVP_CIPHER_CTX_free(context);
        return PST_EINTERNAL;
    }
    *ret_context = context;
    return PST_OK;
}

int pst_border_init(struct pst_border *border, void *memory, bool inside, const uint8_t key_in[PST_BORDER_KEY_BYTES],
                    const uint8_t key_out[PST_BORDER_KEY_BYTES])
{
    struct pst_control *control = memory;
    uint8_t *slots_in = (uint8_t *)memory + PST_CONTROL_BYTES, *slots_out = slots_in + PST_SLOTS * PST_SLOT_BYTES;
    *border = (struct pst_border){.control = control, .inside = inside};
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
        rc = cipher_new(inside ? key_in : key_out, false, &border->opens);
    if (rc == PST_OK)
        rc = cipher_new(inside ? key_out : key_in, true, &border->seals);
    if (rc != PST_OK)
        pst_border_fini(border);
    return rc;
}

void pst_border_fini(struct pst_border *border)
{
    EVP_CIPHER_CTX_free(border->opens);
    EVP_CIPHER_CTX_free(border->seals);
    if (border->room != NULL)
        OPENSSL_cleanse(border->room, 2 * PST_SLOT_BYTES);
    pst_free(border->room);
    *border = (struct pst_border){0};
}

static void nonce_fill(uint8_t nonce[NONCE_BYTES], uint64_t sequence)
{
    memset(nonce, 0, NONCE_BYTES);
    memcpy(nonce + SEQUENCE_OFFSET, &sequence, sizeof sequence);
}

/* ---- waking ---- */

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
    (void)syscall(SYS_futex, word, operation, value, timeout, NULL, 0); /* whoever wakes looks again */
}

/* A sleeper says so, then looks at the rings; whoever moves an index does so, then looks whether somebody sleeps. */
static void wake_other(struct pst_border *border)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(border->others_word, memory_order_relaxed) == 0)
        return;
    atomic_store_explicit(border->others_word, 0, memory_order_relaxed);
    futex(border->others_word, FUTEX_WAKE, 1, NULL);
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

bool pst_border_has_news(const struct pst_border *border) { return moved(border, false); }

bool pst_border_wait(struct pst_border *border, bool for_room, uint32_t timeout_us)
{
    for (uint32_t i = 0; i < SPINS; i++) {
        if (moved(border, for_room))
            return true;
        pause_briefly();
    }
    atomic_store_explicit(border->own_word, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!moved(border, for_room)) {
        struct timespec timeout = {timeout_us / 1000000, (long)(timeout_us % 1000000) * 1000};
        futex(border->own_word, FUTEX_WAIT, 1, timeout_us != 0 ? &timeout : NULL);
    }
    atomic_store_explicit(border->own_word, 0, memory_order_relaxed);
    return moved(border, for_room);
}

/* ---- sending ---- */

static bool piece_seal(EVP_CIPHER_CTX *context, const void *bytes, uint32_t byte_count, uint8_t **at)
{
    int count = 0;
    if (byte_count == 0)
        return true;
    bool good = EVP_EncryptUpdate(context, *at, &count, bytes, (int)byte_count) == 1;
    *at += byte_count;
    return good && (uint32_t)count == byte_count;
}

static bool body_seal(EVP_CIPHER_CTX *context, const struct pst_message *message, const struct pst_piece *pieces,
                      uint32_t piece_count, uint8_t *body)
{
    static const uint8_t zeros[8];
    uint8_t nonce[NONCE_BYTES], *at = body;
    int count = 0;
    nonce_fill(nonce, message->sequence);
    bool good = EVP_EncryptInit_ex(context, NULL, NULL, NULL, nonce) == 1 &&
                EVP_EncryptUpdate(context, NULL, &count, (const uint8_t *)message, sizeof *message) == 1;
    for (uint32_t i = 0; i < piece_count && good; i++) {
        good = piece_seal(context, pieces[i].bytes, pieces[i].byte_count, &at);
        if (good && pieces[i].padded)
            good = piece_seal(context, zeros, -pieces[i].byte_count & 7, &at);
    }
    return good && EVP_EncryptFinal_ex(context, at, &count) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, PST_MESSAGE_TAG_BYTES, at) == 1;
}

static uint32_t body_bytes(const struct pst_piece *pieces, uint32_t piece_count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < piece_count; i++)
        bytes += pieces[i].byte_count + (pieces[i].padded ? -pieces[i].byte_count & 7 : 0);
    PST_ASSERT(bytes <= PST_BODY_BYTES_MAX);
    return (uint32_t)bytes;
}

int pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count)
{
    uint8_t *slot = pst_ring_slot(&border->out), *room = border->room + PST_SLOT_BYTES;
    if (slot == NULL)
        return border->out.poisoned ? PST_EREFUSED : PST_EAGAIN;
    if (border->sent == PST_BORDER_MESSAGES_MAX)
        return PST_ERANGE;
    message->body_bytes = body_bytes(pieces, piece_count);
    message->sequence = border->sent++;
    memcpy(room, message, sizeof *message);
    if (!body_seal(border->seals, message, pieces, piece_count, room + sizeof *message))
        return PST_EINTERNAL;
    memcpy(slot, room, sizeof *message + message->body_bytes + PST_MESSAGE_TAG_BYTES);
    pst_ring_advance(&border->out);
    wake_other(border);
    return PST_OK;
}

/* ---- receiving ---- */

static bool body_open(EVP_CIPHER_CTX *context, const struct pst_message *message, uint8_t *body)
{
    uint8_t nonce[NONCE_BYTES];
    int count = 0;
    nonce_fill(nonce, message->sequence);
    bool good =
        EVP_DecryptInit_ex(context, NULL, NULL, NULL, nonce) == 1 &&
        EVP_DecryptUpdate(context, NULL, &count, (const uint8_t *)message, sizeof *message) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, PST_MESSAGE_TAG_BYTES, body + message->body_bytes) == 1;
    if (good && message->body_bytes != 0)
        good = EVP_DecryptUpdate(context, body, &count, body, (int)message->body_bytes) == 1;
    return good && EVP_DecryptFinal_ex(context, body + message->body_bytes, &count) == 1;
}

/* Of memory that somebody else may write to meanwhile: what is copied is what is looked at from then on. */
static __attribute__((noinline)) void copy_in(void *to, const void *from, size_t byte_count)
{
    memcpy(to, from, byte_count);
    __asm__ volatile("" ::: "memory");
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
    copy_in(body, slot + sizeof *ret_message, ret_message->body_bytes + PST_MESSAGE_TAG_BYTES);
    if (!body_open(border->opens, ret_message, body)) {
        OPENSSL_cleanse(body, ret_message->body_bytes);
        border->in.poisoned = true;
        return PST_EREFUSED;
    }
    border->taken++;
    pst_ring_advance(&border->in);
    wake_other(border);
    *ret_body = body;
    return PST_OK;
}
