/* operators/operator.h - the one header of those who write operators.
 *
 * Holds:    what an operator is (struct pst_operator: a table of callbacks), what it sees (struct pst_rows: rows in
 *           columns) and the few calls it may make (struct pst_host behind the inline functions below).
 * Refuses:  every other room and every library. An operator has no files, sockets, clock, threads or allocator of its own.
 * Thread:   all callbacks of one partition run on one thread at a time; partitions of one operator run on several, so an
 *           operator has no global variables that change.
 *
 * Life of an operator: plan() once per graph, offline (the same call for `penstock check` and `run`); then for each
 * partition open(), on_frame() and on_time() as the stream goes, on_end() at an explicit end of the input, close().
 *
 * Holds true:
 *   O1  state lives only in tables and logs (P3); what open() allocates is scratch that can be made again
 *   O2  results depend on rows and event time alone (P1): rows of one epoch come in any order
 *   O3  on_time(t) comes after every row below t and before any row at or above t
 *   O4  pointers to rows, records and entries are borrowed until the callback returns, unless a call says otherwise
 *   O5  a callback returns PST_OK or a negative error; an error stops the graph and names the operator
 */
#ifndef PST_OPERATOR_H
#define PST_OPERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PST_OPERATOR_ABI 2u
/* The symbol that a shared object exports: const struct pst_operator *const PST_OPERATOR_SYMBOL[], ended by NULL. */
#define PST_OPERATOR_SYMBOL penstock_operators

enum {
    PST_INPUTS_MAX = 8,
    PST_OUTPUTS_MAX = 8,
    PST_FIELDS_MAX = 64,     /* of one schema */
    PST_KEY_BYTES_MAX = 128, /* the fields of one key, packed */
    PST_TEXT_BYTES = 32,     /* a text cell: one length byte, 0..31 bytes, zero padded */
    PST_OUT_ROWS_MAX = 1024, /* rows one pst_out_reserve() may ask for */
    PST_RECORD_BYTES_MAX = 8192,
    PST_LOG_ENTRY_BYTES_MAX = 16 * 1024 - 64,
};

/* ---- errors: one list gives number, name and sentence ---- */
#define PST_ERROR_MAP(X)                                                                       \
    X(PST_OK, 0, "no error")                                                                   \
    X(PST_ENOMEM, -1, "out of memory")                                                         \
    X(PST_EFULL, -2, "the bound of a queue or buffer is reached")                              \
    X(PST_EINVAL, -3, "an argument or a configuration is not valid")                           \
    X(PST_EDATA, -4, "the input data are bad")                                                 \
    X(PST_EIO, -5, "reading or writing failed")                                                \
    X(PST_ENOENT, -6, "no such file, operator or name")                                        \
    X(PST_EAGAIN, -7, "nothing now, try again when woken")                                     \
    X(PST_EABI, -8, "a shared object was built for another version of the operator interface") \
    X(PST_ERANGE, -9, "a number is outside its range")                                         \
    X(PST_ESTOPPED, -10, "stopped before the end of the input")                                \
    X(PST_EGRAPH, -11, "the graph is not valid")                                               \
    X(PST_EREFUSED, -12, "refused")                                                            \
    X(PST_ETIMEOUT, -13, "the time ran out")                                                   \
    X(PST_EINTERNAL, -14, "a promise inside penstock is broken: please report it")
enum pst_error {
#define X(name, number, sentence) name = (number),
    PST_ERROR_MAP(X)
#undef X
};

/* ---- schemas ---- */
typedef enum pst_type {
    PST_U32 = 1, /* uint32_t */
    PST_U64 = 2, /* uint64_t */
    PST_I64 = 3, /* int64_t; with scale s a decimal: the value times 10^s */
    PST_TEXT = 4 /* PST_TEXT_BYTES bytes: length, bytes, zeros */
} pst_type;

struct pst_field {
    const char *name;
    pst_type type;
    uint8_t scale; /* decimals of a PST_I64, 0..9; 0 for the other types */
};

static inline uint32_t pst_type_bytes(pst_type type)
{
    return type == PST_U32 ? 4 : type == PST_TEXT ? PST_TEXT_BYTES : 8;
}

struct pst_schema {
    uint32_t field_count;
    const struct pst_field *fields;
    int32_t time_field; /* index of the field that is the event time; -1: none of them, the engine's own column only */
};

/* ---- parameters: declared once, checked by the engine, shown by `penstock help operators` ---- */
typedef enum pst_param_kind { PST_PARAM_INT = 1, PST_PARAM_INTS, PST_PARAM_TEXT, PST_PARAM_TEXTS } pst_param_kind;

struct pst_param {
    const char *name;
    pst_param_kind kind;
    bool required;
    const char *standard;         /* the value where none is given, as it would stand in YAML; NULL: empty */
    int64_t value_min, value_max; /* of a number, or of each number of a list; both 0: any */
    const char *help;             /* one sentence */
};

/* ---- rows: a view of a part of a frame ---- */
struct pst_rows {
    uint32_t row_count;
    uint32_t input;             /* which input they came in by */
    const void *const *columns; /* columns[i]: the field that the i-th pst_plan_use() of this input asked for */
    const int64_t *time;        /* event time of each row */
    const uint64_t *hash;       /* keyed inputs: hash of the key, as tables want it; else NULL */
    const uint32_t *bucket;     /* keyed inputs: bucket of the key; else NULL (all rows are bucket 0's) */
};

/* Rows being put out. The operator fills columns[i][row_count] for each field of the output, and bucket[row_count] with
 * the bucket whose state made the row (0 where the operator has no key; a source: the byte offset of the row's line in its block),
 * then adds one to row_count. */
struct pst_out {
    uint32_t row_count, row_capacity;
    void *const *columns; /* in the order of the output's schema */
    uint32_t *bucket;
};

/* A piece of input text for a source: whole lines, the last one perhaps without its newline at the end of the input.
 * 64 bytes before `text` and 64 behind its end may be read (their values are of no meaning). */
struct pst_block {
    const char *text;
    size_t text_bytes;
    bool first;           /* the very beginning of the input */
    bool last;            /* nothing follows */
    bool overlong;        /* a piece of one line that is longer than any buffer: malformed, without end in sight */
    bool overlong_begins; /* its first piece */
};

typedef enum pst_reject_reason {
    PST_REJECT_FIELDS = 1, /* not the number of fields */
    PST_REJECT_FIELD,      /* a field that is not of its type */
    PST_REJECT_NUL,
    PST_REJECT_LONG, /* over 4096 bytes */
    PST_REJECT_EMPTY,
    PST_REJECT_LATE, /* set by the engine alone */
} pst_reject_reason;

struct pst_plan;  /* what plan() talks to */
struct pst_ctx;   /* one partition, what the other callbacks talk to */
struct pst_table; /* key -> record of fixed size, by bucket */
struct pst_log;   /* append at the head, expire from the tail, by bucket */

typedef enum pst_order {
    PST_ORDER_EPOCH = 0, /* rows of one epoch in any order; rows are put out in on_time() and on_end() alone */
    PST_ORDER_TOTAL = 1, /* rows merged by (event time, producer, sequence); rows may be put out in on_frame() too */
    PST_ORDER_ANY = 2,   /* for sinks: on_time(t) at any t, rows of many epochs at once */
} pst_order;

typedef enum pst_role {
    PST_ROLE_PLAIN = 0,
    PST_ROLE_SOURCE = 1,    /* on_block() turns text into rows */
    PST_ROLE_SINK = 2,      /* pst_write() bytes; one partition */
    PST_ROLE_STATELESS = 3, /* on_frame() only, pst_forward() only: runs inside the partition before it */
} pst_role;

/* ---- the descriptor ---- */
struct pst_operator {
    uint32_t abi;          /* PST_OPERATOR_ABI */
    uint32_t struct_bytes; /* sizeof(struct pst_operator) */
    const char *name;      /* `type:` in a graph */
    const char *summary;   /* one sentence */
    pst_role role;
    uint32_t input_count;            /* sources 0, others 1..PST_INPUTS_MAX */
    uint32_t output_count;           /* sinks 0, others 1..PST_OUTPUTS_MAX */
    const char *const *output_names; /* one output: may be NULL; several: `input: id.name` chooses */
    uint32_t broadcast_inputs;       /* bit i: every partition gets every row of input i, whatever its key */
    uint32_t param_count;
    const struct pst_param *params;

    /* Checks parameters and inputs, says which fields are used and what is put out. Offline: no state, no data.
     * Every error is reported with pst_plan_error(); then returns PST_EGRAPH. */
    int (*plan)(struct pst_plan *plan);
    /* One partition begins: opens tables and logs, allocates scratch with pst_alloc(), keeps it with pst_set_user(). */
    int (*open)(struct pst_ctx *ctx);
    int (*on_frame)(struct pst_ctx *ctx, const struct pst_rows *rows);
    /* Event time has reached t, an end of an epoch. pst_due() lists the buckets that had rows in it or whose timer is due.
     * Rows put out here get event time t - 1. */
    int (*on_time)(struct pst_ctx *ctx, int64_t t);
    /* The input has ended; on_time() was called for all that was due up to t, where every row is below t. NULL: nothing. */
    int (*on_end)(struct pst_ctx *ctx, int64_t t);
    /* Source: parses one block and puts its rows out on output 0, in order, event time in the schema's time field.
     * Malformed lines go to pst_reject(). Keeps nothing between blocks. */
    int (*on_block)(struct pst_ctx *ctx, const struct pst_block *block);
    void (*close)(struct pst_ctx *ctx);
    /* The fields that the graph's key may be made of, ended by NULL: it must have one, so that a bucket holds all that belongs
     * together. NULL: any key, or none. */
    const char *const *key_fields;
};

/* ---- the host: what an operator may call. Filled by the engine, an enclave's inside, a test harness. ---- */
struct pst_host {
    uint32_t abi, struct_bytes;
    /* plan */
    int64_t (*plan_int)(struct pst_plan *, const char *param);
    const int64_t *(*plan_ints)(struct pst_plan *, const char *param, uint32_t *ret_count);
    const char *(*plan_text)(struct pst_plan *, const char *param);
    const char *const *(*plan_texts)(struct pst_plan *, const char *param, uint32_t *ret_count);
    bool (*plan_given)(struct pst_plan *, const char *param);
    const struct pst_schema *(*plan_input)(struct pst_plan *, uint32_t input);
    int (*plan_use)(struct pst_plan *, uint32_t input, const char *field, const char *param, uint32_t index);
    int (*plan_output)(struct pst_plan *, uint32_t output, const struct pst_field *fields, uint32_t field_count,
                       int32_t time_field);
    int (*plan_map)(struct pst_plan *, uint32_t output, uint32_t output_field, uint32_t input_field);
    void (*plan_order)(struct pst_plan *, pst_order order, int64_t epoch);
    void (*plan_error)(struct pst_plan *, const char *param, uint32_t index, const char *sentence);
    void *(*plan_alloc)(struct pst_plan *, size_t bytes);
    void (*plan_set_user)(struct pst_plan *, void *user);
    /* run */
    const void *(*planned)(struct pst_ctx *);
    void *(*alloc)(struct pst_ctx *, size_t bytes);
    void (*set_user)(struct pst_ctx *, void *user);
    void *(*user)(struct pst_ctx *);
    const uint32_t *(*buckets)(struct pst_ctx *, uint32_t *ret_count);
    const uint32_t *(*due)(struct pst_ctx *, uint32_t *ret_count);
    void (*timer_set)(struct pst_ctx *, uint32_t bucket, int64_t t);
    struct pst_out *(*out_reserve)(struct pst_ctx *, uint32_t output, uint32_t row_count);
    int (*forward)(struct pst_ctx *, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                   uint32_t index_count);
    int (*reject)(struct pst_ctx *, pst_reject_reason reason, const char *line, size_t line_bytes, uint32_t line_index);
    int (*block_lines)(struct pst_ctx *, uint32_t line_count);
    int (*write)(struct pst_ctx *, const void *bytes, size_t byte_count);
    void (*fail)(struct pst_ctx *, const char *sentence);
    bool (*wanted)(struct pst_ctx *, uint32_t output, uint32_t output_field);
    /* state */
    struct pst_table *(*table_open)(struct pst_ctx *, const char *name, uint32_t key_bytes, uint32_t record_bytes);
    int (*table_upsert)(struct pst_table *, uint32_t n, const uint32_t *bucket, const uint64_t *hash, const void *keys,
                        uint32_t *ret_index, void **ret_record);
    int64_t (*table_find)(struct pst_table *, uint32_t bucket, uint64_t hash, const void *key);
    uint32_t (*table_count)(struct pst_table *, uint32_t bucket);
    void *(*table_record)(struct pst_table *, uint32_t bucket, uint32_t index);
    const void *(*table_key)(struct pst_table *, uint32_t bucket, uint32_t index);
    int (*table_remove)(struct pst_table *, uint32_t bucket, uint32_t index);
    struct pst_log *(*log_open)(struct pst_ctx *, const char *name);
    int (*log_append)(struct pst_log *, uint32_t bucket, uint32_t bytes, void **ret_space, uint64_t *ret_position);
    const void *(*log_read)(struct pst_log *, uint32_t bucket, uint64_t *position, uint32_t *ret_bytes);
    uint64_t (*log_tail)(struct pst_log *, uint32_t bucket);
    uint64_t (*log_head)(struct pst_log *, uint32_t bucket);
    int (*log_trim)(struct pst_log *, uint32_t bucket, uint64_t position);
    int (*log_wanted)(struct pst_log *, const int64_t *after, uint32_t count, int64_t period);
    void (*release)(struct pst_ctx *);
    /* added at the end: a penstock before this has no more than the above, as its struct_bytes says */
    const char *(*plan_key)(struct pst_plan *, uint32_t index);
};

/* First member of both, so that the calls below need no symbol of the engine: a shared object links against nothing. */
struct pst_plan_head {
    const struct pst_host *host;
};
#define PST_HOST(p) (((const struct pst_plan_head *)(const void *)(p))->host)

/* ==== calls of plan() ==== */
/* A parameter's value; the standard one where the graph gives none. Borrowed for the life of the graph. */
static inline int64_t pst_plan_int(struct pst_plan *p, const char *param) { return PST_HOST(p)->plan_int(p, param); }
static inline const int64_t *pst_plan_ints(struct pst_plan *p, const char *param, uint32_t *ret_count)
{
    return PST_HOST(p)->plan_ints(p, param, ret_count);
}
static inline const char *pst_plan_text(struct pst_plan *p, const char *param)
{
    return PST_HOST(p)->plan_text(p, param);
}
static inline const char *const *pst_plan_texts(struct pst_plan *p, const char *param, uint32_t *ret_count)
{
    return PST_HOST(p)->plan_texts(p, param, ret_count);
}
static inline bool pst_plan_given(struct pst_plan *p, const char *param) { return PST_HOST(p)->plan_given(p, param); }
/* What comes in by an input. Never NULL. */
static inline const struct pst_schema *pst_plan_input(struct pst_plan *p, uint32_t input)
{
    return PST_HOST(p)->plan_input(p, input);
}
/* Asks for a field of an input: returns i, so that rows->columns[i] is that field, or a negative error, already reported at
 * `param`[`index`] (param NULL: at the operator) with a suggestion. Asking twice for a field gives the same i. */
static inline int pst_plan_use(struct pst_plan *p, uint32_t input, const char *field, const char *param, uint32_t index)
{
    return PST_HOST(p)->plan_use(p, input, field, param, index);
}
/* Declares an output's schema; the array is copied, the names must outlive the graph (literals, plan_alloc, inputs'). */
static inline int pst_plan_output(struct pst_plan *p, uint32_t output, const struct pst_field *fields,
                                  uint32_t field_count, int32_t time_field)
{
    return PST_HOST(p)->plan_output(p, output, fields, field_count, time_field);
}
/* Stateless operators: output field `output_field` is input field `input_field` (an index of the input's schema). */
static inline int pst_plan_map(struct pst_plan *p, uint32_t output, uint32_t output_field, uint32_t input_field)
{
    return PST_HOST(p)->plan_map(p, output, output_field, input_field);
}
/* The name of a field of the graph's key, from 0 on; NULL: it has no more, or none, or is not valid. To complain of it alone, not to plan by:
 * a worker in an enclave, which plans what was planned before, is told of none. */
static inline const char *pst_plan_key(struct pst_plan *p, uint32_t index)
{
    const struct pst_host *host = PST_HOST(p);
    return host->struct_bytes >= sizeof *host && host->plan_key != NULL ? host->plan_key(p, index) : NULL;
}
/* Without it: epoch order, epochs of one second. `epoch` is in the unit of the event time, 1 or more. */
static inline void pst_plan_order(struct pst_plan *p, pst_order order, int64_t epoch)
{
    PST_HOST(p)->plan_order(p, order, epoch);
}
/* Reports an error at a parameter (its index-th item in a list; NULL: at the operator). The sentence is copied. */
static inline void pst_plan_error(struct pst_plan *p, const char *param, uint32_t index, const char *sentence)
{
    PST_HOST(p)->plan_error(p, param, index, sentence);
}
/* Memory that lives as long as the graph, zeroed; NULL without memory. All partitions read it: pst_planned(). */
static inline void *pst_plan_alloc(struct pst_plan *p, size_t bytes) { return PST_HOST(p)->plan_alloc(p, bytes); }
static inline void pst_plan_set_user(struct pst_plan *p, void *user) { PST_HOST(p)->plan_set_user(p, user); }

/* ==== calls of the other callbacks ==== */
static inline const void *pst_planned(struct pst_ctx *c)
{
    return PST_HOST(c)->planned(c);
} /* what plan_set_user() got */
static inline void *pst_alloc(struct pst_ctx *c, size_t bytes)
{
    return PST_HOST(c)->alloc(c, bytes);
} /* zeroed, freed after close() */
static inline void pst_set_user(struct pst_ctx *c, void *user) { PST_HOST(c)->set_user(c, user); }
static inline void *pst_user(struct pst_ctx *c) { return PST_HOST(c)->user(c); }
/* The buckets this partition owns, ascending. */
static inline const uint32_t *pst_buckets(struct pst_ctx *c, uint32_t *ret_count)
{
    return PST_HOST(c)->buckets(c, ret_count);
}
/* In on_time(): the buckets that had rows since their last one, or whose timer is due; ascending. A broadcast row makes
 * bucket no one's due. In on_end(): every bucket. */
static inline const uint32_t *pst_due(struct pst_ctx *c, uint32_t *ret_count) { return PST_HOST(c)->due(c, ret_count); }
/* Asks for on_time(t') with this bucket due, t' the first epoch end at or above t; one timer a bucket, the last set counts,
 * INT64_MAX: none. It is cleared when it fires. */
static inline void pst_timer_set(struct pst_ctx *c, uint32_t bucket, int64_t t)
{
    PST_HOST(c)->timer_set(c, bucket, t);
}
/* Room for row_count (1..PST_OUT_ROWS_MAX) more rows of an output; rows filled before may leave. NULL: out of memory. */
static inline struct pst_out *pst_out_reserve(struct pst_ctx *c, uint32_t output, uint32_t row_count)
{
    return PST_HOST(c)->out_reserve(c, output, row_count);
}
/* Stateless operators: puts out the rows named by `indices` (ascending) of `rows`, with the columns that plan_map() named. */
static inline int pst_forward(struct pst_ctx *c, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                              uint32_t index_count)
{
    return PST_HOST(c)->forward(c, output, rows, indices, index_count);
}
/* Sources: a line that is no row. line_index: 0-based within the block, counting every line. Must be called in order. */
static inline int pst_reject(struct pst_ctx *c, pst_reject_reason reason, const char *line, size_t line_bytes,
                             uint32_t line_index)
{
    return PST_HOST(c)->reject(c, reason, line, line_bytes, line_index);
}
/* Sources: how many lines the block held, rows and others. Once a block. */
static inline int pst_block_lines(struct pst_ctx *c, uint32_t line_count)
{
    return PST_HOST(c)->block_lines(c, line_count);
}
/* Sinks: appends bytes to the output. The engine writes them when its buffer is full or the stream pauses. */
static inline int pst_write(struct pst_ctx *c, const void *bytes, size_t byte_count)
{
    return PST_HOST(c)->write(c, bytes, byte_count);
}
/* Says why the callback is about to return an error; the engine adds operator, bucket and place. */
static inline void pst_fail(struct pst_ctx *c, const char *sentence) { PST_HOST(c)->fail(c, sentence); }
/* Is this field of this output read by anyone? Fields that are not need no filling. */
static inline bool pst_wanted(struct pst_ctx *c, uint32_t output, uint32_t output_field)
{
    return PST_HOST(c)->wanted(c, output, output_field);
}

/* ---- tables: key -> record of fixed size, zeroed when it is made; records of one bucket are numbered 0.. without holes ----
 * Pointers are valid until the callback returns, or calls pst_release(), or the table gains or loses a record, whichever is first. Where a page cannot be
 * brought back to memory (a full disk, a changed spill file) find() and the pointers speak of records of zeros from then on, and the
 * run ends when the callback has returned. Nothing need be asked for; but two looks at one record may differ, so no number
 * read twice is an index without a bound. */
/* In open() only. The name is unique in the operator and stays with the state. NULL: out of memory or bounds. */
static inline struct pst_table *pst_table_open(struct pst_ctx *c, const char *name, uint32_t key_bytes,
                                               uint32_t record_bytes)
{
    return PST_HOST(c)->table_open(c, name, key_bytes, record_bytes);
}
/* Finds or makes the records of n keys. keys: n times key_bytes, packed. bucket NULL: all 0. ret_index and ret_record may be
 * NULL; the pointers of one call are all valid together. hash: any good hash of the key, always the same for one key. */
static inline int pst_table_upsert(struct pst_ctx *c, struct pst_table *t, uint32_t n, const uint32_t *bucket,
                                   const uint64_t *hash, const void *keys, uint32_t *ret_index, void **ret_record)
{
    return PST_HOST(c)->table_upsert(t, n, bucket, hash, keys, ret_index, ret_record);
}
/* The number of a key's record, or -1. */
static inline int64_t pst_table_find(struct pst_ctx *c, struct pst_table *t, uint32_t bucket, uint64_t hash,
                                     const void *key)
{
    return PST_HOST(c)->table_find(t, bucket, hash, key);
}
static inline uint32_t pst_table_count(struct pst_ctx *c, struct pst_table *t, uint32_t bucket)
{
    return PST_HOST(c)->table_count(t, bucket);
}
static inline void *pst_table_record(struct pst_ctx *c, struct pst_table *t, uint32_t bucket, uint32_t index)
{
    return PST_HOST(c)->table_record(t, bucket, index);
}
static inline const void *pst_table_key(struct pst_ctx *c, struct pst_table *t, uint32_t bucket, uint32_t index)
{
    return PST_HOST(c)->table_key(t, bucket, index);
}
/* Removes a record; the last one of the bucket takes its number. */
static inline int pst_table_remove(struct pst_ctx *c, struct pst_table *t, uint32_t bucket, uint32_t index)
{
    return PST_HOST(c)->table_remove(t, bucket, index);
}

/* No pointer that this callback got from a table or log is used any more: where state does not fit its budget, what it has touched
 * so far may leave. To be called between one bucket and the next, so that the least budget is what one of them takes. */
static inline void pst_release(struct pst_ctx *c) { PST_HOST(c)->release(c); }

/* ---- logs: entries of 1..PST_LOG_ENTRY_BYTES_MAX bytes, read from any position that append or read gave ---- */
static inline struct pst_log *pst_log_open(struct pst_ctx *c, const char *name)
{
    return PST_HOST(c)->log_open(c, name);
}
/* Appends an entry of `bytes` bytes; *ret_space (8-byte aligned) is to be filled before the next call on this log. */
static inline int pst_log_append(struct pst_ctx *c, struct pst_log *l, uint32_t bucket, uint32_t bytes,
                                 void **ret_space, uint64_t *ret_position)
{
    return PST_HOST(c)->log_append(l, bucket, bytes, ret_space, ret_position);
}
/* The entry at *position, its size in *ret_bytes; moves *position to the next one. NULL: at the head (nothing there yet), or the entry's
 * page cannot be brought back, and the run ends when the callback has returned.
 * Valid until the next call on this log. */
static inline const void *pst_log_read(struct pst_ctx *c, struct pst_log *l, uint32_t bucket, uint64_t *position,
                                       uint32_t *ret_bytes)
{
    return PST_HOST(c)->log_read(l, bucket, position, ret_bytes);
}
static inline uint64_t pst_log_tail(struct pst_ctx *c, struct pst_log *l, uint32_t bucket)
{
    return PST_HOST(c)->log_tail(l, bucket);
}
static inline uint64_t pst_log_head(struct pst_ctx *c, struct pst_log *l, uint32_t bucket)
{
    return PST_HOST(c)->log_head(l, bucket);
}
/* Says, in open(), when entries are read again: when event time is after[i] beyond the callback that appended them, ascending, and
 * then every `period` after the last one; period 0: never again. It changes no result: where state does not fit its budget, pages
 * that are wanted last leave first, and come back before they are wanted. */
static inline int pst_log_wanted(struct pst_ctx *c, struct pst_log *l, const int64_t *after, uint32_t count,
                                 int64_t period)
{
    return PST_HOST(c)->log_wanted(l, after, count, period);
}
/* Entries below `position` are not wanted again. */
static inline int pst_log_trim(struct pst_ctx *c, struct pst_log *l, uint32_t bucket, uint64_t position)
{
    return PST_HOST(c)->log_trim(l, bucket, position);
}

#ifdef __cplusplus
}
#endif
#endif
