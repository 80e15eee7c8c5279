/* tests/sim/graphs.h - the graphs that are run in the simulated world: the two queries, and two of the tests' own. */
#ifndef PST_SIM_GRAPHS_H
#define PST_SIM_GRAPHS_H

#define LOAD PST_TEST_DEBS14_DIR "/load.yaml"
#define OUTLIERS PST_TEST_DEBS14_DIR "/outliers.yaml"

#define SOURCE                      \
    "penstock: 1\n"                 \
    "name: test\n"                  \
    "parameters: {partitions: 1}\n" \
    "operators:\n"                  \
    "  - id: rows\n"                \
    "    type: csv_source\n"        \
    "    params: {file: in.csv, schema: [\"ts:u32\", \"k:u32\", \"v:i64\"], time: ts}\n"
#define OPERATOR(id, type, inputs, key, params)                         \
    "  - {id: " id ", type: " type ", inputs: [" inputs "], key: [" key \
    "], partitions: \"${partitions}\", buckets: 32, params: {" params "}}\n"
#define SINGLE(id, type, inputs, params) \
    "  - {id: " id ", type: " type ", inputs: [" inputs "], params: {" params "}}\n"
#define SINK(id, input, columns)                                                                          \
    "  - {id: " id ", type: csv_sink, inputs: [" input "], params: {file: " id ".csv, columns: [" columns \
    "], order: [" columns "]}}\n"

/* ---- graphs of the tests' own ---- */
/* A source's rows reach `last` by ways of one, two, three and four operators; one of them speaks once in 600 seconds. */
__attribute__((unused)) static const char *const diamonds = SOURCE SINGLE("kept", "filter", "rows",
                                                                          "where: [\"v > -400\"]")
    OPERATOR("hours", "aggregate", "rows", "k", "window: 3600, group: [k], aggregates: [\"sum(v) as v\"]")
        OPERATOR("slow", "twist", "kept", "k", "key_field: k, value: v, epoch: 600")
            OPERATOR("first", "join", "kept, hours", "k", "key_field: k, left: v, right: v")
                OPERATOR("second", "join", "first, slow", "key", "key_field: key, left: sum_a, right: value, epoch: 7")
                    OPERATOR("third", "join", "second, first", "key", "key_field: key, left: sum_b, right: sum_b")
                        OPERATOR("last", "sequence", "third", "key", "key_field: key, value: sum_a")
                            SINK("third_out", "third", "at, key, count_a, sum_a, count_b, sum_b")
                                SINK("last_out", "last", "at, key, number, digest, value");

/* Total order behind the source, behind epoch order, behind itself, and of an operator with two outputs. */
__attribute__((unused)) static const char *const totals =
    SOURCE SINGLE("timed", "seen", "rows", "") SINGLE("kept", "filter", "timed", "where: [\"v > -400\"]")
        SINGLE("again", "seen", "kept", "") SINGLE("direct", "sequence", "rows", "key_field: k, value: v, epoch: 50")
            SINGLE("filtered", "sequence", "again", "key_field: k, value: v")
                OPERATOR("twisted", "twist", "kept", "k", "key_field: k, value: v, epoch: 5")
                    SINGLE("behind", "sequence", "twisted", "key_field: key, value: value")
                        OPERATOR("keyed", "sequence", "rows", "k", "key_field: k, value: v")
                            SINGLE("twice", "sequence", "keyed", "key_field: key, value: value, epoch: 3")
                                OPERATOR("echo", "echo", "kept", "k", "key_field: k, value: v, epoch: 10")
                                    SINGLE("now", "sequence", "echo.now", "key_field: key, value: value")
                                        SINGLE("later", "sequence", "echo.later", "key_field: key, value: value")
                                            SINK("direct_out", "direct", "at, number, key, digest, value")
                                                SINK("filtered_out", "filtered", "at, number, key, digest")
                                                    SINK("behind_out", "behind", "at, number, key, digest")
                                                        SINK("twice_out", "twice", "at, number, key, digest, value")
                                                            SINK("now_out", "now", "at, number, key, digest, value")
                                                                SINK("later_out", "later",
                                                                     "at, number, key, digest, value");

#endif
