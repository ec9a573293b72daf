// The class World, one modelled network: makes it, reads its figures and its trace, and injects
// faults into its connections.

#include "bindings/bind_sim.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/sim/world.hpp"
#include "bindings/checked.hpp"
#include "bindings/keywords.hpp"
#include "bindings/otherwise.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

using sim::World;
using Values = std::map<std::string, std::int64_t>;
using Line = std::tuple<std::int64_t, std::string, Handle, std::uint8_t, std::uint64_t,
                        std::uint32_t, std::uint64_t, std::uint32_t>;

constexpr std::array step_names{"sent",   "arrived",   "lost",   "retransmitted",
                                "copied", "delivered", "locked", "unlocked",
                                "opened", "closed",    "failed", "woken"};
static_assert(step_names.size() == sim::steps);

pb::object preset_values(const Types& /*types*/, const pb::object& name) {
    sim::Parameters parameters;
    const char* text = PyUnicode_AsUTF8(name.ptr());
    if (text == nullptr) {
        throw_set();
    }
    if (!sim::preset(text, parameters)) {
        throw pb::value_error(
            "there is no preset of that name; use 'windows-2000', 'windows-10' or 'linux'");
    }
    Dict values;
    for (const auto& [parameter, member] : sim::parameter_names()) {
        values.set(std::string(parameter).c_str(), parameters.*member);
    }
    return values.object();
}

void construct(const pb::object& self, const pb::object& values, const pb::object& given_seed) {
    sim::Parameters parameters;
    for (const auto& [name, member] : sim::parameter_names()) {
        const pb::object value =
            checked(PyMapping_GetItemString(values.ptr(), std::string(name).c_str()));
        parameters.*member = PyLong_AsLongLong(value.ptr());
        if (PyErr_Occurred() != nullptr) {
            throw_set();
        }
    }
    const std::uint64_t seed = PyLong_AsUnsignedLongLong(given_seed.ptr());
    if (PyErr_Occurred() != nullptr) {
        throw_set();
    }
    give_value<World>(self, std::make_shared<World>(parameters, seed));
}

Values counts_of(World& world) {
    const World::Access access(world);
    const sim::Counts& counts = world.stack.counts;
    const std::pair<const char*, std::uint64_t> all[] = {
        {"events", counts.events},
        {"segments", counts.segments},
        {"data_segments", counts.data_segments},
        {"data_bytes", counts.data_bytes},
        {"retransmissions", counts.retransmissions},
        {"lost", counts.lost},
        {"delayed_acks", counts.delayed_acks},
        {"copied_bytes", counts.copied_bytes},
        {"delivered_bytes", counts.delivered_bytes},
        {"faults", counts.faults},
        {"divisible_calls", counts.divisible_calls},
    };
    Values values;
    for (const auto& [name, count] : all) {
        values.emplace(name, static_cast<std::int64_t>(count));
    }
    return values;
}

std::vector<Values> machines_of(World& world) {
    const World::Access access(world);
    const std::int64_t page = world.stack.values.page_size;
    std::vector<Values> all;
    for (const auto& machine : world.stack.machines()) {
        const sim::System& system = machine->system;
        all.push_back({{"locked", system.locked() * page},
                       {"locked_peak", system.locked_peak() * page},
                       {"pool", system.pool()},
                       {"pool_peak", system.pool_peak()},
                       {"charges", system.charges()}});
    }
    return all;
}

std::vector<Line> lines_of(World& world) {
    const World::Access access(world);
    std::vector<Line> lines;
    for (const sim::TraceLine& line : world.stack.trace.lines()) {
        lines.emplace_back(line.when, step_names[static_cast<std::size_t>(line.step)],
                           sim::handle_of(line.endpoint), line.flags, line.sequence, line.length,
                           line.acknowledged, line.window);
    }
    return lines;
}

pb::object shown(const Values& values) {
    Dict dict;
    for (const auto& [name, value] : values) {
        dict.set(name.c_str(), value);
    }
    return dict.object();
}

pb::object shown(const std::vector<Values>& all) {
    List list;
    for (const Values& values : all) {
        list.append(shown(values));
    }
    return list.object();
}

pb::object shown(const std::vector<Line>& lines) {
    List list;
    for (const Line& line : lines) {
        list.append(std::apply([](const auto&... each) { return tuple_of(each...); }, line));
    }
    return list.object();
}

// Calls `look` with the thread detached, because another thread may hold the world's lock for long,
// and converts the result to Python.
template <auto look>
pb::object seen(World& world) {
    const auto found = [&world] {
        const Detached scope;
        return look(world);
    }();
    return shown(found);
}

std::uint64_t hash_of(World& world) {
    const World::Access access(world);
    return world.stack.trace.hash();
}

void keep_lines(World& world, bool on) {
    const World::Access access(world);
    world.stack.trace.keep(on);
}

bool inject_fault(World& world, Handle handle, unsigned fault) {
    const World::Access access(world);
    sim::Endpoint* endpoint = world.stack.find(handle);
    return endpoint != nullptr && fault <= static_cast<unsigned>(sim::InjectedFault::vanish) &&
           world.sockets().inject_fault(*endpoint, static_cast<sim::InjectedFault>(fault));
}

constexpr Signature<2> construct_arguments{"World", {"values", "seed"}, 2, 2};
constexpr Signature<1> preset_arguments{"sim_preset", {"name"}, 1, 1};

PyMethodDef methods[] = {
    {"__init__", fast(guarded<initializer<construct_arguments, construct>>), keywords_call,
     nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMethodDef functions[] = {
    {"sim_preset", fast(guarded<module_function<preset_arguments, preset_values>>), keywords_call,
     "Returns every parameter of a preset of the model, in nanoseconds, bytes and millionths."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_sim(pb::module_& module) {
    using Unlocked = pb::call_guard<pb::gil_scoped_release>;
    pb::class_<World, std::shared_ptr<World>>(
        module, "World", pb::custom_type_setup([](PyHeapTypeObject* heap_type) {
            heap_type->ht_type.tp_new = guarded<new_instance>;
        }))
        .def("__reduce__", &no_reduction)
        .def("now", [](const World& world) { return world.stack.now(); })
        .def("hash", &hash_of, Unlocked())
        .def("counts", &seen<counts_of>)
        .def("machines", &seen<machines_of>)
        .def("keep_lines", &keep_lines, pb::arg("on"), Unlocked())
        .def("lines", &seen<lines_of>)
        .def("pass_time", &World::pass, pb::arg("timeout"), Unlocked())
        .def("inject_fault", &inject_fault, pb::arg("handle"), pb::arg("fault"), Unlocked());
    add_methods(module.attr("World"), methods);
    if (PyModule_AddFunctions(module.ptr(), functions) < 0) {
        throw_set();
    }
}

}  // namespace iocp::py
