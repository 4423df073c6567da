/* Time a .tflite model through LiteRT's C interface on Linux (aarch64, or whatever it is compiled for).
 *
 * The library is opened at run time, so the only thing needed to build this is a C compiler and libc. What it finds out is printed as
 * JSON, one object per line and flushed as it goes, so that a device which vanishes half-way still leaves its samples behind.
 * Timed is the call LiteRtRunCompiledModel alone: filling the input and reading the output are outside.
 *
 * Compiled with -DCOUNT_MARKS it becomes the runner of the emulation: each inference is bracketed by a marker system call which the
 * qemu plugin sees, and the clock counts its own calls instead of time, so that the profiler's events name spans between marks.
 *
 * Exit codes: 2 usage, 3 library, 4 model, 5 input or output file, 6 inference. bench/runners.py holds the same list.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_LIBRARY = 3, EXIT_MODEL = 4, EXIT_FILE = 5, EXIT_RUN = 6 };
enum { MAX_TENSORS = 16, WINDOW = 10, CPU_ACCELERATOR = 1, LOCK_READ = 0, LOCK_WRITE = 1 };

/* ------------------------------------------------------------------ LiteRT, as much of it as is used here */

typedef void *Handle;
typedef int Status;
/* LiteRtRankedTensorType is about 100 bytes; it is only handed through, never read. */
typedef union { max_align_t align; char bytes[1024]; } TensorType;
/* Public layout of ProfiledEventData (litert/c/litert_profiler_event.h). */
typedef struct {
    const char *tag;
    int type;
    uint64_t start_us, elapsed_us;
    int64_t memory_before[3], memory_after[3];
    uint64_t metadata[2];
    int source;
} ProfilerEvent;

#define LITERT_FUNCTIONS(F)                                                                                        \
    F(CreateEnvironment, (int, const void *, Handle *))                                                            \
    F(CreateModelFromFile, (Handle, const char *, Handle *))                                                       \
    F(CreateOptions, (Handle *))                                                                                   \
    F(SetOptionsHardwareAccelerators, (Handle, int))                                                               \
    F(CreateOpaqueOptions, (const char *, void *, void (*)(void *), Handle *))                                     \
    F(AddOpaqueOptions, (Handle, Handle))                                                                          \
    F(CreateCompiledModel, (Handle, Handle, Handle, Handle *))                                                     \
    F(GetModelSignature, (Handle, size_t, Handle *))                                                               \
    F(GetNumSignatureInputs, (Handle, size_t *))                                                                   \
    F(GetNumSignatureOutputs, (Handle, size_t *))                                                                  \
    F(GetSignatureInputTensorByIndex, (Handle, size_t, Handle *))                                                  \
    F(GetSignatureOutputTensorByIndex, (Handle, size_t, Handle *))                                                 \
    F(GetRankedTensorType, (Handle, void *))                                                                       \
    F(GetCompiledModelInputBufferRequirements, (Handle, size_t, size_t, Handle *))                                 \
    F(GetCompiledModelOutputBufferRequirements, (Handle, size_t, size_t, Handle *))                                \
    F(CreateManagedTensorBufferFromRequirements, (Handle, const void *, Handle, Handle *))                         \
    F(LockTensorBuffer, (Handle, void **, int))                                                                    \
    F(UnlockTensorBuffer, (Handle))                                                                                \
    F(GetTensorBufferPackedSize, (Handle, size_t *))                                                               \
    F(RunCompiledModel, (Handle, size_t, size_t, Handle *, size_t, Handle *))                                      \
    F(CompiledModelGetProfiler, (Handle, Handle *))                                                                \
    F(StartProfiler, (Handle))                                                                                     \
    F(StopProfiler, (Handle))                                                                                      \
    F(ResetProfiler, (Handle))                                                                                     \
    F(GetNumProfilerEvents, (Handle, int *))                                                                       \
    F(GetProfilerEvents, (Handle, int, ProfilerEvent *))

#define DECLARE(name, arguments) static Status(*LiteRt##name) arguments;
LITERT_FUNCTIONS(DECLARE)

static void fail(int code, const char *what, const char *detail) {
    fprintf(stderr, "litert_runner: %s: %s\n", what, detail);
    fflush(stdout);
    _exit(code);
}

static void check(Status status, int code, const char *what) {
    if (status) {
        char detail[48];
        snprintf(detail, sizeof detail, "LiteRT status %d", status);
        fail(code, what, detail);
    }
}

static void load_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(EXIT_LIBRARY, "cannot open the LiteRT library", dlerror());
#define RESOLVE(name, arguments)                                                              \
    *(void **)(&LiteRt##name) = dlsym(library, "LiteRt" #name);                               \
    if (!LiteRt##name) fail(EXIT_LIBRARY, "the LiteRT library lacks a function", "LiteRt" #name);
    LITERT_FUNCTIONS(RESOLVE)
}

/* ------------------------------------------------------------------ time and marks */

#ifdef COUNT_MARKS
/* close() of a descriptor that cannot exist: harmless for the kernel, visible to the plugin, which writes down the count with `code`. */
enum { MARK_DESCRIPTOR = -0x45564954, MARK_CLOCK = 1, MARK_BEGIN = 2, MARK_END = 3 };
static void mark(int code) { syscall(SYS_close, MARK_DESCRIPTOR, code); }

/* Shadows libc's for the library too. The n-th call returns n milliseconds: a profiler event's times are then numbers of marks. */
int clock_gettime(clockid_t clock, struct timespec *out) {
    static uint64_t calls;
    (void)clock;
    uint64_t n = ++calls;
    mark(MARK_CLOCK);
    out->tv_sec = (time_t)(n / 1000);
    out->tv_nsec = (long)(n % 1000) * 1000000L;
    return 0;
}
#define MARK(code) mark(code)
#else
#define MARK(code) ((void)0)
#endif

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* ------------------------------------------------------------------ options */

typedef struct {
    const char *library, *model;
    const char *inputs[MAX_TENSORS];
    int num_inputs;
    const char *output;
    int threads, warmup_runs, runs;
    double warmup_seconds, max_warmup_seconds, seconds, max_seconds;
    bool profile, half;
} Options;

static double number(const char *flag, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || value < 0 || value > 1e9) fail(EXIT_USAGE, "not a usable number", flag);
    return value;
}

static Options parse(int argc, char **argv) {
    Options o = {.threads = 1, .warmup_runs = 1, .runs = 1};
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (!strcmp(flag, "--profile")) { o.profile = true; continue; }
        if (!strcmp(flag, "--half")) { o.half = true; continue; }
        if (i + 1 >= argc) fail(EXIT_USAGE, "a flag without its value", flag);
        const char *value = argv[++i];
        if (!strcmp(flag, "--library")) o.library = value;
        else if (!strcmp(flag, "--model")) o.model = value;
        else if (!strcmp(flag, "--output")) o.output = value;
        else if (!strcmp(flag, "--input")) {
            if (o.num_inputs == MAX_TENSORS) fail(EXIT_USAGE, "too many inputs", value);
            o.inputs[o.num_inputs++] = value;
        }
        else if (!strcmp(flag, "--threads")) o.threads = (int)number(flag, value);
        else if (!strcmp(flag, "--warmup-runs")) o.warmup_runs = (int)number(flag, value);
        else if (!strcmp(flag, "--warmup-seconds")) o.warmup_seconds = number(flag, value);
        else if (!strcmp(flag, "--max-warmup-seconds")) o.max_warmup_seconds = number(flag, value);
        else if (!strcmp(flag, "--runs")) o.runs = (int)number(flag, value);
        else if (!strcmp(flag, "--seconds")) o.seconds = number(flag, value);
        else if (!strcmp(flag, "--max-seconds")) o.max_seconds = number(flag, value);
        else fail(EXIT_USAGE, "unknown flag", flag);
    }
    if (!o.library || !o.model) fail(EXIT_USAGE, "missing", "--library and --model are required");
    return o;
}

/* ------------------------------------------------------------------ model */

typedef struct {
    Handle compiled;
    size_t num_inputs, num_outputs;
    Handle inputs[MAX_TENSORS], outputs[MAX_TENSORS];
} Model;

/* The opaque options' payload is a TOML text which LiteRT frees with the given function. */
static void add_options(Handle options, const char *identifier, const char *toml) {
    Handle opaque;
    check(LiteRtCreateOpaqueOptions(identifier, strdup(toml), free, &opaque), EXIT_MODEL, identifier);
    check(LiteRtAddOpaqueOptions(options, opaque), EXIT_MODEL, identifier);
}

static Handle compile(const Options *o, Handle environment, Handle model) {
    Handle options, compiled;
    char settings[48];
    check(LiteRtCreateOptions(&options), EXIT_MODEL, "create options");
    check(LiteRtSetOptionsHardwareAccelerators(options, CPU_ACCELERATOR), EXIT_MODEL, "choose the CPU");
    const char *flags = o->half ? "flags = 15\n" : "";
    snprintf(settings, sizeof settings, "num_threads = %d\n%s", o->threads, flags);
    add_options(options, "xnnpack", settings);
    if (o->profile) add_options(options, "runtime_options_string", "enable_profiling = true\n");
    check(LiteRtCreateCompiledModel(environment, model, options, &compiled), EXIT_MODEL, "compile the model");
    return compiled;
}

static Handle buffer_for(Handle environment, Handle tensor, Handle requirements) {
    static TensorType type;
    Handle buffer;
    check(LiteRtGetRankedTensorType(tensor, &type), EXIT_MODEL, "tensor type (dynamic shapes are not supported)");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &buffer), EXIT_MODEL,
          "tensor buffer");
    return buffer;
}

static void open_model(const Options *o, Model *m) {
    Handle environment, file, signature, tensor, requirements;
    double begin = now_us();
    check(LiteRtCreateEnvironment(0, NULL, &environment), EXIT_MODEL, "create the environment");
    check(LiteRtCreateModelFromFile(environment, o->model, &file), EXIT_MODEL, "load the model");
    double loaded = now_us();
    m->compiled = compile(o, environment, file);
    check(LiteRtGetModelSignature(file, 0, &signature), EXIT_MODEL, "read the signature");
    check(LiteRtGetNumSignatureInputs(signature, &m->num_inputs), EXIT_MODEL, "count the inputs");
    check(LiteRtGetNumSignatureOutputs(signature, &m->num_outputs), EXIT_MODEL, "count the outputs");
    if (m->num_inputs > MAX_TENSORS || m->num_outputs > MAX_TENSORS) fail(EXIT_MODEL, o->model, "too many tensors");
    for (size_t i = 0; i < m->num_inputs; i++) {
        check(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor), EXIT_MODEL, "input tensor");
        check(LiteRtGetCompiledModelInputBufferRequirements(m->compiled, 0, i, &requirements), EXIT_MODEL, "input");
        m->inputs[i] = buffer_for(environment, tensor, requirements);
    }
    for (size_t i = 0; i < m->num_outputs; i++) {
        check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), EXIT_MODEL, "output tensor");
        check(LiteRtGetCompiledModelOutputBufferRequirements(m->compiled, 0, i, &requirements), EXIT_MODEL, "output");
        m->outputs[i] = buffer_for(environment, tensor, requirements);
    }
    double ready = now_us();
    printf("{\"event\":\"ready\",\"load_us\":%.1f,\"compile_us\":%.1f,\"inputs\":%zu,\"outputs\":%zu}\n", loaded - begin,
           ready - loaded, m->num_inputs, m->num_outputs);
    fflush(stdout);
}

static void fill_inputs(const Options *o, Model *m) {
    if (o->num_inputs && (size_t)o->num_inputs != m->num_inputs) {
        char detail[64];
        snprintf(detail, sizeof detail, "%d given, the model has %zu", o->num_inputs, m->num_inputs);
        fail(EXIT_FILE, "number of --input files", detail);
    }
    for (size_t i = 0; i < m->num_inputs; i++) {
        size_t size;
        void *data;
        check(LiteRtGetTensorBufferPackedSize(m->inputs[i], &size), EXIT_FILE, "input size");
        check(LiteRtLockTensorBuffer(m->inputs[i], &data, LOCK_WRITE), EXIT_FILE, "lock the input");
        memset(data, 0, size);
        if (o->num_inputs) {
            FILE *f = fopen(o->inputs[i], "rb");
            if (!f) fail(EXIT_FILE, o->inputs[i], strerror(errno));
            size_t got = fread(data, 1, size, f);
            bool more = fgetc(f) != EOF;
            fclose(f);
            if (got != size || more) {
                char detail[80];
                snprintf(detail, sizeof detail, "the model's input %zu takes %zu bytes, the file has %s", i, size,
                         more ? "more" : "fewer");
                fail(EXIT_FILE, o->inputs[i], detail);
            }
        }
        check(LiteRtUnlockTensorBuffer(m->inputs[i]), EXIT_FILE, "unlock the input");
    }
}

/* All outputs, one after the other, in one file. */
static void write_outputs(const Options *o, Model *m) {
    if (!o->output) return;
    FILE *f = fopen(o->output, "wb");
    if (!f) fail(EXIT_FILE, o->output, strerror(errno));
    for (size_t i = 0; i < m->num_outputs; i++) {
        size_t size;
        void *data;
        check(LiteRtGetTensorBufferPackedSize(m->outputs[i], &size), EXIT_FILE, "output size");
        check(LiteRtLockTensorBuffer(m->outputs[i], &data, LOCK_READ), EXIT_FILE, "lock the output");
        if (fwrite(data, 1, size, f) != size) fail(EXIT_FILE, o->output, strerror(errno));
        check(LiteRtUnlockTensorBuffer(m->outputs[i]), EXIT_FILE, "unlock the output");
    }
    if (fclose(f)) fail(EXIT_FILE, o->output, strerror(errno));
}

/* ------------------------------------------------------------------ measuring */

static double run_once(Model *m) {
    MARK(MARK_BEGIN);
    double begin = now_us();
    Status status = LiteRtRunCompiledModel(m->compiled, 0, m->num_inputs, m->inputs, m->num_outputs, m->outputs);
    double elapsed = now_us() - begin;
    MARK(MARK_END);
    check(status, EXIT_RUN, "inference");
    return elapsed;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values) {
    double sorted[WINDOW];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, WINDOW, sizeof *sorted, ascending);
    return (sorted[WINDOW / 2 - 1] + sorted[WINDOW / 2]) / 2;
}

/* Samples go out in groups: a line per sample would cost more than a small model's inference. */
typedef struct { const char *key; int count; double last_flush; } Stream;

static void emit(Stream *s, double sample, double now) {
    if (s->count++) printf(",%.1f", sample);
    else printf("{\"event\":\"%s\",\"us\":[%.1f", s->key, sample);
    if (now - s->last_flush > 250e3) {
        printf("]}\n");
        fflush(stdout);
        s->count = 0;
        s->last_flush = now;
    }
}

static void finish(Stream *s) {
    if (s->count) printf("]}\n");
    fflush(stdout);
    s->count = 0;
}

/* Warm up until two neighbouring windows have medians within 2%, at least as long as asked and at most max_warmup_seconds. */
static bool warm_up(const Options *o, Model *m) {
    double recent[2 * WINDOW] = {0};
    double begin = now_us(), now = begin;
    Stream stream = {.key = "warmup", .last_flush = begin};
    bool steady = false;
    for (int n = 0;; n++) {
        double elapsed = (now - begin) / 1e6;
        bool enough = n >= o->warmup_runs && elapsed >= o->warmup_seconds;
        if (n >= 2 * WINDOW) steady = fabs(median(recent) - median(recent + WINDOW)) < 0.02 * median(recent + WINDOW);
        if (enough && (steady || elapsed >= o->max_warmup_seconds)) break;
        double sample = run_once(m);
        memmove(recent, recent + 1, sizeof recent - sizeof *recent);
        recent[2 * WINDOW - 1] = sample;
        now = now_us();
        emit(&stream, sample, now);
    }
    finish(&stream);
    return steady;
}

static void measure(const Options *o, Model *m) {
    double begin = now_us(), now = begin;
    Stream stream = {.key = "samples", .last_flush = begin};
    for (int n = 0; n < o->runs || now - begin < o->seconds * 1e6; n++) {
        if (o->max_seconds > 0 && now - begin > o->max_seconds * 1e6) break;
        double sample = run_once(m);
        now = now_us();
        emit(&stream, sample, now);
    }
    finish(&stream);
}

static void print_text(const char *text) {
    putchar('"');
    for (; text && *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if ((unsigned char)*text >= 32) putchar(*text);
    }
    putchar('"');
}

static void print_profile(Model *m) {
    Handle profiler;
    int count = 0;
    check(LiteRtCompiledModelGetProfiler(m->compiled, &profiler), EXIT_RUN, "get the profiler");
    check(LiteRtResetProfiler(profiler), EXIT_RUN, "reset the profiler");
    check(LiteRtStartProfiler(profiler), EXIT_RUN, "start the profiler");
    now_us(), now_us(); /* two marks in a row: what reading the clock itself costs */
    run_once(m);
    check(LiteRtStopProfiler(profiler), EXIT_RUN, "stop the profiler");
    check(LiteRtGetNumProfilerEvents(profiler, &count), EXIT_RUN, "count the events");
    ProfilerEvent *events = calloc((size_t)count + 1, sizeof *events);
    if (!events) fail(EXIT_RUN, "profiler events", "out of memory");
    if (count) check(LiteRtGetProfilerEvents(profiler, count, events), EXIT_RUN, "get the events");
    for (int i = 0; i < count; i++) {
        printf("{\"event\":\"operator\",\"name\":");
        print_text(events[i].tag);
        printf(",\"type\":%d,\"source\":%d,\"start_us\":%llu,\"elapsed_us\":%llu,\"node\":%llu}\n", events[i].type,
               events[i].source, (unsigned long long)events[i].start_us, (unsigned long long)events[i].elapsed_us,
               (unsigned long long)events[i].metadata[0]);
    }
    fflush(stdout);
    free(events);
}

int main(int argc, char **argv) {
    Options o = parse(argc, argv);
    load_library(o.library);
    Model m;
    open_model(&o, &m);
    fill_inputs(&o, &m);
    printf("{\"event\":\"first\",\"us\":%.1f}\n", run_once(&m));
    fflush(stdout);
    bool steady = warm_up(&o, &m);
    measure(&o, &m);
    if (o.profile) print_profile(&m);
    write_outputs(&o, &m);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"event\":\"end\",\"steady\":%s,\"peak_kb\":%ld}\n", steady ? "true" : "false", usage.ru_maxrss);
    fflush(stdout);
    _exit(0); /* LiteRT's own clean-up is not what is measured, and it can take longer than the run */
}
