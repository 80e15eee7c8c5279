/* tools/report.c - what `penstock run` tells at its end: a summary for people, an object for programs. */
#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/enclave_shim.h"
#include "tools/inside.h"

#include <sys/resource.h>

/* ---- figures ---- */

void pst_count_print(struct pst_text *text, uint64_t count)
{
    char digits[32];
    const int digit_count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
    for (int i = 0; i < digit_count; i++)
        pst_text_printf(text, "%s%c", i > 0 && (digit_count - i) % 3 == 0 ? "," : "", digits[i]);
}

void pst_rate_print(struct pst_text *text, double per_second)
{
    if (per_second >= 1e6)
        pst_text_printf(text, "%.1f M", per_second / 1e6);
    else if (per_second >= 1e4)
        pst_text_printf(text, "%.0f k", per_second / 1e3);
    else
        pst_text_printf(text, "%.0f", per_second);
}

void pst_bytes_print(struct pst_text *text, uint64_t bytes)
{
    if (bytes < 1024)
        pst_text_printf(text, "%llu B", (unsigned long long)bytes);
    else if (bytes < UINT64_C(1024) * 1024)
        pst_text_printf(text, "%.1f KiB", (double)bytes / 1024.0);
    else
        pst_text_printf(text, "%.1f MiB", (double)bytes / (1024.0 * 1024.0));
}

static uint64_t memory_bytes_peak(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0)
        return 0;
    return (uint64_t)usage.ru_maxrss * 1024; /* Linux counts it in KiB */
}

static double seconds_of(const struct pst_run_report *report) { return (double)report->nanoseconds / 1e9; }

/* Of this run: what was read before the checkpoint that it goes on from took time elsewhere. */
static double rows_per_second(const struct pst_run_report *report)
{
    uint64_t before = report->checkpoint.resumed_rows;
    return report->nanoseconds > 0 && report->rows > before ? (double)(report->rows - before) / seconds_of(report)
                                                            : 0.0;
}

/* ---- for people ---- */

static uint32_t bad_lines_kept(const struct pst_run_report *report)
{
    return report->lines_malformed < PST_BAD_LINES_KEPT ? (uint32_t)report->lines_malformed : PST_BAD_LINES_KEPT;
}

static void rows_print(struct pst_text *text, const struct pst_run_report *report)
{
    pst_text_printf(text, "  rows       ");
    pst_count_print(text, report->rows);
    pst_text_printf(text, " in, ");
    pst_count_print(text, report->rows_out);
    pst_text_printf(text, " out\n  late       ");
    pst_count_print(text, report->rows_late);
    pst_text_printf(text, "\n  malformed  ");
    pst_count_print(text, report->lines_malformed);
    pst_text_printf(text, "\n");
    for (uint32_t i = 0; i < bad_lines_kept(report); i++)
        pst_text_printf(text, "             line %llu: %s\n", (unsigned long long)report->malformed_line[i],
                        pst_reject_sentence(report->malformed_reason[i]));
    if (report->lines_malformed > PST_BAD_LINES_KEPT)
        pst_text_printf(text, "             and %llu more\n",
                        (unsigned long long)(report->lines_malformed - PST_BAD_LINES_KEPT));
}

static void effort_print(struct pst_text *text, const struct pst_run_report *report)
{
    pst_text_printf(text, "  time       %.2f s, ", seconds_of(report));
    pst_rate_print(text, rows_per_second(report));
    pst_text_printf(text, " rows/s, %u worker%s\n  memory     ", report->worker_count,
                    report->worker_count == 1 ? "" : "s");
    pst_bytes_print(text, memory_bytes_peak());
    pst_text_printf(text, report->paging_count == 0 ? " at most, " : " at most; ");
    pst_bytes_print(text, report->state_bytes_max);
    pst_text_printf(text,
                    report->paging_count == 0 ? " of it state\n" : " of state, in memory and in the spill file\n");
}

static void paging_print(struct pst_text *text, const struct pst_run_report *report, bool complete)
{
    for (uint32_t i = 0; i < report->paging_count; i++) {
        const struct pst_paging_report *paging = &report->paging[i];
        pst_text_printf(text, "  %s    %s: ", i == 0 ? "paging " : "       ", paging->operator_id);
        pst_bytes_print(text, paging->bytes_in_max);
        pst_text_printf(text, " in clear at most; ");
        pst_count_print(text, paging->page_ins);
        pst_text_printf(text, " pages fetched (");
        pst_count_print(text, paging->waits);
        pst_text_printf(text, " waited for, %.2f s), ", (double)paging->wait_ns / 1e9);
        pst_count_print(text, paging->page_outs);
        pst_text_printf(text, " sealed, ");
        pst_count_print(text, paging->page_outs_clean);
        pst_text_printf(text, " dropped clean, ");
        pst_count_print(text, paging->dead_inside + paging->dead_outside);
        pst_text_printf(text, " dead");
        if (paging->page_images != 0) {
            pst_text_printf(text, "; ");
            pst_count_print(text, paging->page_images);
            pst_text_printf(text, " sealed for checkpoints");
        }
        pst_text_printf(text, "\n");
    }
    if (report->paging_count != 0 && complete)
        pst_text_printf(text, "             --state-budget %lluKiB is surely enough\n",
                        (unsigned long long)(report->state_budget_least / 1024));
}

/* What protects and what does not, for whoever reads it at a terminal. */
static void protection_print(struct pst_text *text, const struct pst_enclave_run_report *enclave)
{
    bool first = true;
    if ((enclave->guards & PST_GUARD_USERS) != 0)
        pst_text_printf(text, "protects from %s", pst_backend_words(PST_BACKEND_PROCESS)->protects_from);
    else
        pst_text_printf(text, "protects from nobody for certain");
    for (uint32_t bit = 0; pst_enclave_fact_word(bit) != NULL; bit++) {
        if ((enclave->facts >> bit & 1) != 0)
            continue;
        pst_text_printf(text, "%s%s", first ? ", without " : ", ", pst_enclave_fact_word(bit));
        first = false;
    }
}

static void enclaves_print(struct pst_text *text, const struct pst_run_report *report, const struct pst_call *call)
{
    const struct pst_epc_model *model;
    (void)pst_epc_model_read(call, &model);
    for (uint32_t i = 0; i < report->enclave_count; i++) {
        const struct pst_enclave_run_report *enclave = &report->enclaves[i];
        pst_text_printf(text, "  %s   %s: %u worker%s (%s), an EPC of ", i == 0 ? "enclaves" : "        ",
                        enclave->operator_id, enclave->workers, enclave->workers == 1 ? "" : "s", enclave->backend);
        pst_bytes_print(text, enclave->epc_bytes);
        pst_text_printf(text, " each, ");
        pst_bytes_print(text, enclave->epc_used_max);
        pst_text_printf(text, " used at most, ");
        pst_bytes_print(text, enclave->epc_touched_max);
        pst_text_printf(text, " touched; ");
        pst_count_print(text, enclave->page_ins);
        pst_text_printf(text, " pages fetched, ");
        pst_count_print(text, enclave->page_outs);
        pst_text_printf(text, " sealed\n             ");
        protection_print(text, enclave);
        pst_text_printf(text, "\n             measured ");
        for (size_t k = 0; k < sizeof enclave->measurement; k++)
            pst_text_printf(text, "%02x", enclave->measurement[k]);
        pst_text_printf(text, "\n");
        if (model != NULL)
            pst_epc_model_print(text, model, enclave);
    }
    if (report->enclave_restarts != 0)
        pst_text_printf(text,
                        "             %u time%s a worker was lost, and the run went on from its last checkpoint\n",
                        report->enclave_restarts, report->enclave_restarts == 1 ? "" : "s");
    if (report->enclave_count != 0)
        pst_text_printf(text, "             not from %s.\n             %s\n",
                        pst_backend_words(PST_BACKEND_PROCESS)->not_from,
                        report->sealed ? "Before and behind them rows are sealed: this process has no key for them."
                                       : "Before and behind them rows are in the clear in this process.");
}

void pst_outcome_note(const struct pst_outcome *outcome)
{
    const struct pst_run_report *report = outcome->report;
    struct pst_text text = {0};
    pst_text_printf(&text, "%s: %s\n", outcome->call->operands[0],
                    outcome->error == NULL ? "complete" : "not complete");
    rows_print(&text, report);
    effort_print(&text, report);
    paging_print(&text, report, outcome->error == NULL);
    enclaves_print(&text, report, outcome->call);
    pst_checkpoint_print(&text, &report->checkpoint);
    for (uint32_t i = 0; i < report->output_count; i++)
        pst_text_printf(&text, "  %s    %s\n", i == 0 ? "outputs" : "       ", report->outputs[i]);
    if (!text.failed && text.count > 0)
        pst_note(outcome->call, "%.*s", (int)text.count - 1, text.bytes);
    pst_text_fini(&text);
}

/* ---- for programs ---- */

static void malformed_json(struct pst_text *json, const struct pst_run_report *report)
{
    pst_text_printf(json, "\"malformed\":[");
    for (uint32_t i = 0; i < bad_lines_kept(report); i++) {
        pst_text_printf(json, "%s{\"line\":%llu,\"reason\":", i == 0 ? "" : ",",
                        (unsigned long long)report->malformed_line[i]);
        pst_text_json(json, pst_reject_sentence(report->malformed_reason[i]));
        pst_text_printf(json, "}");
    }
    pst_text_printf(json, "]");
}

static void outputs_json(struct pst_text *json, const struct pst_run_report *report)
{
    pst_text_printf(json, "\"outputs\":[");
    for (uint32_t i = 0; i < report->output_count; i++) {
        pst_text_printf(json, "%s", i == 0 ? "" : ",");
        pst_text_json(json, report->outputs[i]);
    }
    pst_text_printf(json, "]");
}

static void paging_json(struct pst_text *json, const struct pst_run_report *report)
{
    pst_text_printf(json, "\"state_budget_least\":%llu,\"paging\":[", (unsigned long long)report->state_budget_least);
    for (uint32_t i = 0; i < report->paging_count; i++) {
        const struct pst_paging_report *paging = &report->paging[i];
        const struct {
            const char *name;
            uint64_t figure;
        } figures[] = {
            {"hits", paging->lookups > paging->page_ins ? paging->lookups - paging->page_ins : 0},
            {"misses", paging->page_ins},
            {"misses_prefetched", paging->page_ins_ahead},
            {"prefetches", paging->aheads},
            {"evictions", paging->page_outs + paging->page_outs_clean},
            {"evictions_sealed", paging->page_outs},
            {"sealed_for_checkpoints", paging->page_images},
            {"dead_inside", paging->dead_inside},
            {"dead_outside", paging->dead_outside},
            {"bytes_sealed", paging->bytes_sealed},
            {"bytes_opened", paging->bytes_opened},
            {"bytes_in_clear_max", paging->bytes_in_max},
            {"bytes_needed", paging->bytes_needed},
            {"waits", paging->waits},
            {"wait_ns", paging->wait_ns},
        };
        pst_text_printf(json, "%s{\"operator\":", i == 0 ? "" : ",");
        pst_text_json(json, paging->operator_id);
        for (size_t f = 0; f < sizeof figures / sizeof figures[0]; f++)
            pst_text_printf(json, ",\"%s\":%llu", figures[f].name, (unsigned long long)figures[f].figure);
        pst_text_printf(json, "}");
    }
    pst_text_printf(json, "],");
}

static void enclaves_json(struct pst_text *json, const struct pst_run_report *report, const struct pst_call *call)
{
    const struct pst_epc_model *model;
    (void)pst_epc_model_read(call, &model);
    pst_text_printf(json, "\"sealed\":%s,\"enclaves\":[", report->sealed ? "true" : "false");
    for (uint32_t i = 0; i < report->enclave_count; i++) {
        const struct pst_enclave_run_report *enclave = &report->enclaves[i];
        pst_text_printf(json, "%s{\"operator\":", i == 0 ? "" : ",");
        pst_text_json(json, enclave->operator_id);
        pst_text_printf(json, ",\"backend\":");
        pst_text_json(json, enclave->backend);
        pst_text_printf(
            json,
            ",\"workers\":%u,\"epc_bytes\":%llu,\"epc_used_max\":%llu,\"epc_touched_max\":%llu,\"misses\":%llu,"
            "\"evictions_sealed\":%llu,\"evictions_clean\":%llu,\"leaves\":%llu,\"messages\":%llu,"
            "\"measurement\":\"",
            enclave->workers, (unsigned long long)enclave->epc_bytes, (unsigned long long)enclave->epc_used_max,
            (unsigned long long)enclave->epc_touched_max, (unsigned long long)enclave->page_ins,
            (unsigned long long)enclave->page_outs, (unsigned long long)enclave->page_outs_clean,
            (unsigned long long)enclave->leaves, (unsigned long long)enclave->messages);
        for (size_t k = 0; k < sizeof enclave->measurement; k++)
            pst_text_printf(json, "%02x", enclave->measurement[k]);
        pst_text_printf(json, "\",\"facts\":[");
        for (uint32_t bit = 0, count = 0; pst_enclave_fact_word(bit) != NULL; bit++)
            if ((enclave->facts >> bit & 1) != 0)
                pst_text_printf(json, "%s\"%s\"", count++ == 0 ? "" : ",", pst_enclave_fact_word(bit));
        pst_text_printf(json,
                        "],\"protects_from_users\":%s,\"protects_from_root\":%s,\"protects_from_hypervisor\":%s,"
                        "\"hardware_attested\":%s",
                        (enclave->guards & PST_GUARD_USERS) != 0 ? "true" : "false",
                        (enclave->guards & PST_GUARD_ROOT) != 0 ? "true" : "false",
                        (enclave->guards & PST_GUARD_HYPERVISOR) != 0 ? "true" : "false",
                        (enclave->guards & PST_GUARD_HARDWARE) != 0 ? "true" : "false");
        if (model != NULL)
            pst_epc_model_json(json, model, enclave);
        pst_text_printf(json, "}");
    }
    pst_text_printf(json, "],\"enclave_restarts\":%u,", report->enclave_restarts);
}

int pst_outcome_json(const struct pst_outcome *outcome)
{
    const struct pst_run_report *report = outcome->report;
    struct pst_text json = {0};
    pst_text_printf(&json, "{\"schema_version\":%d,\"graph\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, outcome->call->operands[0]);
    pst_text_printf(&json, ",\"rows\":%llu,\"rows_late\":%llu,\"lines_malformed\":%llu,",
                    (unsigned long long)report->rows, (unsigned long long)report->rows_late,
                    (unsigned long long)report->lines_malformed);
    malformed_json(&json, report);
    pst_text_printf(&json,
                    ",\"seconds\":%.6f,\"rows_per_second\":%.0f,\"peak_memory_bytes\":%llu,\"state_bytes_max\":%llu",
                    seconds_of(report), rows_per_second(report), (unsigned long long)memory_bytes_peak(),
                    (unsigned long long)report->state_bytes_max);
    pst_text_printf(&json, ",");
    pst_checkpoint_json(&json, &report->checkpoint);
    pst_text_printf(&json, ",");
    paging_json(&json, report);
    enclaves_json(&json, report, outcome->call);
    pst_text_printf(&json, "\"workers\":%u,\"input_bytes\":%llu,\"rows_out\":%llu,", report->worker_count,
                    (unsigned long long)report->input_bytes, (unsigned long long)report->rows_out);
    outputs_json(&json, report);
    pst_text_printf(&json, ",\"complete\":%s,", outcome->error == NULL ? "true" : "false");
    pst_json_diagnostics(&json, &outcome->loaded->diagnostics);
    pst_text_printf(&json, ",");
    pst_json_error(&json, outcome->exit_code, outcome->error);
    pst_text_printf(&json, "}\n");
    return pst_text_show(outcome->call, &json);
}
