// Makes one allocation of the calling thread fail, in C++ code or in the interpreter.
// test_memory.py compiles this file to a library. The library is preloaded, so that the process
// uses its operator new, and imported as a Python module.
#include <Python.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local bool counting = false;
int wanted_kind = 0;  // which allocations count: 0: operator new, 1: the interpreter's allocators
unsigned long wanted = 0;
unsigned long seen = 0;
std::size_t spared = 0;  // interpreter allocations of this size neither fail nor count
PyMemAllocatorEx original[3];

bool fails(int kind) noexcept {
    if (!counting || kind != wanted_kind) {
        return false;
    }
    return ++seen == wanted;
}

void* allocate(std::size_t bytes) {
    void* memory = fails(0) ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

void* allocate(std::size_t bytes, std::align_val_t alignment) {
    const auto border = static_cast<std::size_t>(alignment);
    void* memory =
        fails(0) ? nullptr : std::aligned_alloc(border, (bytes + border - 1) / border * border);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

const PyMemAllocatorEx& original_of(void* context) {
    return *static_cast<const PyMemAllocatorEx*>(context);
}

void* take(void* context, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return bytes != spared && fails(1) ? nullptr : next.malloc(next.ctx, bytes);
}
void* take_zeroed(void* context, std::size_t count, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return fails(1) ? nullptr : next.calloc(next.ctx, count, bytes);
}
void* resize(void* context, void* memory, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return fails(1) ? nullptr : next.realloc(next.ctx, memory, bytes);
}
void give_back(void* context, void* memory) {
    const PyMemAllocatorEx& next = original_of(context);
    next.free(next.ctx, memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t border) { return allocate(bytes, border); }
void* operator new[](std::size_t bytes, std::align_val_t border) { return allocate(bytes, border); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*border*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t /*border*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*border*/) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/, std::align_val_t /*border*/) noexcept {
    std::free(memory);
}

namespace {

// watch_interpreter(spared): wraps the interpreter's allocators. The calling thread must be
// attached to the interpreter. Allocations of `spared` bytes neither fail nor count.
PyObject* watch_interpreter(PyObject* /*module*/, PyObject* given) {
    spared = PyLong_AsSize_t(given);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < 3; ++i) {
        PyMem_GetAllocator(domains[i], &original[i]);
        PyMemAllocatorEx hook = {&original[i], take, take_zeroed, resize, give_back};
        PyMem_SetAllocator(domains[i], &hook);
    }
    return PyLong_FromLong(0);
}

// fail(kind, nth): starts to count this thread's allocations of that kind, and lets the `nth` of
// them fail. The call itself allocates nothing.
PyObject* fail(PyObject* /*module*/, PyObject* const* given, Py_ssize_t /*count*/) {
    const long kind = PyLong_AsLong(given[0]);
    const unsigned long nth = PyLong_AsUnsignedLong(given[1]);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    wanted_kind = static_cast<int>(kind);
    wanted = nth;
    seen = 0;
    counting = true;
    return PyLong_FromLong(0);
}

// stop(): ends the count that fail() started, and returns it.
PyObject* stop(PyObject* /*module*/, PyObject* /*unused*/) {
    counting = false;
    return PyLong_FromUnsignedLong(seen);
}

PyMethodDef methods[] = {
    {"watch_interpreter", watch_interpreter, METH_O, nullptr},
    {"fail", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fail)), METH_FASTCALL,
     nullptr},
    {"stop", stop, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "failing_allocations",
    nullptr,
    -1,
    methods,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit_failing_allocations() { return PyModule_Create(&definition); }
