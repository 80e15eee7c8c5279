/* host_inside.h - what the files of the test host share. */
#ifndef HOST_INSIDE_H
#define HOST_INSIDE_H

#include "tests/host/host.h"
#include "state/state.h"

enum phase { PHASE_NONE, PHASE_PLAN, PHASE_OPEN, PHASE_FRAME, PHASE_TIME, PHASE_END, PHASE_BLOCK, PHASE_CLOSE };

struct memory { /* what an operator asked for, each piece by itself so that its ends are seen */
    struct memory *next;
    _Alignas(16) unsigned char bytes[];
};

struct value { /* of a parameter: the test's, or the standard one */
    bool given;
    uint32_t count;
    int64_t *ints;
    char **texts;
};

struct input {
    struct pst_schema schema;
    uint32_t used[PST_FIELDS_MAX], used_count; /* fields in the order of plan_use() */
    uint32_t key[PST_FIELDS_MAX], key_count, key_bytes;
    bool keyed, broadcast;
};

struct output {
    struct pst_schema schema;
    bool declared;
    uint32_t map[PST_FIELDS_MAX]; /* plan_map(): the input's field + 1; 0: none */
    uint64_t unwanted;
    /* the piece being filled: what out_reserve() gave, as long as was asked for */
    struct pst_out out;
    void *out_columns[PST_FIELDS_MAX];
    /* what has been put out */
    uint32_t row_count, row_capacity;
    void *columns[PST_FIELDS_MAX];
    int64_t *time;
    uint32_t *bucket;
    struct host_out view;
};

struct pst_plan {
    struct pst_plan_head head;
    struct host *host;
};
struct pst_ctx {
    struct pst_plan_head head;
    struct host *host;
};

struct host {
    const struct pst_operator *op;
    struct pst_plan plan;
    struct pst_ctx ctx;
    enum phase phase;
    int error;
    bool opened, ended;
    char failure[512];
    struct value *values; /* by parameter */
    struct input inputs[PST_INPUTS_MAX];
    struct output outputs[PST_OUTPUTS_MAX];
    struct host_complaint *complaints;
    uint32_t complaint_count;
    pst_order order;
    int64_t epoch;
    struct memory *plan_memory, *ctx_memory;
    void *planned, *user;
    /* the partition */
    uint32_t bucket_count, owned_count, due_count, frame_rows;
    bool *owned;
    uint32_t *buckets, *due;
    bool *touched; /* by bucket: rows since its last on_time() */
    int64_t *timers;
    struct pst_state *state;
    /* event time */
    int64_t now;      /* no row below it follows */
    int64_t open_end; /* of the epoch that rows were fed of; INT64_MIN: none since the last on_time() */
    int64_t time_max; /* total order: of the rows so far */
    int64_t emit_time;
    uint64_t time_calls;
    /* the frame in on_frame() */
    const struct pst_rows *rows;
    void *const *frame_columns; /* every field of the input's schema; NULL where the test gave none */
    /* sources and sinks */
    struct host_reject *rejects;
    uint32_t reject_count;
    uint64_t line_count;
    char *written;
    size_t written_bytes;
};

/* The harness's own memory is not the operator's: pst_malloc_fail_at() does not reach it, without memory the test ends. */
void *host_own(void *old, size_t bytes);
char *host_own_text(const char *text);
_Noreturn void host_die(const struct host *host, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *host_lend(struct memory **list, size_t bytes); /* zeroed, by pst_malloc(); NULL without memory */
void host_take_back(struct memory **list);
int64_t host_cell(const struct pst_field *field, const void *column, uint32_t row); /* a number's value */
uint32_t host_field_find(const struct pst_schema *schema, const char *name);        /* field_count: none */

/* host_plan.c */
void host_values_init(struct host *host, const struct host_param *params); /* complains of what is not right */
void host_values_fini(struct host *host);
void host_complain(struct host *host, const char *param, uint32_t index, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void host_schema_copy(struct pst_schema *to, const struct pst_schema *from);
void host_schema_free(struct pst_schema *schema);
void host_plan_fill(struct pst_host *table);
void host_plan_finish(struct host *host); /* what plan() must have said */

/* host_out.c */
void host_out_fill(struct pst_host *table);
void host_out_harvest(struct host *host); /* takes what the callback has filled */
void host_out_fini(struct host *host);

#endif
