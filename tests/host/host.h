/* tests/host/host.h - runs one partition of one operator without an engine, for the tests of those who write operators.
 *
 * Holds:    the whole of struct pst_host on top of the state room; rows go in by host_rows() and its siblings, event
 * time goes on by host_time(), what comes out is kept for the test to look at. Checks:   what an operator must not do
 * (rows put out in on_frame() in epoch order, buckets of others, text cells with dirt behind their end, wanted fields
 * left unfilled) and what a test must not do (rows below a time that has passed, rows of a second epoch before the
 * first is closed). A broken one aborts with a sentence. Strict:   columns and rows handed out end exactly where they
 * must, so that AddressSanitizer sees a step too far; memory that an operator asks for comes from pst_malloc()
 * (pst_malloc_fail_at() reaches it), the harness's own does not.
 *
 * Example, an operator `counter` keyed by `house`, counting per epoch of 10:
 *
 *     static const struct pst_field fields[] = {{"ts", PST_I64, 0}, {"house", PST_U32, 0}, {"value", PST_I64, 3}};
 *     struct host *host = host_new(&counter, &(struct host_options){
 *         .params = (const struct host_param[]){HOST_INT("every", 10), HOST_TEXTS("fields", "house", "value"), {0}},
 *         .inputs = {{.schema = {3, fields, 0}, .key = (const char *const[]){"house", NULL}}},
 *     });
 *     assert_int_equal(host_error(host), PST_OK);
 *     HOST_ROW(host, 0, 3, 7, 1500);                    // ts, house, value; a text field: HOST_TEXT("abc")
 *     HOST_ROW(host, 0, 5, 7, 2500);
 *     assert_int_equal(host_time(host, 10), PST_OK);    // calls on_time(10), the bucket of house 7 is due
 *     assert_int_equal(host_output(host, 0)->row_count, 1);
 *     assert_int_equal(host_out(host, 0, 0, "count"), 2);
 *     assert_int_equal(host_end(host, 20), PST_OK);
 *     host_free(host);                                  // calls close()
 *
 * CMake: pst_test(mine SOURCES mine.c LINKS pst_test_host ...), and in mine.c: #include "tests/host/host.h"
 * before <cmocka.h>, whose macro fail() would hide a member of struct pst_host.
 */
#ifndef HOST_H
#define HOST_H

#include "operators/operator.h"

struct host;
struct pst_state;

/* ---- what the operator is built from ---- */

/* A parameter's value as the graph would give it: one number, one text or a list of either, by its kind. */
struct host_param {
    const char *name; /* NULL ends the list */
    uint32_t count;
    const int64_t *ints;
    const char *const *texts;
};
#define HOST_INTS(param, ...)                                                                                         \
    {                                                                                                                 \
        .name = (param), .count = sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .ints = (const int64_t[]) \
        {                                                                                                             \
            __VA_ARGS__                                                                                               \
        }                                                                                                             \
    }
#define HOST_TEXTS(param, ...)                                                                 \
    {                                                                                          \
        .name = (param), .count = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), \
        .texts = (const char *const[])                                                         \
        {                                                                                      \
            __VA_ARGS__                                                                        \
        }                                                                                      \
    }
#define HOST_INT(param, value) HOST_INTS(param, value)
#define HOST_TEXT_PARAM(param, value) HOST_TEXTS(param, value)

struct host_input {
    struct pst_schema schema;
    const char *const *key; /* names of the key's fields, ended by NULL; NULL: not keyed, hash and bucket are NULL */
};

struct host_options {                /* everything is copied */
    const struct host_param *params; /* ended by {0}; NULL: none */
    struct host_input inputs[PST_INPUTS_MAX];
    uint32_t bucket_count; /* 0: 256 */
    uint32_t
        partition_count; /* 0: 1, which owns every bucket; rows of buckets not owned are dropped, as a router would */
    uint32_t partition_index;
    uint64_t state_bytes_max;           /* 0: no bound */
    uint32_t frame_rows;                /* host_rows() cuts its rows into frames of so many; 0: one frame */
    uint64_t unwanted[PST_OUTPUTS_MAX]; /* bit i: field i of that output is read by no one */
    bool plan_only;                     /* plan() alone, no open() */
};

/* Checks parameters, calls plan() and, if that went well, open(). Never NULL: without memory of its own it aborts. */
struct host *host_new(const struct pst_operator *descriptor, const struct host_options *options);
void host_free(struct host *host); /* close(), then all is gone; NULL is nothing */

/* The first error of any callback so far; PST_OK: none. After one, the callbacks are not called again. */
int host_error(const struct host *host);
const char *host_failure(const struct host *host); /* what pst_fail() last said; "" */

/* What plan() and the check of the parameters complained of. */
struct host_complaint {
    char param[64]; /* "": the operator */
    uint32_t index;
    char sentence[512];
};
uint32_t host_complaint_count(const struct host *host);
const struct host_complaint *host_complaint(const struct host *host, uint32_t index);

/* What plan() said. */
const struct pst_schema *host_schema(const struct host *host, uint32_t output); /* field_count 0: not declared */
pst_order host_order(const struct host *host);
int64_t host_epoch(const struct host *host);
bool host_uses(const struct host *host, uint32_t input, const char *field);

/* close() and open() again over the same tables, logs and timers, as after a move: what open() allocates is scratch
 * (O1). */
int host_reopen(struct host *host);

/* ---- rows in. All return what the callback returned. ---- */

/* n rows of an input. columns: every field of its schema in order, as the types say (pst_type_bytes()); a column that
 * the operator does not use may be NULL, unless it is part of the key. time NULL: the schema's time field. */
int host_rows(struct host *host, uint32_t input, const void *const *columns, const int64_t *time, uint32_t n);
/* One row, its cells as int64_t in the order of the schema (a text by HOST_TEXT()), time from the schema's time field.
 */
int host_row(struct host *host, uint32_t input, const int64_t *cells, uint32_t cell_count);
#define HOST_ROW(host, input, ...) \
    host_row(host, input, (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define HOST_TEXT(text) ((int64_t)(intptr_t)(text))
/* The same at a given event time, for schemas without a time field. */
int host_row_at(struct host *host, uint32_t input, int64_t time, const int64_t *cells, uint32_t cell_count);
/* Rows in order of time over many epochs: feeds each epoch's rows and closes it with host_time() when the next one
 * begins. */
int host_stream(struct host *host, uint32_t input, const void *const *columns, const int64_t *time, uint32_t n);
void host_text_set(void *cell, const char *text); /* fills a text cell */
uint32_t host_bucket(struct host *host, uint32_t input, const int64_t *cells,
                     uint32_t cell_count); /* where a row would go */

/* ---- time ---- */

/* Event time has reached t: for every end of an epoch e <= t in turn calls on_time(e) if a bucket is due there: it had
 * rows in the epochs up to e, or its timer is at or below e. Ends at which nothing is due are skipped. In any order
 * (sinks) calls on_time(t) itself. */
int host_time(struct host *host, int64_t t);
/* host_time(t), then on_end(t) with every bucket due. Rows of an epoch that ends above t are on_end()'s. */
int host_end(struct host *host, int64_t t);
int64_t host_next_timer(const struct host *host);             /* the earliest; INT64_MAX: none is set */
int64_t host_timer(const struct host *host, uint32_t bucket); /* as the operator set it; INT64_MAX: none */
uint64_t host_time_calls(const struct host *host);            /* how often on_time() was called */

/* ---- rows out: all since the start or the last clear, in the order they were put out ---- */
struct host_out {
    uint32_t row_count;
    const struct pst_schema *schema;
    void *const *columns; /* of unwanted fields: zeros */
    const int64_t *time; /* the schema's time field; without one t - 1 of the on_time(t) or on_end(t) that put it out */
    const uint32_t *bucket;
};
const struct host_out *host_output(struct host *host, uint32_t output); /* borrowed until the host is called again */
int64_t host_out(struct host *host, uint32_t output, uint32_t row, const char *field);          /* a number's cell */
const char *host_out_text(struct host *host, uint32_t output, uint32_t row, const char *field); /* good for 8 calls */
void host_output_sort(struct host *host, uint32_t output); /* by time, then fields in order: for comparing as sets */
void host_output_clear(struct host *host, uint32_t output);
void host_output_print(struct host *host, uint32_t output); /* to stderr, for whoever looks for a mistake */

/* ---- sources ---- */
/* One block with 64 bytes of dirt on either side. */
int host_block(struct host *host, const char *text, size_t text_bytes, bool first, bool last);
int host_block_flags(struct host *host, const struct pst_block *block); /* all flags; text is copied the same way */
struct host_reject {
    pst_reject_reason reason;
    uint32_t line_index;
    size_t line_bytes;
    const char *line; /* ended by a NUL for convenience */
};
uint32_t host_reject_count(const struct host *host);
const struct host_reject *host_reject(const struct host *host, uint32_t index);
uint64_t host_line_count(const struct host *host); /* sum of pst_block_lines() */

/* ---- sinks ---- */
const char *host_written(const struct host *host,
                         size_t *ret_bytes); /* all so far, ended by a NUL; ret_bytes may be NULL */

/* ---- state ---- */
struct pst_state *host_state(struct host *host); /* for digests and checks of the state room */

#endif
