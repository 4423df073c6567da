// Runs a .pte on Linux: reads the bytes of its one input from a file and writes those of its output.
//
//     pte_runner MODEL.pte INPUT OUTPUT THREADS [RUNS PROFILE]
//
// Linked with the libraries of ExecuTorch's wheel. Each of RUNS inferences is bracketed by marker system calls, which
// the plugin of the emulation sees. With PROFILE 1 another one follows, instruction by instruction, and a line of JSON
// for each operator says between which readings of the clock it ran. The clock counts its own calls, each with a mark.
#include <executorch/runtime/core/data_loader.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The wheel has no header for its thread pool.
namespace executorch::extension::threadpool {
class ThreadPool {
  public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool *get_threadpool();
}  // namespace executorch::extension::threadpool

using namespace executorch::runtime;

// No C++ library is linked; the runtime brings its own, whose memory is malloc's too.
void operator delete(void *data, size_t) noexcept { free(data); }

// As in litert_runner.c: close() of a descriptor that cannot exist.
enum { MARK_DESCRIPTOR = -0x45564954, MARK_CLOCK = 1, MARK_BEGIN = 2, MARK_END = 3 };
static void mark(int code) { syscall(SYS_close, MARK_DESCRIPTOR, code); }
static unsigned long clock_calls;

// What this program defines shadows the same names for the libraries too: libc's clock, and two of XNNPACK's functions,
// so that every runtime profiles itself and we know which one ran last.
extern "C" int clock_gettime(clockid_t, struct timespec *out) {
    mark(MARK_CLOCK);
    clock_calls++;
    out->tv_sec = static_cast<time_t>(clock_calls / 1000);
    out->tv_nsec = static_cast<long>(clock_calls % 1000) * 1000000L;
    return 0;
}

static bool is_profiling;
static void *invoked;
static unsigned long first_call;
enum { XNN_BASIC_PROFILING = 8, XNN_NUM_OPERATORS = 0, XNN_OPERATOR_NAMES = 1, XNN_OPERATOR_TIMES = 2 };

extern "C" int xnn_create_runtime_v4(void *graph, void *cache, void *workspace, void *pool, uint32_t flags, void **out) {
    static auto theirs = reinterpret_cast<decltype(&xnn_create_runtime_v4)>(dlsym(RTLD_NEXT, "xnn_create_runtime_v4"));
    return theirs(graph, cache, workspace, pool, is_profiling ? flags | XNN_BASIC_PROFILING : flags, out);
}

extern "C" int xnn_invoke_runtime(void *runtime) {
    static auto theirs = reinterpret_cast<decltype(&xnn_invoke_runtime)>(dlsym(RTLD_NEXT, "xnn_invoke_runtime"));
    invoked = runtime;
    first_call = clock_calls + 1;
    return theirs(runtime);
}

struct Bytes {
    void *data = nullptr;
    size_t size = 0;
};

[[noreturn]] static void fail(int code, const char *what, int detail = 0) {
    fprintf(stderr, "pte_runner: %s (%#x)\n", what, static_cast<unsigned>(detail));
    exit(code);
}

static Bytes read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(4, path);
    fseek(file, 0, SEEK_END);
    Bytes found;
    found.size = static_cast<size_t>(ftell(file));
    rewind(file);
    found.data = aligned_alloc(64, (found.size + 63) / 64 * 64);
    if (fread(found.data, 1, found.size, file) != found.size) fail(4, path);
    fclose(file);
    return found;
}

class MemoryLoader final : public DataLoader {
  public:
    explicit MemoryLoader(Bytes bytes) : bytes_(bytes) {}
    Result<FreeableBuffer> load(size_t offset, size_t size, const SegmentInfo &) const override {
        if (offset + size > bytes_.size) return Error::InvalidArgument;
        return FreeableBuffer(static_cast<char *>(bytes_.data) + offset, size, nullptr);
    }
    Result<size_t> size() const override { return bytes_.size; }

  private:
    Bytes bytes_;
};

template <typename T>
static T &checked(Result<T> &result, const char *what) {
    if (!result.ok()) fail(6, what, static_cast<int>(result.error()));
    return *result;
}

static MemoryAllocator allocator(size_t size) {
    return MemoryAllocator(static_cast<uint32_t>(size), static_cast<uint8_t *>(aligned_alloc(64, size)));
}

static unsigned long read_clock() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return clock_calls;
}

static void print_span(const char *name, bool is_delegated, unsigned long start, unsigned long end) {
    printf("{\"name\":\"%s\",\"is_delegated\":%s,\"start\":%lu,\"end\":%lu}\n", name,
           is_delegated ? "true" : "false", start, end);
}

// Print what the last invoked runtime of XNNPACK executed.
static void print_delegated() {
    static auto info = reinterpret_cast<int (*)(void *, int, size_t, void *, size_t *)>(
        dlsym(RTLD_DEFAULT, "xnn_get_runtime_profiling_info"));
    static char names[1 << 16];
    static uint64_t times[4096];
    size_t count = 0, needed;
    if (!info || info(invoked, XNN_NUM_OPERATORS, sizeof count, &count, &needed) ||
        info(invoked, XNN_OPERATOR_NAMES, sizeof names, names, &needed) ||
        info(invoked, XNN_OPERATOR_TIMES, sizeof times, times, &needed))
        fail(6, "XNNPACK does not tell its operators");
    unsigned long start = first_call;
    const char *name = names;
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1) {
        unsigned long end = start + times[i] / 1000;
        print_span(name, true, start, end);
        start = end;
    }
}

// Before every inference: a program may keep values in the memory of an input that it has read.
static void set_input(Method &method, const executorch::aten::Tensor &tensor) {
    Error error = method.set_input(EValue(tensor), 0);
    if (error != Error::Ok) fail(6, "cannot set the input", static_cast<int>(error));
}

static void run(Method &method) {
    mark(MARK_BEGIN);
    Error error = method.execute();
    mark(MARK_END);
    if (error != Error::Ok) fail(6, "the inference failed", static_cast<int>(error));
}

static void profile(Method &method) {
    read_clock(), read_clock();  // two marks in a row: what reading the clock itself costs
    mark(MARK_BEGIN);
    for (;;) {
        invoked = nullptr;
        unsigned long start = read_clock();
        Error error = method.step();
        unsigned long end = read_clock();
        if (error == Error::EndOfMethod) break;
        if (error != Error::Ok) fail(6, "the profiled inference failed", static_cast<int>(error));
        if (invoked) print_delegated();
        else print_span("", false, start, end);
    }
    mark(MARK_END);
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 7) fail(2, "give MODEL.pte INPUT OUTPUT THREADS [RUNS PROFILE]");
    int runs = argc == 7 ? atoi(argv[5]) : 1;
    is_profiling = argc == 7 && atoi(argv[6]);
    runtime_init();
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(static_cast<uint32_t>(atoi(argv[4])));
    static MemoryLoader loader(read_file(argv[1]));
    auto program = Program::load(&loader);
    checked(program, "cannot load the program");
    auto meta = program->method_meta("forward");
    checked(meta, "no method forward");

    static Span<uint8_t> planned[16];
    size_t num_planned = meta->num_memory_planned_buffers();
    if (num_planned > 16) fail(6, "more memory areas than expected");
    for (size_t i = 0; i < num_planned; i++) {
        size_t size = (static_cast<size_t>(*meta->memory_planned_buffer_size(i)) + 63) / 64 * 64;
        planned[i] = Span<uint8_t>(static_cast<uint8_t *>(aligned_alloc(64, size)), size);
    }
    static HierarchicalAllocator areas(Span<Span<uint8_t>>(planned, num_planned));
    static MemoryAllocator for_method = allocator(64 << 20), for_calls = allocator(64 << 20);
    static MemoryManager memory(&for_method, &areas, &for_calls);
    auto method = program->load_method("forward", &memory);
    checked(method, "cannot load the method");

    auto info = meta->input_tensor_meta(0);
    Bytes input = read_file(argv[2]);
    if (meta->num_inputs() != 1 || checked(info, "no input").nbytes() != input.size) fail(5, "the input has another size");
    executorch::aten::SizesType sizes[8];
    executorch::aten::DimOrderType order[8];
    executorch::aten::StridesType strides[8];
    size_t rank = info->sizes().size();
    for (size_t i = 0; i < rank; i++) sizes[i] = info->sizes()[i], order[i] = info->dim_order()[i];
    for (size_t i = rank, step = 1; i-- > 0; step *= sizes[order[i]]) strides[order[i]] = step;
    executorch::aten::TensorImpl impl(info->scalar_type(), rank, sizes, input.data, order, strides);
    executorch::aten::Tensor tensor(&impl);
    for (int i = 0; i < runs; i++) set_input(*method, tensor), run(*method);
    if (is_profiling) set_input(*method, tensor), profile(*method);

    const auto &output = method->get_output(0).toTensor();
    FILE *file = fopen(argv[3], "wb");
    if (!file || fwrite(output.const_data_ptr(), 1, output.nbytes(), file) != output.nbytes()) fail(5, argv[3]);
    fclose(file);
    fflush(stdout);
    _Exit(0);  // destructors would ask for a C++ library
}
