/* operators/sentence.h - error sentences, built piece by piece in a fixed buffer: guests have no stdio. What does not
 * fit is cut off. */
#ifndef PST_SENTENCE_H
#define PST_SENTENCE_H

#include "operators/operator.h"

#include <string.h>

struct pst_sentence {
    char bytes[320]; /* always ended by a NUL */
    size_t count;
};

static inline void pst_sentence_add_bytes(struct pst_sentence *sentence, const char *bytes, size_t byte_count)
{
    size_t room = sizeof sentence->bytes - 1 - sentence->count;
    size_t taken = byte_count < room ? byte_count : room;
    memcpy(sentence->bytes + sentence->count, bytes, taken);
    sentence->count += taken;
    sentence->bytes[sentence->count] = 0;
}

static inline void pst_sentence_add(struct pst_sentence *sentence, const char *text)
{
    pst_sentence_add_bytes(sentence, text, strlen(text));
}

static inline void pst_sentence_add_u64(struct pst_sentence *sentence, uint64_t value)
{
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    pst_sentence_add_bytes(sentence, digits + first, sizeof digits - first);
}

static inline void pst_sentence_add_i64(struct pst_sentence *sentence, int64_t value)
{
    if (value < 0)
        pst_sentence_add(sentence, "-");
    pst_sentence_add_u64(sentence, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

#endif
