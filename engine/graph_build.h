/* graph_build.h - a graph while it is being made: text -> tree -> operators -> wiring -> plan. Inside the room.
 *
 * Each stage reports what it finds and goes on as far as it can, so that every error is told at once. Two things end
 * the making early: want of memory (build->rc) and a text that has no tree (build->tree is NULL).
 */
#ifndef PST_ENGINE_GRAPH_BUILD_H
#define PST_ENGINE_GRAPH_BUILD_H

#include "engine/graph.h"
#include "engine/plugin.h"

enum {
    PST_YAML_DEPTH_MAX = 16,
    PST_YAML_NODES_MAX = 65536,
    PST_YAML_KEYS_MAX = 256, /* of one mapping */
    PST_GRAPH_LIST_MAX = 4096,
    PST_GRAPH_TEXT_BYTES_MAX = 4096, /* of one value */
    PST_GRAPH_NAME_BYTES_MAX = 63,
};

/* ---- places ---- */
struct pst_source { /* lives in the arena of the diagnostics, which outlive the graph */
    const char *file;
    const char **lines;
    uint32_t line_count;
    uint32_t column_offset; /* of a --set: where its value begins in "NAME=VALUE" */
    bool unnumbered;        /* of a --set: its line has no number */
};
struct pst_place {
    const struct pst_source *source;
    uint32_t line, column, width; /* from 1, in characters */
};

/* Text and hint are copied. A diagnostic with the same place and text as one that is there already is left out. */
int pst_diagnostics_add(struct pst_diagnostics *d, const struct pst_place *place, const char *text, const char *hint);
void pst_diagnostics_sort(struct pst_diagnostics *d); /* by line and column */

/* ---- the tree ---- */
typedef enum pst_yaml_kind {
    PST_YAML_BAD = 0, /* stands for a value that was reported already: whoever wants it fails without a word */
    PST_YAML_SCALAR,
    PST_YAML_LIST,
    PST_YAML_MAP
} pst_yaml_kind;
struct pst_yaml {
    pst_yaml_kind kind;
    bool plain;       /* a scalar without quotes: may be a number */
    const char *text; /* of a scalar, without a NUL inside; "" for nothing */
    struct pst_place place;
    const struct pst_yaml *key; /* of a value in a mapping: its key, a scalar */
    struct pst_yaml *first, *next;
    uint32_t count; /* of a list or mapping */
};

/* ---- parameters of an operator, typed ---- */
struct pst_build_param {
    const struct pst_param *param;
    const struct pst_yaml *value; /* NULL: not given */
    int64_t number;
    const char *text;
    const int64_t *numbers;
    const char *const *texts;
    uint32_t count; /* of numbers or texts */
};

struct pst_build_input {
    const struct pst_yaml *item;
    int32_t producer, output; /* indices of build->nodes and its outputs; -1: not resolved */
};

struct pst_build_node { /* in the order of the file */
    const struct pst_yaml *map, *id_value, *type_value, *inputs_value, *key_value, *bucket_by_value, *partitions_value,
        *buckets_value, *autoscale_value, *replicas_value, *params_value, *enclave_value, *epc_value;
    const char *id;                 /* never NULL: "?" where the file has none */
    const struct pst_operator *op;  /* NULL: not known */
    struct pst_build_param *params; /* op->param_count of them */
    struct pst_build_input *inputs;
    uint32_t input_count;
    uint32_t partition_count, bucket_count;
    struct pst_autoscale autoscale;
    uint32_t replicas;
    bool enclave, plugin;
    uint64_t epc_bytes;
    uint64_t outputs_read; /* bit i: output i has a reader */
    bool broken;           /* something was wrong: it is not planned */
    bool planned;
    uint32_t position; /* in topological order */
};

struct pst_words { /* what a file is, for sentences */
    const char *one, *many, *first_line;
    const char *twice; /* what to do for a value that stands twice; NULL: nothing */
};
extern const struct pst_words pst_words_graph;

struct pst_build {
    struct pst_graph *graph; /* of a file that is none, the arena alone */
    const struct pst_words *words;
    struct pst_diagnostics *d;
    const struct pst_setting *settings;
    uint32_t setting_count;
    const struct pst_registry *registry;
    struct pst_plugins plugins;
    struct pst_source *source;
    struct pst_yaml *tree;
    const struct pst_yaml *parameters; /* the mapping, --set applied; NULL: none */
    bool parameters_broken;            /* reported; placeholders then fail without a word */
    struct pst_build_node *nodes;
    uint32_t node_count;
    uint32_t *topological; /* node indices; those in or behind a cycle are missing */
    uint32_t topological_count;
    bool readers_unknown;   /* an input names nothing like an operator: "nothing reads it" would mislead */
    uint32_t errors_before; /* in `d` when this graph came */
    int rc;                 /* PST_ENOMEM sticks */
};
static inline uint32_t pst_build_error_count(const struct pst_build *b)
{
    return b->d->item_count + b->d->left_out_count - b->errors_before;
}

/* ---- small help, graph_values.c ---- */
void *pst_build_alloc(struct pst_build *b, size_t bytes); /* zeroed, in the graph's arena; NULL sets b->rc */
const char *pst_build_printf(struct pst_build *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports an error. The place may be NULL: the file as a whole. hint may be NULL. */
void pst_build_error(struct pst_build *b, const struct pst_place *place, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A user's text for a sentence: cut where it is long, control characters made visible. Never NULL. */
const char *pst_build_shown(struct pst_build *b, const char *text);
/* "did you mean `x`?", or else "`what`: a, b, c" where the names are few; NULL: neither. */
const char *pst_build_suggest(struct pst_build *b, const char *word, const char *const *names, size_t name_count,
                              const char *what);

/* Values with a kind. `what` names the value in the sentence: "`partitions`". */
bool pst_build_number(struct pst_build *b, const struct pst_yaml *value, const char *what, int64_t min, int64_t max,
                      int64_t *ret_number);
const char *pst_build_text(struct pst_build *b, const struct pst_yaml *value, const char *what); /* NULL: reported */
bool pst_build_list(struct pst_build *b, const struct pst_yaml *value, const char *what);
bool pst_build_map(struct pst_build *b, const struct pst_yaml *value, const char *what);
/* A name: a letter or _, then letters, digits, _ and -. */
const char *pst_build_name(struct pst_build *b, const struct pst_yaml *value, const char *what);

struct pst_build_key { /* a key that a mapping may have */
    const char *name;
    bool required;
    const struct pst_yaml **ret_value;
};
/* Takes a mapping apart; unknown and missing keys are errors. `what` as in "the graph", "operator `x`". False: one was
 * missing. */
bool pst_build_keys(struct pst_build *b, const struct pst_yaml *map, const struct pst_place *place, const char *what,
                    const struct pst_build_key *keys, uint32_t key_count);

/* Typed values of an operator's parameters: given ones and standard ones. False: something was wrong. */
bool pst_build_params(struct pst_build *b, struct pst_build_node *node);

/* ---- stages ---- */
/* graph_text.c: lines to show, and is it text at all? False: reported. */
struct pst_source *pst_source_new(struct pst_build *b, const char *file, const char *text, size_t text_bytes);
bool pst_source_check(struct pst_build *b, const struct pst_source *source, const char *text, size_t text_bytes);
/* graph.c: all of that, and the tree; b->tree is NULL where there is none, which was reported. */
void pst_build_tree(struct pst_build *b, const char *file, const char *text, size_t text_bytes);
/* graph_yaml.c: makes the tree of checked text. NULL: reported, or no memory. */
struct pst_yaml *pst_yaml_parse(struct pst_build *b, const struct pst_source *source, const char *text,
                                size_t text_bytes);
/* graph_parameters.c: `parameters:`, --set and ${placeholders}. */
void pst_build_parameters(struct pst_build *b, const struct pst_yaml *parameters);
void pst_build_substitute(struct pst_build *b, struct pst_yaml *tree);
/* graph_wire.c: inputs, readers, cycles, order. */
void pst_build_wire(struct pst_build *b);
/* graph_plan.c: plan() of each operator, keys, then the finished nodes. */
void pst_build_plan(struct pst_build *b);
void pst_build_finish(struct pst_build *b);

#endif
