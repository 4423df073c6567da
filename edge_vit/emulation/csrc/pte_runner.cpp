// Runs a .pte once on Linux: reads the bytes of its one input from a file and writes those of its output.
//
//     pte_runner MODEL.pte INPUT OUTPUT THREADS
//
// Linked with the libraries of ExecuTorch's wheel.
#include <executorch/runtime/core/data_loader.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv) {
    if (argc != 5) fail(2, "give MODEL.pte INPUT OUTPUT THREADS");
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
    Error error = method->set_input(EValue(executorch::aten::Tensor(&impl)), 0);
    if (error != Error::Ok) fail(6, "cannot set the input", static_cast<int>(error));
    error = method->execute();
    if (error != Error::Ok) fail(6, "the inference failed", static_cast<int>(error));

    const auto &output = method->get_output(0).toTensor();
    FILE *file = fopen(argv[3], "wb");
    if (!file || fwrite(output.const_data_ptr(), 1, output.nbytes(), file) != output.nbytes()) fail(5, argv[3]);
    fclose(file);
    _Exit(0);  // destructors would ask for a C++ library
}
