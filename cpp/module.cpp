#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <memory>

#include "aio/make_types.hpp"
#include "aio/stream_object.hpp"
#include "base/page_span.hpp"
#include "base/process.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/bind_port.hpp"
#include "bindings/bind_sim.hpp"
#include "bindings/bind_waiting.hpp"
#include "bindings/buffer_object.hpp"
#include "bindings/event_object.hpp"
#include "bindings/held.hpp"
#include "bindings/keywords.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/otherwise.hpp"
#include "bindings/registered_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/timer_object.hpp"
#include "bindings/types.hpp"

namespace pb = pybind11;

namespace {

using iocp::py::Types;

void add_type(pb::module_& module, const char* name, PyTypeObject* type) {
    if (type == nullptr) {
        throw pb::error_already_set();
    }
    module.attr(name) = pb::reinterpret_borrow<pb::object>(reinterpret_cast<PyObject*>(type));
}

void make_types(pb::module_& module) {
    auto types = std::make_unique<Types>();
    add_type(module, "Buffer", types->buffer = iocp::py::make_buffer_type(module.ptr()));
    add_type(module, "Operation", types->operation = iocp::py::make_operation_type(module.ptr()));
    add_type(module, "Completion",
             types->completion = iocp::py::make_completion_type(module.ptr()));
    add_type(module, "Timer", types->timer = iocp::py::make_timer_type(module.ptr()));
    add_type(module, "Socket", types->socket = iocp::py::make_socket_type(module.ptr()));
    add_type(module, "RegisteredMemory",
             types->registered = iocp::py::make_registered_type(module.ptr()));
    add_type(module, "Event", types->event = iocp::py::make_event_type(module.ptr()));
    iocp::aio::make_types(module.ptr(), *types);
    add_type(module, "Handle", types->handle);
    add_type(module, "TimerHandle", types->timer_handle);
    add_type(module, "EventLoop", types->event_loop);
    if (!iocp::py::load_errors(*types)) {
        throw pb::error_already_set();
    }
    module.attr("_types") =
        pb::capsule(types.release(), [](void* made) { delete static_cast<Types*>(made); });
}

// Converts an argument with pybind11's caster. Raises ArgumentTypeError with `refusal` if the
// argument is of another type.
template <class Value>
Value converted(const Types& types, const pb::object& given, const char* refusal) {
    pb::detail::make_caster<Value> caster;
    if (!caster.load(given, true)) {
        iocp::py::raise(types, iocp::py::ErrorClass::argument_type, EINVAL, refusal);
        throw pb::error_already_set();
    }
    return pb::detail::cast_op<Value>(caster);
}

std::size_t page_span(const Types& types, const pb::object& first, const pb::object& bytes) {
    constexpr const char* refusal = "address and length must be ints, 0 or more";
    const auto address = converted<std::uintptr_t>(types, first, refusal);
    const auto length = converted<std::size_t>(types, bytes, refusal);
    if (length != 0 && address + (length - 1) < address) {
        throw pb::value_error("address + length must not pass the end of the address space");
    }
    return iocp::page_span(address, length, iocp::system_page_size());
}

using Features = std::map<std::string, bool>;

std::map<std::string, std::pair<std::string, Features>> survey() {
    std::map<std::string, std::pair<std::string, Features>> result;
    for (iocp::Surveyed& found : iocp::survey_backends()) {
        result[found.name] = {found.state, found.features};
    }
    return result;
}

std::map<std::string, std::string> probe() {
    std::map<std::string, std::string> result;
    for (const auto& [name, found] : survey()) {
        result[name] = found.first;
    }
    return result;
}

pb::object features(const Types& types, const pb::object& backend) {
    return pb::cast(
        survey()[converted<std::string>(
                     types, backend,
                     "backend must be the name of a backend, such as 'epoll' (probe() lists them)")]
            .second);
}

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "msvc " + std::to_string(_MSC_VER);
#else
    return "unknown";
#endif
}

pb::object address_or_name(const pb::object& host, int port, int family) {
    PyObject* found =
        iocp::py::address_or_name(iocp::py::types_of_module(), host.ptr(), port, family);
    if (found == nullptr) {
        throw pb::error_already_set();
    }
    return pb::reinterpret_steal<pb::object>(found);
}

using iocp::py::guarded;
using iocp::py::keywords_call;
using iocp::py::module_function;
using iocp::py::Signature;

constexpr Signature<2> page_span_arguments{"page_span", {"address", "length"}, 2, 2};
constexpr Signature<1> features_arguments{"features", {"backend"}, 1, 1};

// Finds the types that are made by their first use, because they derive from classes of asyncio.
PyObject* find_attribute(PyObject* module, PyObject* name) {
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "StreamBase") == 0) {
        const iocp::py::Held reference(PyObject_GetAttrString(module, "_types"));
        auto* types = reference.get() != nullptr
                          ? static_cast<Types*>(PyCapsule_GetPointer(reference.get(), nullptr))
                          : nullptr;
        return types != nullptr ? iocp::aio::stream_type(module, *types) : nullptr;
    }
    PyErr_Format(PyExc_AttributeError, "module 'iocp_sock._core' has no attribute %R", name);
    return nullptr;
}

PyMethodDef functions[] = {
    {"page_span", fast(guarded<module_function<page_span_arguments, page_span>>), keywords_call,
     "page_span(address, length) -> int\n\n"
     "Returns the number of pages of PAGE_SIZE bytes that length bytes at address touch. 0\n"
     "bytes touch none."},
    {"features", fast(guarded<module_function<features_arguments, features>>), keywords_call,
     "features(backend) -> dict\n\n"
     "Returns the features of the named backend on this system: feature name to bool. The\n"
     "dict is empty if the system refuses the backend."},
    {"__getattr__", guarded<find_attribute>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

bool in_main_interpreter() { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

constexpr const char* main_only =
    "iocp_sock runs only in the main interpreter of a process; use threads or processes instead of "
    "subinterpreters";

}  // namespace

PYBIND11_MODULE(_core_of_main, module) {
    // Checks the interpreter here too, because from Python 3.13 on PyInit__core() runs in the main
    // interpreter even if another interpreter imports the module.
    if (!in_main_interpreter()) {
        throw pb::import_error(main_only);
    }
    make_types(module);
    iocp::py::bind_sim(module);
    iocp::py::bind_port(module);
    iocp::py::bind_waiting(module);
    pb::options shown;
    shown.disable_function_signatures();  // hides the overloads that only raise
    module.attr("PAGE_SIZE") = iocp::system_page_size();
    module.def(
        "probe", &probe,
        "probe() -> dict\n\n"
        "Returns a dict from each backend of this platform to 'ok', or to the reason why the\n"
        "system refuses it.");
    module.def("probe", iocp::py::otherwise("probe()"));
    if (PyModule_AddFunctions(module.ptr(), functions) < 0) {
        throw pb::error_already_set();
    }
    module.def(
        "survey", &survey,
        "survey() -> dict\n\n"
        "Returns the results of probe() and features() for every backend, from one trial of\n"
        "each: the backend's name to its state and its features.");
    module.def("survey", iocp::py::otherwise("survey()"));
    module.def("compiler", &compiler,
               "compiler() -> str\n\n"
               "Returns the compiler and version that built the core.");
    module.def("compiler", iocp::py::otherwise("compiler()"));
    module.def("_address_or_name", &address_or_name, pb::arg("host"), pb::arg("port"),
               pb::arg("family"));
    module.def(
        "version", [] { return std::string(IOCP_SOCK_VERSION); },
        "version() -> str\n\n"
        "Returns the version of the core.");
    module.def("version", iocp::py::otherwise("version()"));
}

// The entry point of the module. Checks the interpreter by itself, because before Python 3.12
// pybind11 waits for ever when a second interpreter of the process loads the module.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the interpreter calls this name
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
    if (!in_main_interpreter()) {
        PyErr_SetString(PyExc_ImportError, main_only);
        return nullptr;
    }
    return PyInit__core_of_main();
}
