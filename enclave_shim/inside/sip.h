/* inside/sip.h - SipHash-2-4 of 64-bit words (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012): what a row comes to where its
 * sender must not be able to find another one that comes to the same. Inside the room. base.h's key hash is the same with fewer rounds. */
#ifndef PST_ENCLAVE_SIP_H
#define PST_ENCLAVE_SIP_H

#include "base/base.h"

#include <string.h>

enum { PST_SIP_KEY_BYTES = 16 };
struct pst_sip {
    uint64_t v0, v1, v2, v3;
    uint64_t word_count;
};

static inline uint64_t pst_sip_turned(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void pst_sip_round(struct pst_sip *s)
{
    s->v0 += s->v1, s->v1 = pst_sip_turned(s->v1, 13) ^ s->v0, s->v0 = pst_sip_turned(s->v0, 32);
    s->v2 += s->v3, s->v3 = pst_sip_turned(s->v3, 16) ^ s->v2;
    s->v0 += s->v3, s->v3 = pst_sip_turned(s->v3, 21) ^ s->v0;
    s->v2 += s->v1, s->v1 = pst_sip_turned(s->v1, 17) ^ s->v2, s->v2 = pst_sip_turned(s->v2, 32);
}

static inline void pst_sip_begin(struct pst_sip *s, const uint8_t key[PST_SIP_KEY_BYTES])
{
    uint64_t k0, k1;
    memcpy(&k0, key, sizeof k0);
    memcpy(&k1, key + sizeof k0, sizeof k1);
    *s = (struct pst_sip){k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                          k1 ^ 0x7465646279746573u, 0};
}

static inline void pst_sip_mix(struct pst_sip *s, uint64_t word)
{
    s->v3 ^= word;
    pst_sip_round(s);
    pst_sip_round(s);
    s->v0 ^= word;
}

static inline void pst_sip_word(struct pst_sip *s, uint64_t word)
{
    pst_sip_mix(s, word);
    s->word_count++;
}

/* Padded with zeros to whole words: where it begins and ends in a row is known. */
static inline void pst_sip_cell(struct pst_sip *s, const void *cell, uint32_t byte_count)
{
    for (uint32_t at = 0; at < byte_count; at += 8) {
        uint64_t word = 0;
        memcpy(&word, (const char *)cell + at, byte_count - at < 8 ? byte_count - at : 8);
        pst_sip_word(s, word);
    }
}

static inline uint64_t pst_sip_end(struct pst_sip *s)
{
    pst_sip_mix(s, s->word_count * 8 << 56); /* the length in bytes, on top of a word of which nothing is left */
    s->v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        pst_sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#endif
