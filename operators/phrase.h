/* operators/phrase.h - reads the short phrases that stand in parameters: "value > 0.5", "sum(value) as total". */
#ifndef PST_PHRASE_H
#define PST_PHRASE_H

#include "operators/operator.h"

#include <string.h>

struct pst_phrase {
    struct pst_plan *plan;
    const char *at; /* the text that is left */
    bool no_memory; /* why a word is missing, if it is not for the text */
};

/* Reports an error of the text at its item, unless it was memory that was missing. Returns the error. */
static inline int pst_phrase_complain(const struct pst_phrase *phrase, const char *param, uint32_t index,
                                      const char *sentence)
{
    if (phrase->no_memory)
        return PST_ENOMEM;
    pst_plan_error(phrase->plan, param, index, sentence);
    return PST_EGRAPH;
}

static inline void pst_phrase_skip(struct pst_phrase *phrase)
{
    while (*phrase->at == ' ' || *phrase->at == '\t')
        phrase->at++;
}

/* Is `mark` next? Then it is taken. */
static inline bool pst_phrase_take(struct pst_phrase *phrase, const char *mark)
{
    pst_phrase_skip(phrase);
    size_t byte_count = strlen(mark);
    if (strncmp(phrase->at, mark, byte_count) != 0)
        return false;
    phrase->at += byte_count;
    return true;
}

static inline bool pst_phrase_at_end(struct pst_phrase *phrase)
{
    pst_phrase_skip(phrase);
    return *phrase->at == 0;
}

/* The next word (all up to a space or a mark of punctuation), in memory of the plan. NULL: there is none, or no memory.
 */
static inline const char *pst_phrase_word(struct pst_phrase *phrase)
{
    pst_phrase_skip(phrase);
    size_t byte_count = strcspn(phrase->at, " \t=!<>(),'\"");
    if (byte_count == 0)
        return NULL;
    char *word = pst_plan_alloc(phrase->plan, byte_count + 1);
    if (word != NULL)
        memcpy(word, phrase->at, byte_count);
    phrase->no_memory |= word == NULL;
    phrase->at += byte_count;
    return word;
}

/* What follows a name: nothing (then *ret_name is left alone), or "as NAME". False: something else. */
static inline bool pst_phrase_as(struct pst_phrase *phrase, const char **ret_name)
{
    if (pst_phrase_at_end(phrase))
        return true;
    const char *as = pst_phrase_word(phrase);
    const char *name = as == NULL || strcmp(as, "as") != 0 ? NULL : pst_phrase_word(phrase);
    if (name == NULL || !pst_phrase_at_end(phrase))
        return false;
    *ret_name = name;
    return true;
}

/* The index of a field of a schema, or -1. */
static inline int32_t pst_schema_find(const struct pst_schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->field_count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return (int32_t)i;
    return -1;
}

/* Reports a name that stands twice among the fields put out so far. */
static inline bool pst_schema_name_is_new(struct pst_plan *plan, const struct pst_field *fields, uint32_t field_count,
                                          const char *name, const char *param, uint32_t index)
{
    for (uint32_t i = 0; i < field_count; i++)
        if (strcmp(fields[i].name, name) == 0) {
            pst_plan_error(plan, param, index, "two fields would be put out under this name: add `as NAME`");
            return false;
        }
    return true;
}

#endif
