/* checking.c - the report while it is made: rows of what was expected and what there is, and the report as a whole. */
#include "enclave_shim/attestation/inside.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

/* ---- memory and texts ---- */
void *pst_checking_alloc(struct pst_checking *c, size_t bytes)
{
    void *memory = pst_arena_alloc(&c->report->arena, bytes);
    if (memory == NULL)
        c->rc = PST_ENOMEM;
    return memory;
}

const char *pst_checking_printf(struct pst_checking *c, const char *format, ...)
{
    struct pst_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    int rc = pst_text_vprintf(&text, format, arguments);
    va_end(arguments);
    const char *copy = rc == PST_OK ? pst_arena_strdup(&c->report->arena, text.bytes != NULL ? text.bytes : "") : NULL;
    pst_text_fini(&text);
    if (copy == NULL)
        c->rc = PST_ENOMEM;
    return copy != NULL ? copy : "";
}

const char *pst_checking_hex(struct pst_checking *c, const void *bytes, size_t byte_count)
{
    static const char digits[] = "0123456789abcdef";
    char *text = pst_checking_alloc(c, 2 * byte_count + 1);
    for (size_t i = 0; i < byte_count && text != NULL; i++) {
        uint8_t byte = ((const uint8_t *)bytes)[i];
        text[2 * i] = digits[byte >> 4];
        text[2 * i + 1] = digits[byte & 15];
    }
    return text != NULL ? text : "";
}

bool pst_all_zero(const uint8_t *bytes, size_t byte_count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < byte_count; i++)
        any |= bytes[i];
    return any == 0;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool pst_hex_parse(const char *text, size_t digits, uint8_t *ret_bytes)
{
    if (digits % 2 != 0)
        return false;
    for (size_t i = 0; i < digits; i += 2) {
        int high = digit_value(text[i]), low = high >= 0 ? digit_value(text[i + 1]) : -1;
        if (low < 0)
            return false;
        ret_bytes[i / 2] = (uint8_t)(high * 16 + low);
    }
    return true;
}

void pst_checking_fault(struct pst_checking *c, const char *name, const char *why)
{
    if (c->rc != PST_OK)
        return;
    c->report->why = pst_checking_printf(c, "`%s` %s", name != NULL ? name : "the evidence", why);
    if (c->rc == PST_OK)
        c->rc = PST_EDATA;
}

/* ---- rows ---- */
/* Texts of certificates and collateral reach terminals. */
static const char *printable(struct pst_checking *c, const char *text)
{
    char *copy = pst_arena_strdup(&c->report->arena, text);
    if (copy == NULL)
        c->rc = PST_ENOMEM;
    for (char *at = copy; at != NULL && *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return copy != NULL ? copy : "";
}

static bool room_for_one(struct pst_checking *c)
{
    struct pst_evidence_report *report = c->report;
    if (report->check_count < report->capacity)
        return true;
    uint32_t capacity = report->capacity != 0 ? 2 * report->capacity : 64;
    struct pst_check *all = pst_realloc(report->all, capacity * sizeof *all);
    if (all == NULL) {
        c->rc = PST_ENOMEM;
        return false;
    }
    report->checks = report->all = all;
    report->capacity = capacity;
    return true;
}

void pst_checking_add(struct pst_checking *c, const char *name, pst_check_result result, const char *expected,
                      const char *actual)
{
    struct pst_check check = {.name = printable(c, name), .result = result};
    check.expected = printable(c, expected);
    check.actual = printable(c, actual);
    if (room_for_one(c))
        c->report->all[c->report->check_count++] = check;
}

void pst_checking_expect(struct pst_checking *c, const char *name, bool good, const char *expected)
{
    struct pst_check *found = NULL;
    for (uint32_t i = c->report->check_count; i > 0 && found == NULL; i--)
        if (strcmp(c->report->all[i - 1].name, name) == 0)
            found = &c->report->all[i - 1];
    PST_ASSERT(found != NULL || c->rc != PST_OK);
    if (found == NULL)
        return;
    found->expected = printable(c, expected);
    found->result = good && found->result != PST_CHECK_FAILED ? PST_CHECK_PASSED : PST_CHECK_FAILED;
}

void pst_checking_equal(struct pst_checking *c, const char *name, const void *expected, const void *actual,
                        size_t byte_count)
{
    pst_checking_that(c, name, CRYPTO_memcmp(expected, actual, byte_count) == 0,
                      pst_checking_hex(c, expected, byte_count), pst_checking_hex(c, actual, byte_count));
}

void pst_checking_digests(struct pst_checking *c, const char *name, const struct pst_digests *digests,
                          const uint8_t *actual, uint32_t byte_count)
{
    if (digests->count == 0)
        return;
    bool found = false;
    const char *expected = digests->count == 1 ? "" : "one of ";
    for (uint32_t i = 0; i < digests->count; i++) {
        const struct pst_digest *digest = &digests->items[i];
        found |= digest->byte_count == byte_count && CRYPTO_memcmp(digest->bytes, actual, byte_count) == 0;
        expected = pst_checking_printf(c, "%s%s%s", expected, i == 0 ? "" : ", ",
                                       pst_checking_hex(c, digest->bytes, digest->byte_count));
    }
    pst_checking_expect(c, name, found, expected);
}

void pst_checking_number_min(struct pst_checking *c, const char *name, int64_t min, uint64_t actual)
{
    if (min > 0)
        pst_checking_expect(c, name, actual >= (uint64_t)min, pst_checking_printf(c, "at least %lld", (long long)min));
}

void pst_checking_nonce(struct pst_checking *c, const char *name, const uint8_t *actual, size_t actual_bytes)
{
    const struct pst_evidence_request *request = c->request;
    if (request->nonce == NULL) {
        if (c->policy->nonce)
            pst_checking_expect(c, name, false, "a nonce to compare with: the policy wants one");
        return;
    }
    bool fits = request->nonce_bytes != 0 && request->nonce_bytes <= actual_bytes; /* nothing is no nonce */
    size_t compared = request->nonce_bytes <= actual_bytes ? request->nonce_bytes : actual_bytes;
    bool same = CRYPTO_memcmp(request->nonce, actual, compared) == 0 && fits;
    same &= pst_all_zero(actual + compared, actual_bytes - compared);
    const char *expected = pst_checking_hex(c, request->nonce, request->nonce_bytes);
    pst_checking_expect(c, name, same,
                        compared < actual_bytes ? pst_checking_printf(c, "%s, then zeros", expected) : expected);
}

void pst_checking_debug(struct pst_checking *c, const char *name, bool debug)
{
    bool allowed = c->request->allow_debug || c->policy->debug;
    pst_checking_that(c, name, !debug || allowed, allowed ? "on or off" : "off", debug ? "on" : "off");
}

void pst_checking_fields(struct pst_checking *c, const struct pst_layout_field *fields, uint32_t field_count,
                         const uint8_t *bytes)
{
    for (uint32_t i = 0; i < field_count; i++) {
        const struct pst_layout_field *field = &fields[i];
        const uint8_t *at = bytes + field->offset;
        const char *actual;
        if (field->kind == PST_LAYOUT_NUMBER)
            actual = pst_checking_printf(c, "%llu", (unsigned long long)pst_le(at, field->bytes));
        else if (field->kind == PST_LAYOUT_BITS)
            actual = pst_checking_printf(c, "0x%llx", (unsigned long long)pst_le(at, field->bytes));
        else
            actual = pst_checking_hex(c, at, field->bytes);
        pst_checking_add(c, field->name, PST_CHECK_OPEN, "-", actual);
    }
}

/* ---- the report ---- */
const struct pst_check *pst_evidence_report_failed(const struct pst_evidence_report *report)
{
    for (uint32_t i = 0; i < report->check_count; i++)
        if (report->checks[i].result == PST_CHECK_FAILED)
            return &report->checks[i];
    return NULL;
}

void pst_evidence_report_fini(struct pst_evidence_report *report)
{
    pst_free(report->all);
    pst_arena_fini(&report->arena);
    *report = (struct pst_evidence_report){0};
}

/* ---- time ---- */
/* Days since 1970-01-01 of the proleptic Gregorian calendar: years begin in March, so that the leap day ends one.
 * Source: Howard Hinnant, "chrono-compatible low-level date algorithms". */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, in_era = year - era * 400,
            in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_of(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, in_era = days - era * 146097,
            year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365,
            in_year = in_era - (365 * year + year / 4 - year / 100), month = (5 * in_year + 2) / 153;
    *ret_day = in_year - (153 * month + 2) / 5 + 1;
    *ret_month = month + (month < 10 ? 3 : -9);
    *ret_year = year + era * 400 + (*ret_month <= 2);
}

/* Exactly `count` digits at *at, which is moved behind them; -1: there are not. */
static int64_t digits_take(const char **at, uint32_t count)
{
    int64_t value = 0;
    for (uint32_t i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static bool sign_take(const char **at, char sign)
{
    bool there = **at == sign;
    *at += there;
    return there;
}

int pst_time_parse(const char *text, int64_t *ret_s)
{
    const char *at = text;
    int64_t year = digits_take(&at, 4), month = year >= 0 && sign_take(&at, '-') ? digits_take(&at, 2) : -1,
            day = month >= 0 && sign_take(&at, '-') ? digits_take(&at, 2) : -1, hour = 0, minute = 0, second = 0;
    if (day < 1 || month < 1 || month > 12)
        return PST_EINVAL;
    int64_t days = days_of(year, month, day), again[3];
    date_of(days, &again[0], &again[1], &again[2]);
    if (again[1] != month || again[2] != day) /* such as February 30 */
        return PST_EINVAL;
    if (*at != '\0') {
        hour = sign_take(&at, 'T') ? digits_take(&at, 2) : -1;
        minute = hour >= 0 && sign_take(&at, ':') ? digits_take(&at, 2) : -1;
        second = minute >= 0 && sign_take(&at, ':') ? digits_take(&at, 2) : -1;
        if (second < 0 || hour > 23 || minute > 59 || second > 59 || !sign_take(&at, 'Z') || *at != '\0')
            return PST_EINVAL;
    }
    *ret_s = days * 86400 + hour * 3600 + minute * 60 + second;
    return PST_OK;
}

void pst_time_print(int64_t s, char ret_text[PST_TIME_TEXT_BYTES])
{
    enum { DAY = 86400 };
    int64_t days = s / DAY - (s % DAY < 0), left = s - days * DAY, year, month, day;
    if (days > 2932896 || days < -719528) { /* beyond the year 9999, or before 0 */
        (void)snprintf(ret_text, PST_TIME_TEXT_BYTES, "%lld s", (long long)s);
        return;
    }
    date_of(days, &year, &month, &day);
    (void)snprintf(ret_text, PST_TIME_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02dZ", (int)year, (int)month, (int)day,
                   (int)(left / 3600), (int)(left / 60 % 60), (int)(left % 60));
}
