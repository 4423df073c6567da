/* What ExecuTorch's Python binding for aarch64 wants from torch's libraries and from Python when no Python runs: a thread pool of one
 * thread, what cpuinfo tells of the core, and places for data that is never read.
 *
 * Compiled against pthreadpool.h and cpuinfo.h of the installed torch, so the types are checked by the compiler.
 */
#include <cpuinfo.h>
#include <pthreadpool.h>
#include <stdint.h>
#include <sys/auxv.h>

/* Types and exceptions of Python, and torch's undefined tensor: their addresses are taken while the binding is loaded. */
#define PLACE(name) char name[512];
PLACE(PyBaseObject_Type) PLACE(PyBool_Type) PLACE(PyByteArray_Type) PLACE(PyCFunction_Type) PLACE(PyCapsule_Type)
PLACE(PyDict_Type) PLACE(PyExc_BufferError) PLACE(PyExc_ImportError) PLACE(PyExc_IndexError) PLACE(PyExc_MemoryError)
PLACE(PyExc_OverflowError) PLACE(PyExc_RuntimeError) PLACE(PyExc_SystemError) PLACE(PyExc_TypeError) PLACE(PyExc_ValueError)
PLACE(PyFloat_Type) PLACE(PyInstanceMethod_Type) PLACE(PyMethod_Type) PLACE(PyModule_Type) PLACE(PyObject_GenericGetDict)
PLACE(PyObject_GenericSetDict) PLACE(PyProperty_Type) PLACE(PyType_Type) PLACE(_Py_FalseStruct) PLACE(_Py_NoneStruct)
PLACE(_Py_NotImplementedStruct) PLACE(_Py_TrueStruct) PLACE(_ZN3c1019UndefinedTensorImpl10_singletonE)

/* The thread pool: every task in the caller's thread, in order. "Dynamic" functions may be given several tiles at once; like torch's
 * own pool with one thread, ours gives all of the last dimension. With -DSPLIT it gives one tile at a time, which the interface
 * allows too: that is how several threads would share the work.
 */
static char pool;
pthreadpool_t pthreadpool_create(size_t threads) {
    (void)threads;
    return (pthreadpool_t)&pool;
}
pthreadpool_t pthreadpool_create_v2(struct pthreadpool_executor *executor, void *context, size_t threads) {
    (void)executor, (void)context, (void)threads;
    return (pthreadpool_t)&pool;
}
size_t pthreadpool_get_threads_count(pthreadpool_t p) {
    (void)p;
    return 1;
}
void pthreadpool_destroy(pthreadpool_t p) { (void)p; }
void pthreadpool_release_executor_threads(struct pthreadpool *p) { (void)p; }
bool pthreadpool_update_executor(pthreadpool_t p, struct pthreadpool_executor *executor, void *context) {
    (void)p, (void)executor, (void)context;
    return false;
}

#define END (void)p, (void)flags
#define EACH(i) for (size_t i = 0; i < range_##i; i++)
#define TILES(i) for (size_t i = 0; i < range_##i; i += tile_##i)
#define REST(i) (range_##i - i < tile_##i ? range_##i - i : tile_##i)
#define U uint32_t uarch, __attribute__((unused)) uint32_t max_uarch,

#ifdef SPLIT
#define LAST TILES
#define ALL REST
#else
#define LAST(i) for (size_t i = 0; i < range_##i; i = range_##i)
#define ALL(i) ((void)tile_##i, range_##i)
#endif

/* PARALLEL(name without prefix, its task's name, arguments, loops, call) */
#define PARALLEL(name, task, uarchs, ranges, loops, ...) \
    void pthreadpool_parallelize_##name(pthreadpool_t p, pthreadpool_task_##task##_t f, void *c, uarchs ranges, uint32_t flags) { \
        END; \
        loops f(c, __VA_ARGS__); \
    }
#define NONE
#define R(i) size_t range_##i
#define T(i) size_t tile_##i
#define ARGS(...) __VA_ARGS__

PARALLEL(1d, 1d, NONE, R(i), EACH(i), i)
PARALLEL(1d_with_thread, 1d_with_thread, NONE, R(i), EACH(i), 0, i)
#define R1 ARGS(R(i), T(i))
PARALLEL(1d_tile_1d, 1d_tile_1d, NONE, R1, TILES(i), i, REST(i))
PARALLEL(1d_tile_1d_dynamic, 1d_tile_1d_dynamic, NONE, R1, LAST(i), i, ALL(i))
PARALLEL(1d_tile_1d_dynamic_with_thread, 1d_tile_1d_dynamic_with_id, NONE, R1, LAST(i), 0, i, ALL(i))
PARALLEL(1d_tile_1d_dynamic_with_uarch_with_thread, 1d_tile_1d_dynamic_with_id_with_thread, U, R1, LAST(i), uarch, 0, i, ALL(i))

PARALLEL(2d, 2d, NONE, ARGS(R(i), R(j)), EACH(i) EACH(j), i, j)
PARALLEL(2d_with_thread, 2d_with_thread, NONE, ARGS(R(i), R(j)), EACH(i) EACH(j), 0, i, j)
#define R2 ARGS(R(i), R(j), T(j))
#define L2 EACH(i) TILES(j)
PARALLEL(2d_tile_1d, 2d_tile_1d, NONE, R2, L2, i, j, REST(j))
PARALLEL(2d_tile_1d_with_uarch, 2d_tile_1d_with_id, U, R2, L2, uarch, i, j, REST(j))
PARALLEL(2d_tile_1d_dynamic, 2d_tile_1d_dynamic, NONE, R2, EACH(i) LAST(j), i, j, ALL(j))
PARALLEL(2d_tile_1d_dynamic_with_thread, 2d_tile_1d_dynamic_with_id, NONE, R2, EACH(i) LAST(j), 0, i, j, ALL(j))
PARALLEL(2d_tile_1d_dynamic_with_uarch_with_thread, 2d_tile_1d_dynamic_with_id_with_thread, U, R2, EACH(i) LAST(j), uarch, 0, i, j, ALL(j))
#define R22 ARGS(R(i), R(j), T(i), T(j))
#define L22 TILES(i) TILES(j)
PARALLEL(2d_tile_2d, 2d_tile_2d, NONE, R22, L22, i, j, REST(i), REST(j))
PARALLEL(2d_tile_2d_with_uarch, 2d_tile_2d_with_id, U, R22, L22, uarch, i, j, REST(i), REST(j))
PARALLEL(2d_tile_2d_dynamic, 2d_tile_2d_dynamic, NONE, R22, TILES(i) LAST(j), i, j, REST(i), ALL(j))
PARALLEL(2d_tile_2d_dynamic_with_thread, 2d_tile_2d_dynamic_with_id, NONE, R22, TILES(i) LAST(j), 0, i, j, REST(i), ALL(j))
PARALLEL(2d_tile_2d_dynamic_with_uarch, 2d_tile_2d_dynamic_with_id, U, R22, TILES(i) LAST(j), uarch, i, j, REST(i), ALL(j))

PARALLEL(3d, 3d, NONE, ARGS(R(i), R(j), R(k)), EACH(i) EACH(j) EACH(k), i, j, k)
#define R3 ARGS(R(i), R(j), R(k), T(k))
#define L3 EACH(i) EACH(j) TILES(k)
PARALLEL(3d_tile_1d, 3d_tile_1d, NONE, R3, L3, i, j, k, REST(k))
PARALLEL(3d_tile_1d_with_thread, 3d_tile_1d_with_thread, NONE, R3, L3, 0, i, j, k, REST(k))
PARALLEL(3d_tile_1d_with_uarch, 3d_tile_1d_with_id, U, R3, L3, uarch, i, j, k, REST(k))
PARALLEL(3d_tile_1d_with_uarch_with_thread, 3d_tile_1d_with_id_with_thread, U, R3, L3, uarch, 0, i, j, k, REST(k))
PARALLEL(3d_tile_1d_dynamic, 3d_tile_1d_dynamic, NONE, R3, EACH(i) EACH(j) LAST(k), i, j, k, ALL(k))
PARALLEL(3d_tile_1d_dynamic_with_thread, 3d_tile_1d_dynamic_with_id, NONE, R3, EACH(i) EACH(j) LAST(k), 0, i, j, k, ALL(k))
#define R32 ARGS(R(i), R(j), R(k), T(j), T(k))
#define L32 EACH(i) TILES(j) TILES(k)
PARALLEL(3d_tile_2d, 3d_tile_2d, NONE, R32, L32, i, j, k, REST(j), REST(k))
PARALLEL(3d_tile_2d_with_uarch, 3d_tile_2d_with_id, U, R32, L32, uarch, i, j, k, REST(j), REST(k))
PARALLEL(3d_tile_2d_dynamic, 3d_tile_2d_dynamic, NONE, R32, EACH(i) TILES(j) LAST(k), i, j, k, REST(j), ALL(k))
PARALLEL(3d_tile_2d_dynamic_with_thread, 3d_tile_2d_dynamic_with_id, NONE, R32, EACH(i) TILES(j) LAST(k), 0, i, j, k, REST(j), ALL(k))
PARALLEL(3d_tile_2d_dynamic_with_uarch, 3d_tile_2d_dynamic_with_id, U, R32, EACH(i) TILES(j) LAST(k), uarch, i, j, k, REST(j), ALL(k))

#define E4 EACH(i) EACH(j) EACH(k)
PARALLEL(4d, 4d, NONE, ARGS(R(i), R(j), R(k), R(l)), E4 EACH(l), i, j, k, l)
#define R4 ARGS(R(i), R(j), R(k), R(l), T(k), T(l))
#define L4 EACH(i) EACH(j) TILES(k) TILES(l)
PARALLEL(4d_tile_2d, 4d_tile_2d, NONE, R4, L4, i, j, k, l, REST(k), REST(l))
PARALLEL(4d_tile_2d_with_uarch, 4d_tile_2d_with_id, U, R4, L4, uarch, i, j, k, l, REST(k), REST(l))
PARALLEL(4d_tile_2d_dynamic, 4d_tile_2d_dynamic, NONE, R4, EACH(i) EACH(j) TILES(k) LAST(l), i, j, k, l, REST(k), ALL(l))
PARALLEL(4d_tile_2d_dynamic_with_uarch, 4d_tile_2d_dynamic_with_id, U, R4, EACH(i) EACH(j) TILES(k) LAST(l), uarch, i, j, k, l, REST(k), ALL(l))
PARALLEL(5d, 5d, NONE, ARGS(R(i), R(j), R(k), R(l), R(m)), E4 EACH(l) EACH(m), i, j, k, l, m)
PARALLEL(5d_tile_2d, 5d_tile_2d, NONE, ARGS(R(i), R(j), R(k), R(l), R(m), T(l), T(m)), E4 TILES(l) TILES(m), i, j, k, l, m,
         REST(l), REST(m))
PARALLEL(6d_tile_2d, 6d_tile_2d, NONE, ARGS(R(i), R(j), R(k), R(l), R(m), R(n), T(m), T(n)), E4 EACH(l) TILES(m) TILES(n), i, j, k,
         l, m, n, REST(m), REST(n))

/* What the core can do, as the kernel (here the emulator) says it. */
struct cpuinfo_arm_isa cpuinfo_isa;
static struct cpuinfo_processor processor;
static struct cpuinfo_core core;
static struct cpuinfo_uarch_info uarch_info;

bool cpuinfo_initialize(void) {
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    uint64_t id = 0;
    __asm__("mrs %0, MIDR_EL1" : "=r"(id)); /* the kernel answers for it, and so does the emulator */
    uint32_t part = (uint32_t)(id >> 4) & 0xfff;
    uarch_info.uarch = part == 0xd03 ? cpuinfo_uarch_cortex_a53 : part == 0xd0b ? cpuinfo_uarch_cortex_a76 : cpuinfo_uarch_unknown;
    uarch_info.midr = (uint32_t)id;
    uarch_info.processor_count = uarch_info.core_count = 1;
    core.uarch = uarch_info.uarch;
    core.processor_count = 1;
    processor.core = &core;
    cpuinfo_isa.atomics = one >> 8 & 1;
    cpuinfo_isa.fp16arith = (one >> 9 & 1) && (one >> 10 & 1);
    cpuinfo_isa.rdm = one >> 12 & 1;
    cpuinfo_isa.dot = one >> 20 & 1;
    cpuinfo_isa.sve = one >> 22 & 1;
    cpuinfo_isa.i8mm = two >> 13 & 1;
    cpuinfo_isa.bf16 = two >> 14 & 1;
    return true;
}
const struct cpuinfo_processor *cpuinfo_get_processor(uint32_t index) {
    (void)index;
    return &processor;
}
uint32_t cpuinfo_get_processors_count(void) { return 1; }
const struct cpuinfo_uarch_info *cpuinfo_get_uarch(uint32_t index) {
    (void)index;
    return &uarch_info;
}
uint32_t cpuinfo_get_uarchs_count(void) { return 1; }
